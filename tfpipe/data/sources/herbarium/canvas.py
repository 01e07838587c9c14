"""What the pictures are made of: whorls of blades and domes, shaded pixel by pixel.

A blade is a petal, a leaf, a bract or a stamen. Blades that share a foot are painted in one go: each pixel
asks for its nearest blade, and for its place (t along, s across) on that blade.
"""

import math
from dataclasses import dataclass, field, replace
from functools import cache

import numpy as np
from numpy.typing import NDArray

from tfpipe.data.sources.herbarium.arithmetic import (
    Field,
    applied,
    at_diamond_angle,
    cosine,
    diamond_angle,
    power,
    sine,
    unit,
)
from tfpipe.data.sources.herbarium.species import RGB, Outline

ORIGIN: Field = np.zeros((1, 2), np.float32)
_STEPS = 256  # samples of an outline from base to tip
_SHADOW_REACH = 0.25  # half-widths beyond the edge of a blade
_BINS = 720  # directions in which the nearest blade is looked up


@dataclass(frozen=True)
class Frame:
    """Where something lies: point p goes to `origin + matrix @ p`, in short sides from the photo's centre."""

    origin: Field
    matrix: Field

    def moved(self, point: tuple[float, float], scale: float = 1.0, turn: float = 0.0) -> "Frame":
        """A frame at `point` of this one, turned by `turn` radians and scaled."""
        cos, sin = scale * math.cos(turn), scale * math.sin(turn)
        local = np.array([[cos, -sin], [sin, cos]], np.float32)
        return Frame(self.origin + applied(self.matrix, np.array(point, np.float32)), applied(self.matrix, local))

    @property
    def scale(self) -> float:
        """How many short sides a unit of this frame is, foreshortening averaged."""
        (a, b), (c, d) = self.matrix.tolist()
        return math.sqrt(abs(a * d - b * c))


@dataclass(frozen=True)
class Canvas:
    """`pixels` (height, width, 3), sRGB in [0, 1]; `unit`, the short side in px; `light`, to the sun."""

    pixels: Field
    unit: float
    light: tuple[float, float]

    def window(self, corners: Field, frame: Frame) -> tuple[slice, slice] | None:
        """The pixels that hold points (count, 2) of a frame, with a margin; None when off the photo."""
        height, width = self.pixels.shape[:2]
        points = (applied(frame.matrix, corners.T).T + frame.origin) * self.unit + (width / 2, height / 2)
        left, top = np.maximum(np.floor(points.min(axis=0)) - 2, 0).astype(int)
        right, bottom = np.minimum(np.ceil(points.max(axis=0)) + 3, (width, height)).astype(int)
        return (slice(top, bottom), slice(left, right)) if right > left and bottom > top else None

    def coordinates(self, window: tuple[slice, slice], frame: Frame) -> tuple[Field, Field]:
        """The frame's x and y at each pixel of a window, two fields (rows, columns)."""
        height, width = self.pixels.shape[:2]
        rows = (np.arange(window[0].start, window[0].stop, dtype=np.float32) + 0.5 - height / 2) / self.unit
        columns = (np.arange(window[1].start, window[1].stop, dtype=np.float32) + 0.5 - width / 2) / self.unit
        (a, b), (c, d) = (frame.matrix / frame.scale**2).tolist()
        down, right = rows[:, None] - frame.origin[1], columns[None, :] - frame.origin[0]
        return d * right - b * down, a * down - c * right


