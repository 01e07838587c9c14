"""Criteria: bounds are held as they are written, and one that cannot be held is told."""

import math
from pathlib import Path
from typing import Any

import pytest

from tfpipe.core.config import Config
from tfpipe.core.criteria import check_criteria
from tfpipe.core.errors import ConfigError, CriterionError

METRICS = {
    "top1_accuracy": 0.8,
    "loss": 1e-3,
    "title": "plants",
    "per_region": {"EU_SW": 0.75, "EU": 0.5},
    "float32": {"precision": {"deep": 3}},
}

VERIFIED: dict[str, Any] = {
    "float32": {"max_probability_difference": 1e-4, "top1_agreement": 1.0},
    "float16": {"max_probability_difference": 1e-4, "top1_agreement": 1.0},
    "int8": {"max_probability_difference": 1e-4, "top1_agreement": 1.0, "float32_top1_agreement": 0.9},
    "page": {"top1_agreement": 0.99, "decision_agreement": 0.99},
    "max_backend_difference": 1e-4,
    "num_leaked_tensors": 0,
    "wasm_with_simd": 1,
}


def config(bounds: dict[str, str], step: str = "evaluate") -> Config:
    return Config(path=Path("configs/x.yaml"), name="x", criteria={step: bounds})


@pytest.mark.parametrize(
    ("bound", "holds"),
    [
        (">= 0.8", True),
        (">= 0.81", False),
        ("> 0.8", False),
        ("> 0.79", True),
        ("<= 0.8", True),
        ("<= 0.79", False),
        ("< 0.8", False),
        ("< 0.81", True),
        (">=0.5", True),
        ("  >=  8e-1  ", True),
        (">= -1", True),
        ("> +1E0", False),
        ("<= .9", True),
    ],
)
def test_bounds(bound: str, holds: bool) -> None:
    if holds:
        check_criteria("evaluate", METRICS, config({"top1_accuracy": bound}))
        return
    with pytest.raises(CriterionError) as caught:
        check_criteria("evaluate", METRICS, config({"top1_accuracy": bound}))
    assert "top1_accuracy is 0.8" in str(caught.value)
    assert f"wanted {bound}" in str(caught.value)


def test_a_missed_criterion_exits_with_three() -> None:
    assert CriterionError.exit_code == 3


def test_every_missed_criterion_is_told_and_no_other() -> None:
    bounds = {"top1_accuracy": ">= 0.9", "loss": "<= 0.01", "per_region.EU": ">= 0.6"}
    with pytest.raises(CriterionError) as caught:
        check_criteria("evaluate", METRICS, config(bounds))
    told = str(caught.value)
    assert "evaluate x" in told
    assert "top1_accuracy is 0.8" in told
    assert "per_region.EU is 0.5" in told
    assert "loss" not in told


def test_dotted_names_reach_into_tables() -> None:
    check_criteria("evaluate", METRICS, config({"per_region.EU_SW": ">= 0.75", "float32.precision.deep": "< 4"}))
    with pytest.raises(CriterionError, match=r"float32\.precision\.deep is 3"):
        check_criteria("evaluate", METRICS, config({"float32.precision.deep": "> 3"}))


@pytest.mark.parametrize("metric", ["top5_accuracy", "per_region", "per_region.US", "top1_accuracy.mean", "title"])
def test_a_metric_that_is_no_number_of_the_step_is_told_with_those_that_are(metric: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_criteria("evaluate", METRICS, config({metric: ">= 0"}))
    told = str(caught.value)
    assert f"configs/x.yaml: criteria.evaluate.{metric}" in told
    assert "top1_accuracy, loss" in told


@pytest.mark.parametrize("bound", ["0.8", "== 0.8", "=> 0.8", ">= high", ">= 80%", "", ">= 0.8 0.9"])
def test_a_bound_that_cannot_be_read_is_told_with_one_that_can(bound: str) -> None:
    with pytest.raises(ConfigError, match=r">= 0\.85") as caught:
        check_criteria("evaluate", METRICS, config({"top1_accuracy": bound}))
    assert repr(bound) in str(caught.value)


@pytest.mark.parametrize("bound", [">= 1-2", ">= e", ">= .", "<= 1e"])
def test_a_bound_made_of_a_numbers_letters_that_is_none_is_told_too(bound: str) -> None:
    with pytest.raises(ConfigError, match=r">= 0\.85"):
        check_criteria("evaluate", METRICS, config({"top1_accuracy": bound}))


@pytest.mark.parametrize("bound", [">= 0", "> 0", "<= 1", "< 1"])
def test_a_metric_that_is_not_a_number_meets_no_bound(bound: str) -> None:
    with pytest.raises(CriterionError, match="nan"):
        check_criteria("evaluate", METRICS | {"top1_accuracy": math.nan}, config({"top1_accuracy": bound}))


def test_criteria_of_other_steps_are_not_held() -> None:
    check_criteria("teach", METRICS, config({"top1_accuracy": ">= 1"}))


def test_a_page_that_agrees_with_python_passes_without_criteria() -> None:
    check_criteria("verify", VERIFIED, config({}))


@pytest.mark.parametrize(
    ("table", "metric", "value"),
    [
        ("float32", "max_probability_difference", 2e-3),
        ("float16", "max_probability_difference", 2e-3),
        ("int8", "max_probability_difference", 2e-3),
        ("float32", "top1_agreement", 0.98),
        ("float16", "top1_agreement", 0.98),
        ("int8", "top1_agreement", 0.98),
        ("page", "top1_agreement", 0.98),
        ("page", "decision_agreement", 0.98),
    ],
)
def test_a_page_that_is_silently_wrong_fails_without_criteria(table: str, metric: str, value: float) -> None:
    metrics = VERIFIED | {table: VERIFIED[table] | {metric: value}}
    with pytest.raises(CriterionError, match=rf"{table}\.{metric}"):
        check_criteria("verify", metrics, config({}))


@pytest.mark.parametrize(("metric", "value"), [("max_backend_difference", 2e-3), ("num_leaked_tensors", 1)])
def test_a_backend_that_is_wrong_or_leaks_fails_without_criteria(metric: str, value: float) -> None:
    with pytest.raises(CriterionError, match=metric):
        check_criteria("verify", VERIFIED | {metric: value}, config({}))


def test_the_settings_can_loosen_a_built_in_limit() -> None:
    metrics = VERIFIED | {"page": {"top1_agreement": 0.9, "decision_agreement": 1.0}}
    check_criteria("verify", metrics, config({"page.top1_agreement": ">= 0.85"}, "verify"))
    with pytest.raises(CriterionError):
        check_criteria("verify", metrics, config({"float32.top1_agreement": ">= 0.5"}, "verify"))
