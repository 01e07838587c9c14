"""A plant put together from whorls and domes: leaves by their habit, then the parts of the flower."""

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from tfpipe.data.sources.herbarium.arithmetic import cosine, sine
from tfpipe.data.sources.herbarium.canvas import Blades, Canvas, Frame, Paint, paint_domes, paint_whorl
from tfpipe.data.sources.herbarium.plants import Plant
from tfpipe.data.sources.herbarium.species import RGB, Cluster, Dome, Leaves, Part, Ring

_GOLDEN_ANGLE = 2.39996
_FEW = 8  # rings of fewer blades are whole: a petal more or less is rarer there


def paint_plant(canvas: Canvas, frame: Frame, plant: Plant) -> None:
    """Paint leaves and flower; the frame's unit is the flower's radius, its origin the flower's centre."""
    rng = np.random.default_rng(plant.shape_seed)
    leaves = plant.species.leaves
    HABITS[leaves.habit](canvas, frame, leaves, plant, rng)
    paint_flower(canvas, frame, plant, rng)


def paint_flower(canvas: Canvas, frame: Frame, plant: Plant, rng: np.random.Generator) -> None:
    """Paint the parts of the flower in the order of the species' table."""
    for part in plant.species.flower:
        _paint_part(canvas, frame, part, plant, rng)


def _paint_part(canvas: Canvas, frame: Frame, part: Part, plant: Plant, rng: np.random.Generator) -> None:
    match part:
        case Ring():
            _paint_ring(canvas, frame, part, plant, rng)
        case Dome():
            paint_domes(canvas, frame, part.radius, part.colour)
        case Cluster():
            _paint_cluster(canvas, frame, part, plant, rng)


def _paint_ring(canvas: Canvas, frame: Frame, ring: Ring, plant: Plant, rng: np.random.Generator) -> None:
    if ring.angles:
        angles = np.radians(np.array(ring.angles)) + rng.normal(0, 0.04, ring.count)
    else:
        count = ring.count + plant.petal_count * (2 if ring.count > _FEW else 1)
        angles = _evenly(count, rng)
    width = ring.width * (plant.petal_width if ring.colour is None else 1.0)
    blades = _blades(angles, ring.length, width, rng)
    paint = Paint(ring.colour or plant.petal_colour, _accent(ring, plant), ring.pattern)
    layers = _layers(len(angles))
    for layer in range(layers):
        paint_whorl(canvas, frame, blades.part(layer, layers), ring.outline, paint)


def _paint_cluster(canvas: Canvas, frame: Frame, cluster: Cluster, plant: Plant, rng: np.random.Generator) -> None:
    """Florets on a sunflower spiral, which packs a disc evenly (Vogel 1979)."""
    floret = cluster.floret
    radius = 1.15 * cluster.spread / float(np.sqrt(cluster.count))
    index = np.arange(cluster.count)
    distance = (cluster.spread - radius * 0.5) * np.sqrt((index + 0.4) / cluster.count).astype(np.float32)
    turn = (index * _GOLDEN_ANGLE + rng.normal(0, 0.12, cluster.count)).astype(np.float32)
    feet = np.stack([distance * cosine(turn), distance * sine(turn)], axis=1)
    blades = _blades(_evenly(floret.count, rng), radius, floret.width * plant.petal_width, rng)
    paint = Paint(plant.petal_colour, _accent(floret, plant), floret.pattern)
    paint_whorl(canvas, frame, replace(blades, feet=feet), floret.outline, paint)
    paint_domes(canvas, frame, radius * cluster.eye.radius, cluster.eye.colour, feet)


def _rosette(canvas: Canvas, frame: Frame, leaves: Leaves, plant: Plant, rng: np.random.Generator) -> None:
    blades = _blades(_evenly(leaves.count, rng), leaves.length, leaves.width, rng)
    for layer in range(2):
        paint_whorl(canvas, frame, blades.part(layer, 2), leaves.outline, _leaf_paint(plant))


def _ternate(canvas: Canvas, frame: Frame, leaves: Leaves, plant: Plant, rng: np.random.Generator) -> None:
    for turn in _evenly(leaves.count, rng):
        place = frame.moved((0.75 * math.cos(turn), 0.75 * math.sin(turn)), leaves.length, turn)
        blades = _blades(np.array([-0.95, 0.95, 0.0]), 1.0, leaves.width, rng)
        paint_whorl(canvas, place, blades, leaves.outline, _leaf_paint(plant))


def _strap(canvas: Canvas, frame: Frame, leaves: Leaves, plant: Plant, rng: np.random.Generator) -> None:
    for turn in np.linspace(-1.9, 1.9, leaves.count) + rng.normal(0, 0.15, leaves.count):
        place = frame.moved((0.25 * math.sin(turn), 1.0))
        blades = _blades(np.array([turn - np.pi / 2]), leaves.length, leaves.width, rng)
        paint_whorl(canvas, place, blades, leaves.outline, _leaf_paint(plant))


def _pinnate(canvas: Canvas, frame: Frame, leaves: Leaves, plant: Plant, rng: np.random.Generator) -> None:
    feet = np.stack([np.linspace(0.45, 0.9, 4) * leaves.length, np.zeros(4)], axis=1).astype(np.float32)
    for turn in _evenly(leaves.count, rng):
        blades = _blades(np.array([-1.05, 1.05]), 0.62, leaves.width, rng)
        place = frame.moved((0.0, 0.0), turn=turn)
        paint_whorl(canvas, place, replace(blades, feet=feet), leaves.outline, _leaf_paint(plant))


def _leaf_paint(plant: Plant) -> Paint:
    return Paint(plant.leaf_colour, plant.species.leaves.accent, plant.species.leaves.pattern)


def _accent(ring: Ring, plant: Plant) -> RGB:
    """The colour of the pattern; on petals it fades into theirs as the plant's marking does."""
    petal = np.array(ring.colour or plant.petal_colour)
    if ring.pattern == "plain":
        red, green, blue = (petal * (0.62, 0.55, 0.62)).tolist()
    else:
        red, green, blue = (petal + plant.marking * (np.array(ring.accent) - petal)).tolist()
    return red, green, blue


def _evenly(count: int, rng: np.random.Generator) -> NDArray[np.float64]:
    return np.arange(count) * (2 * np.pi / count) + rng.normal(0, 0.35 / count, count) - np.pi / 2


def _blades(
    angles: NDArray[np.float64],
    length: float,
    width: float,
    rng: np.random.Generator,
) -> Blades:
    """Blades near a length, and a half-width relative to it."""
    count = len(angles)
    lengths = length * rng.normal(1.0, 0.035, count)
    widths = lengths * width * rng.normal(1.0, 0.05, count)
    tones = rng.normal(1.0, 0.05, count)
    f32 = np.float32
    return Blades(angles.astype(f32), lengths.astype(f32), widths.astype(f32), tones.astype(f32))


def _layers(count: int) -> int:
    """Into how many whorls a ring is parted, so that neighbours may overlap."""
    if count == 1:
        return 1
    return 3 if count in (3, 5) else 2


HABITS = {"rosette": _rosette, "ternate": _ternate, "strap": _strap, "pinnate": _pinnate}
