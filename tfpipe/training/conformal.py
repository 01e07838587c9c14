"""Sets of classes that hold the true one as often as asked, whatever the network (Vovk 2005; Sadinle 2019, LAC).

A set has every class whose probability is at least 1 - quantile. The quantile is one of the scores
1 - p(true class) of examples that the network was not fitted on, so that the true class of another such example is
in its set at least as often as the level says, on average over the draws of both.
"""

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from tfpipe.core.settings import SetKind
from tfpipe.training.binomial import exact_interval
from tfpipe.training.outcomes import in_chunks, log_softmax

Array = np.ndarray


@dataclass(frozen=True)
class SetRule:
    """Which classes a set has."""

    level: float
    quantile: float
    """Of every class without its own; 1 lets every class in."""
    of_class: dict[int, float]
    """Class id → its own quantile; empty, where all classes share one."""
    num_pooled_examples: int
    """Scores that `quantile` was fitted on."""

    def quantiles(self, num_classes: int) -> Array:
        """(num_classes,) of each class."""
        values = np.full(num_classes, self.quantile)
        values[list(self.of_class)] = list(self.of_class.values())
        return values


@dataclass(frozen=True)
class Sets:
    """What a rule gives on some examples; (num_examples,) each."""

    sizes: Array
    holds_label: Array

    def part(self, inside: Array) -> "Sets":
        """Of the examples that (num_examples,) bool marks."""
        return Sets(self.sizes[inside], self.holds_label[inside])


def fit_sets(label_probs: Array, labels: Array, *, level: float, kind: SetKind) -> SetRule:
    """The quantiles, of all classes together or, where there are enough examples, of each.

    Class-conditional, a class has a quantile of its own from `least_examples` on. All classes with fewer share one,
    fitted on their examples together, so that the tail is covered as a whole; if even these are too few, they take
    that of all examples.

    Args:
        label_probs: (num_examples,) what the network gives the true classes, float32.
        labels: (num_examples,) class ids.
        level: share of sets that are to hold the true class.
        kind: `marginal` or `class_conditional`.
    """
    # Exact in float64, and back: 1 - quantile is the very probability of the example that decides.
    scores = 1 - label_probs.astype(np.float64)
    if kind == "marginal":
        return SetRule(level, conformal_quantile(scores, level), {}, len(scores))
    least = least_examples(level)
    counts = np.bincount(labels)
    pooled = counts[labels] < least
    rest = scores[pooled] if pooled.sum() >= least else scores
    own = {
        int(number): conformal_quantile(scores[labels == number], level) for number in np.flatnonzero(counts >= least)
    }
    return SetRule(level, conformal_quantile(rest, level), own, len(rest))


def conformal_quantile(scores: Array, level: float) -> float:
    """The ⌈(n + 1) · level⌉-th smallest score; 1, the largest there can be, where there are too few for it."""
    place = math.ceil(round((len(scores) + 1) * level, 9))
    return 1.0 if place > len(scores) else float(np.partition(scores, place - 1)[place - 1])


def least_examples(level: float) -> int:
    """From how many scores on a quantile leaves any class out."""
    return math.ceil(round(level / (1 - level), 9))


def make_sets(logits: Array, labels: Array, rule: SetRule, *, temperature: float) -> Sets:
    """The sets' sizes, and whether they hold the true class; a part of the logits at a time.

    Args:
        logits: (num_examples, num_classes); may lie on the disk.
        labels: (num_examples,) class ids.
        rule: which classes a set has.
        temperature: that of the probabilities.
    """
    least_probs = 1 - rule.quantiles(logits.shape[-1])
    sizes, holds = [], []
    for part, of_part in in_chunks(logits, labels):
        inside = np.exp(log_softmax(part / np.float32(temperature))) >= least_probs
        sizes.append(inside.sum(axis=-1))
        holds.append(inside[np.arange(len(of_part)), of_part])
    return Sets(np.concatenate(sizes), np.concatenate(holds))


def measure_sets(sets: Sets, labels: Array) -> dict[str, Any]:
    """Coverage, also as the mean over classes, and size."""
    counts = np.bincount(labels)
    per_class = np.bincount(labels, weights=sets.holds_label)[counts > 0] / counts[counts > 0]
    return {
        "num_examples": len(labels),
        "coverage": float(sets.holds_label.mean()),
        "coverage_interval": asdict(exact_interval(int(sets.holds_label.sum()), len(labels))),
        "macro_coverage": float(per_class.mean()),
        "mean_size": float(sets.sizes.mean()),
        "share_empty": float((sets.sizes == 0).mean()),
    }
