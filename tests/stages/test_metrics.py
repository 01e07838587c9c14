"""What `verify` measures, by hand."""

import numpy as np
import pytest

from tfpipe.stages.verify import agreement


def test_agreement_by_hand() -> None:
    expected = np.array([[0.7, 0.2, 0.1], [0.1, 0.5, 0.4]])
    found = np.array([[0.6, 0.2, 0.2], [0.1, 0.4, 0.5]])
    assert agreement(expected, found) == pytest.approx(
        {
            "max_probability_difference": 0.1,
            "mean_probability_difference": 0.4 / 6,
            "top1_agreement": 0.5,
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
