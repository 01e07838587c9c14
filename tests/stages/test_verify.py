"""What `verify` measures, by hand."""

import numpy as np
import pytest

from tfpipe.stages.verify.comparing import agreement, decision_agreement, worst_example
from tfpipe.stages.verify.report import to_markdown


def test_agreement_by_hand() -> None:
    expected = np.array([[0.7, 0.2, 0.1], [0.1, 0.5, 0.4]])
    found = np.array([[0.6, 0.2, 0.2], [0.1, 0.4, 0.5]])
    assert agreement(expected, found) == pytest.approx(
        {
            "max_probability_difference": 0.1,
            "mean_probability_difference": 0.4 / 6,
            "top1_agreement": 0.5,
            "top5_agreement": 1,
            "correlation": np.cov([0.7, 0.2, 0.1, 0.1, 0.5, 0.4], [0.6, 0.2, 0.2, 0.1, 0.4, 0.5])[0, 1]
            / np.std([0.7, 0.2, 0.1, 0.1, 0.5, 0.4], ddof=1)
            / np.std([0.6, 0.2, 0.2, 0.1, 0.4, 0.5], ddof=1),
        }
    )


def test_equal_answers_agree_wholly() -> None:
    probs = np.array([[0.7, 0.3], [0.2, 0.8]])
    assert agreement(probs, probs) == pytest.approx(
        {
            "max_probability_difference": 0,
            "mean_probability_difference": 0,
            "top1_agreement": 1,
            "top5_agreement": 1,
            "correlation": 1,
        }
    )


def test_one_wrong_answer_among_many_shows_in_the_maximum() -> None:
    expected = np.tile([[0.9, 0.1]], (1000, 1))
    found = expected.copy()
    found[567] = [0.4, 0.6]
    measured = agreement(expected, found)
    assert measured["max_probability_difference"] == pytest.approx(0.5)
    assert measured["mean_probability_difference"] == pytest.approx(0.0005)
    assert measured["top1_agreement"] == pytest.approx(0.999)


def test_the_five_likeliest_are_compared_as_sets() -> None:
    expected = np.array([[0.3, 0.25, 0.2, 0.1, 0.08, 0.07]])
    found = np.array([[0.25, 0.3, 0.2, 0.1, 0.07, 0.08]])
    assert agreement(expected, found)["top5_agreement"] == pytest.approx(4 / 5)


def test_an_answer_that_is_no_number_is_as_wrong_as_can_be() -> None:
    expected = np.array([[0.9, 0.1], [0.6, 0.4]])
    found = np.array([[0.9, 0.1], [np.nan, np.nan]])
    assert agreement(expected, found)["max_probability_difference"] == 1
    assert worst_example(expected, found) == 1


@pytest.mark.parametrize(("threshold", "agreed"), [(None, 0.75), (0.5, 0.5), (0.95, 1.0)])
def test_a_decision_is_a_name_or_none(threshold: float | None, agreed: float) -> None:
    """Of four photos: as sure, sure in Python alone, another name, sure of the same."""
    expected = np.array([[0.9, 0.1], [0.51, 0.49], [0.6, 0.4], [0.2, 0.8]])
    found = np.array([[0.8, 0.2], [0.49, 0.48], [0.4, 0.6], [0.1, 0.9]])
    assert decision_agreement(expected, found, threshold) == agreed


def test_the_worst_example_is_that_of_the_largest_single_difference() -> None:
    """Not the one that is a little off everywhere."""
    expected = np.full((3, 4), 0.25)
    found = np.array([[0.25, 0.25, 0.25, 0.25], [0.35, 0.15, 0.35, 0.15], [0.4, 0.1, 0.25, 0.25]])
    assert worst_example(expected, found) == 2


def test_at_the_threshold_a_name_is_said() -> None:
    """As by the page, whose `isConclusive` takes what is equal; so the photo is decided alike, and then no more."""
    expected = np.array([[0.5, 0.25, 0.25]])
    assert decision_agreement(expected, np.array([[0.75, 0.125, 0.125]]), 0.5) == 1
    assert decision_agreement(expected, np.array([[0.4375, 0.3125, 0.25]]), 0.5) == 0


def test_the_report_tells_what_is_absent_and_what_is_wrong() -> None:
    of = {
        **dict.fromkeys(("max_probability_difference", "mean_probability_difference", "correlation"), 0.5),
        **dict.fromkeys(("top1_agreement", "top5_agreement"), 1.0),
        **dict.fromkeys(("first_prediction_ms", "latency_p50_ms", "latency_p95_ms"), 7.25),
        "num_leaked_tensors": 0,
        "backend": "wasm with SIMD",
    }
    photos = {"decision_agreement": 0.995, "ready_ms": 812.4, "longest_block_ms": 63.0}
    left = [{"backend": "webgl", "reason": "its answers are off by 0.31"}]
    divergence = {"node": "Conv1/Relu6", "difference": 0.25}
    told = to_markdown(
        {
            "num_examples": 200,
            **dict.fromkeys(("float32", "float16", "int8"), of),
            "backends": {"webgl": of | {"first_divergence": divergence}, "webgpu": {"absent": 1}},
            "page": of | photos | {"backends_left": left},
        },
        "texts",
    )
    assert "200 test texts." in told
    assert "for 99.5 % (the same name, or not conclusive)" in told
    assert (
        "ready after 812 ms; its main thread was never blocked for more than 63 ms. It left webgl: its answers" in told
    )
    assert "| tensors on webgpu | absent |" in told
    assert "webgl is wrong from Conv1/Relu6 on, by 0.25 of that layer's largest value." in told
    widths = {line.count("|") for line in told.splitlines() if line.startswith("|")}
    assert len(widths) == 1
