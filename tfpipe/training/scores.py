"""How right answers are, whole, by region, by class and by how often training saw the class. NumPy alone."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from tfpipe.core.settings import EvaluateSettings
from tfpipe.training.outcomes import Outcomes
from tfpipe.training.reliability import reliability

Array = np.ndarray
Scores = dict[str, Any]


def score(
    outcomes: Outcomes, *, regions: Array, classes: Sequence[str], train_counts: Array, settings: EvaluateSettings
) -> Scores:
    """What `evaluate` and `baseline` report.

    Args:
        outcomes: what was said of each photo.
        regions: (num_examples,) str; the empty one is passed over.
        classes: (num_classes,) names; `per_class` has those with examples.
        train_counts: (num_classes,) training examples of each class.
        settings: the limits of many-shot and few-shot classes, and of recall.
    """
    right, labels = outcomes.right, outcomes.labels
    recalls = per_class_accuracy(right, labels, len(classes))
    by_region = per_region(outcomes, regions)
    return {
        "num_examples": len(labels),
        "top1_accuracy": float(right.mean()),
        "top5_accuracy": float((outcomes.places < 5).mean()),
        "macro_accuracy": float(np.nanmean(recalls)),
        "macro_f1": macro_f1(outcomes.answers, labels),
        "weighted_f1": weighted_f1(outcomes.answers, labels),
        "loss": float(outcomes.losses.mean()),
        "lowest_recall": float(np.nanmin(recalls)),
        "num_classes_tested": int((~np.isnan(recalls)).sum()),
        "num_classes_below": int((recalls < settings.min_recall).sum()),
        "per_region": {region: numbers["top1"] for region, numbers in by_region.items()},
        "by_region": by_region,
        "per_bucket": per_bucket(right, labels, train_counts, settings),
        "per_class": {name: float(share) for name, share in zip(classes, recalls, strict=True) if share >= 0},
        "reliability": reliability(outcomes.confidences, right),
    }


def per_class_accuracy(right: Array, labels: Array, num_classes: int) -> Array:
    """(num_classes,): recall; not a number for a class without examples."""
    counts = np.bincount(labels, minlength=num_classes)
    hits = np.bincount(labels, weights=right, minlength=num_classes)
    return np.divide(hits, counts, out=np.full(num_classes, np.nan), where=counts > 0)


def per_class_precision(right: Array, answers: Array, num_classes: int) -> Array:
    """(num_classes,); not a number for a class that is never said."""
    return per_class_accuracy(right, answers, num_classes)


def macro_f1(answers: Array, labels: Array) -> float:
    """Mean over classes of the harmonic mean of precision and recall; of the classes that are said or meant.

    Args:
        answers: (batch,) class ids, as said.
        labels: (batch,) class ids, as meant.
    """
    f1, _ = _f1_by_class(answers, labels)
    return float(np.nanmean(f1))


def weighted_f1(answers: Array, labels: Array) -> float:
    """The same, each class by how many examples it has."""
    f1, sizes = _f1_by_class(answers, labels)
    return float(np.nansum(f1 * sizes) / sizes.sum())


def _f1_by_class(answers: Array, labels: Array) -> tuple[Array, Array]:
    """F1, not a number where a class is neither said nor meant, and examples of each class."""
    size = max(answers.max(), labels.max()) + 1
    hits = np.bincount(labels[answers == labels], minlength=size)
    sizes = np.bincount(labels, minlength=size)
    both = np.bincount(answers, minlength=size) + sizes
    return np.divide(2 * hits, both, out=np.full(size, np.nan), where=both > 0), sizes


def per_region(outcomes: Outcomes, regions: Array) -> dict[str, Scores]:
    """Top-1 and top-5 of each region, in the words of the plan's `eval_by_region.json`."""
    return {
        str(region): {
            "top1": float(outcomes.right[regions == region].mean()),
            "top5": float((outcomes.places[regions == region] < 5).mean()),
            "num_examples": int((regions == region).sum()),
        }
        for region in np.unique(regions)
        if region
    }


def per_bucket(right: Array, labels: Array, train_counts: Array, settings: EvaluateSettings) -> dict[str, Scores]:
    """Top-1 and per-class mean of the classes with many, medium and few training examples (Liu 2019, §4)."""
    recalls = per_class_accuracy(right, labels, len(train_counts))
    many, few = train_counts > settings.many_above, train_counts < settings.few_below
    return {
        name: {
            "top1_accuracy": _mean(right[members[labels]]),
            "macro_accuracy": _mean(recalls[members & ~np.isnan(recalls)]),
            "num_classes": int(members.sum()),
            "num_classes_below": int((recalls[members] < settings.min_recall).sum()),
            "num_examples": int(members[labels].sum()),
        }
        for name, members in {"many": many, "medium": ~many & ~few, "few": few}.items()
    }


def _mean(values: Array) -> float:
    return float(values.mean()) if len(values) else float("nan")
