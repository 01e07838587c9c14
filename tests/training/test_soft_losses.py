"""Every entry of `LOSSES`: what all must do, and each against its paper's formula in NumPy."""

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import get_args

import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray
from scipy.optimize import approx_fprime
from scipy.spatial.distance import jensenshannon
from scipy.special import logsumexp, rel_entr, softmax

from tfpipe.core.settings import SoftLoss
from tfpipe.training.losses import LOSSES, SMALLEST, SoftLabels
from tfpipe.training.losses.soft import INTER_WEIGHT, INTRA_WEIGHT, OTHERS_WEIGHT, TARGET_WEIGHT

BATCH = 6
Array = NDArray[np.float64]
Formula = Callable[[Array, Array, NDArray[np.int64], float], Array]
"""Teacher's and student's logits (batch, classes), labels (batch,), temperature → (batch,)."""

each_loss = pytest.mark.parametrize("name", LOSSES)
sparse_losses = [name for name, loss in LOSSES.items() if not loss.needs_all_classes]


def of_buckets(compare: Callable[[Array, Array], Array]) -> Formula:
    """A divergence of probabilities, softened and scaled."""
    return lambda teacher, student, labels, t: compare(softmax(teacher / t, -1), softmax(student / t, -1)) * t**2


def decoupled(teacher: Array, student: Array, labels: NDArray[np.int64], temperature: float) -> Array:
    """Zhao 2022, eqs. 1, 2 and 5 to 7, an example at a time."""
    losses = []
    for number, label in enumerate(labels):
        p, q = (softmax(side[number] / temperature) for side in (teacher, student))
        binary = rel_entr([p[label], 1 - p[label]], [q[label], 1 - q[label]]).sum()
        others = [softmax(np.delete(side[number], label) / temperature) for side in (teacher, student)]
        losses.append(TARGET_WEIGHT * binary + OTHERS_WEIGHT * rel_entr(*others).sum())
    return np.array(losses) * temperature**2


def correlated(teacher: Array, student: Array, labels: NDArray[np.int64], temperature: float) -> Array:
    """Huang 2022, with NumPy's correlation coefficient."""
    p, q = softmax(teacher / temperature, -1), softmax(student / temperature, -1)
    inter = np.array([1 - np.corrcoef(p[row], q[row])[0, 1] for row in range(len(p))])
    intra = np.mean([1 - np.corrcoef(p[:, column], q[:, column])[0, 1] for column in range(p.shape[1])])
    return (INTER_WEIGHT * inter + INTRA_WEIGHT * intra) * temperature**2


def standardized(teacher: Array, student: Array, labels: NDArray[np.int64], temperature: float) -> Array:
    """Sun 2024, algorithm 1."""
    sides = ((side - side.mean(-1, keepdims=True)) / side.std(-1, keepdims=True) for side in (teacher, student))
    p, q = (softmax(side / temperature, -1) for side in sides)
    return rel_entr(p, q).sum(axis=-1) * temperature**2


FORMULAS: dict[SoftLoss, Formula] = {
    "kl_divergence": of_buckets(lambda p, q: rel_entr(p, q).sum(axis=-1)),
    "reverse_kl": of_buckets(lambda p, q: rel_entr(q, p).sum(axis=-1)),
    "jensen_shannon": of_buckets(lambda p, q: jensenshannon(p, q, axis=-1) ** 2),
    "dkd": decoupled,
    "dist": correlated,
    "standardized_kl": standardized,
    "mse": lambda teacher, student, labels, temperature: ((teacher - student) ** 2).mean(axis=-1),
}


def draw(rng: np.random.Generator, num_classes: int, spread: float = 2.0) -> Array:
    return rng.normal(0, spread, (BATCH, num_classes)).astype(np.float32).astype(np.float64)


