"""What `evaluate` and `baseline` measure, against scikit-learn and by hand."""

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.metrics import f1_score, log_loss, recall_score, top_k_accuracy_score

from tfpipe.core.settings import EvaluateSettings
from tfpipe.training import scores
from tfpipe.training.scores import (
    cross_entropy,
    label_places,
    macro_f1,
    per_bucket,
    per_class_accuracy,
    score,
    top_k_accuracy,
)

EXAMPLES, CLASSES = 200, 12
NAMES = [f"class {number}" for number in range(CLASSES)]


@pytest.fixture
def logits() -> np.ndarray:
    return np.random.default_rng(0).normal(0, 3, (EXAMPLES, CLASSES)).astype(np.float32)


@pytest.fixture
def labels(logits: np.ndarray) -> np.ndarray:
    """Half of them right; without the last two classes: a split need not have them all."""
    drawn = np.random.default_rng(1).integers(0, CLASSES - 2, EXAMPLES)
    return np.where(np.arange(EXAMPLES) % 2, drawn, logits[:, :-2].argmax(axis=-1))


@pytest.fixture(params=[scores.CHUNK, 7 * CLASSES], ids=["in one part", "in many parts"])
def _chunk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scores, "CHUNK", request.param)


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


def test_macro_f1_is_scikit_learns(logits: np.ndarray, labels: np.ndarray) -> None:
    answers = logits.argmax(axis=-1)
    assert macro_f1(answers, labels) == pytest.approx(f1_score(labels, answers, average="macro"))
    few = answers[:5]
    expected = f1_score(labels[:5], few, average="macro", zero_division=0)
    assert macro_f1(few, labels[:5]) == pytest.approx(expected)


def test_accuracy_of_a_class_is_that_of_its_examples_and_of_an_absent_one_no_number() -> None:
    right, labels = np.array([True, False, True, True]), np.array([0, 0, 0, 2])
    np.testing.assert_array_equal(per_class_accuracy(right, labels, 3), [2 / 3, np.nan, 1])


def test_buckets_by_hand() -> None:
    """Sizes 101 (many), 100 and 20 (medium), 19 and 3 (few) at the usual limits; class 4 has no test example."""
    train_counts = np.array([101, 100, 20, 19, 3])
    labels = np.array([0, 0, 0, 1, 1, 1, 1, 2, 3, 3])
    right = np.array([1, 1, 0, 1, 1, 1, 1, 0, 1, 0], bool)
    buckets = per_bucket(right, labels, train_counts, EvaluateSettings())
    assert buckets["many"] == pytest.approx(
        {"top1_accuracy": 2 / 3, "macro_accuracy": 2 / 3, "num_classes": 1, "num_examples": 3}
    )
    assert buckets["medium"] == {"top1_accuracy": 0.8, "macro_accuracy": 0.5, "num_classes": 2, "num_examples": 5}
    assert buckets["few"] == {"top1_accuracy": 0.5, "macro_accuracy": 0.5, "num_classes": 2, "num_examples": 2}


def test_limits_of_buckets_come_from_the_settings_and_an_empty_one_has_no_accuracy() -> None:
    settings = EvaluateSettings(many_above=5, few_below=3)
    buckets = per_bucket(np.array([True]), np.array([0]), np.array([6, 6]), settings)
    assert buckets["many"]["num_classes"] == 2
    assert buckets["medium"]["num_classes"] == buckets["few"]["num_examples"] == 0
    assert np.isnan(buckets["few"]["top1_accuracy"])


def test_a_score_has_it_all(logits: np.ndarray, labels: np.ndarray) -> None:
    regions = np.array(["EU", "", "US", "EU"])[np.arange(EXAMPLES) % 4]
    found = score(
        logits,
        labels,
        regions=regions,
        classes=NAMES,
        train_counts=np.full(CLASSES, 50),
        settings=EvaluateSettings(),
    )
    answers = logits.argmax(axis=-1)
    assert found["num_examples"] == EXAMPLES
    assert found["top1_accuracy"] == pytest.approx((answers == labels).mean())
    assert found["top5_accuracy"] == pytest.approx(top_k_accuracy_score(labels, logits, k=5, labels=np.arange(CLASSES)))
    recall = recall_score(labels, answers, labels=np.unique(labels), average="macro")
    assert found["macro_accuracy"] == pytest.approx(recall)
    assert set(found["per_region"]) == {"EU", "US"}
    for region, accuracy in found["per_region"].items():
        assert accuracy == pytest.approx((answers == labels)[regions == region].mean())
    assert list(found["per_class"]) == NAMES[:-2]
    assert found["per_class"]["class 3"] == pytest.approx((answers == labels)[labels == 3].mean())
    assert found["per_bucket"]["medium"]["top1_accuracy"] == found["top1_accuracy"]
