"""What `evaluate` and `baseline` measure, against scikit-learn and by hand."""

import numpy as np
import pytest
from sklearn.metrics import f1_score, precision_score, recall_score, top_k_accuracy_score

from tfpipe.core.settings import EvaluateSettings
from tfpipe.training.outcomes import judge
from tfpipe.training.scores import (
    macro_f1,
    per_bucket,
    per_class_accuracy,
    per_class_precision,
    per_region,
    score,
    weighted_f1,
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


def test_macro_f1_is_scikit_learns(logits: np.ndarray, labels: np.ndarray) -> None:
    answers = logits.argmax(axis=-1)
    assert macro_f1(answers, labels) == pytest.approx(f1_score(labels, answers, average="macro"))
    assert weighted_f1(answers, labels) == pytest.approx(f1_score(labels, answers, average="weighted"))
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
        {"top1_accuracy": 2 / 3, "macro_accuracy": 2 / 3, "num_classes": 1, "num_classes_below": 0, "num_examples": 3}
    )
    medium = {"top1_accuracy": 0.8, "macro_accuracy": 0.5, "num_classes": 2, "num_classes_below": 1, "num_examples": 5}
    assert buckets["medium"] == medium
    few = {"top1_accuracy": 0.5, "macro_accuracy": 0.5, "num_classes": 2, "num_classes_below": 1, "num_examples": 2}
    assert buckets["few"] == few


def test_limits_of_buckets_come_from_the_settings_and_an_empty_one_has_no_accuracy() -> None:
    settings = EvaluateSettings(many_above=5, few_below=3)
    buckets = per_bucket(np.array([True]), np.array([0]), np.array([6, 6]), settings)
    assert buckets["many"]["num_classes"] == 2
    assert buckets["medium"]["num_classes"] == buckets["few"]["num_examples"] == 0
    assert np.isnan(buckets["few"]["top1_accuracy"])


def test_a_score_has_it_all(logits: np.ndarray, labels: np.ndarray) -> None:
    regions = np.array(["EU", "", "US", "EU"])[np.arange(EXAMPLES) % 4]
    found = score(
        judge(logits, labels),
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
    recalls = recall_score(labels, answers, labels=np.unique(labels), average=None)
    assert found["num_classes_tested"] == CLASSES - 2
    assert found["num_classes_below"] == (recalls < 0.6).sum() > 0
    assert found["lowest_recall"] == pytest.approx(recalls.min())


def test_regions_have_what_the_plan_says_and_those_without_a_name_are_passed_over(
    logits: np.ndarray, labels: np.ndarray
) -> None:
    regions = np.array(["EU_SW", "", "US"])[np.arange(EXAMPLES) % 3]
    found = per_region(judge(logits, labels), regions)
    assert set(found) == {"EU_SW", "US"}
    inside = regions == "US"
    expected = [top_k_accuracy_score(labels[inside], logits[inside], k=k, labels=np.arange(CLASSES)) for k in (1, 5)]
    assert found["US"] == pytest.approx({"top1": expected[0], "top5": expected[1], "num_examples": 66})


def test_precision_of_a_class_is_scikit_learns(logits: np.ndarray, labels: np.ndarray) -> None:
    answers = logits.argmax(axis=-1)
    found = per_class_precision(answers == labels, answers, CLASSES)
    expected = precision_score(labels, answers, labels=np.arange(CLASSES), average=None, zero_division=np.nan)
    np.testing.assert_allclose(found, expected)