def as_labels(teacher: Array, *, ids: NDArray[np.int64] | None = None, temperature: float = 1.0) -> SoftLabels:
    """Dense, or what a store would say of the classes `ids` (BATCH, k)."""
    if ids is None:
        return SoftLabels(None, tf.constant(teacher, tf.float32), None)
    rest = teacher / temperature
    np.put_along_axis(rest, ids, -np.inf, axis=-1)
    log_rest = np.maximum(logsumexp(rest, axis=-1), SMALLEST)
    kept = np.take_along_axis(teacher, ids, axis=-1)
    return SoftLabels(tf.constant(ids, tf.int32), tf.constant(kept, tf.float32), tf.constant(log_rest, tf.float32))


def value_and_gradient(
    name: SoftLoss, labels: SoftLabels, student: Array, targets: Array, temperature: float
) -> tuple[Array, Array]:
    """Of the loss, and of its sum to the student's logits."""
    logits = tf.constant(student, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        losses = LOSSES[name].compute(labels, logits, tf.constant(targets, tf.float32), temperature)
    return losses.numpy(), tape.gradient(losses, logits).numpy()


def one_hot(classes: NDArray[np.int64], num_classes: int) -> Array:
    return np.eye(num_classes)[classes]


def kept_classes(rng: np.random.Generator, teacher: Array, k: int) -> NDArray[np.int64]:
    """(BATCH, k) best classes, in no special order."""
    return rng.permuted(np.argsort(-teacher, axis=-1)[:, :k], axis=-1)


def test_every_name_of_the_settings_has_a_loss_and_a_formula() -> None:
    assert set(get_args(SoftLoss)) == set(LOSSES) == set(FORMULAS)


@each_loss
@pytest.mark.parametrize(("num_classes", "temperature"), [(3, 1.0), (10, 3.0), (300, 2.0), (9000, 4.0)])
def test_with_all_classes_it_is_the_papers_formula(name: SoftLoss, num_classes: int, temperature: float) -> None:
    rng = np.random.default_rng(num_classes)
    teacher, student = draw(rng, num_classes), draw(rng, num_classes)
    classes = rng.integers(0, num_classes, BATCH)
    expected = FORMULAS[name](teacher, student, classes, temperature)
    targets = one_hot(classes, num_classes)
    dense, _ = value_and_gradient(name, as_labels(teacher), student, targets, temperature)
    assert dense.shape == (BATCH,)
    np.testing.assert_allclose(dense, expected, rtol=2e-4, atol=1e-5)


@each_loss
@pytest.mark.parametrize("seed", range(4))
def test_stored_with_all_classes_its_gradient_is_the_dense_one(name: SoftLoss, seed: int) -> None:
    rng = np.random.default_rng(seed)
    num_classes, temperature = int(np.exp(rng.uniform(np.log(3), np.log(9000)))), float(rng.uniform(1, 6))
    teacher, student = draw(rng, num_classes), draw(rng, num_classes)
    targets = one_hot(rng.integers(0, num_classes, BATCH), num_classes)
    stored = as_labels(teacher, ids=kept_classes(rng, teacher, num_classes), temperature=temperature)
    found = value_and_gradient(name, stored, student, targets, temperature)
    expected = value_and_gradient(name, as_labels(teacher), student, targets, temperature)
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-6)
    np.testing.assert_allclose(found[1], expected[1], atol=1e-6)


