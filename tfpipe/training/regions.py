"""What a photo's region says about its class. NumPy alone; the page does the same, in `decisions.js`."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from tfpipe.core.settings import RegionChoice

SMOOTHING = 1.0
"""Photos that every class has beside its own, spread over the regions as all photos are."""

Array = np.ndarray


@dataclass(frozen=True)
class RegionCounts:
    """Training photos by region and class; those without a region are not among them."""

    names: tuple[str, ...]
    counts: Array
    """(num_regions, num_classes) int."""

    def index(self, regions: Array) -> Array:
        """(num_examples,) names → their numbers; -1 where training has none of that name."""
        numbers = {name: number for number, name in enumerate(self.names)}
        return np.array([numbers.get(str(region), -1) for region in regions], int)


def count_regions(pairs: Iterable[tuple[str, str]], classes: Sequence[str]) -> RegionCounts:
    """Count (region, class) pairs, one a training photo; an empty region is passed over."""
    numbers = {name: number for number, name in enumerate(classes)}
    rows: dict[str, Array] = {}
    for region, label in pairs:
        if region and label in numbers:
            rows.setdefault(region, np.zeros(len(classes), int))[numbers[label]] += 1
    names = tuple(sorted(rows))
    return RegionCounts(names, np.array([rows[name] for name in names]).reshape(len(names), len(classes)))


def region_factors(counts: Array, mode: RegionChoice) -> Array:
    """What each class's probability is multiplied by for photos of each region.

    `filter` leaves the classes that training saw there. `reweight` moves the prior (Saerens 2002): a posterior
    learned where classes are P(class) frequent becomes that of a region by the factor P(class | region) / P(class),
    which by Bayes is P(region | class) / P(region). In that form it is smoothed: a class with few photos, of which
    none is from there, is no evidence that it is absent, and its factor stays near 1; with many it comes near 0.

    Args:
        counts: (num_regions, num_classes) training photos.
        mode: how.

    Returns:
        (num_regions, num_classes), not negative; what is multiplied by them is to be divided by its sum.
    """
    if mode == "none":
        return np.ones(counts.shape)
    if mode == "filter":
        return (counts > 0).astype(float)
    share = counts.sum(axis=1, keepdims=True) / counts.sum()
    factors: Array = (counts / share + SMOOTHING) / (counts.sum(axis=0) + SMOOTHING)
    return factors


def in_region(probs: Array, factors: Array) -> Array:
    """Probabilities (batch, num_classes) times factors, with the sum 1 again; as they were, where nothing is left."""
    weighed = probs * factors
    total = weighed.sum(axis=-1, keepdims=True)
    return np.where(total > 0, weighed / np.where(total > 0, total, 1), probs)
