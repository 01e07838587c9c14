"""Reliability: a case by hand, and a model that is as right as it is sure."""

import numpy as np
import pytest

from tfpipe.training.reliability import reliability


def test_five_answers_by_hand() -> None:
    """Bins of a fifth: (0.2, 0.4] has two, one of them right; (0.8, 1] has three, all of them right."""
    found = reliability(np.array([0.3, 0.4, 0.9, 1.0, 0.95]), np.array([True, False, True, True, True]), num_bins=5)
    assert [each["count"] for each in found["bins"]] == [0, 2, 0, 0, 3]
    assert found["bins"][1]["accuracy"] == 0.5
    assert found["bins"][1]["confidence"] == pytest.approx(0.35)
    assert (found["bins"][1]["low"], found["bins"][1]["high"]) == pytest.approx((0.2, 0.4))
    assert found["ece"] == pytest.approx(2 / 5 * 0.15 + 3 / 5 * 0.05)
    assert found["mce"] == pytest.approx(0.15)
    assert found["mean_confidence"] == pytest.approx(0.71)
    assert found["bins"][0]["accuracy"] is found["bins"][0]["confidence"] is None


def test_there_are_fifteen_bins_and_their_ends_belong_to_the_outer_ones() -> None:
    found = reliability(np.array([0.0, 1.0]), np.array([False, True]))
    assert [each["count"] for each in found["bins"]] == [1, *[0] * 13, 1]
    assert found["ece"] == 0.0


def test_a_model_that_is_as_right_as_it_is_sure_has_next_to_no_error() -> None:
    rng = np.random.default_rng(0)
    confidences = rng.uniform(0.2, 1, 200_000)
    right = rng.uniform(size=len(confidences)) < confidences
    assert reliability(confidences, right)["ece"] < 0.005
    assert reliability(confidences, rng.uniform(size=len(right)) < confidences - 0.1)["ece"] == pytest.approx(
        0.1, abs=0.005
    )
