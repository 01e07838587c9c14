"""Rounding that makes up for its own errors: GPTQ (Frantar 2023, algorithm 1), in NumPy."""

import numpy as np

from tfpipe.quantization.grid import from_int8, nearest

Array = np.ndarray

DAMPING = 0.01
"""Share of the mean square of an input that is added to all: what few images do not show is not believed."""
BLOCK = 64
"""Rows after which those below get the errors of all rows above, by one matrix product."""


def round_compensated(weights: Array, scales: Array, moments: Array) -> Array:
    """Round each row of weights in turn, and let the rows still to come take up what that changed in the outputs.

    Plain rounding keeps the weights close; this keeps `inputs @ weights` close, which is what the next layer sees.
    Where inputs are independent and of mean 0, both are the same.

    Args:
        weights: (inputs, outputs).
        scales: (outputs,), float16.
        moments: (inputs, inputs), the mean of inputsᵀ inputs over examples.

    Returns:
        float32 (inputs, outputs) on the grids of the scales.
    """
    errors_to = _cholesky_of_inverse(moments)
    left = weights.astype(np.float64)
    rounded = np.empty(weights.shape, np.float32)
    for start in range(0, len(left), BLOCK):
        stop = min(start + BLOCK, len(left))
        errors = np.empty((stop - start, left.shape[-1]))
        for row in range(start, stop):
            rounded[row] = from_int8(nearest(left[row], scales), scales)
            errors[row - start] = (left[row] - rounded[row]) / errors_to[row, row]
            left[row + 1 : stop] -= np.outer(errors_to[row, row + 1 : stop], errors[row - start])
        left[stop:] -= errors_to[start:stop, stop:].T @ errors
    return rounded


def _cholesky_of_inverse(moments: Array) -> Array:
    """Upper triangle U with Uᵀ U the inverse of the damped moments."""
    damping = DAMPING * np.trace(moments) / len(moments)
    # Inputs that are never anything but 0 have no say; 1 for their damping keeps the matrix one that can be inverted.
    damped = moments.astype(np.float64) + np.eye(len(moments)) * (damping or 1.0)
    return np.linalg.cholesky(np.linalg.inv(damped)).T