@dataclass(frozen=True)
class Blades:
    """Blades from one foot: `angles` (radians), `lengths`, half `widths`, `tones` (brightness), all (count,).

    The whole whorl is repeated at each of `feet`, (feet, 2); where two would meet, the nearer foot's is seen.
    """

    angles: Field
    lengths: Field
    widths: Field
    tones: Field
    feet: Field = field(default_factory=lambda: ORIGIN)

    def part(self, start: int, step: int) -> "Blades":
        """Every `step`-th blade."""
        every = slice(start, None, step)
        return replace(
            self,
            angles=self.angles[every],
            lengths=self.lengths[every],
            widths=self.widths[every],
            tones=self.tones[every],
        )

    def corners(self) -> Field:
        """(feet * 4 * count, 2): the rectangles round the blades."""
        along = np.stack([cosine(self.angles), sine(self.angles)], axis=1)
        across = np.stack([-along[:, 1], along[:, 0]], axis=1) * self.widths[:, None] * 1.2
        tip = along * self.lengths[:, None]
        rectangles = np.concatenate([across, -across, tip + across, tip - across])
        corners: Field = (self.feet[:, None] + rectangles).reshape(-1, 2)
        return corners

    def nearest(self, x: Field, y: Field) -> NDArray[np.intp]:
        """The index of the blade nearest in direction, for each pixel."""
        right, down = at_diamond_angle((np.arange(_BINS, dtype=np.float32) + 0.5) * (4 / _BINS) - 2)
        table = np.argmax(right[:, None] * cosine(self.angles) + down[:, None] * sine(self.angles), axis=1)
        which = (diamond_angle(x, y) + 2) * (_BINS / 4)
        nearest: NDArray[np.intp] = table[np.minimum(which.astype(np.int16), _BINS - 1)]
        return nearest


@dataclass(frozen=True)
class Paint:
    """How a blade looks: `pattern` names an entry of `PATTERNS`: where `accent` lies on `colour`."""

    colour: RGB
    accent: RGB
    pattern: str = "plain"


def paint_whorl(canvas: Canvas, frame: Frame, blades: Blades, outline: Outline, paint: Paint) -> None:
    """Paint blades over what is there, with a soft shadow at their edges."""
    window = canvas.window(blades.corners(), frame)
    if window is None:
        return
    x, y = _from_nearest(blades.feet, *canvas.coordinates(window, frame))
    which = blades.nearest(x, y) if len(blades.angles) > 1 else np.zeros(x.shape, np.intp)
    along, across = _on_blades(x, y, blades, which)
    half = _half_width(outline, along, np.abs(across))
    # From here on only pixels on or beside a blade, (near,): the rest of the window is most of it.
    near = np.nonzero((half + _SHADOW_REACH > np.abs(across)) & (half > 0))
    along, across, half, which = along[near], across[near], half[near], which[near]
    side = _towards_light(blades.angles, canvas.light, frame)[which]

    under = canvas.pixels[window][near]
    shadow = np.clip((half + _SHADOW_REACH - np.abs(across + 0.18 * side)) * 2.5, 0, 0.38)
    under *= 1 - shadow[:, None]
    edge_px = canvas.unit * frame.scale * float(blades.widths.mean())
    cover = np.clip((half - np.abs(across)) * edge_px, 0, 1)
    painted = _shaded(along, across / np.maximum(half, 0.05), side, paint) * blades.tones[which][:, None]
    canvas.pixels[window][near] = under + cover[:, None] * (painted - under)


def _from_nearest(feet: Field, x: Field, y: Field) -> tuple[Field, Field]:
    """Each pixel's x and y seen from its nearest foot."""
    if len(feet) == 1:
        return x - feet[0, 0], y - feet[0, 1]
    # |p - f|² without |p|², which is the same for all feet.
    product = x[..., None] * feet[:, 0] + y[..., None] * feet[:, 1]
    nearest = np.argmin((feet**2).sum(axis=1) - 2 * product, axis=-1)
    return x - feet[nearest, 0], y - feet[nearest, 1]


def _on_blades(x: Field, y: Field, blades: Blades, which: NDArray[np.intp]) -> tuple[Field, Field]:
    """Each pixel's place on its blade: 0 to 1 along, and across in half-widths."""
    cos, sin = cosine(blades.angles)[which], sine(blades.angles)[which]
    return (x * cos + y * sin) / blades.lengths[which], (y * cos - x * sin) / blades.widths[which]


def _shaded(along: Field, rounding: Field, side: Field, paint: Paint) -> Field:
    """(near, 3): colour and pattern, lighter to the tip and on the side that faces the light, dark-rimmed."""
    where = np.clip(PATTERNS[paint.pattern](along, rounding), 0, 0.95)
    colour = np.array(paint.colour, np.float32)
    plain = colour + where[:, None] * (np.array(paint.accent, np.float32) - colour)
    rim = np.clip(rounding**2, 0, 1) ** 2
    shade = (0.80 + 0.26 * along) * (1 + 0.16 * rounding * side) - 0.14 * rim
    shaded: Field = plain * shade[:, None]
    return shaded


