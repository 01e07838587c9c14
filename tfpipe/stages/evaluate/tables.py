"""Predictions and classes as CSV, for a spreadsheet."""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from tfpipe.core.files import atomic_open, write_json
from tfpipe.stages.evaluate.predictions import Predictions
from tfpipe.training.confusions import confused_classes, confusion_matrix
from tfpipe.training.scores import per_class_accuracy, per_class_precision

MOST_CLASSES = 20
"""In the matrix of confusions."""

Array = np.ndarray


def write_predictions(said: Predictions, path: Path) -> None:
    """A line a photo: its label, the answer, how sure the model was of it, and the next likeliest classes."""
    outcomes, name_of = said.outcomes, said.classes
    places = range(2, outcomes.top_answers.shape[1] + 1)
    columns = ("id", "region", "label", "answer", "confidence", "loss")
    head = (*columns, *(f"{name}_{place}" for place in places for name in ("answer", "confidence")))
    rows = (
        (
            *(said.ids[number], said.regions[number], name_of[outcomes.labels[number]]),
            *(name_of[outcomes.answers[number]], _rounded(outcomes.confidences[number])),
            _rounded(outcomes.losses[number]),
            *_next_likeliest(outcomes.top_answers[number], outcomes.top_probs[number], name_of),
        )
        for number in range(len(said.ids))
    )
    _write(head, rows, path)


def write_per_class(said: Predictions, train_counts: Array, path: Path) -> None:
    """A line a class with examples, the one that is recognised least first."""
    outcomes = said.outcomes
    size = outcomes.num_classes
    recalls = per_class_accuracy(outcomes.right, outcomes.labels, size)
    precisions = per_class_precision(outcomes.right, outcomes.answers, size)
    examples, said_of = np.bincount(outcomes.labels, minlength=size), np.bincount(outcomes.answers, minlength=size)
    f1 = 2 * recalls * examples / np.maximum(examples + said_of, 1)
    head = ("label", "train_examples", "examples", "recall", "precision", "f1")
    rows = (
        (
            *(said.classes[number], train_counts[number], examples[number]),
            *(_rounded(column[number]) for column in (recalls, precisions, f1)),
        )
        for number in np.argsort(recalls, kind="stable")
        if examples[number]
    )
    _write(head, rows, path)


def write_confusions(said: Predictions, path: Path) -> None:
    """How many examples of each class were said to be which; of many classes, those that are confused most."""
    classes = confused_classes(said.outcomes, MOST_CLASSES)
    matrix = confusion_matrix(said.outcomes, classes)
    columns = slice(None, None if len(classes) < len(said.classes) else -1)
    named = [said.classes[number] for number in classes]
    others = [] if len(classes) == len(said.classes) else ["others"]
    write_json({"labels": named, "answers": [*named, *others], "matrix": matrix[:, columns].tolist()}, path)


def _next_likeliest(answers: Array, probs: Array, name_of: Sequence[str]) -> list[str]:
    return [
        cell for answer, prob in zip(answers[1:], probs[1:], strict=True) for cell in (name_of[answer], _rounded(prob))
    ]


def _rounded(value: float) -> str:
    """Empty where there is no number."""
    return "" if np.isnan(value) else f"{value:.6f}"


def _write(head: Sequence[str], rows: Iterable[Sequence[object]], path: Path) -> None:
    with atomic_open(path) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(head)
        writer.writerows(rows)
