"""The losses against SciPy, scikit-learn and formulas written out in NumPy."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray
from scipy.special import log_softmax, logsumexp, rel_entr, softmax
from sklearn.metrics import log_loss

from tfpipe.training.losses import LOSSES, HardLoss, SoftLabels, cross_entropy

Array = NDArray[np.float64]
BATCH = 5


def draw_logits(rng: np.random.Generator, num_classes: int, spread: float = 3.0) -> Array:
    """(BATCH, num_classes) float64 that float32 holds exactly, so that both sides see the same numbers."""
    return rng.normal(0, spread, (BATCH, num_classes)).astype(np.float32).astype(np.float64)


def best_classes(logits: Array, k: int) -> NDArray[np.int64]:
    """(BATCH, k), in no special order: the loss must not need one."""
    return np.sort(np.argpartition(-logits, k - 1, axis=-1)[:, :k], axis=-1)


def soft_labels(teacher_logits: Array, k: int, temperature: float) -> SoftLabels:
    """What a store would say of the teacher: ids, logits, and the log-mass of the rest."""
    ids = best_classes(teacher_logits, k)
    rest = teacher_logits.copy()
    np.put_along_axis(rest, ids, -np.inf, axis=-1)
    log_rest = logsumexp(rest / temperature, axis=-1) if k < rest.shape[-1] else np.full(BATCH, -np.inf)
    kept = np.take_along_axis(teacher_logits, ids, axis=-1)
    return SoftLabels(tf.constant(ids, tf.int32), tf.constant(kept, tf.float32), tf.constant(log_rest, tf.float32))


def kl_divergence(labels: SoftLabels, student: tf.Tensor, temperature: float) -> tf.Tensor:
    targets = tf.one_hot(tf.zeros(BATCH, tf.int32), student.shape[-1])
    return LOSSES["kl_divergence"].compute(labels, student, targets, temperature)


def sparse_loss(teacher_logits: Array, student_logits: Array, k: int, temperature: float) -> Array:
    labels = soft_labels(teacher_logits, k, temperature)
    return kl_divergence(labels, tf.constant(student_logits, tf.float32), temperature).numpy()


def gradient(loss: Callable[[tf.Tensor], tf.Tensor], student_logits: Array) -> Array:
    """Of the loss, summed over the batch, to the student's logits."""
    student = tf.constant(student_logits, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(student)
        total = tf.reduce_sum(loss(student))
    return tape.gradient(total, student).numpy()


def sparse_gradient(teacher_logits: Array, student_logits: Array, k: int, temperature: float) -> Array:
    labels = soft_labels(teacher_logits, k, temperature)
    return gradient(lambda student: kl_divergence(labels, student, temperature), student_logits)


def in_buckets(probs: Array, ids: NDArray[np.int64]) -> Array:
    """(BATCH, k + 1): the classes `ids`, and what is left summed one by one."""
    chosen = np.take_along_axis(probs, ids, axis=-1)
    rest = probs.copy()
    np.put_along_axis(rest, ids, 0, axis=-1)
    return np.concatenate([chosen, rest.sum(axis=-1, keepdims=True)], axis=-1)


@pytest.mark.parametrize(
    ("num_classes", "temperature"), [(2, 1.0), (6, 3.0), (40, 0.5), (100, 3.0), (1000, 7.5), (9000, 2.0)]
)
def test_with_all_classes_it_is_scipys_divergence_of_the_softened_distributions(
    num_classes: int, temperature: float
) -> None:
    rng = np.random.default_rng(num_classes)
    teacher, student = draw_logits(rng, num_classes), draw_logits(rng, num_classes)
    divergence = rel_entr(softmax(teacher / temperature, -1), softmax(student / temperature, -1)).sum(axis=-1)
    np.testing.assert_allclose(
        sparse_loss(teacher, student, num_classes, temperature), divergence * temperature**2, rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("seed", range(8))
def test_with_fewer_classes_it_is_the_divergence_over_k_plus_one_buckets(seed: int) -> None:
    rng = np.random.default_rng(seed)
    num_classes = int(np.exp(rng.uniform(np.log(3), np.log(9000))))
    k = int(rng.integers(1, num_classes))
    temperature = float(rng.uniform(0.5, 8))
    teacher, student = draw_logits(rng, num_classes), draw_logits(rng, num_classes)
    ids = best_classes(teacher, k)
    targets = in_buckets(softmax(teacher / temperature, -1), ids)
    buckets = in_buckets(softmax(student / temperature, -1), ids)
    expected = rel_entr(targets, buckets).sum(axis=-1) * temperature**2
    found = sparse_loss(teacher, student, k, temperature)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5, err_msg=f"{num_classes=} {k=} {temperature=}")


def test_by_hand_with_two_buckets() -> None:
    """Teacher (1/2, 1/4, 1/4) keeps one class; student (1/4, 1/4, 1/2): ½ ln 2 + ½ ln(2/3)."""
    teacher = np.log([[0.5, 0.25, 0.25]] * BATCH)
    student = np.log([[0.25, 0.25, 0.5]] * BATCH)
    expected = 0.5 * np.log(0.5 / 0.25) + 0.5 * np.log(0.5 / 0.75)
    np.testing.assert_allclose(sparse_loss(teacher, student, 1, 1.0), np.full(BATCH, expected), rtol=1e-5)


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_gradient_with_all_classes_equals_that_of_a_dense_loss(temperature: float) -> None:
    rng = np.random.default_rng(3)
    teacher, student = draw_logits(rng, 50), draw_logits(rng, 50)
    targets = tf.nn.softmax(tf.constant(teacher / temperature, tf.float32))

    def dense(student_logits: tf.Tensor) -> tf.Tensor:
        # Cross-entropy and divergence differ by the teacher's entropy, which has no gradient.
        return tf.nn.softmax_cross_entropy_with_logits(targets, student_logits / temperature) * temperature**2

    found = sparse_gradient(teacher, student, 50, temperature)
    np.testing.assert_allclose(found, gradient(dense, student), atol=1e-6)
    formula = temperature * (softmax(student / temperature, -1) - softmax(teacher / temperature, -1))
    np.testing.assert_allclose(found, formula, atol=1e-6)


def bucket_gradient(teacher: Array, student: Array, k: int, temperature: float) -> Array:
    """T (q_i - p_i) for a kept class; for another, q_j T (1 - P_rest / Q_rest), with q_j / Q_rest from logarithms."""
    ids = best_classes(teacher, k)
    log_q = log_softmax(student / temperature, -1)
    if k == log_q.shape[-1]:
        return temperature * (np.exp(log_q) - softmax(teacher / temperature, -1))
    others = log_q.copy()
    np.put_along_axis(others, ids, -np.inf, axis=-1)
    share_of_rest = np.exp(others - logsumexp(others, axis=-1, keepdims=True))
    p = softmax(teacher / temperature, -1)
    targets = in_buckets(p, ids)
    expected = np.exp(log_q) - share_of_rest * targets[:, -1:]
    np.put_along_axis(expected, ids, np.take_along_axis(np.exp(log_q) - p, ids, axis=-1), axis=-1)
    return temperature * expected


@pytest.mark.parametrize("spread", [1.0, 30.0, 1e4])
@pytest.mark.parametrize(("num_classes", "k"), [(12, 3), (12, 11), (900, 100), (12, 12)])
def test_gradient_keeps_to_the_formula_up_to_extreme_logits(num_classes: int, k: int, spread: float) -> None:
    rng = np.random.default_rng(5)
    teacher = np.clip(draw_logits(rng, num_classes, spread), -6e4, 6e4)
    student = draw_logits(rng, num_classes, spread)
    found = sparse_gradient(teacher, student, k, 3.0)
    assert np.isfinite(found).all()
    expected = bucket_gradient(teacher, student, k, 3.0)
    np.testing.assert_allclose(found, expected, atol=1e-5 if spread < 100 else 2e-3)


@pytest.mark.parametrize("k", [1, 7, 20])
def test_equal_distributions_are_no_distance_apart_and_pull_nowhere(k: int) -> None:
    logits = draw_logits(np.random.default_rng(1), 20)
    shifted = logits + 4.0  # the same distribution
    np.testing.assert_allclose(sparse_loss(logits, shifted, k, 3.0), np.zeros(BATCH), atol=1e-5)
    np.testing.assert_allclose(sparse_gradient(logits, shifted, k, 3.0), np.zeros((BATCH, 20)), atol=1e-5)


def test_divergence_is_positive_and_knows_teacher_from_student() -> None:
    rng = np.random.default_rng(2)
    teacher, student = draw_logits(rng, 30, 1.0), draw_logits(rng, 30, 4.0)
    forth, back = sparse_loss(teacher, student, 30, 1.0), sparse_loss(student, teacher, 30, 1.0)
    assert (forth > 0.1).all()
    assert (np.abs(forth - back) > 0.1).any()


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_weighted_teachers_pull_towards_the_weighted_mean_of_their_probabilities(temperature: float) -> None:
    rng = np.random.default_rng(7)
    teachers = [draw_logits(rng, 15) for _ in range(3)]
    student = draw_logits(rng, 15)
    weights = (0.5, 0.3, 0.2)
    summed = sum(
        w * sparse_gradient(teacher, student, 15, temperature) for w, teacher in zip(weights, teachers, strict=True)
    )
    mean = sum(w * softmax(teacher / temperature, -1) for w, teacher in zip(weights, teachers, strict=True))
    to_mean = sparse_gradient(np.log(mean) * temperature, student, 15, temperature)
    np.testing.assert_allclose(summed, to_mean, atol=2e-6)


def test_cross_entropy_of_labels_is_scikit_learns_log_loss() -> None:
    rng = np.random.default_rng(9)
    logits = draw_logits(rng, 12)
    labels = rng.integers(0, 12, BATCH)
    found = cross_entropy(tf.one_hot(labels, 12), tf.constant(logits, tf.float32)).numpy()
    assert found.shape == (BATCH,)
    assert found.mean() == pytest.approx(log_loss(labels, softmax(logits, -1), labels=np.arange(12)), rel=1e-5)


def test_cross_entropy_of_mixed_targets_is_the_mix_of_cross_entropies() -> None:
    rng = np.random.default_rng(10)
    logits, targets = draw_logits(rng, 12), rng.dirichlet(np.ones(12), BATCH)
    found = cross_entropy(tf.constant(targets, tf.float32), tf.constant(logits, tf.float32)).numpy()
    np.testing.assert_allclose(found, -(targets * log_softmax(logits, -1)).sum(axis=-1), rtol=1e-5)


def hard_loss(targets: Array, logits: Array, **settings: Any) -> float:
    losses = HardLoss(**settings)(tf.constant(targets, tf.float32), tf.constant(logits, tf.float32))
    assert losses.shape == (len(targets),)
    return float(tf.reduce_mean(losses))


@pytest.fixture
def one_hot_and_logits() -> tuple[Array, Array, NDArray[np.int64]]:
    rng = np.random.default_rng(11)
    labels = rng.integers(0, 6, BATCH)
    return np.eye(6)[labels], draw_logits(rng, 6), labels


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_without_corrections_the_hard_loss_is_keras_own(one_hot_and_logits: Any, smoothing: float) -> None:
    targets, logits, _ = one_hot_and_logits
    keras_loss = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=smoothing)
    expected = float(keras_loss(tf.constant(targets, tf.float32), tf.constant(logits, tf.float32)))
    assert hard_loss(targets, logits, label_smoothing=smoothing) == pytest.approx(expected, rel=1e-5)


