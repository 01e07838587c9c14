"""One photograph of a plant: habitat behind, the plant, what stands before it, the light and the camera."""

import io
import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from tfpipe.data.sources.herbarium.arithmetic import Field
from tfpipe.data.sources.herbarium.canvas import Blades, Canvas, Frame, Paint, paint_domes, paint_whorl
from tfpipe.data.sources.herbarium.foliage import paint_flower, paint_plant
from tfpipe.data.sources.herbarium.plants import Plant
from tfpipe.data.sources.herbarium.species import RGB, Outline

_SUPERSAMPLING = 1.3  # drawn this much larger, then reduced; whorls smooth their own sides
_ASPECTS = ((1.0, 1.0), (4 / 3, 1.0), (1.0, 4 / 3))
Colours = tuple[RGB, ...]
_GRASS = Outline(0.2, 0.6)


def draw_photo(plant: Plant, rng: np.random.Generator, image_side: int) -> Field:
    """Draw one photo.

    Args:
        plant: what all photos of the plant share.
        rng: light, viewpoint, background and camera of this photo.
        image_side: the short side, in pixels.

    Returns:
        (height, width, 3), sRGB in [0, 1].
    """
    wide, high = _ASPECTS[int(rng.choice(3, p=(0.4, 0.4, 0.2)))]
    width, height = round(image_side * wide), round(image_side * high)
    size = round(width * _SUPERSAMPLING), round(height * _SUPERSAMPLING)
    habitat = _HABITATS[int(rng.choice(len(_HABITATS), p=plant.region.habitats))]
    angle = rng.uniform(0, 2 * np.pi)
    sun = math.cos(angle), math.sin(angle)
    ground = habitat((size[0] // 2, size[1] // 2), rng).resize(size, Image.Resampling.BILINEAR)
    canvas = Canvas(np.asarray(ground, np.float32) / 255, min(size), sun)
    frame = _viewpoint(plant, rng)
    if rng.random() < 0.4:
        _paint_neighbour(canvas, frame, plant, rng)
    _cast_shadow(canvas, frame)
    paint_plant(canvas, frame, plant)
    _occlude(canvas, frame, rng)
    photo = Image.fromarray(_to_bytes(canvas.pixels)).resize((width, height), Image.Resampling.BOX)
    return _expose(photo, rng)


def encode_jpeg(pixels: Field, quality: int) -> bytes:
    """JPEG bytes of (height, width, 3) sRGB in [0, 1]."""
    buffer = io.BytesIO()
    Image.fromarray(_to_bytes(pixels)).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def _to_bytes(pixels: Field) -> NDArray[np.uint8]:
    return (np.clip(pixels, 0, 1) * 255 + 0.5).astype(np.uint8)


def _viewpoint(plant: Plant, rng: np.random.Generator) -> Frame:
    """Where the flower is: 45 to 75 % of the short side across, tilted, turned, a little off the middle."""
    radius = 0.5 * float(np.clip(rng.normal(0.66, 0.08), 0.48, 0.80)) * plant.flower_size
    upright = plant.species.leaves.habit == "strap"
    turn = rng.normal(0, 0.2) if upright else rng.uniform(0, 2 * np.pi)
    tilt_direction, squeeze = rng.uniform(0, np.pi), 1 - abs(rng.normal(0, 0.12))
    along = math.cos(tilt_direction), math.sin(tilt_direction)
    tilt = np.eye(2) - (1 - max(squeeze, 0.55)) * np.outer(along, along)
    flat = Frame(rng.normal(0, 0.045, 2).astype(np.float32), (radius * tilt).astype(np.float32))
    return flat.moved((0.0, 0.0), 1.0, turn)


def _paint_neighbour(canvas: Canvas, frame: Frame, plant: Plant, rng: np.random.Generator) -> None:
    """A smaller flower of the same plant, off to a side and partly hidden."""
    turn = rng.uniform(0, 2 * np.pi)
    place = frame.moved((1.75 * math.cos(turn), 1.75 * math.sin(turn)), 0.5, rng.uniform(-0.3, 0.3))
    paint_flower(canvas, place, plant, rng)


def _cast_shadow(canvas: Canvas, frame: Frame) -> None:
    """Darken the ground under the plant, away from the sun."""
    height, width = canvas.pixels.shape[:2]
    coarse = Image.new("L", (width // 4, height // 4), 0)
    radius = 1.5 * frame.scale * canvas.unit / 4
    x, y = (frame.origin - 0.08 * np.array(canvas.light)) * canvas.unit / 4 + (width / 8, height / 8)
    ImageDraw.Draw(coarse).ellipse((x - radius, y - radius, x + radius, y + radius), fill=130)
    blurred = coarse.filter(ImageFilter.GaussianBlur(radius * 0.3))
    shade = np.asarray(blurred.resize((width, height), Image.Resampling.BILINEAR), np.float32)
    canvas.pixels[...] *= 1 - shade[..., None] / 255


def _mottle(size: tuple[int, int], cells: int, rng: np.random.Generator) -> Field:
    """(height, width) noise of about unit deviation, `cells` grains on the short side."""
    columns, rows = (max(2, round(cells * side / min(size))) for side in size)
    coarse = Image.fromarray(rng.standard_normal((rows, columns), np.float32))
    return np.asarray(coarse.resize(size, Image.Resampling.BILINEAR))


def _ground(size: tuple[int, int], dark: RGB, bright: RGB, grain: float, rng: np.random.Generator) -> Image.Image:
    """Soil or rock between two colours: coarse clouds and fine `grain`."""
    mix = 0.5 + 0.22 * _mottle(size, 4, rng) + 0.14 * _mottle(size, 14, rng) + grain * _mottle(size, 60, rng)
    low, high = np.array(dark, np.float32), np.array(bright, np.float32)
    return Image.fromarray(_to_bytes(low + np.clip(mix, 0, 1)[..., None] * (high - low)))


def _scatter_blobs(ground: Image.Image, colours: Colours, count: int, rng: np.random.Generator) -> None:
    """Draw stones, leaves or far flowers on the ground."""
    draw, unit = ImageDraw.Draw(ground), min(ground.size)
    for x, y, size, flatness, shade in rng.random((count, 5)).tolist():
        left, top, wide = x * ground.width, y * ground.height, (0.03 + 0.14 * size * size) * unit
        high = wide * (0.6 + 0.4 * flatness)
        draw.ellipse((left, top, left + wide, top + high), _ink(colours, shade, rng))


def _scatter_blades(ground: Image.Image, colours: Colours, count: int, rng: np.random.Generator) -> None:
    """Draw grass on the ground."""
    draw, unit = ImageDraw.Draw(ground), min(ground.size)
    for x, y, size, lean, shade in rng.random((count, 5)).tolist():
        left, foot, reach = x * ground.width, y * ground.height, (0.2 + 0.4 * size) * unit
        ends = (left, foot, left + reach * (lean - 0.5), foot - reach)
        draw.line(ends, _ink(colours, shade, rng), width=1 + int(0.03 * unit * size))


def _ink(colours: Colours, shade: float, rng: np.random.Generator) -> tuple[int, int, int]:
    red, green, blue = colours[int(rng.integers(len(colours)))]
    light = 255 * (0.6 + 0.6 * shade)
    return int(light * red), int(light * green), int(light * blue)


def _defocus(ground: Image.Image, blur: float) -> Image.Image:
    """Blur by a part of the short side."""
    return ground.filter(ImageFilter.GaussianBlur(blur * min(ground.size)))


def _limestone(size: tuple[int, int], rng: np.random.Generator) -> Image.Image:
    ground = _ground(size, (0.38, 0.35, 0.30), (0.80, 0.77, 0.70), 0.12, rng)
    stones = ((0.72, 0.69, 0.62), (0.50, 0.47, 0.41), (0.62, 0.58, 0.48), (0.42, 0.46, 0.30))
    _scatter_blobs(ground, stones, 22, rng)
    return _defocus(ground, 0.008)


def _meadow(size: tuple[int, int], rng: np.random.Generator) -> Image.Image:
    ground = _ground(size, (0.13, 0.24, 0.08), (0.46, 0.58, 0.24), 0.03, rng)
    _scatter_blades(ground, ((0.30, 0.46, 0.14), (0.48, 0.60, 0.26), (0.16, 0.28, 0.09)), 42, rng)
    blooms = ((0.85, 0.78, 0.30), (0.80, 0.80, 0.84), (0.62, 0.45, 0.75), (0.60, 0.72, 0.35))
    _scatter_blobs(ground, blooms, int(rng.integers(3, 14)), rng)
    return _defocus(ground, 0.025)


def _forest_floor(size: tuple[int, int], rng: np.random.Generator) -> Image.Image:
    ground = _ground(size, (0.11, 0.08, 0.05), (0.40, 0.31, 0.20), 0.07, rng)
    litter = ((0.44, 0.30, 0.17), (0.30, 0.20, 0.11), (0.20, 0.27, 0.12), (0.52, 0.40, 0.25))
    _scatter_blobs(ground, litter, 34, rng)
    return _defocus(ground, 0.012)


def _occlude(canvas: Canvas, frame: Frame, rng: np.random.Generator) -> None:
    """Sometimes grass before the flower, sometimes a leaf in a corner, sometimes an insect."""
    chance = rng.random()
    if chance < 0.16:
        for _ in range(int(rng.integers(1, 4))):
            _paint_grass(canvas, rng, half_width=0.012, length=rng.uniform(0.5, 1.2))
    elif chance < 0.24:
        _paint_grass(canvas, rng, half_width=0.09, length=rng.uniform(0.35, 0.6))
    elif chance < 0.32:
        _paint_insect(canvas, frame, rng)


def _paint_grass(canvas: Canvas, rng: np.random.Generator, half_width: float, length: float) -> None:
    """A blade that comes up from below the photo; sizes in short sides."""
    foot = np.array([rng.uniform(-0.7, 0.7), 0.72], np.float32)
    angle = -np.pi / 2 + rng.normal(0, 0.35)
    traits = (angle, length, half_width, rng.normal(1, 0.1))
    blade = Blades(*(np.array([trait], np.float32) for trait in traits))
    paint = Paint((0.36, 0.50, 0.20), (0.55, 0.66, 0.36), "parallel")
    paint_whorl(canvas, Frame(foot, np.eye(2, dtype=np.float32)), blade, _GRASS, paint)


def _paint_insect(canvas: Canvas, frame: Frame, rng: np.random.Generator) -> None:
    """Abdomen, thorax and head in a row, two pale wings."""
    turn, distance = rng.uniform(0, 2 * np.pi), rng.uniform(0.3, 0.8)
    beetle = frame.moved((distance * math.cos(turn), distance * math.sin(turn)), 0.13, rng.uniform(0, 6.28))
    wings = Blades(*(np.array(pair, np.float32) for pair in ((2.4, -2.4), (1.5, 1.5), (0.4, 0.4), (1, 1))))
    body = (0.12, 0.09, 0.07)
    for place, radius in ((-0.8, 0.62), (0.0, 0.5), (0.6, 0.34)):
        paint_domes(canvas, beetle.moved((place, 0.0)), radius, body)
    paint_whorl(canvas, beetle, wings, _GRASS, Paint((0.70, 0.70, 0.72), (0.4, 0.4, 0.4)))


def _expose(photo: Image.Image, rng: np.random.Generator) -> Field:
    """Defocus, then dappled shade, vignette, white balance, exposure, contrast and sensor noise."""
    width, height = photo.size
    blur = abs(rng.normal(0, 0.5)) * min(photo.size) / 128
    if blur > 0.2:
        photo = photo.filter(ImageFilter.GaussianBlur(blur))
    rows, columns = np.linspace(-1, 1, height, dtype=np.float32), np.linspace(-1, 1, width, dtype=np.float32)
    light = 1 - np.float32(rng.uniform(0, 0.14)) * (rows[:, None] ** 2 + columns[None, :] ** 2)
    if rng.random() < 0.3:
        light *= 0.62 + 0.48 * np.clip(0.5 + 1.5 * _mottle(photo.size, 4, rng), 0, 1)
    warmth, tint, contrast = rng.normal(0, 0.07), rng.normal(0, 0.025), rng.normal(1.05, 0.09)
    gains = np.array([1 + warmth, 1 + tint, 1 - warmth]) * 2 ** rng.normal(0, 0.25) * contrast / 255
    pixels = np.asarray(photo) * (light[..., None] * gains.astype(np.float32))
    noise = rng.standard_normal(pixels.shape, np.float32)
    noise *= rng.uniform(0.004, 0.028)
    exposed: Field = pixels + noise + np.float32(0.5 - 0.5 * contrast)
    return exposed


_HABITATS: tuple[Callable[[tuple[int, int], np.random.Generator], Image.Image], ...] = (
    _limestone,
    _meadow,
    _forest_floor,
)
