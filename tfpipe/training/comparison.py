"""Two models on the same photos: by how much one is better, where, and whether that could be chance."""

from dataclasses import asdict
from typing import Any

import numpy as np

from tfpipe.training.bootstrap import Measure, measure, score_interval
from tfpipe.training.outcomes import Outcomes

Array = np.ndarray
Draws = dict[Measure, Array]
"""What `resample` gave."""


def compare(this: Outcomes, that: Outcomes, regions: Array, *, this_draws: Draws, that_draws: Draws) -> dict[str, Any]:
    """Each score of both, their difference (this less that) and its interval, paired photo by photo.

    Args:
        this: of the model that is asked about.
        that: of the model beside it, on the same photos in the same order.
        regions: (num_examples,) str; the empty one is passed over.
        this_draws: resamples of `this`.
        that_draws: resamples of `that`, with the same seed.
    """
    found: dict[str, Any] = {"by_region": {}, "mcnemar": mcnemar(this.right, that.right)}
    those = measure(that, regions)
    for (region, name), value in measure(this, regions).items():
        key = (region, name)
        place = found["by_region"].setdefault(region, {}) if region else found
        difference = value - those[key]
        found_interval = score_interval(key, this_draws[key] - that_draws[key], difference)
        place[name] = {"this": value, "that": those[key], "difference": difference} | asdict(found_interval)
    for region, place in found["by_region"].items():
        inside = regions == region
        place |= {"num_examples": int(inside.sum()), "mcnemar": mcnemar(this.right[inside], that.right[inside])}
    return found


def mcnemar(this_right: Array, that_right: Array) -> dict[str, Any]:
    """McNemar's exact test: of the photos that one model alone has right, could as many be the one's by chance?

    Args:
        this_right: (num_examples,) bool.
        that_right: (num_examples,) bool.
    """
    from scipy.stats import binomtest

    only_this, only_that = int((this_right & ~that_right).sum()), int((that_right & ~this_right).sum())
    differ = only_this + only_that
    p_value = float(binomtest(only_this, differ, 0.5).pvalue) if differ else 1.0
    return {"only_this": only_this, "only_that": only_that, "p_value": p_value}