def test_class_weights_multiply_each_examples_loss_by_its_classs_weight(one_hot_and_logits: Any) -> None:
    targets, logits, labels = one_hot_and_logits
    weights = np.array([0.5, 1.0, 2.0, 4.0, 0.1, 3.0])
    losses = [-weights[label] * log_softmax(row)[label] for label, row in zip(labels, logits, strict=True)]
    assert hard_loss(targets, logits, class_weights=weights) == pytest.approx(np.mean(losses), rel=1e-5)


def test_a_mixed_example_has_the_mix_of_its_classes_weights() -> None:
    targets = np.array([[0.25, 0.75]])
    found = hard_loss(targets, np.zeros((1, 2)), class_weights=np.array([4.0, 8.0]))
    assert found == pytest.approx((0.25 * 4 + 0.75 * 8) * np.log(2), rel=1e-5)


def test_smoothing_leaves_an_example_the_weight_of_its_own_class() -> None:
    weights = np.array([4.0, 100.0])
    found = hard_loss(np.array([[1.0, 0.0]]), np.zeros((1, 2)), class_weights=weights, label_smoothing=0.2)
    assert found == pytest.approx(4 * np.log(2), rel=1e-5)


def test_logit_adjustment_is_the_papers_pairwise_form(one_hot_and_logits: Any) -> None:
    """log(1 + Σ_y' (π_y' / π_y)^τ exp(f_y' - f_y)), Menon 2020, §5."""
    targets, logits, labels = one_hot_and_logits
    prior, strength = np.array([0.5, 0.2, 0.15, 0.1, 0.04, 0.01]), 1.5
    losses = [
        np.log(sum((prior[other] / prior[y]) ** strength * np.exp(f[other] - f[y]) for other in range(6)))
        for y, f in zip(labels, logits, strict=True)
    ]
    found = hard_loss(targets, logits, logit_offsets=strength * np.log(prior))
    assert found == pytest.approx(np.mean(losses), rel=1e-5)


def test_with_logit_adjustment_logits_without_a_signal_favour_no_class() -> None:
    """Offsets equal to the log prior make equal logits the best answer where only the prior is known."""
    prior = np.array([0.9, 0.08, 0.02])
    loss = HardLoss(logit_offsets=np.log(prior))
    logits = tf.Variable(np.zeros((1, 3), np.float32))
    with tf.GradientTape() as tape:
        value = loss(tf.constant(prior[None], tf.float32), logits)
    np.testing.assert_allclose(tape.gradient(value, logits), np.zeros((1, 3)), atol=1e-7)
