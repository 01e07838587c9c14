"""How right answers are, whole, by region, by class and by how often training saw the class. NumPy alone."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from tfpipe.core.settings import EvaluateSettings

CHUNK = 2**24
"""Logits looked at at a time: all of many images' by many classes would not fit into memory twice."""

Array = np.ndarray
Scores = dict[str, Any]


def score(
    logits: Array,
    labels: Array,
    *,
    regions: Array,
    classes: Sequence[str],
    train_counts: Array,
    settings: EvaluateSettings,
) -> Scores:
    """What `evaluate` and `baseline` report.

    Args:
        logits: (batch, num_classes), or log-probabilities.
        labels: (batch,) class ids.
        regions: (batch,) str; the empty one is passed over.
        classes: (num_classes,) names; `per_class` has those with examples.
        train_counts: (num_classes,) training examples of each class.
        settings: the limits of many-shot and few-shot classes.
    """
    places = label_places(logits, labels)
    right = places < 1
    of_class = per_class_accuracy(right, labels, len(classes))
    return {
        "num_examples": len(labels),
        "top1_accuracy": float(right.mean()),
        "top5_accuracy": float((places < 5).mean()),
        "macro_accuracy": float(np.nanmean(of_class)),
        "macro_f1": macro_f1(np.concatenate([part.argmax(axis=-1) for part, _ in _in_chunks(logits, labels)]), labels),
        "loss": cross_entropy(logits, labels),
        "per_region": {region: float(right[regions == region].mean()) for region in np.unique(regions) if region},
        "per_bucket": per_bucket(right, labels, train_counts, settings),
        "per_class": {name: float(share) for name, share in zip(classes, of_class, strict=True) if share >= 0},
    }


def top_k_accuracy(logits: Array, labels: Array, k: int) -> float:
    """Share of rows whose label is among the k highest of (batch, num_classes) logits."""
    return float((label_places(logits, labels) < k).mean())


def label_places(logits: Array, labels: Array) -> Array:
    """How many classes the model holds for likelier than the label, (batch,) int; 0 is right.

    A tie goes to the first class, as in argmax. What is not a number is never right.
    """
    return np.concatenate([_places(*part) for part in _in_chunks(logits, labels)])


def cross_entropy(logits: Array, labels: Array) -> float:
    """Mean over rows, in nats."""
    return float(np.concatenate([_losses(*part) for part in _in_chunks(logits, labels)]).mean())


def per_class_accuracy(right: Array, labels: Array, num_classes: int) -> Array:
    """(num_classes,); not a number for a class without examples."""
    counts = np.bincount(labels, minlength=num_classes)
    hits = np.bincount(labels, weights=right, minlength=num_classes)
    return np.divide(hits, counts, out=np.full(num_classes, np.nan), where=counts > 0)


def macro_f1(answers: Array, labels: Array) -> float:
    """Mean over classes of the harmonic mean of precision and recall; of the classes that are said or meant.

    Args:
        answers: (batch,) class ids, as said.
        labels: (batch,) class ids, as meant.
    """
    hits = np.bincount(labels[answers == labels], minlength=max(answers.max(), labels.max()) + 1)
    both = np.bincount(answers, minlength=len(hits)) + np.bincount(labels, minlength=len(hits))
    return float((2 * hits[both > 0] / both[both > 0]).mean())


def per_bucket(right: Array, labels: Array, train_counts: Array, settings: EvaluateSettings) -> dict[str, Scores]:
    """Top-1 and per-class mean of the classes with many, medium and few training examples (Liu 2019, §4)."""
    of_class = per_class_accuracy(right, labels, len(train_counts))
    many, few = train_counts > settings.many_above, train_counts < settings.few_below
    return {
        name: {
            "top1_accuracy": _mean(right[members[labels]]),
            "macro_accuracy": _mean(of_class[members & ~np.isnan(of_class)]),
            "num_classes": int(members.sum()),
            "num_examples": int(members[labels].sum()),
        }
        for name, members in {"many": many, "medium": ~many & ~few, "few": few}.items()
    }


def _mean(values: Array) -> float:
    return float(values.mean()) if len(values) else float("nan")


def _in_chunks(logits: Array, labels: Array) -> Iterator[tuple[Array, Array]]:
    rows = max(1, CHUNK // logits.shape[-1])
    for start in range(0, len(labels), rows):
        yield logits[start : start + rows], labels[start : start + rows]


def _places(logits: Array, labels: Array) -> Array:
    own = np.take_along_axis(logits, labels[:, None], axis=-1)
    earlier = np.arange(logits.shape[-1]) < labels[:, None]
    places: Array = (~(logits <= own) | (earlier & (logits == own))).sum(axis=-1)
    return places


def _losses(logits: Array, labels: Array) -> Array:
    highest = logits.max(axis=-1, keepdims=True)
    log_probs = logits - highest - np.log(np.exp(logits - highest).sum(axis=-1, keepdims=True))
    losses: Array = -np.take_along_axis(log_probs, labels[:, None], axis=-1)[:, 0]
    return losses