@pytest.mark.parametrize("name", sparse_losses)
@pytest.mark.parametrize("seed", range(4))
def test_with_fewer_classes_it_is_the_formula_over_k_plus_one_buckets(name: SoftLoss, seed: int) -> None:
    """Value and gradient: the buckets' logits are log-probabilities, the rest's their sum."""
    rng = np.random.default_rng(100 + seed)
    num_classes, temperature = int(np.exp(rng.uniform(np.log(4), np.log(9000)))), float(rng.uniform(1, 6))
    k = int(rng.integers(1, num_classes))
    teacher, student = draw(rng, num_classes), draw(rng, num_classes)
    ids, classes = kept_classes(rng, teacher, k), rng.integers(0, num_classes, BATCH)
    hits = ids == classes[:, None]
    buckets = np.where(hits.any(-1), hits.argmax(-1), k)

    def bucketed(logits: tf.Tensor) -> tf.Tensor:
        """float64 (BATCH, num_classes) → (BATCH, k + 1), the rest added up by a mask."""
        rest = tf.constant(1 - one_hot(ids, num_classes).sum(axis=1))
        probs = tf.nn.softmax(logits / temperature)
        summed = tf.reduce_sum(probs * rest, axis=-1, keepdims=True)
        return temperature * tf.math.log(tf.concat([tf.gather(probs, ids, batch_dims=1), summed], axis=-1))

    expected_value = FORMULAS[name](
        bucketed(tf.constant(teacher)).numpy(), bucketed(tf.constant(student)).numpy(), buckets, temperature
    )
    variable = tf.Variable(student)
    with tf.GradientTape() as tape:
        as_dense = SoftLabels(None, bucketed(tf.constant(teacher)), None)
        dense = LOSSES[name].compute(
            replace(as_dense, logits=tf.cast(as_dense.logits, tf.float32)),
            tf.cast(bucketed(variable), tf.float32),
            tf.constant(one_hot(buckets, k + 1), tf.float32),
            temperature,
        )
    expected_gradient = tape.gradient(dense, variable).numpy()
    stored = as_labels(teacher, ids=ids, temperature=temperature)
    losses, gradient = value_and_gradient(name, stored, student, one_hot(classes, num_classes), temperature)
    message = f"{num_classes=} {k=} {temperature=}"
    np.testing.assert_allclose(losses, expected_value, rtol=2e-4, atol=1e-5, err_msg=message)
    np.testing.assert_allclose(gradient, expected_gradient, atol=3e-6, err_msg=message)


@each_loss
def test_its_gradient_is_that_of_the_formula_by_finite_differences(name: SoftLoss) -> None:
    rng = np.random.default_rng(7)
    teacher, student, classes = draw(rng, 5), draw(rng, 5), rng.integers(0, 5, BATCH)

    def total(flat: Array) -> float:
        return float(FORMULAS[name](teacher, flat.reshape(BATCH, 5), classes, 2.0).sum())

    expected = approx_fprime(student.ravel(), total, 1e-6).reshape(BATCH, 5)
    _, gradient = value_and_gradient(name, as_labels(teacher), student, one_hot(classes, 5), 2.0)
    np.testing.assert_allclose(gradient, expected, atol=2e-4)


@each_loss
def test_a_student_that_says_what_the_teacher_says_is_at_the_minimum(name: SoftLoss) -> None:
    rng = np.random.default_rng(8)
    teacher, targets = draw(rng, 12), one_hot(rng.integers(0, 12, BATCH), 12)
    losses, gradient = value_and_gradient(name, as_labels(teacher), teacher, targets, 2.0)
    np.testing.assert_allclose(losses, 0, atol=2e-5)
    np.testing.assert_allclose(gradient, 0, atol=2e-5)
    away, _ = value_and_gradient(name, as_labels(teacher), teacher + draw(rng, 12), targets, 2.0)
    assert (away > 0.01).all()


@each_loss
def test_it_falls_as_the_student_moves_towards_the_teacher(name: SoftLoss) -> None:
    rng = np.random.default_rng(9)
    teacher, student, targets = draw(rng, 12), draw(rng, 12), one_hot(rng.integers(0, 12, BATCH), 12)
    sums = []
    for _ in range(20):
        losses, gradient = value_and_gradient(name, as_labels(teacher), student, targets, 2.0)
        sums.append(losses.sum())
        student = student - 0.05 * gradient / np.abs(gradient).max()
    assert all(later < earlier for earlier, later in pairwise(sums))
    assert sums[-1] < 0.95 * sums[0]


