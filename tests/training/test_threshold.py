"""When to say nothing: by brute force, by hand, and where there is little to go by."""

import numpy as np
import pytest
from scipy.stats import binomtest

from tfpipe.training.binomial import exact_interval
from tfpipe.training.threshold import (
    PLANNED,
    Threshold,
    choose_threshold,
    measure_threshold,
    planned_table,
    risk_coverage,
)


def some_answers(num_examples: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Confidences of which many are equal, float32 as a network's."""
    rng = np.random.default_rng(seed)
    confidences = (rng.integers(20, 101, num_examples) / 100).astype(np.float32)
    return confidences, rng.random(num_examples) < np.sqrt(confidences)


def by_brute_force(confidences: np.ndarray, right: np.ndarray, precision: float, least: int) -> Threshold:
    good, lows = [], {}
    for threshold in sorted({float(each) for each in confidences}):
        answered = [bool(hit) for each, hit in zip(confidences, right, strict=True) if each >= threshold]
        if len(answered) < least:
            continue
        if sum(answered) / len(answered) >= precision:
            good.append(threshold)
        lows[threshold] = binomtest(sum(answered), len(answered)).proportion_ci(0.95, method="exact").low
    if good:
        return Threshold(min(good), reached=True)
    best = min((each for each in lows if lows[each] >= max(lows.values()) - 1e-12), default=None)
    return Threshold(best, reached=False)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize(("precision", "least"), [(0.95, 30), (0.8, 5), (0.999, 10)])
def test_it_is_what_brute_force_finds(seed: int, precision: float, least: int) -> None:
    confidences, right = some_answers(120, seed)
    found = choose_threshold(confidences, right, precision=precision, min_answers=least)
    expected = by_brute_force(confidences, right, precision, least)
    assert found.reached == expected.reached
    assert found.value == pytest.approx(expected.value)
    if found.reached:
        assert measure_threshold(confidences, right, found.value)["precision"] >= precision


def choose(confidences: list[float], right: list[int], precision: float = 0.75, least: int = 1) -> Threshold:
    return choose_threshold(np.array(confidences), np.array(right, bool), precision=precision, min_answers=least)


def test_cases_by_hand() -> None:
    confidences = [0.9, 0.8, 0.7, 0.6, 0.5]
    # At or above 0.6 three of four are right; at or above 0.7 only two of three.
    assert choose(confidences, [1, 0, 1, 1, 0]) == Threshold(0.6, reached=True)
    assert choose(confidences, [1, 1, 1, 1, 1]) == Threshold(0.5, reached=True)
    assert choose(confidences, [0, 0, 0, 0, 0]) == Threshold(0.5, reached=False)
    assert choose([0.4], [1]) == Threshold(0.4, reached=True)
    assert choose([0.4], [0]) == Threshold(0.4, reached=False)


def test_equal_confidences_are_answered_together() -> None:
    assert choose([0.9, 0.8, 0.8, 0.8, 0.7], [1, 1, 0, 0, 0]) == Threshold(0.9, reached=True)
    assert choose([0.8, 0.8, 0.8, 0.8], [1, 1, 1, 0]) == Threshold(0.8, reached=True)


def test_a_share_is_compared_as_it_is_written() -> None:
    """19 of 20 are 0.95, and 0.95 is asked."""
    assert choose([0.5] * 20, [0] + [1] * 19, precision=0.95).reached
    assert choose([0.5] * 180, [0] * 9 + [1] * 171, precision=0.95).reached


def test_three_of_three_are_no_evidence() -> None:
    confidences = [0.99, 0.98, 0.97, *np.linspace(0.9, 0.5, 37)]
    right = [1, 1, 1, *[0, 1] * 18, 0]
    assert choose(confidences, right, precision=0.95, least=3) == Threshold(0.97, reached=True)
    found = choose(confidences, right, precision=0.95, least=30)
    assert not found.reached
    assert measure_threshold(np.array(confidences), np.array(right, bool), found.value)["num_answers"] >= 30


def test_with_fewer_examples_than_asked_there_is_no_threshold() -> None:
    assert choose([0.9] * 29, [1] * 29, least=30) == Threshold(None, reached=False)
    found = measure_threshold(np.full(29, 0.9), np.ones(29, bool), None)
    assert (found["coverage"], found["precision"], found["num_answers"]) == (1, 1, 29)


@pytest.mark.parametrize(("hits", "count"), [(0, 1), (1, 1), (0, 7), (7, 7), (19, 20), (171, 180)])
def test_intervals_are_scipys(hits: int, count: int) -> None:
    expected = binomtest(hits, count).proportion_ci(0.95, method="exact")
    found = exact_interval(hits, count)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))


def test_of_nothing_answered_nothing_is_known() -> None:
    found = measure_threshold(np.array([0.3, 0.4]), np.array([True, False]), 0.9)
    assert np.isnan(found["precision"])
    assert found["precision_interval"] == {"low": 0.0, "high": 1.0}
    assert found["coverage"] == 0


def test_the_plans_table_is_the_plans_loop() -> None:
    predictions, right = some_answers(300, 3)
    expected = []
    for threshold in np.arange(0.4, 0.95, 0.05):
        mask = predictions >= np.float32(round(threshold, 2))
        if mask.sum() > 0:
            expected.append((round(threshold, 2), right[mask].mean(), mask.sum() / len(mask)))
    found = [(each["threshold"], each["accuracy"], each["coverage"]) for each in planned_table(predictions, right)]
    assert [each[0] for each in found] == list(PLANNED)
    np.testing.assert_allclose(found, expected)


def test_risks_are_those_of_a_loop() -> None:
    rng = np.random.default_rng(0)
    confidences = rng.permutation(np.linspace(0.2, 1, 150))
    right = rng.random(150) < confidences
    found = risk_coverage(confidences, right)
    order, wrong, risks = np.argsort(-confidences), 0, []
    for given, place in enumerate(order, start=1):
        wrong += not right[place]
        risks.append(wrong / given)
    assert found["aurc"] == pytest.approx(np.mean(risks))
    assert found["curve"]["risk"] == pytest.approx(risks)
    assert found["curve"]["coverage"] == pytest.approx((np.arange(1, 151) / 150).tolist())


def test_equal_confidences_are_one_point_and_a_long_curve_is_thinned() -> None:
    found = risk_coverage(np.full(8, 0.5), np.arange(8) < 6)
    assert found == {"aurc": 0.25, "curve": {"coverage": [1.0], "risk": [0.25], "confidence": [0.5]}}
    confidences = np.linspace(0, 1, 5000)
    curve = risk_coverage(confidences, np.ones(5000, bool))["curve"]
    assert len(curve["risk"]) == 200
    assert (curve["coverage"][0], curve["coverage"][-1]) == (1 / 5000, 1.0)
