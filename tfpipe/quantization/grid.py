"""The int8 grid: symmetric, with a scale of its own for each output channel (Krishnamoorthi 2018, §3.1)."""

import numpy as np

from tfpipe.core.errors import TfpipeError

Array = np.ndarray

LARGEST = 127
"""-128 stays unused, so that the grid is the same on both sides of 0."""


def to_int8(weights: Array) -> tuple[Array, Array]:
    """Round weights to the nearest points of each channel's grid.

    Args:
        weights: (…, channels).

    Returns:
        int8 (…, channels) and float16 scales (channels,): weights ≈ int8 · scale, none further off than half a
        scale, and weights that lie on such a grid exactly are met exactly. A channel of zeros has scale 0.

    Raises:
        TfpipeError: when a weight is not a number, or too large for a scale in float16.
    """
    magnitudes = np.abs(weights).max(axis=tuple(range(weights.ndim - 1)), initial=0).astype(np.float64)
    if not np.isfinite(magnitudes).all():
        raise TfpipeError("a weight is not a finite number: there is no grid for it.")
    scales = _float16_scales(magnitudes)
    return nearest(weights, scales), scales


def on_grid(weights: Array) -> tuple[Array, Array]:
    """int8 (…, channels) and scales (channels,) of weights (…, channels) that lie on a grid already.

    `to_int8` takes a channel's largest weight for 127 steps, and rounding that makes up for errors may have left it
    less. Of several grids that fit, the finest.

    Raises:
        TfpipeError: when the weights of a channel lie on no grid.
    """
    columns = weights.reshape(-1, weights.shape[-1])
    magnitudes = np.abs(columns).max(axis=0, initial=0).astype(np.float64)
    scales = np.zeros(len(magnitudes), np.float16)
    left = np.flatnonzero(magnitudes)
    for steps in range(LARGEST, 0, -1):
        candidates = (magnitudes[left] / steps).astype(np.float16)
        fits = (from_int8(nearest(columns[:, left], candidates), candidates) == columns[:, left]).all(axis=0)
        scales[left[fits]] = candidates[fits]
        left = left[~fits]
        if not len(left):
            return nearest(weights, scales), scales
    raise TfpipeError(f"the weights of {len(left)} channels lie on no int8 grid with scales of float16.")


def nearest(weights: Array, scales: Array) -> Array:
    """int8 values of the nearest points (…, channels) on grids of these scales (channels,)."""
    divisors = np.where(scales > 0, scales, 1).astype(np.float32)
    return np.rint(weights / divisors).clip(-LARGEST, LARGEST).astype(np.int8)


def from_int8(values: Array, scales: Array) -> Array:
    """The weights (…, channels) that int8 values and float16 scales (channels,) stand for; exact in float32."""
    return values.astype(np.float32) * scales.astype(np.float32)


def _float16_scales(magnitudes: Array) -> Array:
    """The nearest float16 to each channel's largest weight / 127; the next above where that would cut weights off.

    A float16 is 0.05 % off at most, which moves the largest weight by a sixteenth of a step; but those below
    6e-5 have fewer digits.
    """
    largest = float(np.finfo(np.float16).max)
    if magnitudes.max(initial=0) > largest * LARGEST:
        raise TfpipeError(f"a weight is {magnitudes.max():.3g}: int8 holds {largest * LARGEST:.3g} at most.")
    # By way of float32, as in training, so that both round alike.
    scales = (magnitudes.astype(np.float32) / np.float32(LARGEST)).astype(np.float16)
    cuts_off = scales.astype(np.float64) * (LARGEST + 0.5) < magnitudes
    scales[cuts_off] = np.nextafter(scales[cuts_off], np.float16(np.inf))
    return scales
