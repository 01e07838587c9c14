"""Which classes are taken for which."""

from dataclasses import dataclass

import numpy as np

from tfpipe.training.outcomes import Outcomes

Array = np.ndarray


@dataclass(frozen=True)
class Confusion:
    """Photos of one class that were said to be another."""

    label: int
    answer: int
    count: int
    share: float
    """Of the label's photos."""
    mean_confidence: float
    example: int
    """Number of the photo of which the model was surest."""


def most_confused(outcomes: Outcomes, count: int) -> list[Confusion]:
    """The pairs (label, answer) with most mistakes; of equals, those that the model was surer of."""
    wrong = np.flatnonzero(~outcomes.right & (outcomes.answers != outcomes.labels))
    pairs = outcomes.labels[wrong].astype(np.int64) * outcomes.num_classes + outcomes.answers[wrong]
    found, pair_of, counts = np.unique(pairs, return_inverse=True, return_counts=True)
    confidences = outcomes.confidences[wrong].astype(np.float64)
    means = np.bincount(pair_of, weights=confidences, minlength=len(found)) / counts
    sizes = np.bincount(outcomes.labels, minlength=outcomes.num_classes)
    confusions = []
    for pair in np.lexsort((found, -means, -counts))[:count]:
        label, answer = divmod(int(found[pair]), outcomes.num_classes)
        mistakes = wrong[pair_of == pair]
        confusions.append(
            Confusion(
                label=label,
                answer=answer,
                count=int(counts[pair]),
                share=float(counts[pair] / sizes[label]),
                mean_confidence=float(means[pair]),
                example=int(mistakes[outcomes.confidences[mistakes].argmax()]),
            )
        )
    return confusions


def surest_right(outcomes: Outcomes, label: int) -> int | None:
    """Number of the photo of a class that the model knows best; None where it knows none."""
    known = np.flatnonzero(outcomes.right & (outcomes.labels == label))
    return int(known[outcomes.confidences[known].argmax()]) if len(known) else None


def confused_classes(outcomes: Outcomes, most: int) -> list[int]:
    """All classes, or, of more than `most`, those of the most confused pairs, in the order of their ids."""
    if outcomes.num_classes <= most:
        return list(range(outcomes.num_classes))
    chosen: dict[int, None] = {}
    # A class may stand in as many pairs as there are classes.
    for confusion in most_confused(outcomes, most**2):
        chosen |= dict.fromkeys((confusion.label, confusion.answer))
    return sorted(list(chosen)[:most])


def confusion_matrix(outcomes: Outcomes, classes: list[int]) -> Array:
    """(len(classes), len(classes) + 1) int: photos of each class by what was said; the last column is all others."""
    column_of = np.full(outcomes.num_classes, len(classes))
    column_of[classes] = np.arange(len(classes))
    rows, columns = column_of[outcomes.labels], column_of[outcomes.answers]
    matrix = np.zeros((len(classes), len(classes) + 1), np.int64)
    np.add.at(matrix, (rows[rows < len(classes)], columns[rows < len(classes)]), 1)
    return matrix
