"""Whether the answers still look like those of the validation split, by which the model was calibrated."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

NUM_BINS = 10
Array = np.ndarray


@dataclass(frozen=True)
class Answers:
    """What a model said of some inputs.

    Args:
        labels: (num_answers,) the likeliest classes, as ids.
        confidences: (num_answers,) their calibrated probabilities.
    """

    labels: Array
    confidences: Array

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Comparison:
    """The last answers beside the validation split's."""

    num_answers: int
    shares: Array
    """(num_classes,) of the answers."""
    mean_confidence: float
    not_conclusive: float
    """Share of the answers below the threshold."""
    class_psi: float
    class_psi_by_chance: float
    confidence_psi: float
    confidence_psi_by_chance: float


class Drift:
    """Remembers the last answers, and compares them.

    Args:
        classes: by id.
        validation: what the model said of the validation split.
        threshold: confidence from which on an answer is conclusive; None: every answer is.
        window: answers to remember.
    """

    def __init__(self, classes: Sequence[str], validation: Answers, *, threshold: float | None, window: int) -> None:
        self.classes = list(classes)
        self._ids = {name: number for number, name in enumerate(classes)}
        self._threshold = 0.0 if threshold is None else threshold
        # Equal shares of the validation split, as Siddiqi bins scores; equal confidences make fewer bins.
        self._edges = np.unique(np.quantile(validation.confidences, np.arange(1, NUM_BINS) / NUM_BINS))
        self._validation = validation
        self._last: deque[tuple[int, float]] = deque(maxlen=window)
        self.expected = self._compare(validation)

    def add(self, label: str, confidence: float) -> None:
        """Remember an answer, and forget the oldest."""
        self._last.append((self._ids[label], confidence))

    def compare(self) -> Comparison | None:
        """The last answers beside the validation split's; None before the first."""
        if not self._last:
            return None
        labels, confidences = zip(*self._last, strict=True)
        return self._compare(Answers(np.array(labels), np.array(confidences)))

    def _compare(self, answers: Answers) -> Comparison:
        of_class = np.bincount(answers.labels, minlength=len(self.classes))
        classes = (np.bincount(self._validation.labels, minlength=len(self.classes)), of_class)
        confidences = (self._binned(self._validation.confidences), self._binned(answers.confidences))
        return Comparison(
            num_answers=len(answers),
            shares=of_class / len(answers),
            mean_confidence=float(np.mean(answers.confidences)),
            not_conclusive=float(np.mean(answers.confidences < self._threshold)),
            class_psi=population_stability_index(*classes),
            class_psi_by_chance=psi_by_chance(*classes),
            confidence_psi=population_stability_index(*confidences),
            confidence_psi_by_chance=psi_by_chance(*confidences),
        )

    def _binned(self, confidences: Array) -> Array:
        places = np.searchsorted(self._edges, confidences, side="right")
        return np.bincount(places, minlength=len(self._edges) + 1)


def population_stability_index(expected: Array, found: Array) -> float:
    """How far two distributions are apart (Siddiqi 2006, Credit Risk Scorecards, ch. 9): Σ (f − e) ln (f / e).

    Below 0.1 counts as no change, above 0.25 as one to act on. Half a count is added to each cell, as Jeffreys' prior
    has it, for a share of 0 has no logarithm.

    Args:
        expected: (num_cells,) counts.
        found: (num_cells,) counts.
    """
    before, now = (_shares(expected), _shares(found))
    return float(np.sum((now - before) * np.log(now / before)))


def psi_by_chance(expected: Array, found: Array) -> float:
    """What the index is on average if nothing has changed: (cells − 1) (1 / n + 1 / m).

    Yurdakul and Naranjo 2020, Statistical Properties of the Population Stability Index: divided by (1 / n + 1 / m) it
    is then distributed as χ² with cells − 1 degrees of freedom.
    """
    cells = np.count_nonzero(expected + found)
    return float((cells - 1) * (1 / expected.sum() + 1 / found.sum()))


def _shares(counts: Array) -> Array:
    return (counts + 0.5) / (counts.sum() + 0.5 * len(counts))
