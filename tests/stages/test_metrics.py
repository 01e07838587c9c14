"""What `evaluate` and `verify` measure, against scikit-learn and by hand."""

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.metrics import log_loss, top_k_accuracy_score

from tfpipe.stages.evaluate import cross_entropy, top_k_accuracy
from tfpipe.stages.verify import agreement

EXAMPLES, CLASSES = 200, 12


@pytest.fixture(scope="module")
def logits() -> np.ndarray:
    return np.random.default_rng(0).normal(0, 3, (EXAMPLES, CLASSES)).astype(np.float32)


@pytest.fixture(scope="module")
def labels() -> np.ndarray:
    """Without the last two classes: a split need not have them all."""
    return np.random.default_rng(1).integers(0, CLASSES - 2, EXAMPLES)


@pytest.mark.parametrize("k", [1, 2, 5, CLASSES - 1])
def test_top_k_accuracy_is_scikit_learns(logits: np.ndarray, labels: np.ndarray, k: int) -> None:
    expected = top_k_accuracy_score(labels, logits, k=k, labels=np.arange(CLASSES))
    assert top_k_accuracy(logits, labels, k) == pytest.approx(expected)


def test_with_fewer_than_k_classes_every_answer_is_among_the_best() -> None:
    assert top_k_accuracy(np.array([[1.0, 2.0, 3.0]]), np.array([0]), 5) == 1.0


def test_a_tie_goes_to_the_first_class() -> None:
    """As argmax has it; a network that always says the same must not be right everywhere."""
    logits, labels = np.zeros((4, 4)), np.arange(4)
    assert top_k_accuracy(logits, labels, 1) == 0.25
    assert top_k_accuracy(logits, labels, 2) == 0.5


def test_cross_entropy_is_scikit_learns(logits: np.ndarray, labels: np.ndarray) -> None:
    expected = log_loss(labels, softmax(logits.astype(np.float64), axis=-1), labels=np.arange(CLASSES))
    assert cross_entropy(logits, labels) == pytest.approx(expected, rel=1e-5)


def test_cross_entropy_survives_logits_that_no_exponential_does() -> None:
    logits = np.array([[2000.0, 0.0], [0.0, -3000.0]], np.float32)
    assert cross_entropy(logits, np.array([1, 0])) == pytest.approx((2000 + 0) / 2)


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
