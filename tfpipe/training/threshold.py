"""When to say nothing: the confidence from which on answers are right often enough, and what is then left unsaid.

An answer is given when its confidence is at or above a threshold; precision is the share of given answers that are
right, coverage the share of examples that are answered.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.stats import beta

from tfpipe.training.binomial import exact_interval
from tfpipe.training.bootstrap import LEVEL

PLANNED = tuple(round(0.4 + 0.05 * step, 2) for step in range(11))
"""The thresholds of the plan's table."""
CURVE_POINTS = 200
"""Of a curve that is kept."""

Array = np.ndarray


@dataclass(frozen=True)
class Threshold:
    """What `choose_threshold` found."""

    value: float | None
    """None where so few examples say nothing."""
    reached: bool
    """Whether the precision was reached; if not, the value is the best there is."""


@dataclass(frozen=True)
class OperatingPoints:
    """What each confidence that occurs would give as a threshold, the highest first; (num_points,) each."""

    thresholds: Array
    num_answers: Array
    num_right: Array


def choose_threshold(confidences: Array, right: Array, *, precision: float, min_answers: int) -> Threshold:
    """The smallest confidence such that of all answers at or above it, at least this share is right.

    With few answers chance decides what share is right, so that fewer than `min_answers` count for nothing. Where
    no threshold reaches the precision, the best is the one whose precision has the highest lower end of its
    interval: that of the most answers, among equals.

    Args:
        confidences: (num_examples,).
        right: (num_examples,) bool.
        precision: share of answers that is to be right.
        min_answers: that a threshold must leave.
    """
    points = find_operating_points(confidences, right)
    enough = points.num_answers >= min_answers
    if not enough.any():
        return Threshold(None, reached=False)
    good = enough & (points.num_right / points.num_answers >= precision)
    if good.any():
        return Threshold(float(points.thresholds[good][-1]), reached=True)
    lows = np.where(enough, _lower_ends(points.num_right, points.num_answers), -1)
    last_best = len(lows) - 1 - np.argmax(lows[::-1])
    return Threshold(float(points.thresholds[last_best]), reached=False)


def find_operating_points(confidences: Array, right: Array) -> OperatingPoints:
    """Every distinct confidence as a threshold; equal ones are answered together or not at all."""
    order = np.argsort(-confidences, kind="stable")
    falling = confidences[order]
    last_of_equals = np.append(falling[1:] != falling[:-1], True)
    num_right = np.cumsum(right[order])
    return OperatingPoints(falling[last_of_equals], np.flatnonzero(last_of_equals) + 1, num_right[last_of_equals])


def measure_threshold(confidences: Array, right: Array, threshold: float | None) -> dict[str, Any]:
    """Precision and coverage with exact 95 % intervals; of every answer, where there is no threshold."""
    answered = confidences >= (-np.inf if threshold is None else threshold)
    num_answers, num_right = int(answered.sum()), int(right[answered].sum())
    return {
        "num_examples": len(right),
        "num_answers": num_answers,
        "num_right": num_right,
        "precision": num_right / num_answers if num_answers else float("nan"),
        "precision_interval": asdict(exact_interval(num_right, num_answers)),
        "coverage": num_answers / len(right),
        "coverage_interval": asdict(exact_interval(num_answers, len(right))),
    }


def planned_table(confidences: Array, right: Array) -> list[dict[str, float]]:
    """The plan's thresholds with the accuracy and coverage of each that answers anything."""
    measured = ((threshold, measure_threshold(confidences, right, threshold)) for threshold in PLANNED)
    return [
        {"threshold": threshold, "accuracy": found["precision"], "coverage": found["coverage"]}
        for threshold, found in measured
        if found["num_answers"]
    ]


def risk_coverage(confidences: Array, right: Array) -> dict[str, Any]:
    """The share of answers that is wrong against the share that is given, the surest first (Geifman 2017, §2).

    Returns:
        `aurc`: the mean risk over the coverages 1/n, 2/n, … 1, each of equal confidences at the risk of all of
        them; `curve`: at most `CURVE_POINTS` of its points, which start at the surest answers.
    """
    points = find_operating_points(confidences, right)
    risks = 1 - points.num_right / points.num_answers
    kept = np.unique(np.linspace(0, len(risks) - 1, CURVE_POINTS).round().astype(int))
    return {
        "aurc": float((risks * np.diff(points.num_answers, prepend=0)).sum() / len(right)),
        "curve": {
            "coverage": (points.num_answers[kept] / len(right)).tolist(),
            "risk": risks[kept].tolist(),
            "confidence": points.thresholds[kept].tolist(),
        },
    }


def _lower_ends(hits: Array, counts: Array) -> Array:
    """Those of `exact_interval`, of many shares."""
    some = np.maximum(hits, 1)
    return np.where(hits > 0, beta.ppf((1 - LEVEL) / 2, some, counts - some + 1), 0.0)