def paint_domes(canvas: Canvas, frame: Frame, radius: float, colour: RGB, feet: Field = ORIGIN) -> None:
    """Paint a grainy half-ball at each of `feet`, (feet, 2)."""
    corners = np.array([[-1, -1], [-1, 1], [1, -1], [1, 1]], np.float32) * radius
    window = canvas.window((feet[:, None] + corners).reshape(-1, 2), frame)
    if window is None:
        return
    x, y = _from_nearest(feet, *canvas.coordinates(window, frame))
    x, y = x / radius, y / radius
    square = x * x + y * y
    edge_px = canvas.unit * radius * frame.scale
    cover = np.clip((1 - square) * edge_px / 2, 0, 1)
    light = unit(applied(frame.matrix.T, np.array(canvas.light, np.float32)))
    grain = sine(11.0 * (x + 0.6 * y)) * sine(11.0 * (y - 0.6 * x))
    shade = 0.95 + 0.28 * (x * light[0] + y * light[1]) - 0.25 * square + 0.16 * grain
    under = canvas.pixels[window]
    under += cover[..., None] * (np.array(colour, np.float32) * shade[..., None] - under)


def _towards_light(angles: Field, light: tuple[float, float], frame: Frame) -> Field:
    """(count,) in [-1, 1]: how far the left side of each blade faces the light."""
    right, down = unit(applied(frame.matrix, np.stack([-sine(angles), cosine(angles)])))
    facing: Field = light[0] * right + light[1] * down
    return facing


def _half_width(outline: Outline, along: Field, beside: Field) -> Field:
    """The half-width in [0, 1] at each pixel's place along its blade; 0 beyond base and tip."""
    if outline.notch:
        along = along * (1 + outline.notch * np.clip(1 - 2 * beside, 0, 1))
    index = np.clip(along * _STEPS, -1, _STEPS).astype(np.int16) + 1
    half: Field = _outline_table(outline)[index]
    return half


@cache
def _outline_table(outline: Outline) -> Field:
    """Half-widths at -1, 0 … _STEPS; both ends are 0."""
    t = (np.arange(_STEPS, dtype=np.float32) + 0.5) / _STEPS
    half: Field = power(t, outline.rise) * power(1 - t, outline.fall)
    half /= half.max()
    if outline.teeth:
        half *= 1 - outline.depth * (t * outline.teeth % 1.0)
    return np.pad(half, 1)


def _plain(t: Field, s: Field) -> Field:
    darkening: Field = 0.18 * np.clip(0.5 - t, 0, 1) + 0.06 * cosine(9 * s)
    return darkening


def _eye(t: Field, s: Field) -> Field:
    eye: Field = 8.0 * (0.50 - t + 0.06 * cosine(6 * s))
    return eye


def _edged(t: Field, s: Field) -> Field:
    edge: Field = 6 * (np.maximum(np.abs(s), 1.25 * t - 0.25) - 0.62)
    return edge


def _veined(t: Field, s: Field) -> Field:
    veins: Field = (cosine(8.5 * s) * 1.6 - 0.5) * np.clip(1.6 - 1.7 * t, 0, 1)
    return veins


def _spotted(t: Field, s: Field) -> Field:
    spots: Field = 5 * (sine(19 * t) * cosine(6.5 * s) - 0.25) * (t < 0.85)
    return spots


def _pinnate(t: Field, s: Field) -> Field:
    midrib = np.clip(0.75 - 9 * np.abs(s), 0, 0.75)
    nerves: Field = midrib + 0.28 * np.clip(2 * cosine(38.0 * (t - 0.22 * np.abs(s))) - 1, 0, 1)
    return nerves


def _parallel(t: Field, s: Field) -> Field:
    nerves: Field = 0.5 * cosine(13 * s)
    return nerves


# Each gives the share of the accent at (t along, s across) of a blade, (near,); `_shaded` clips it.
PATTERNS = {
    "plain": _plain,
    "eye": _eye,
    "edged": _edged,
    "veined": _veined,
    "spotted": _spotted,
    "pinnate": _pinnate,
    "parallel": _parallel,
}
