"""Two models on the same photos: paired differences, and McNemar's test by hand."""

from math import comb

import numpy as np
import pytest

from tfpipe.training.bootstrap import resample
from tfpipe.training.comparison import compare, mcnemar
from tfpipe.training.outcomes import Outcomes


def outcomes_of(right: np.ndarray) -> Outcomes:
    """Two classes; every photo is of the first."""
    wrong = (~right).astype(int)
    ones = np.ones(len(right))
    return Outcomes(2, np.zeros(len(right), int), wrong, ones, wrong[:, None], ones[:, None])


def compared(this: np.ndarray, that: np.ndarray, regions: np.ndarray) -> dict:
    one, other = outcomes_of(this), outcomes_of(that)
    draws = [resample(each, regions, resamples=500, seed=5) for each in (one, other)]
    return compare(one, other, regions, this_draws=draws[0], that_draws=draws[1])


def test_mcnemar_by_hand() -> None:
    """Seven photos that one model alone has right, one that the other has: 2 · P(at most 1 of 8 heads)."""
    this = np.array([1] * 7 + [0] + [1] * 20 + [0] * 5, bool)
    that = np.array([0] * 7 + [1] + [1] * 20 + [0] * 5, bool)
    found = mcnemar(this, that)
    assert (found["only_this"], found["only_that"]) == (7, 1)
    assert found["p_value"] == pytest.approx(2 * (comb(8, 0) + comb(8, 1)) / 2**8)
    assert mcnemar(this, this) == {"only_this": 0, "only_that": 0, "p_value": 1.0}


def test_differences_are_this_less_that_and_of_the_same_resamples() -> None:
    rng = np.random.default_rng(0)
    that = rng.uniform(size=300) < 0.6
    # Right on all that the other knows, and on 30 photos more: a resample can never favour the other.
    this = that | np.isin(np.arange(300), np.flatnonzero(~that)[:30])
    found = compared(this, that, np.full(300, "EU"))["top1_accuracy"]
    assert found["this"] - found["that"] == pytest.approx(found["difference"]) == pytest.approx(0.1)
    # The spread is that of 30 in 300 photos, not that of two models apart.
    width = 2 * 1.96 * np.sqrt(0.1 * 0.9 / 300)
    assert 0 < found["low"] < 0.1 < found["high"]
    assert found["high"] - found["low"] == pytest.approx(width, rel=0.15)


def test_a_region_that_one_model_wins_shows_while_the_whole_does_not() -> None:
    regions = np.array(["EU_SW"] * 100 + ["EU"] * 100)
    first, last = np.arange(200) < 100, np.arange(200) >= 100
    this = np.where(first, np.arange(200) % 10 < 9, np.arange(200) % 10 < 5)
    that = np.where(last, np.arange(200) % 10 < 9, np.arange(200) % 10 < 5)
    found = compared(this, that, regions)
    assert found["by_region"]["EU_SW"]["top1"]["difference"] == pytest.approx(0.4)
    assert found["by_region"]["EU_SW"]["top1"]["low"] > 0 > found["by_region"]["EU"]["top1"]["high"]
    assert found["by_region"]["EU_SW"]["mcnemar"]["only_this"] == 40
    assert found["by_region"]["EU"]["num_examples"] == 100
    assert found["top1_accuracy"]["low"] < 0 < found["top1_accuracy"]["high"]
    assert found["mcnemar"]["p_value"] == 1.0


def test_a_model_beside_itself_has_no_difference_at_all() -> None:
    right = np.random.default_rng(0).uniform(size=50) < 0.7
    found = compared(right, right, np.full(50, ""))
    assert {found["top1_accuracy"][key] for key in ("difference", "low", "high")} == {0.0}
    assert found["by_region"] == {}
