"""The bootstrap: against one that resamples photo by photo, and against the intervals' own promise."""

import numpy as np
import pytest
from sklearn.metrics import f1_score, recall_score

from tfpipe.training import bootstrap
from tfpipe.training.bootstrap import interval, measure, resample, score_interval, share_interval
from tfpipe.training.outcomes import Outcomes, judge

CLASSES = 7


def some_outcomes(num_examples: int = 60, seed: int = 0) -> tuple[Outcomes, np.ndarray]:
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (num_examples, CLASSES)).astype(np.float32)
    labels = np.where(
        rng.uniform(size=num_examples) < 0.4, logits.argmax(-1), rng.integers(0, CLASSES - 1, num_examples)
    )
    regions = np.array(["EU_SW", "EU", ""])[rng.integers(0, 3, num_examples)]
    return judge(logits, labels), regions


def by_hand(outcomes: Outcomes, regions: np.ndarray, drawn: np.ndarray) -> dict[tuple[str, str], float]:
    """Of the photos of one resample, by scikit-learn."""
    labels, answers = outcomes.labels[drawn], outcomes.answers[drawn]
    right, top5 = labels == answers, outcomes.places[drawn] < 5
    scores = {
        ("", "top1_accuracy"): right.mean(),
        ("", "top5_accuracy"): top5.mean(),
        ("", "macro_accuracy"): recall_score(labels, answers, labels=np.unique(labels), average="macro"),
        ("", "macro_f1"): f1_score(labels, answers, average="macro", zero_division=0),
        ("", "weighted_f1"): f1_score(labels, answers, average="weighted", zero_division=0),
        ("", "loss"): outcomes.losses[drawn].mean(),
    }
    for region in ("EU_SW", "EU"):
        inside = regions[drawn] == region
        scores |= {(region, "top1"): right[inside].mean(), (region, "top5"): top5[inside].mean()}
    return scores


def test_each_resample_is_scored_as_its_photos_are() -> None:
    outcomes, regions = some_outcomes()
    found = resample(outcomes, regions, resamples=5, seed=3)
    rng = np.random.default_rng(3)
    for number in range(5):
        expected = by_hand(outcomes, regions, rng.integers(60, size=60))
        assert {name: values[number] for name, values in found.items()} == pytest.approx(expected)


def test_all_photos_once_give_the_scores_themselves() -> None:
    outcomes, regions = some_outcomes()
    assert measure(outcomes, regions) == pytest.approx(by_hand(outcomes, regions, np.arange(60)))


def test_the_draws_do_not_depend_on_how_many_are_held_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    outcomes, regions = some_outcomes()
    whole = resample(outcomes, regions, resamples=11, seed=3)
    monkeypatch.setattr(bootstrap, "CHUNK", 3 * 60)
    parts = resample(outcomes, regions, resamples=11, seed=3)
    assert whole.keys() == parts.keys()
    for name in whole:
        np.testing.assert_array_equal(whole[name], parts[name])


def test_a_region_that_a_resample_missed_is_no_number_there_and_its_interval_is_of_the_others() -> None:
    outcomes, _ = some_outcomes(8)
    regions = np.array(["EU"] * 7 + ["rare"])
    draws = resample(outcomes, regions, resamples=200, seed=0)["rare", "top1"]
    assert 0.2 < np.isnan(draws).mean() < 0.5  # (7/8)⁸ = 0.34
    assert interval(draws).low == interval(draws).high == outcomes.right[-1]


def test_a_share_of_all_or_of_none_is_not_certain() -> None:
    """Of 15 photos that are all right, the exact interval of the binomial begins at 78 %."""
    from scipy.stats import binomtest

    exact = binomtest(15, 15).proportion_ci(0.95, method="exact")
    found = share_interval(np.ones(100), 15)
    assert (found.low, found.high) == pytest.approx((exact.low, 1.0))
    found = share_interval(np.zeros(100), 15)
    assert (found.low, found.high) == pytest.approx((0.0, 1 - exact.low))
    draws = np.linspace(0.5, 1, 101)
    assert share_interval(draws, 15) == interval(draws)


def test_nothing_known_has_no_interval() -> None:
    assert np.isnan(interval(np.full(3, np.nan)).low)


def test_the_mean_over_rare_classes_lies_within_its_interval() -> None:
    """Of 400 classes with two photos each, most are spoiled in a resample: its F1 is always lower."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(400), 2)
    answers = np.where(rng.uniform(size=800) < 0.7, labels, rng.integers(0, 400, 800))
    wrong = (labels != answers).astype(int)
    outcomes = Outcomes(400, labels, wrong, np.zeros(800), answers[:, None], np.ones((800, 1)))
    regions = np.full(800, "")
    draws = resample(outcomes, regions, resamples=300, seed=0)
    score = f1_score(labels, answers, average="macro")
    plain, moved = interval(draws["", "macro_f1"]), score_interval(("", "macro_f1"), draws["", "macro_f1"], score)
    assert plain.high < score
    assert moved.low < score < moved.high
    assert moved.high - moved.low == pytest.approx(plain.high - plain.low)
    shares = draws["", "top1_accuracy"]
    assert score_interval(("", "top1_accuracy"), shares, 0.5) == interval(shares)


def test_an_interval_is_the_middle_of_what_was_drawn() -> None:
    found = interval(np.arange(1001.0))
    assert (found.low, found.high) == pytest.approx((25.0, 975.0))


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    """400 data sets of 150 photos that a model names right with probability 0.8."""
    rng = np.random.default_rng(0)
    held = 0
    regions = np.full(150, "")
    for number in range(400):
        right = rng.uniform(size=150) < 0.8
        labels = np.zeros(150, int)
        answers = np.where(right, 0, 1)[:, None]
        outcomes = Outcomes(2, labels, answers[:, 0], np.zeros(150), answers, np.ones((150, 1)))
        found = interval(resample(outcomes, regions, resamples=300, seed=number)["", "top1_accuracy"])
        held += found.low <= 0.8 <= found.high
    # Three standard errors of 400 coin flips, and the percentile interval is a little short at this size.
    assert 0.91 < held / 400 < 0.985


def test_the_width_is_that_of_the_binomial() -> None:
    outcomes, regions = some_outcomes(2000)
    found = interval(resample(outcomes, regions, resamples=2000, seed=1)["", "top1_accuracy"])
    share = outcomes.right.mean()
    assert found.high - found.low == pytest.approx(2 * 1.96 * np.sqrt(share * (1 - share) / 2000), rel=0.08)
