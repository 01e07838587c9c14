"""What is kept of logits, against scikit-learn and SciPy, in one part and in many."""

import numpy as np
import pytest
from scipy.special import log_softmax, softmax
from sklearn.metrics import log_loss, top_k_accuracy_score

from tfpipe.training import outcomes
from tfpipe.training.outcomes import cross_entropy, judge, label_places, mean_log_probs, top_k_accuracy

EXAMPLES, CLASSES = 200, 12


@pytest.fixture
def logits() -> np.ndarray:
    return np.random.default_rng(0).normal(0, 3, (EXAMPLES, CLASSES)).astype(np.float32)


@pytest.fixture
def labels() -> np.ndarray:
    return np.random.default_rng(1).integers(0, CLASSES, EXAMPLES)


@pytest.fixture(params=[outcomes.CHUNK, 7 * CLASSES], ids=["in one part", "in many parts"])
def _chunk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outcomes, "CHUNK", request.param)


@pytest.mark.usefixtures("_chunk")
@pytest.mark.parametrize("k", [1, 2, 5, CLASSES - 1])
def test_top_k_accuracy_is_scikit_learns(logits: np.ndarray, labels: np.ndarray, k: int) -> None:
    expected = top_k_accuracy_score(labels, logits, k=k, labels=np.arange(CLASSES))
    assert top_k_accuracy(logits, labels, k) == pytest.approx(expected)


def test_with_fewer_than_k_classes_every_answer_is_among_the_best() -> None:
    assert top_k_accuracy(np.array([[1.0, 2.0, 3.0]]), np.array([0]), 5) == 1.0


def test_a_tie_goes_to_the_first_class() -> None:
    """As argmax has it; a network that always says the same must not be right everywhere."""
    logits, labels = np.zeros((4, 4)), np.arange(4)
    assert label_places(logits, labels).tolist() == [0, 1, 2, 3]
    assert top_k_accuracy(logits, labels, 2) == 0.5


def test_what_is_not_a_number_is_never_right() -> None:
    """Every comparison with it is false, and "no class is better" must not follow."""
    logits = np.array([[np.nan, np.nan, np.nan], [1.0, np.nan, 0.0], [np.nan, 1.0, 0.0]])
    assert (label_places(logits, np.array([1, 0, 0])) > 0).all()


@pytest.mark.usefixtures("_chunk")
def test_cross_entropy_is_scikit_learns(logits: np.ndarray, labels: np.ndarray) -> None:
    expected = log_loss(labels, softmax(logits.astype(np.float64), axis=-1), labels=np.arange(CLASSES))
    assert cross_entropy(logits, labels) == pytest.approx(expected, rel=1e-5)


def test_cross_entropy_survives_logits_that_no_exponential_does() -> None:
    logits = np.array([[2000.0, 0.0], [0.0, -3000.0]], np.float32)
    assert cross_entropy(logits, np.array([1, 0])) == pytest.approx((2000 + 0) / 2)


@pytest.mark.usefixtures("_chunk")
def test_outcomes_are_scipys_and_numpys(logits: np.ndarray, labels: np.ndarray) -> None:
    found = judge(logits, labels)
    probs = softmax(logits.astype(np.float64), axis=-1)
    order = np.argsort(-logits, axis=-1, kind="stable")
    np.testing.assert_array_equal(found.top_answers, order[:, :5])
    np.testing.assert_allclose(found.top_probs, np.take_along_axis(probs, order[:, :5], axis=-1), rtol=1e-5)
    np.testing.assert_allclose(found.losses, -np.log(probs[np.arange(EXAMPLES), labels]), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(found.places, (order == labels[:, None]).argmax(axis=-1))
    np.testing.assert_array_equal(found.right, logits.argmax(axis=-1) == labels)
    np.testing.assert_array_equal(found.confidences, found.top_probs[:, 0])


def test_top_answers_break_ties_as_the_places_do() -> None:
    logits = np.array([[0, 1, 1, 0, 1, 0, 1]], np.float32)
    found = [judge(logits, np.array([label])) for label in range(7)]
    assert found[0].top_answers.tolist() == [[1, 2, 4, 6, 0]]
    assert [outcome.places[0] for outcome in found] == [4, 0, 1, 5, 2, 6, 3]


def test_fewer_classes_than_five_have_fewer_answers() -> None:
    found = judge(np.array([[1.0, 3.0, 2.0]]), np.array([2]))
    assert found.top_answers.tolist() == [[1, 2, 0]]
    assert found.top_probs.sum() == pytest.approx(1.0)


def test_views_are_averaged_as_probabilities(logits: np.ndarray) -> None:
    views = np.stack([logits, 2 * logits, -logits])
    expected = np.log(softmax(views.astype(np.float64), axis=-1).mean(axis=0))
    np.testing.assert_allclose(mean_log_probs(views), expected, rtol=1e-5)


def test_a_view_that_is_sure_beyond_what_exponentials_hold_leaves_numbers() -> None:
    views = np.array([[[0.0, 4000.0]], [[0.0, 4000.0]]], np.float32)
    np.testing.assert_array_equal(mean_log_probs(views), [[-4000.0, 0.0]])
    np.testing.assert_allclose(mean_log_probs(views[:1]), log_softmax(views[0], axis=-1))
