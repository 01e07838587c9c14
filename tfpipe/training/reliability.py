"""Whether confidence means what it says: how often answers of a confidence are right (Guo 2017, §2)."""

from collections.abc import Callable
from typing import Any, Literal

import numpy as np

NUM_BINS = 15

Array = np.ndarray
Binning = Literal["width", "mass"]
"""Bins as wide as each other, or with as many examples as each other."""


def reliability(
    confidences: Array, right: Array, *, num_bins: int = NUM_BINS, binning: Binning = "width"
) -> dict[str, Any]:
    """The bins' confidence and accuracy, their largest and their expected distance.

    Args:
        confidences: (num_examples,) probabilities of the answers.
        right: (num_examples,) bool.
        num_bins: each holds its upper edge, and the first one its lower, too.
        binning: where the edges lie.

    Returns:
        `ece`: the mean distance of accuracy from confidence, over examples; `mce`: that of the worst bin;
        `mean_confidence`; `bins`, of which an empty one has neither confidence nor accuracy.
    """
    edges = find_edges(confidences, binning, num_bins)
    bin_of = find_bins(confidences, edges)
    counts = np.bincount(bin_of, minlength=num_bins)
    sums = (np.bincount(bin_of, weights=values, minlength=num_bins) for values in (confidences, right))
    confidence, accuracy = (np.divide(total, counts, out=np.full(num_bins, np.nan), where=counts > 0) for total in sums)
    gaps = np.abs(accuracy - confidence)[counts > 0]
    return {
        "ece": float((gaps * counts[counts > 0]).sum() / len(right)),
        "mce": float(gaps.max()),
        "mean_confidence": float(confidences.mean()),
        "bins": [
            {
                "low": float(edges[number]),
                "high": float(edges[number + 1]),
                "count": int(counts[number]),
                "confidence": float(confidence[number]) if counts[number] else None,
                "accuracy": float(accuracy[number]) if counts[number] else None,
            }
            for number in range(num_bins)
        ],
    }


def find_edges(confidences: Array, binning: Binning, num_bins: int = NUM_BINS) -> Array:
    """(num_bins + 1,), rising; of equal mass, two of them are one where many examples have one confidence."""
    return _EDGES[binning](confidences, num_bins)


def find_bins(confidences: Array, edges: Array) -> Array:
    """(num_examples,): the number of the bin that each confidence falls into."""
    return np.digitize(confidences, edges[1:-1], right=True)


_EDGES: dict[Binning, Callable[[Array, int], Array]] = {
    "width": lambda confidences, num_bins: np.linspace(0, 1, num_bins + 1),
    "mass": lambda confidences, num_bins: np.quantile(confidences.astype(np.float64), np.linspace(0, 1, num_bins + 1)),
}