UNKNOWN = np.where(np.arange(12) % 3 == 0, SMALLEST, 0.0)
EXTREMES: dict[str, tuple[Array, Array]] = {
    "logits of ± 60": (
        60 * np.sign(draw(np.random.default_rng(1), 12)),
        60 * np.sign(-draw(np.random.default_rng(1), 12)),
    ),
    "one certain class each, another": (
        120 * one_hot(np.full(BATCH, 3), 12) - 60,
        120 * one_hot(np.full(BATCH, 5), 12) - 60,
    ),
    "identical": (60 * one_hot(np.arange(BATCH), 12), 60 * one_hot(np.arange(BATCH), 12)),
    "constant student": (draw(np.random.default_rng(2), 12), np.full((BATCH, 12), 3.0)),
    "constant teacher": (np.zeros((BATCH, 12)), draw(np.random.default_rng(2), 12)),
    "both constant": (np.zeros((BATCH, 12)), np.zeros((BATCH, 12))),
    "unknown classes": (draw(np.random.default_rng(3), 12) + UNKNOWN, draw(np.random.default_rng(4), 12)),
    "unknown classes that the student is sure of": (
        np.zeros((BATCH, 12)) + UNKNOWN,
        -60 * np.sign(UNKNOWN)[None] * np.ones((BATCH, 1)),
    ),
    "one known class": (
        np.tile(np.where(np.arange(12) == 4, 1.0, SMALLEST), (BATCH, 1)),
        draw(np.random.default_rng(5), 12),
    ),
}


@pytest.mark.parametrize("case", EXTREMES)
@pytest.mark.parametrize(
    ("name", "k"), [(name, k) for name in LOSSES for k in (None, 12, 3) if k != 3 or name in sparse_losses]
)
def test_extremes_give_numbers(name: SoftLoss, case: str, k: int | None) -> None:
    """Values and gradients are finite, the gradients no larger than the logits' distance explains."""
    teacher, student = EXTREMES[case]
    ids = None if k is None else kept_classes(np.random.default_rng(6), teacher, k)
    for temperature, label in ((0.5, 3), (3.0, 3), (0.5, 4), (3.0, 4)):
        labels, targets = as_labels(teacher, ids=ids, temperature=temperature), one_hot(np.full(BATCH, label), 12)
        losses, gradient = value_and_gradient(name, labels, student, targets, temperature)
        assert np.isfinite(losses).all()
        assert np.isfinite(gradient).all()
        assert (losses > -1e-3).all()
        assert losses.max() < 1e6
        assert np.abs(gradient).max() < 1e4


@each_loss
def test_classes_that_the_teacher_does_not_know_do_not_change_what_it_says_of_the_others(name: SoftLoss) -> None:
    """Where the student says nothing of them either, the loss is that of the known classes alone."""
    rng = np.random.default_rng(10)
    teacher, student, classes = draw(rng, 8), draw(rng, 8), rng.integers(0, 8, BATCH)
    wider = [
        np.concatenate([side, np.full((BATCH, 4), low)], axis=-1) for side, low in ((teacher, SMALLEST), (student, -80))
    ]
    found, _ = value_and_gradient(name, as_labels(wider[0]), wider[1], one_hot(classes, 12), 1.0)
    expected, _ = value_and_gradient(name, as_labels(teacher), student, one_hot(classes, 8), 1.0)
    if name == "dist":
        # Correlations are over all twelve classes, of which four have probability 0 and do not vary.
        padded = [np.concatenate([softmax(side, -1), np.zeros((BATCH, 4))], axis=-1) for side in (teacher, student)]
        inter = np.array([1 - np.corrcoef(p, q)[0, 1] for p, q in zip(*padded, strict=True)])
        intra = [1 - np.corrcoef(p, q)[0, 1] for p, q in zip(padded[0].T[:8], padded[1].T[:8], strict=True)]
        expected = INTER_WEIGHT * inter + INTRA_WEIGHT * np.mean([*intra, 1, 1, 1, 1])
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["kl_divergence", "mse"])
def test_several_teachers_pull_towards_what_the_table_says(name: SoftLoss) -> None:
    rng = np.random.default_rng(11)
    teachers, student = [draw(rng, 9) for _ in range(3)], draw(rng, 9)
    weights, targets = (0.5, 0.3, 0.2), one_hot(rng.integers(0, 9, BATCH), 9)
    pairs = [
        (w, value_and_gradient(name, as_labels(t), student, targets, 2.0))
        for w, t in zip(weights, teachers, strict=True)
    ]
    mixture = sum(w * softmax(t / 2, -1) for w, t in zip(weights, teachers, strict=True))
    mean_logits = sum(w * t for w, t in zip(weights, teachers, strict=True))
    combined = mean_logits if name == "mse" else 2 * np.log(mixture)
    value, gradient = value_and_gradient(name, as_labels(combined), student, targets, 2.0)
    np.testing.assert_allclose(sum(w * pair[1] for w, pair in pairs), gradient, atol=1e-5)
    assert sum(w * pair[0] for w, pair in pairs).sum() > value.sum()


