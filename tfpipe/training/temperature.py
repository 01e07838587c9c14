"""The temperature that makes a network as sure as it is right (Guo 2017, §4.2)."""

import numpy as np
from scipy.optimize import minimize_scalar

from tfpipe.training.outcomes import in_chunks

Array = np.ndarray

COLDEST, HOTTEST = 0.05, 20.0


def fit_temperature(logits: Array, labels: Array) -> float:
    """The temperature at which softmax(logits / temperature) makes the labels likeliest.

    Args:
        logits: (num_examples, num_classes); may lie on the disk, and is looked at a part at a time; -inf for a
            class that is out of the question, never the true one.
        labels: (num_examples,) of int.

    Returns:
        Between `COLDEST` and `HOTTEST`: a network that is never wrong has no best one.
    """

    def negative_log_likelihood(log_temperature: float) -> float:
        temperature = np.exp(log_temperature)
        return sum(_total_loss(part, of_part, temperature) for part, of_part in in_chunks(logits, labels))

    # In 1 / temperature it is convex, so that there is one minimum, in the logarithm too.
    bounds = (np.log(COLDEST), np.log(HOTTEST))
    found = minimize_scalar(negative_log_likelihood, bounds=bounds, method="bounded", options={"xatol": 1e-5})
    return float(np.exp(found.x))


def is_at_bound(temperature: float) -> bool:
    """Whether `fit_temperature` found no best one."""
    return not COLDEST * 1.01 < temperature < HOTTEST / 1.01


def _total_loss(logits: Array, labels: Array, temperature: float) -> float:
    """In float64: near the minimum, the sums differ by less than float32 can tell."""
    shifted = logits.astype(np.float64)
    shifted -= shifted.max(axis=-1, keepdims=True)
    shifted /= temperature
    true = np.take_along_axis(shifted, labels[:, None], axis=-1).sum()
    return float(np.log(np.exp(shifted, out=shifted).sum(axis=-1)).sum() - true)
