"""How far what a page says is from what Python says."""

import numpy as np

from tfpipe.core.steps import Metrics
from tfpipe.stages.verify.asking import Answers

Array = np.ndarray


def compare(expected: Array, answers: Answers) -> Metrics:
    """Agreement and speed of one page.

    Args:
        expected: (examples, num_classes) of Python.
        answers: of the page.
    """
    p50, p95 = np.percentile(answers.latency_ms, [50, 95])
    return agreement(expected, answers.probs) | {
        "latency_p50_ms": float(p50),
        "latency_p95_ms": float(p95),
        "first_prediction_ms": float(answers.about["firstPredictionMs"]),
        "num_leaked_tensors": answers.num_leaked_tensors,
        "backend": answers.about["description"],
    }


def agreement(expected: Array, found: Array) -> Metrics:
    """How far two sets of probabilities (examples, num_classes) are apart; a NaN is as far as can be."""
    difference = np.nan_to_num(np.abs(expected - found), nan=1.0)
    return {
        "max_probability_difference": float(difference.max()),
        "mean_probability_difference": float(difference.mean()),
        "top1_agreement": float((expected.argmax(axis=-1) == found.argmax(axis=-1)).mean()),
        "top5_agreement": _top5_agreement(expected, found),
        "correlation": _correlation(expected.ravel(), np.nan_to_num(found).ravel()),
    }


def decision_agreement(expected: Array, found: Array, threshold: float | None) -> float:
    """Share of the examples of which both say the same name, or both that it is not conclusive.

    Args:
        expected: (examples, num_classes).
        found: (examples, num_classes).
        threshold: below which the largest probability says nothing; None where there is none.
    """
    decided, decided_there = (_decide(probs, threshold) for probs in (expected, found))
    return float((decided == decided_there).mean())


def worst_example(expected: Array, found: Array) -> int:
    """The example of which they differ most."""
    return int(np.nan_to_num(np.abs(expected - found), nan=1.0).max(axis=-1).argmax())


def _correlation(expected: Array, found: Array) -> float:
    """Not a number where an answer is always the same."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return float(np.corrcoef(expected, found)[0, 1])


def _decide(probs: Array, threshold: float | None) -> Array:
    """The id of the name that is said, -1 for none; (examples,)."""
    is_said = probs.max(axis=-1) >= (0.0 if threshold is None else threshold)
    return np.where(is_said, probs.argmax(axis=-1), -1)


def _top5_agreement(expected: Array, found: Array) -> float:
    """Mean share of the five likeliest classes that both name."""
    wanted, named = (np.argsort(-probs, axis=-1, kind="stable")[:, :5] for probs in (expected, found))
    return float(np.mean([len(set(a) & set(b)) / len(a) for a, b in zip(wanted, named, strict=True)]))
