"""Features of a live teacher: how far off the student's are, and that the map between them learns and stays."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from small_runs import (
    BATCH,
    CLASSES,
    FEATURES,
    ONE_DEVICE,
    Saves,
    batches_from,
    make_optimizer,
    make_plan,
    saved_weights,
    validation,
)

from tfpipe.core.settings import LossWeights
from tfpipe.training.distiller import Distiller
from tfpipe.training.feature_distiller import FeatureDistiller, relative_distance
from tfpipe.training.fitting import fit
from tfpipe.training.live_teachers import LiveTeachers
from tfpipe.training.reproducible import make_reproducible

WEIGHT = 0.7


def make_network(width: int, seed: int) -> keras.Model:
    keras.utils.set_random_seed(seed)
    return keras.Sequential(
        [
            keras.Input((FEATURES,)),
            keras.layers.Dense(width, activation="relu", name="pool"),
            keras.layers.Dropout(0.2, seed=1),
            keras.layers.Dense(CLASSES),
        ]
    )


def make_teachers() -> LiveTeachers:
    return LiveTeachers([make_network(20, 1), make_network(5, 2)], (1.0, 1.5))


def live_batches_from(first_epoch: int, first_step: int) -> tf.data.Dataset:
    """The first teacher has no say on the first example of each batch."""
    weights = np.tile(np.float32([0.7, 0.3]), (BATCH, 1))
    weights[0] = 0, 1

    def with_images(features: tf.Tensor, targets: tf.Tensor) -> tuple[tf.Tensor, dict[str, Any]]:
        features = tf.ensure_shape(features, (BATCH, FEATURES))
        return features, {"targets": targets, "teacher_inputs": (features, 2 * features), "teacher_weights": weights}

    return batches_from(first_epoch, first_step).map(with_images)


def make_distiller(teachers: LiveTeachers, student: keras.Model) -> FeatureDistiller:
    distiller = FeatureDistiller(
        student,
        teachers=teachers,
        feature_weight=WEIGHT,
        seed=1,
        loss="kl_divergence",
        temperature=2.0,
        loss_weights=LossWeights(),
    )
    distiller(tf.zeros((1, FEATURES)))
    distiller.compile(make_optimizer(0.05))
    return distiller


def test_the_distance_is_relative_to_the_teachers_features() -> None:
    rng = np.random.default_rng(0)
    teacher, mapped = rng.normal(size=(2, 6, 9)).astype(np.float32)
    expected = np.linalg.norm(mapped - teacher, axis=1) ** 2 / np.linalg.norm(teacher, axis=1) ** 2
    np.testing.assert_allclose(relative_distance(teacher, mapped), expected, rtol=1e-5)
    np.testing.assert_allclose(relative_distance(100 * teacher, 100 * mapped), expected, rtol=1e-5)
    twice = [np.concatenate([features, features], axis=1) for features in (teacher, mapped)]
    np.testing.assert_allclose(relative_distance(*twice), expected, rtol=1e-5)
    np.testing.assert_allclose(relative_distance(teacher, np.zeros_like(teacher)), 1, rtol=1e-5)


def test_the_loss_is_the_distillers_and_the_weighted_distance_where_the_first_teacher_speaks() -> None:
    teachers, student = make_teachers(), make_network(7, 3)
    distiller = make_distiller(teachers, student)
    plain = Distiller(student, loss="kl_divergence", temperature=2.0, loss_weights=LossWeights(), teachers=teachers)
    plain.compile()
    batches = live_batches_from(0, 0)
    logs = distiller.evaluate(batches, return_dict=True, verbose=0)
    expected = plain.evaluate(batches, return_dict=True, verbose=0)
    distances = []
    for features, targets in batches:
        kernels = [network.get_layer("pool").kernel.numpy() for network in (student, teachers.networks[0])]
        own, wanted = (np.maximum(features.numpy() @ kernel, 0) for kernel in kernels)
        mapped = own @ distiller.feature_map.kernel.numpy()
        distance = ((mapped - wanted) ** 2).sum(1) / (wanted**2).sum(1)
        distances.append(np.where(targets["teacher_weights"][:, 0] > 0, distance, 0))
    assert logs["feature_loss"] == pytest.approx(np.mean(distances), rel=1e-4)
    assert logs["soft_loss"] == pytest.approx(expected["soft_loss"], rel=1e-5)
    assert logs["loss"] == pytest.approx(expected["loss"] + WEIGHT * np.mean(distances), rel=1e-4)


def test_a_resumed_run_has_its_map_back_and_the_saved_student_has_none(tmp_path: Path) -> None:
    def run(folder: Path, save: Saves) -> Any:
        make_reproducible(3, deterministic=True)
        teachers, student = make_teachers(), make_network(7, 3)
        distiller = make_distiller(teachers, student)
        first = distiller.feature_map.kernel.numpy()
        done = fit(distiller, live_batches_from, validation(), make_plan(folder), save, ONE_DEVICE)
        return done, student.get_weights(), first, distiller.feature_map.kernel.numpy()

    expected, weights, first, kernel = run(tmp_path / "whole", Saves())
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut", Saves("teach-003.keras"))
    done, found, _, resumed = run(tmp_path / "cut", Saves())
    assert done == expected
    for one, other in zip([*found, resumed], [*weights, kernel], strict=True):
        np.testing.assert_array_equal(one, other)
    assert np.abs(kernel - first).max() > 0.01
    losses = [epoch["feature_loss"] for epoch in done.history]
    assert losses[-1] < 0.9 * losses[0]
    saved = saved_weights(tmp_path / "whole" / "checkpoints" / "teach-004.keras")
    assert [weight.shape for weight in saved] == [weight.shape for weight in weights]