def test_reverse_divergence_of_several_teachers_pulls_towards_their_geometric_mean() -> None:
    rng = np.random.default_rng(12)
    teachers, student = [draw(rng, 9) for _ in range(2)], draw(rng, 9)
    targets = one_hot(np.zeros(BATCH, int), 9)
    sides = [0.5 * value_and_gradient("reverse_kl", as_labels(t), student, targets, 1.0)[1] for t in teachers]
    _, expected = value_and_gradient("reverse_kl", as_labels((teachers[0] + teachers[1]) / 2), student, targets, 1.0)
    np.testing.assert_allclose(sides[0] + sides[1], expected, atol=1e-5)


def test_mse_is_twice_the_divergence_at_a_high_temperature() -> None:
    """Hinton 2015, eq. 4, for logits of mean 0."""
    rng = np.random.default_rng(13)
    teacher, student = (side - side.mean(-1, keepdims=True) for side in (draw(rng, 9, 1.0), draw(rng, 9, 1.0)))
    targets = one_hot(np.zeros(BATCH, int), 9)
    _, of_mse = value_and_gradient("mse", as_labels(teacher), student, targets, 3.0)
    _, of_kl = value_and_gradient("kl_divergence", as_labels(teacher), student, targets, 300.0)
    np.testing.assert_allclose(of_mse, 2 * of_kl, atol=5e-3)


def test_standardised_logits_leave_scale_and_offset_to_the_student() -> None:
    rng = np.random.default_rng(14)
    teacher, targets = draw(rng, 9), one_hot(np.zeros(BATCH, int), 9)
    losses, _ = value_and_gradient("standardized_kl", as_labels(teacher), 0.3 * teacher + 5, targets, 2.0)
    np.testing.assert_allclose(losses, 0, atol=1e-5)


def test_dkd_takes_the_larger_share_of_mixed_labels_for_the_target() -> None:
    rng = np.random.default_rng(15)
    teacher, student, classes = draw(rng, 9), draw(rng, 9), rng.integers(0, 9, BATCH)
    mixed = 0.7 * one_hot(classes, 9) + 0.3 * one_hot((classes + 1) % 9, 9)
    found, _ = value_and_gradient("dkd", as_labels(teacher), student, mixed, 2.0)
    np.testing.assert_allclose(found, decoupled(teacher, student, classes, 2.0), rtol=1e-4)


def test_dist_leaves_out_of_the_columns_where_a_teacher_has_no_say() -> None:
    rng = np.random.default_rng(16)
    teacher, student, classes = draw(rng, 9), draw(rng, 9), np.zeros(BATCH, int)
    speaks = np.array([1, 0, 1, 1, 0, 1])
    teacher[speaks == 0] = 0
    labels = replace(as_labels(teacher), speaks=tf.constant(speaks, tf.float32))
    found, gradient = value_and_gradient("dist", labels, student, one_hot(classes, 9), 2.0)
    expected = correlated(teacher[speaks == 1], student[speaks == 1], classes, 2.0)
    np.testing.assert_allclose(found[speaks == 1], expected, rtol=1e-4)
    silent = replace(labels, speaks=tf.zeros(BATCH))
    losses, gradient = value_and_gradient("dist", silent, student, one_hot(classes, 9), 2.0)
    assert np.isfinite(losses).all()
    assert np.isfinite(gradient).all()
