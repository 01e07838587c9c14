"""The distiller: who is teacher, who is student, and how much each loss and teacher counts."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.special import log_softmax, rel_entr, softmax
from sklearn.metrics import log_loss

from tfpipe.core.settings import LossWeights, SoftLoss
from tfpipe.training.distiller import Distiller, Teachers
from tfpipe.training.losses import LOSSES, SoftLabels

CLASSES, EXAMPLES, BATCH = 7, 12, 4
TEMPERATURE = 2.0
Labels = dict[str, np.ndarray]


def make_student(*, num_classes: int = CLASSES) -> keras.Model:
    keras.utils.set_random_seed(4)
    return keras.Sequential(
        [
            keras.Input((4, 4, 3)),
            keras.layers.Flatten(),
            keras.layers.Dense(num_classes, kernel_initializer=keras.initializers.RandomNormal(stddev=1.0, seed=1)),
        ]
    )


def make_images() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(EXAMPLES, 4, 4, 3)).astype(np.float32)


def make_labels(*, teachers: int = 2) -> Labels:
    """All classes kept, in another order for each example, as a store would have them."""
    rng = np.random.default_rng(1)
    logits = rng.normal(0, 2, (EXAMPLES, teachers, CLASSES)).astype(np.float32)
    ids = np.argsort(-logits, axis=-1).astype(np.int32)
    return {
        "targets": np.eye(CLASSES, dtype=np.float32)[rng.integers(0, CLASSES, EXAMPLES)],
        "teacher_ids": ids,
        "teacher_logits": np.take_along_axis(logits, ids, axis=-1),
        "teacher_log_rest": np.full((EXAMPLES, teachers), -np.inf, np.float32),
        "teacher_weights": rng.dirichlet(np.ones(teachers), EXAMPLES).astype(np.float32),
    }


def dense_teachers(labels: Labels) -> np.ndarray:
    """(EXAMPLES, teachers, CLASSES) logits, back in the order of the classes."""
    dense = np.zeros(labels["teacher_logits"].shape)
    np.put_along_axis(dense, labels["teacher_ids"], labels["teacher_logits"], axis=-1)
    return dense


def soft_losses(labels: Labels, student_logits: np.ndarray, temperature: float = TEMPERATURE) -> np.ndarray:
    """(EXAMPLES,): Σ_t w_t KL(teacher_t ‖ student) T², by SciPy."""
    targets = softmax(dense_teachers(labels) / temperature, axis=-1)
    student = softmax(student_logits.astype(np.float64) / temperature, axis=-1)[:, None]
    divergences = rel_entr(targets, student).sum(axis=-1) * temperature**2
    return (labels["teacher_weights"] * divergences).sum(axis=-1)


def batches(images: np.ndarray, labels: Labels) -> tf.data.Dataset:
    return tf.data.Dataset.from_tensor_slices((images, labels)).batch(BATCH, drop_remainder=True)


def make_distiller(
    student: keras.Model,
    *,
    loss: SoftLoss = "kl_divergence",
    kl: float = 0.7,
    ce: float = 0.3,
    temperature: float = TEMPERATURE,
    teachers: Teachers | None = None,
) -> Distiller:
    weights = LossWeights(kl_divergence=kl, cross_entropy=ce)
    distiller = Distiller(student, loss=loss, temperature=temperature, loss_weights=weights, teachers=teachers)
    distiller(tf.zeros((1, 4, 4, 3)))
    distiller.compile(optimizer=keras.optimizers.SGD(0.1))
    return distiller


def evaluate(distiller: Distiller, labels: Labels) -> dict[str, float]:
    return distiller.evaluate(batches(make_images(), labels), return_dict=True, verbose=0)


def test_soft_loss_takes_the_teacher_from_the_batch_and_the_student_from_the_model() -> None:
    student, labels = make_student(), make_labels()
    logs = evaluate(make_distiller(student), labels)
    logits = student(make_images()).numpy()
    expected = soft_losses(labels, logits).mean()
    assert logs["soft_loss"] == pytest.approx(expected, rel=1e-5)
    swapped = rel_entr(
        softmax(logits / TEMPERATURE, -1)[:, None], softmax(dense_teachers(labels) / TEMPERATURE, -1)
    ).sum(axis=-1)
    swapped_loss = (labels["teacher_weights"] * swapped).sum(axis=-1).mean() * TEMPERATURE**2
    assert abs(swapped_loss - expected) > 0.1  # so that the line above tells the two apart


def test_hard_loss_and_accuracies_are_the_students_on_the_labels() -> None:
    student, labels = make_student(), make_labels()
    logs = evaluate(make_distiller(student), labels)
    logits, truth = student(make_images()).numpy(), labels["targets"].argmax(-1)
    hard = log_loss(truth, softmax(logits.astype(np.float64), -1), labels=np.arange(CLASSES))
    assert logs["hard_loss"] == pytest.approx(hard, rel=1e-5)
    places = (logits > logits[np.arange(EXAMPLES), truth][:, None]).sum(axis=-1)
    assert logs["top1"] == pytest.approx((places < 1).mean())
    assert logs["top5"] == pytest.approx((places < 5).mean())
    assert set(logs) == {"loss", "soft_loss", "hard_loss", "top1", "top5"}


@pytest.mark.parametrize(("kl", "ce"), [(0.7, 0.3), (1.0, 0.0), (0.0, 1.0), (2.0, 5.0)])
def test_loss_is_the_weighted_sum_of_both(kl: float, ce: float) -> None:
    student, labels = make_student(), make_labels()
    logs = evaluate(make_distiller(student, kl=kl, ce=ce), labels)
    logits = student(make_images()).numpy()
    hard = -(labels["targets"] * log_softmax(logits, -1)).sum(-1).mean()
    assert logs["loss"] == pytest.approx(kl * soft_losses(labels, logits).mean() + ce * hard, rel=1e-5)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_temperature_softens_both_sides(temperature: float) -> None:
    student, labels = make_student(), make_labels()
    logs = evaluate(make_distiller(student, temperature=temperature), labels)
    expected = soft_losses(labels, student(make_images()).numpy(), temperature).mean()
    assert logs["soft_loss"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("kept", [CLASSES, 3])
def test_a_teacher_that_has_no_say_changes_nothing_whatever_stands_in_its_record(kept: int) -> None:
    """`label` writes zeros where a region filter silences a teacher: ids all 0, log-mass 0."""
    labels = {name: values[..., :kept] if values.ndim == 3 else values for name, values in make_labels().items()}
    labels["teacher_log_rest"] = np.full((EXAMPLES, 2), -1.0 if kept < CLASSES else -np.inf, np.float32)
    labels["teacher_weights"] = np.tile(np.float32([1, 0]), (EXAMPLES, 1))
    first_only = {name: values[:, :1] if name != "targets" else values for name, values in labels.items()}
    silenced = {name: values.copy() for name, values in labels.items()}
    for name in ("teacher_ids", "teacher_logits", "teacher_log_rest"):
        silenced[name][:, 1] = 0

    logs, kernels = [], []
    for shown in (first_only, silenced):
        distiller = make_distiller(make_student())
        logs.append(distiller.fit(batches(make_images(), shown), verbose=0, shuffle=False).history)
        kernels.append(distiller.network.get_weights()[0])
    assert not np.isnan(kernels[0]).any()
    np.testing.assert_allclose(kernels[1], kernels[0], atol=1e-6)
    assert logs[1]["soft_loss"] == pytest.approx(logs[0]["soft_loss"], rel=1e-6)


def test_one_step_of_training_is_the_gradient_of_the_formula() -> None:
    images, labels = make_images()[:BATCH], {name: values[:BATCH] for name, values in make_labels().items()}
    student = make_student()
    before = [weight.copy() for weight in student.get_weights()]
    make_distiller(student).fit(batches(images, labels), verbose=0, shuffle=False)

    kernel, bias = (tf.Variable(weight) for weight in before)
    soft_targets = tf.nn.softmax(tf.constant(dense_teachers(labels) / TEMPERATURE, tf.float32))
    with tf.GradientTape() as tape:
        logits = tf.reshape(images, (BATCH, -1)) @ kernel + bias
        log_student = tf.nn.log_softmax(logits / TEMPERATURE)[:, None]
        divergences = tf.reduce_sum(soft_targets * (tf.math.log(soft_targets) - log_student), axis=-1)
        soft = tf.reduce_sum(labels["teacher_weights"] * divergences, axis=-1) * TEMPERATURE**2
        hard = tf.nn.softmax_cross_entropy_with_logits(labels["targets"], logits)
        loss = tf.reduce_mean(0.7 * soft + 0.3 * hard)
    steps = [0.1 * gradient for gradient in tape.gradient(loss, [kernel, bias])]
    for after, start, step in zip(student.get_weights(), before, steps, strict=True):
        assert np.abs(step).max() > 1e-3
        np.testing.assert_allclose(after, start - step, atol=1e-6)


def test_dropout_is_on_in_training_and_off_in_evaluation() -> None:
    student = keras.Sequential([keras.Input((4, 4, 3)), keras.layers.Flatten(), keras.layers.Dropout(0.9, seed=1)])
    student.add(keras.layers.Dense(CLASSES))
    distiller, labels = make_distiller(student), make_labels()
    expected = soft_losses(labels, student(make_images(), training=False).numpy()).mean()
    assert evaluate(distiller, labels)["soft_loss"] == pytest.approx(expected, rel=1e-5)
    dropped = [distiller(make_images(), training=True).numpy() for _ in range(2)]
    assert np.abs(dropped[0] - dropped[1]).max() > 0.01


def live(labels: Labels, images: np.ndarray) -> tf.data.Dataset:
    """Batches with images for two teachers in place of what they said."""
    shown = {name: labels[name] for name in ("targets", "teacher_weights")} | {"teacher_inputs": (images, -images)}
    return tf.data.Dataset.from_tensor_slices((images, shown)).batch(BATCH, drop_remainder=True)


def test_live_teachers_are_asked_about_the_images_meant_for_each() -> None:
    images, student = make_images(), make_student()
    kernel = np.random.default_rng(5).normal(size=(48, CLASSES)).astype(np.float32)

    def say(shown: tuple[tf.Tensor, ...]) -> list[SoftLabels]:
        return [SoftLabels(None, tf.reshape(batch, (-1, 48)) @ kernel, None) for batch in shown]

    labels = make_labels()
    logits = np.stack([side.reshape(EXAMPLES, -1) @ kernel for side in (images, -images)], axis=1)
    labels |= {"teacher_ids": np.tile(np.arange(CLASSES), (EXAMPLES, 2, 1)), "teacher_logits": logits}
    logs = make_distiller(student, teachers=say).evaluate(live(labels, images), return_dict=True, verbose=0)
    expected = soft_losses(labels, student(images).numpy()).mean()
    assert logs["soft_loss"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_trains_and_is_weighed_by_teacher_and_example(loss: SoftLoss) -> None:
    student, labels = make_student(), make_labels()
    logits = student(make_images()).numpy()
    expected = []
    for first in range(0, EXAMPLES, BATCH):
        part = {name: values[first : first + BATCH] for name, values in labels.items()}
        for number in range(2):
            said = SoftLabels(None, tf.constant(dense_teachers(part)[:, number], tf.float32), None)
            losses = LOSSES[loss].compute(said, logits[first : first + BATCH], part["targets"], TEMPERATURE)
            expected.append(part["teacher_weights"][:, number] * losses)
    distiller = make_distiller(student, loss=loss, kl=1.0, ce=0.0)
    assert evaluate(distiller, labels)["loss"] == pytest.approx(np.sum(expected) / EXAMPLES, rel=1e-4)
    distiller.optimizer.learning_rate = 1e-3
    history = distiller.fit(batches(make_images(), labels), epochs=5, verbose=0, shuffle=False).history
    assert history["loss"][-1] < history["loss"][0]


def test_a_soft_loss_without_weight_is_neither_computed_nor_told() -> None:
    def fail(shown: tuple[tf.Tensor, ...]) -> list[SoftLabels]:
        raise AssertionError("asked")

    distiller = make_distiller(make_student(), kl=0.0, ce=1.0, teachers=fail)
    logs = distiller.evaluate(live(make_labels(), make_images()), return_dict=True, verbose=0)
    assert "soft_loss" not in logs
    assert logs["loss"] == pytest.approx(logs["hard_loss"])


def test_a_loss_over_the_batch_is_that_of_each_part_where_a_batch_is_worked_through_in_parts() -> None:
    """DIST correlates columns within a part; the parts' gradients add up to the mean over examples."""
    images, labels = make_images()[:8], {name: values[:8] for name, values in make_labels(teachers=1).items()}
    student = make_student()
    kernel, bias = (tf.Variable(weight) for weight in student.get_weights())
    weights = LossWeights(kl_divergence=1.0, cross_entropy=0.0)
    distiller = Distiller(student, loss="dist", temperature=1.0, loss_weights=weights, accumulation_steps=2)
    distiller(tf.zeros((1, 4, 4, 3)))
    distiller.compile(optimizer=keras.optimizers.SGD(0.1))
    distiller.fit(tf.data.Dataset.from_tensor_slices((images, labels)).batch(8), verbose=0, shuffle=False)

    dense = tf.constant(dense_teachers(labels)[:, 0], tf.float32)
    with tf.GradientTape() as tape:
        logits = tf.reshape(images, (8, -1)) @ kernel + bias
        parts = [
            LOSSES["dist"].compute(SoftLabels(None, dense[part], None), logits[part], labels["targets"][part], 1.0)
            for part in (slice(4), slice(4, 8))
        ]
        loss = tf.reduce_mean(tf.concat(parts, axis=0))
    gradients = tape.gradient(loss, [kernel, bias])
    for after, before, gradient in zip(student.get_weights(), (kernel, bias), gradients, strict=True):
        np.testing.assert_allclose(after, before - 0.1 * gradient, atol=1e-6)
