"""Runs of a tiny network on made data, in a second or two."""

import csv
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfpipe.core.settings import LossWeights, TrainingSettings
from tfpipe.training.checkpoints import Checkpoints, Progress
from tfpipe.training.distiller import Distiller
from tfpipe.training.fitting import FitPlan, fit
from tfpipe.training.learner import Classifier
from tfpipe.training.losses import HardLoss
from tfpipe.training.optimizers import build_optimizer
from tfpipe.training.reproducible import make_reproducible

CLASSES, FEATURES, BATCH, STEPS, EPOCHS = 8, 6, 8, 4, 4
EXAMPLES = BATCH * STEPS
ONE_DEVICE = tf.distribute.get_strategy()
SEED = 3  # of a run whose validation rises, then falls
Weights = list[np.ndarray]


def make_data(seed: int, count: int = EXAMPLES) -> tuple[np.ndarray, np.ndarray]:
    """Features, and labels that follow from them but for some noise, so that validation rises and falls."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(count, FEATURES)).astype(np.float32)
    towards = np.random.default_rng(0).normal(size=(FEATURES, CLASSES))
    labels = (features @ towards + rng.normal(0, 1, (count, CLASSES))).argmax(axis=-1)
    return features, np.eye(CLASSES, dtype=np.float32)[labels]


def batches_from(first_epoch: int, first_step: int) -> tf.data.Dataset:
    """Each epoch in its own order, whatever the epoch and step a run begins with."""
    features, targets = make_data(1)
    orders = [np.random.default_rng(epoch).permutation(EXAMPLES) for epoch in range(first_epoch, EPOCHS)]
    order = np.concatenate(orders)[first_step * BATCH :]
    return tf.data.Dataset.from_tensor_slices((features[order], targets[order])).batch(BATCH)


def soft_batches_from(first_epoch: int, first_step: int) -> tf.data.Dataset:
    def with_teacher(features: tf.Tensor, targets: tf.Tensor) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        ids = tf.tile(tf.range(CLASSES)[None, None], (BATCH, 1, 1))
        return features, {
            "targets": targets,
            "teacher_ids": ids,
            "teacher_logits": 3 * targets[:, None],
            "teacher_log_rest": tf.fill((BATCH, 1), -np.inf),
            "teacher_weights": tf.ones((BATCH, 1)),
        }

    ds = batches_from(first_epoch, first_step).map(lambda x, y: (tf.ensure_shape(x, (BATCH, FEATURES)), y))
    return ds.map(with_teacher)


def validation() -> tf.data.Dataset:
    return tf.data.Dataset.from_tensor_slices(make_data(2, 40)).batch(16)


def make_plan(folder: Path, *, phase: str = "teach", keep: int = EPOCHS, **changes: Any) -> FitPlan:
    plan = FitPlan(
        title="fit",
        checkpoints=Checkpoints(folder, folder / "checkpoints", phase, keep),
        epochs=EPOCHS,
        steps_per_epoch=STEPS,
        patience=None,
        save_best=True,
        checkpoint_s=3600,
    )
    return replace(plan, **changes)


@dataclass
class Saves:
    """Writes weights to files, or stops in the middle like a user who has seen enough."""

    interrupt_at: str = ""
    names: list[str] = field(default_factory=list)

    def __call__(self, network: keras.Model, path: Path) -> None:
        self.names.append(path.name)
        if self.interrupt_at == path.name:
            raise KeyboardInterrupt
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            np.savez(file, *network.get_weights())


def saved_weights(path: Path) -> Weights:
    with np.load(path) as archive:
        return [archive[f"arr_{number}"] for number in range(len(archive.files))]


def make_network(*, momentum: float = 0.8, num_features: int = FEATURES) -> keras.Model:
    """Dropout and batch norm: state beside the weights that a resumed run must have back."""
    return keras.Sequential(
        [
            keras.Input((num_features,)),
            keras.layers.Dense(16, activation="relu"),
            keras.layers.BatchNormalization(momentum=momentum),
            keras.layers.Dropout(0.4),
            keras.layers.Dense(CLASSES),
        ]
    )


def make_optimizer(learning_rate: float) -> keras.optimizers.Optimizer:
    settings = TrainingSettings(warmup_epochs=0.5)
    return build_optimizer(
        settings, learning_rate=learning_rate, weight_decay=0.05, epochs=EPOCHS, steps_per_epoch=STEPS
    )


def train(
    plan: FitPlan,
    save: Saves,
    *,
    seed: int = SEED,
    learning_rate: float = 0.1,
    momentum: float = 0.8,
    seen: list[tuple[int, int]] | None = None,
) -> tuple[Progress, Weights]:
    """As `teach` does: everything from the seed, then `fit`; `seen` gains where data was asked for from."""
    make_reproducible(seed, deterministic=True)
    network = make_network(momentum=momentum)

    def batches(epoch: int, step: int) -> tf.data.Dataset:
        if seen is not None:
            seen.append((epoch, step))
        return batches_from(epoch, step)

    done = fit(make_classifier(network, learning_rate), batches, validation(), plan, save, ONE_DEVICE)
    return done, network.get_weights()


def make_classifier(network: keras.Model, learning_rate: float, **settings: Any) -> Classifier:
    learner = Classifier(network, hard_loss=HardLoss(), **settings)
    learner(tf.zeros((1, FEATURES)))
    learner.compile(make_optimizer(learning_rate))
    return learner


def distill(plan: FitPlan, save: Saves) -> tuple[Progress, Weights]:
    """As `distill` does: the student inside a model that trains it."""
    make_reproducible(SEED, deterministic=True)
    student = make_network()
    distiller = Distiller(student, loss="kl_divergence", temperature=2.0, loss_weights=LossWeights())
    distiller(tf.zeros((1, FEATURES)))
    distiller.compile(make_optimizer(0.1))
    done = fit(distiller, soft_batches_from, validation(), plan, save, ONE_DEVICE)
    return done, student.get_weights()


def assert_equal_weights(found: Weights, expected: Weights) -> None:
    assert len(found) == len(expected)
    for left, right in zip(found, expected, strict=True):
        np.testing.assert_array_equal(left, right)


def read_history(folder: Path) -> list[dict[str, str]]:
    with (folder / "history.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@dataclass(frozen=True)
class Run:
    folder: Path
    plan: FitPlan
    done: Progress
    weights: Weights
