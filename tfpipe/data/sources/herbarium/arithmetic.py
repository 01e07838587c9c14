"""What the drawing computes with, so that every processor draws the same bytes.

Sums, products and square roots alone are rounded alike everywhere (IEEE 754). NumPy's sines, arctangents and powers
have other last bits with AVX-512 than with AVX2, and so have matrix products, which are BLAS's.
"""

import math

import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.float32]
_TINY = np.float32(1e-12)


def cosine(angles: Field) -> Field:
    """The cosine of radians, of any shape, within 2e-6: four terms of a sine over a quarter turn (Hastings 1955)."""
    turns = angles * np.float32(0.5 / np.pi)
    turns -= np.rint(turns)
    quarters = 1 - 4 * np.abs(turns)
    square = quarters * quarters
    cosines: Field = quarters * (1.570794852 + square * (-0.645920978 + square * (0.079487663 - 0.004362476 * square)))
    return cosines


def sine(angles: Field) -> Field:
    """The sine of radians, as exact as `cosine`."""
    return cosine(angles - np.float32(np.pi / 2))


def power(bases: Field, exponent: float) -> Field:
    """Few non-negative numbers to a power: in double precision, one by one, then rounded."""
    return np.array([math.pow(base, exponent) for base in bases.tolist()], np.float32)


def applied(matrix: Field, points: Field) -> Field:
    """`matrix` (2, 2) times `points`: (2,), or one a column, (2, count)."""
    (a, b), (c, d) = matrix
    x, y = points
    return np.stack([a * x + b * y, c * x + d * y])


def unit(vectors: Field) -> Field:
    """Vectors, (2,) or (2, count), each divided by its length; one without length stays."""
    x, y = vectors
    return vectors / (np.sqrt(x * x + y * y) + np.float32(1e-6))


def diamond_angle(x: Field, y: Field) -> Field:
    """Directions in [-2, 2]: 0 to the right, 1 down, ±2 to the left; they grow as the angle does, unevenly."""
    from_right = 1 - x / np.maximum(np.abs(x) + np.abs(y), _TINY)
    return np.copysign(from_right, y)


def at_diamond_angle(angles: Field) -> tuple[Field, Field]:
    """An x and y in each direction that `diamond_angle` gave."""
    x: Field = 1.0 - np.abs(angles)
    return x, np.copysign(1 - np.abs(x), angles)
