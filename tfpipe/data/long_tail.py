"""The long tail: a few classes have many examples, and many have few. What training can do about it.

Three corrections, each off by default: rare classes come more often (sampling), count more in the
loss (class weights), or are asked for by a wider margin (logit adjustment). Each sees the classes'
sizes as the ones before it left them, so that together they do not correct twice.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from tfpipe.core.settings import ClassWeights, Sampling, TrainingSettings
from tfpipe.data.rows import Row

BETA = 0.999
"""Of the effective number; of the values tried in Cui 2019, that for its large data sets."""

Array = np.ndarray


@dataclass(frozen=True)
class Corrections:
    """What training does for rare classes, (num_classes,) each; None where it does nothing."""

    sampling_weights: Array | None = None
    """How often an example of a class comes in an epoch; 1 on average over the examples."""
    class_weights: Array | None = None
    """What an example's loss is multiplied by; 1 on average over what is sampled."""
    logit_offsets: Array | None = None
    """What is added to the logits in the training loss."""


def count_classes(rows: Iterable[Row], classes: Sequence[str], *, split: str, region: str | None) -> Array:
    """Rows of each class in a split, or in one region of it: (num_classes,) int."""
    counts = Counter(row.label for row in rows if row.split == split and region in (None, row.region))
    return np.array([counts[name] for name in classes])


def correct(settings: TrainingSettings, counts: Array) -> Corrections:
    """The corrections that the settings ask for.

    Args:
        settings: `sampling`, `class_weights` and `logit_adjustment`.
        counts: (num_classes,) training examples of each class; a class may have none.
    """
    sampling = _mean_one(_RARITY[settings.sampling](counts), counts)
    weights = _mean_one(_RARITY[settings.class_weights](counts * sampling), counts * sampling)
    return Corrections(
        sampling_weights=None if settings.sampling == "uniform" else sampling,
        class_weights=None if settings.class_weights == "none" else weights,
        logit_offsets=_offsets(settings.logit_adjustment, counts * sampling * weights),
    )


def _offsets(strength: float, sizes: Array) -> Array | None:
    """`strength` · log prior (Menon 2020, §5); a class without examples counts as if it had one."""
    sizes = np.where(sizes > 0, sizes, 1)
    return strength * np.log(sizes / sizes.sum()) if strength else None


def _mean_one(weights: Array, counts: Array) -> Array:
    """Scaled so that the examples' weights are 1 on average; 0 for a class without examples."""
    weights = np.where(counts > 0, weights, 0.0)
    return weights * (counts.sum() / (counts * weights).sum())


def _inverse(sizes: Array) -> Array:
    return 1 / np.maximum(sizes, 1e-9)


def _inverse_effective_number(sizes: Array) -> Array:
    """1 / E, with E = (1 - β^n) / (1 - β): the n-th example tells less than the first (Cui 2019, §3)."""
    return (1 - BETA) / (1 - BETA ** np.maximum(sizes, 1e-9))


_RARITY: dict[Sampling | ClassWeights, Callable[[Array], Array]] = {
    "uniform": np.ones_like,
    "none": np.ones_like,
    "class_balanced": _inverse,
    "balanced": _inverse,
    "square_root": lambda sizes: np.sqrt(_inverse(sizes)),
    "effective_number": _inverse_effective_number,
}
"""Sizes of classes → weight of an example of each, up to a common factor."""
