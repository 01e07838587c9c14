"""What the herbarium draws with: close to what NumPy computes, and the same to the last bit on other processors."""

import hashlib
import os
import subprocess
import sys
from itertools import product

import numpy as np
import pytest

from tfpipe.data.sources import herbarium
from tfpipe.data.sources.herbarium.arithmetic import (
    applied,
    at_diamond_angle,
    cosine,
    diamond_angle,
    power,
    sine,
    unit,
)
from tfpipe.data.sources.herbarium.canvas import Canvas, Frame
from tfpipe.data.sources.herbarium.foliage import paint_plant
from tfpipe.data.sources.herbarium.plants import Sighting, grow
from tfpipe.data.sources.herbarium.species import REGIONS, SPECIES
from tfpipe.data.sources.herbarium.specimens import image_bytes

SIDE = 64  # px
DRAWN = {2: "632494becf42dceb9fb9a086d3356114fc6d506ecbfc4763b51acdb6175197cc"}
"""`DRAWING`, and the SHA-256 of photos. Who draws other pictures raises the one, for runs to notice, and tells both."""

AVX512 = "AVX512F AVX512CD AVX512_SKX AVX512_CLX AVX512_CNL AVX512_ICL AVX512_SPR"
PROCESSORS = {
    "with AVX2": {"NPY_DISABLE_CPU_FEATURES": AVX512, "OPENBLAS_CORETYPE": "Zen"},
    "before AVX": {"NPY_DISABLE_CPU_FEATURES": f"{AVX512} AVX2 FMA3 AVX F16C", "OPENBLAS_CORETYPE": "Nehalem"},
}
"""How NumPy and its BLAS are told to compute as they do elsewhere."""


def painted() -> str:
    """The SHA-256 of one plant of each species and region, before its colours are rounded to bytes."""
    sha256 = hashlib.sha256()
    for number, (species, region) in enumerate(product(SPECIES, REGIONS)):
        plant = grow(Sighting(species, region, 1), np.random.default_rng(number))
        canvas = Canvas(np.full((SIDE, SIDE, 3), 0.4, np.float32), SIDE, (0.8, -0.6))
        frame = Frame(np.zeros(2, np.float32), np.array([[0.3, 0.05], [-0.04, 0.27]], np.float32))
        paint_plant(canvas, frame, plant)
        sha256.update(canvas.pixels.tobytes())
    return sha256.hexdigest()


@pytest.mark.parametrize("processor", PROCESSORS)
def test_other_processors_draw_the_same_bits(processor: str) -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)} | PROCESSORS[processor]
    command = [sys.executable, "-W", "ignore", __file__]
    told = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    assert told == painted() + "\n"


def test_a_drawing_has_a_number() -> None:
    photos = b"".join(image_bytes(3, number, 0, SIDE) for number in range(40))
    assert {herbarium.DRAWING: hashlib.sha256(photos).hexdigest()} == DRAWN


def test_sine_and_cosine() -> None:
    angles = np.linspace(-45, 45, 100_001, dtype=np.float32)
    assert cosine(angles) == pytest.approx(np.cos(angles.astype(np.float64)), abs=5e-6)
    assert sine(angles) == pytest.approx(np.sin(angles.astype(np.float64)), abs=5e-6)


def test_powers() -> None:
    bases = np.array([0, 1e-3, 0.5, 1], np.float32)
    assert power(bases, 0.75) == pytest.approx([0, 1e-3**0.75, 0.5**0.75, 1], rel=1e-6)


def test_matrices_and_lengths() -> None:
    matrix = np.array([[1, 2], [3, 4]], np.float32)
    points = np.array([[1, 0, 2], [0, 1, -1]], np.float32)
    assert np.array_equal(applied(matrix, points), matrix @ points)
    assert np.array_equal(applied(matrix, points[:, 2]), matrix @ points[:, 2])
    assert unit(np.array([[3, 0], [4, 0]], np.float32)) == pytest.approx(np.array([[0.6, 0], [0.8, 0]]), abs=1e-6)


def test_a_diamond_angle_tells_the_direction() -> None:
    turns = np.linspace(-3.14, 3.14, 721, dtype=np.float32)
    x, y = 2 * np.cos(turns), 2 * np.sin(turns)
    angles = diamond_angle(x, y)
    assert (np.diff(angles) > 0).all()
    assert angles[[0, 360, 720]] == pytest.approx([-2, 0, 2], abs=2e-3)
    right, down = at_diamond_angle(angles)
    assert np.arctan2(down, right) == pytest.approx(turns, abs=1e-5)
    assert np.isfinite(diamond_angle(np.zeros(1, np.float32), np.zeros(1, np.float32)))


if __name__ == "__main__":
    print(painted())
