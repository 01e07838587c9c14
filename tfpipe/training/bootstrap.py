"""The bootstrap: how far a score would move with another draw of photos (Efron 1979).

A resample draws as many whole photos as there are, with replacement. Every score is a function of sums
over photos, so a resample is a row of weights, and its sums a product with one sparse matrix.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array, hstack

from tfpipe.training.outcomes import Outcomes

CHUNK = 2**22
"""Weights, or sums, held at a time."""

LEVEL = 0.95
"""Of the intervals."""

OVER_CLASSES = ("macro_accuracy", "macro_f1", "weighted_f1")
"""Scores that are means over classes."""

Array = np.ndarray
Measure = tuple[str, str]
"""Region, empty for the whole, and what is measured there."""


@dataclass(frozen=True)
class Interval:
    """A percentile interval: the middle of what the resamples gave."""

    low: float
    high: float


def measure(outcomes: Outcomes, regions: Array) -> dict[Measure, float]:
    """Every score that has an interval, on the photos as they are."""
    once = np.ones((1, len(outcomes.labels)))
    return {name: float(values[0]) for name, values in _measures(once @ _sums(outcomes, regions), regions).items()}


def resample(outcomes: Outcomes, regions: Array, *, resamples: int, seed: int) -> dict[Measure, Array]:
    """Every score, (resamples,) each; not a number where no photo of a region was drawn.

    The same seed draws the same photos for any model, so that two models' differences are paired.

    Args:
        outcomes: what was said of each photo.
        regions: (num_examples,) str; the empty one is passed over.
        resamples: how many.
        seed: of the draws.
    """
    parts = [_measures(sums, regions) for sums in iter_sums(_sums(outcomes, regions), resamples=resamples, seed=seed)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def resample_means(values: Array, *, resamples: int, seed: int) -> Array:
    """(resamples,): the mean of numbers (num_examples,), over the examples of each resample."""
    column = csr_array(values.astype(np.float64)[:, None])
    sums = [part[:, 0] for part in iter_sums(column, resamples=resamples, seed=seed)]
    return np.concatenate(sums) / len(values)


def iter_sums(columns: csr_array, *, resamples: int, seed: int) -> Iterator[Array]:
    """The sums of what each photo adds, over the photos of each resample: (some resamples, columns), in parts.

    Args:
        columns: (num_examples, columns).
        resamples: how many in all.
        seed: of the draws.
    """
    rows = max(1, CHUNK // max(columns.shape))
    for weights in _draw(columns.shape[0], resamples, rows, seed):
        yield weights @ columns


def share_interval(values: Array, num_examples: int, *, level: float = LEVEL) -> Interval:
    """That of a share of so many photos.

    Where all of them count, or none, no resample differs; the interval is then the exact one (Clopper 1934).
    """
    found, least = interval(values, level=level), ((1 - level) / 2) ** (1 / max(num_examples, 1))
    if found.low == 1:
        return Interval(least, 1.0)
    return Interval(0.0, 1 - least) if found.high == 0 else found


def score_interval(measured: Measure, values: Array, score: float) -> Interval:
    """That of a score, or of a difference of two, of whatever kind.

    Rare classes fall out of many resamples, or lose what they are confused with, so that means over classes lie
    off the score itself; their resamples are moved by as much, and the interval is about the score.
    """
    return interval(values - np.nanmean(values) + score if measured[1] in OVER_CLASSES else values)


def interval(values: Array, *, level: float = LEVEL) -> Interval:
    """The percentile interval of what resamples gave."""
    known = values[~np.isnan(values)]
    if not len(known):
        return Interval(float("nan"), float("nan"))
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high))


def _draw(num_examples: int, resamples: int, rows: int, seed: int) -> Iterator[Array]:
    """How often each photo was drawn: (at most `rows`, num_examples)."""
    rng = np.random.default_rng(seed)
    for start in range(0, resamples, rows):
        shape = (min(rows, resamples - start), num_examples)
        drawn = rng.integers(num_examples, size=shape) + num_examples * np.arange(shape[0])[:, None]
        yield np.bincount(drawn.ravel(), minlength=shape[0] * num_examples).reshape(shape).astype(np.float64)


def _sums(outcomes: Outcomes, regions: Array) -> csr_array:
    """(num_examples, 3 + 3 · regions + 3 · num_classes): what a photo adds to each sum, in `_measures`' order."""
    right, top5 = outcomes.right.astype(np.float64), (outcomes.places < 5).astype(np.float64)
    inside = [regions == region for region in _named(regions)]
    ones = np.ones(len(right))
    columns = [right, top5, outcomes.losses, *(mask * part for part in (ones, right, top5) for mask in inside)]
    of_class = [
        _marked(ids, values, outcomes.num_classes)
        for ids, values in ((outcomes.labels, ones), (outcomes.labels, right), (outcomes.answers, ones))
    ]
    return csr_array(hstack([csr_array(np.stack(columns, axis=-1)), *of_class]))


def _marked(ids: Array, values: Array, num_classes: int) -> csr_array:
    """(num_examples, num_classes): each photo's value in the column of its class."""
    return csr_array((values, ids, np.arange(len(ids) + 1)), shape=(len(ids), num_classes))


def _measures(sums: Array, regions: Array) -> dict[Measure, Array]:
    """(resamples, columns of `_sums`) → (resamples,) of each score."""
    names = _named(regions)
    wholes, of_region, of_class = np.split(sums, [3, 3 + 3 * len(names)], axis=-1)
    counts, hits, said = np.split(of_class, 3, axis=-1)
    top1, top5, loss = (wholes / len(regions)).T
    f1 = _ratio(2 * hits, counts + said)
    found: dict[Measure, Array] = {
        ("", "top1_accuracy"): top1,
        ("", "top5_accuracy"): top5,
        ("", "macro_accuracy"): np.nanmean(_ratio(hits, counts), axis=-1),
        ("", "macro_f1"): np.nanmean(f1, axis=-1),
        ("", "weighted_f1"): np.nansum(f1 * counts, axis=-1) / counts.sum(axis=-1),
        ("", "loss"): loss,
    }
    sizes, *rights = np.split(of_region, 3, axis=-1)
    for name, part in zip(("top1", "top5"), rights, strict=True):
        found |= {(region, name): values for region, values in zip(names, _ratio(part, sizes).T, strict=True)}
    return found


def _named(regions: Array) -> list[str]:
    return [str(region) for region in np.unique(regions) if region]


def _ratio(above: Array, below: Array) -> Array:
    return np.divide(above, below, out=np.full(above.shape, np.nan), where=below > 0)
