"""Teachers inside the training step: what they say is what stored labels say, and nothing of them is learned."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from small_runs import (
    BATCH,
    CLASSES,
    EPOCHS,
    FEATURES,
    ONE_DEVICE,
    Saves,
    batches_from,
    make_network,
    make_optimizer,
    make_plan,
    validation,
)

from tfpipe.core.settings import LossWeights
from tfpipe.training.distiller import Distiller
from tfpipe.training.fitting import fit
from tfpipe.training.live_teachers import LiveTeachers
from tfpipe.training.reproducible import make_reproducible

WIDE = FEATURES + 2
"""What the second teacher wants to see."""


def make_teachers() -> list[keras.Model]:
    """Dropout and batch norm in both, whose statistics say when they are in training."""
    teachers = []
    for seed, width in enumerate((FEATURES, WIDE)):
        keras.utils.set_random_seed(seed)
        network = make_network(num_features=width)
        network.layers[1].gamma.assign(np.linspace(0.5, 2, 16))
        network.layers[1].moving_mean.assign(np.linspace(-1, 1, 16))
        teachers.append(network)
    return teachers


def widened(features: tf.Tensor) -> tf.Tensor:
    """(batch, FEATURES) → (batch, WIDE)."""
    return tf.pad(features, ((0, 0), (0, WIDE - FEATURES)), constant_values=0.5)


def live_batches_from(first_epoch: int, first_step: int) -> tf.data.Dataset:
    def with_images(features: tf.Tensor, targets: tf.Tensor) -> tuple[tf.Tensor, dict[str, Any]]:
        features = tf.ensure_shape(features, (BATCH, FEATURES))
        weights = tf.tile([[0.7, 0.3]], (BATCH, 1))
        return features, {
            "targets": targets,
            "teacher_inputs": (features, widened(features)),
            "teacher_weights": weights,
        }

    return batches_from(first_epoch, first_step).map(with_images)


def stored_batches_from(teachers: list[keras.Model], temperatures: tuple[float, float]) -> Any:
    """The same labels, asked for beforehand, outside of any training."""
    ids = tf.tile(tf.range(CLASSES)[None, None], (BATCH, 2, 1))

    def with_labels(features: tf.Tensor, targets: dict[str, Any]) -> tuple[tf.Tensor, dict[str, Any]]:
        together = zip(teachers, targets["teacher_inputs"], temperatures, strict=True)
        logits = tf.stack([network(images, training=False) / warmth for network, images, warmth in together], axis=1)
        return features, {
            "targets": targets["targets"],
            "teacher_ids": ids,
            "teacher_logits": logits,
            "teacher_log_rest": tf.fill((BATCH, 2), -1e30),
            "teacher_weights": targets["teacher_weights"],
        }

    return lambda epoch, step: live_batches_from(epoch, step).map(with_labels)


def distill(folder: Path, batches: Any, save: Saves | None = None, **settings: Any) -> tuple[Distiller, Any]:
    make_reproducible(3, deterministic=True)
    distiller = Distiller(make_network(), loss="kl_divergence", temperature=2.0, loss_weights=LossWeights(), **settings)
    distiller(tf.zeros((1, FEATURES)))
    distiller.compile(make_optimizer(0.1))
    done = fit(distiller, batches, validation(), make_plan(folder), save or Saves(), ONE_DEVICE)
    return distiller, done


@pytest.mark.parametrize("accumulation_steps", [1, 2])
def test_live_labels_teach_what_stored_ones_do(tmp_path: Path, accumulation_steps: int) -> None:
    teachers, temperatures = make_teachers(), (1.0, 2.5)
    parts = {"accumulation_steps": accumulation_steps}
    stored, expected = distill(tmp_path / "stored", stored_batches_from(teachers, temperatures), **parts)
    live = LiveTeachers(teachers, temperatures)
    found, done = distill(tmp_path / "live", live_batches_from, teachers=live, **parts)
    for name in ("loss", "soft_loss", "val_loss"):
        told, wanted = ([epoch[name] for epoch in run.history] for run in (done, expected))
        np.testing.assert_allclose(told, wanted, rtol=1e-4, err_msg=name)
    for weight, other in zip(found.network.get_weights(), stored.network.get_weights(), strict=True):
        np.testing.assert_allclose(weight, other, atol=1e-4)


def test_teachers_neither_learn_nor_count_as_the_learners_own(tmp_path: Path) -> None:
    teachers = make_teachers()
    before = [network.get_weights() for network in teachers]
    distiller, _ = distill(tmp_path / "live", live_batches_from, teachers=LiveTeachers(teachers, (1.0, 1.0)))
    for network, weights in zip(teachers, before, strict=True):
        for found, expected in zip(network.get_weights(), weights, strict=True):
            np.testing.assert_array_equal(found, expected)
    of_teachers = {id(variable) for network in teachers for variable in network.variables}
    known = [*distiller.variables, *distiller.trainable_variables, *distiller.optimizer._trainable_variables]
    assert not of_teachers & {id(variable) for variable in known}
    alone, _ = distill(tmp_path / "stored", stored_batches_from(teachers, (1.0, 1.0)))
    assert [v.shape for v in distiller.variables] == [v.shape for v in alone.variables]
    sizes = [(tmp_path / kind / "teach.state").read_bytes().partition(b"\n")[2] for kind in ("live", "stored")]
    assert len(sizes[0]) == len(sizes[1])


def test_an_interrupted_distillation_with_live_teachers_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    live = LiveTeachers(make_teachers(), (1.0, 1.0))
    whole, expected = distill(tmp_path / "whole", live_batches_from, teachers=live)
    with pytest.raises(KeyboardInterrupt):
        distill(tmp_path / "cut", live_batches_from, Saves("teach-003.keras"), teachers=live)
    resumed, done = distill(tmp_path / "cut", live_batches_from, teachers=live)
    assert done == expected
    assert done.epoch == EPOCHS
    for found, weight in zip(resumed.network.get_weights(), whole.network.get_weights(), strict=True):
        np.testing.assert_array_equal(found, weight)


def test_teachers_keep_their_precision_while_the_student_has_another() -> None:
    teachers = make_teachers()
    images = tf.random.stateless_normal((BATCH, FEATURES), (1, 2))
    expected = teachers[0](images, training=False).numpy()
    make_reproducible(3, deterministic=True, precision="bfloat16")
    try:
        distiller = Distiller(
            make_network(),
            loss="kl_divergence",
            temperature=2.0,
            loss_weights=LossWeights(),
            teachers=LiveTeachers(teachers, (2.0, 1.0)),
        )
        (first, _) = distiller.teachers((images, widened(images)))
    finally:
        make_reproducible(3, deterministic=True)
    assert first.ids is None
    assert first.log_rest is None
    np.testing.assert_allclose(first.logits, expected / 2, rtol=1e-6)
