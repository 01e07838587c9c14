"""The temperature that makes a network as sure as it is right (Guo 2017, §4.2)."""

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp

Array = np.ndarray

COLDEST, HOTTEST = 0.05, 20.0


def fit_temperature(logits: Array, labels: Array) -> float:
    """The temperature at which softmax(logits / temperature) makes the labels likeliest.

    Args:
        logits: (num_examples, num_classes); -inf for a class that is out of the question, never the true one.
        labels: (num_examples,) of int.

    Returns:
        Between `COLDEST` and `HOTTEST`: a network that is never wrong has no best one.
    """
    true = np.take_along_axis(logits, labels[:, None], axis=-1)[:, 0].astype(np.float64)

    def negative_log_likelihood(log_temperature: float) -> float:
        temperature = np.exp(log_temperature)
        return float((logsumexp(logits / temperature, axis=-1) - true / temperature).mean())

    # In 1 / temperature it is convex, so that there is one minimum, in the logarithm too.
    bounds = (np.log(COLDEST), np.log(HOTTEST))
    found = minimize_scalar(negative_log_likelihood, bounds=bounds, method="bounded", options={"xatol": 1e-6})
    return float(np.exp(found.x))
