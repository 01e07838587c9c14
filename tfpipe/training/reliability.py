"""Whether confidence means what it says: how often answers of a confidence are right (Guo 2017, §2)."""

from typing import Any

import numpy as np

NUM_BINS = 15

Array = np.ndarray


def reliability(confidences: Array, right: Array, *, num_bins: int = NUM_BINS) -> dict[str, Any]:
    """Bins of equal width, their largest and their expected error.

    Args:
        confidences: (num_examples,) probabilities of the answers.
        right: (num_examples,) bool.
        num_bins: each holds its upper edge, and the first one 0, too.

    Returns:
        `ece`: the mean distance of accuracy from confidence, over examples; `mce`: that of the worst bin;
        `mean_confidence`; `bins`, of which an empty one has neither confidence nor accuracy.
    """
    edges = np.linspace(0, 1, num_bins + 1)
    bin_of = np.digitize(confidences, edges[1:-1], right=True)
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
