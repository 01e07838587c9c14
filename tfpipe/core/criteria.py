"""Limits that a step's metrics must keep: `criteria` in the settings."""

import math
import operator
import re
from typing import Any

from tfpipe.core.config import Config
from tfpipe.core.errors import ConfigError, CriterionError

OPERATORS = {">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt}

BUILT_IN = {
    "fetch": {"failure_rate": "< 0.05"},
    "split": {"num_lost_classes": "<= 0"},
    "verify": {
        "float32.max_probability_difference": "<= 1e-3",
        "float16.max_probability_difference": "<= 1e-3",
        "int8.max_probability_difference": "<= 1e-3",
        "float32.top1_agreement": ">= 0.99",
        "float16.top1_agreement": ">= 0.99",
        "int8.top1_agreement": ">= 0.99",
        "page.top1_agreement": ">= 0.99",
        "page.decision_agreement": ">= 0.99",
        "max_backend_difference": "<= 1e-3",
        "num_leaked_tensors": "<= 0",
        "wasm_with_simd": ">= 1",
    },
}
"""Hold unless the settings say otherwise: a page that is silently wrong must not pass."""


MISSING = object()


def check_criteria(step: str, metrics: dict[str, Any], config: Config) -> None:
    """Hold a step's metrics against the limits.

    Raises:
        CriterionError: naming each metric, its value and its bound.
        ConfigError: when a criterion names no number that the step measures, or cannot be read.
    """
    bounds = BUILT_IN.get(step, {}) | config.criteria.get(step, {})
    missed = []
    for metric, bound in bounds.items():
        value = _value(metrics, metric, f"{config.path}: criteria.{step}.{metric}")
        compare, limit = _parse(bound, f"{config.path}: criteria.{step}.{metric}")
        if not compare(value, limit):
            missed.append(f"{metric} is {value:.6g}, wanted {bound}")
    if missed:
        raise CriterionError(f"{step} {config.name}: {'; '.join(missed)}.")


def _value(metrics: dict[str, Any], metric: str, where: str) -> float:
    """A number; not a number, which keeps no bound, where the step measured none that JSON can write."""
    value: Any = metrics
    for part in metric.split("."):
        value = value.get(part, MISSING) if isinstance(value, dict) else MISSING
    if value is None:
        return math.nan
    if not isinstance(value, int | float):
        numbers = [name for name, number in metrics.items() if isinstance(number, int | float)]
        raise ConfigError(f"{where}: the step measures no such number; it has {', '.join(numbers) or 'none'}.")
    return float(value)


def _parse(bound: str, where: str) -> tuple[Any, float]:
    match = re.fullmatch(r"\s*(>=|<=|>|<)\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*", bound)
    if not match:
        raise ConfigError(f'{where}: found {bound!r}; expected a bound such as ">= 0.85".')
    return OPERATORS[match[1]], float(match[2])
