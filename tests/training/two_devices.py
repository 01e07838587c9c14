"""Trains on one device and on two logical ones, alone in its process: `python two_devices.py`; prints JSON.

TensorFlow splits the processor into logical devices only before it is used.
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfpipe.core.settings import LossWeights, SoftLoss, TrainingSettings
from tfpipe.data.pipeline import Epochs
from tfpipe.training.checkpoints import Checkpoints
from tfpipe.training.distiller import Distiller
from tfpipe.training.distribution import build_strategy, spread
from tfpipe.training.fitting import FitPlan, fit
from tfpipe.training.learner import Classifier, Learner
from tfpipe.training.live_teachers import LiveTeachers
from tfpipe.training.losses import HardLoss
from tfpipe.training.optimizers import build_optimizer
from tfpipe.training.reproducible import make_reproducible

sys.path.append(str(Path(__file__).parents[1]))
from pixels import KINDS, VIEWS, of_student, of_teacher, student_batches, write_scenes

CLASSES, FEATURES, BATCH, STEPS, EPOCHS = 5, 6, 16, 3, 3


def main() -> None:
    (cpu,) = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    ways = {
        "one": ("one_device", 1, 1.0),
        "one, in 4 parts": ("one_device", 4, 1.0),
        "two": ("mirrored", 1, 1.0),
        "two, in 4 parts": ("mirrored", 4, 1.0),
        "one, averaged": ("one_device", 1, 0.9),
        "two, averaged": ("mirrored", 2, 0.9),
    }
    taught = {
        "one, taught": ("one_device", 1, 1.0, "kl_divergence"),
        "two, taught": ("mirrored", 2, 1.0, "kl_divergence"),
        "one, in 2 parts, taught by DIST": ("one_device", 2, 1.0, "dist"),
        "two, taught by DIST": ("mirrored", 1, 1.0, "dist"),
    }
    runs = {name: train(*way) for name, way in (ways | taught).items()}
    json.dump({"runs": runs, "pixels": hash_pixels()}, sys.stdout)


def train(
    strategy_name: str, accumulation_steps: int, ema: float, soft_loss: SoftLoss | None = None
) -> dict[str, list[float]]:
    """On labels, or by a teacher who is asked on each device."""
    make_reproducible(1, deterministic=True)
    strategy = build_strategy(strategy_name)
    settings = TrainingSettings(clip_norm=1.0, ema_decay=ema if ema < 1 else 0.0)
    with strategy.scope(), tempfile.TemporaryDirectory() as folder:
        network = make_network()
        learner: Learner = Classifier(network, hard_loss=HardLoss(0.1), accumulation_steps=accumulation_steps)
        if soft_loss:
            teachers = LiveTeachers([make_network()], [0.2])
            learner = Distiller(
                network,
                loss=soft_loss,
                temperature=2.0,
                loss_weights=LossWeights(),
                teachers=teachers,
                accumulation_steps=accumulation_steps,
            )
        learner(tf.zeros((1, FEATURES)))
        learner.compile(
            build_optimizer(settings, learning_rate=0.05, weight_decay=0.1, epochs=EPOCHS, steps_per_epoch=STEPS)
        )
        plan = FitPlan("fit", Checkpoints(Path(folder), Path(folder), "teach", 1), EPOCHS, STEPS, None, True, 3600.0)
        source = taught_batches_from if soft_loss else batches_from
        done = fit(learner, source, batches(1, 2 * BATCH + 5), plan, lambda _, path: path.touch(), strategy)
        return {
            "losses": [epoch["loss"] for epoch in done.history],
            "val_losses": [epoch["val_loss"] for epoch in done.history],
            "top1": [epoch["top1"] for epoch in done.history],
            "weights": np.concatenate([w.ravel() for w in network.get_weights()]).tolist(),
        }


def make_network() -> keras.Model:
    return keras.Sequential(
        [
            keras.Input((FEATURES,)),
            keras.layers.Dense(16, activation="gelu"),
            keras.layers.LayerNormalization(),
            keras.layers.Dense(CLASSES),
        ]
    )


def hash_pixels() -> dict[str, Any]:
    """Of views as a teacher labels them, and as each of two replicas trains on them."""
    strategy, options = build_strategy("mirrored"), KINDS["two photos"]
    with tempfile.TemporaryDirectory() as folder:
        records = write_scenes(Path(folder), 24)
        ids, seen = records.facts()[0], {0: {}, 1: {}}
        for batch in spread(strategy, student_batches(records, Epochs(8, VIEWS, seed=1), **options)):
            shown, labels = strategy.run(lambda *part: part, args=batch)
            parts = zip(*map(strategy.experimental_local_results, (shown, labels["teacher_ids"])), strict=True)
            for replica, (images, places) in enumerate(parts):
                seen[replica] |= of_student(ids, [(images, {"teacher_ids": places})])
        return {"teacher": of_teacher(records, **options), "replicas": list(seen.values())}


def taught_batches_from(epoch: int, step: int) -> tf.data.Dataset:
    weights = tf.ones((BATCH, 1))
    return batches_from(epoch, step).map(
        lambda x, y: (x, {"targets": y, "teacher_inputs": (x,), "teacher_weights": weights})
    )


def batches_from(epoch: int, step: int) -> tf.data.Dataset:
    # Shapes that are known, as those of training batches are.
    return (
        batches(0)
        .repeat()
        .map(lambda x, y: (tf.ensure_shape(x, (BATCH, FEATURES)), tf.ensure_shape(y, (BATCH, CLASSES))))
    )


def batches(seed: int, count: int = BATCH * STEPS) -> tf.data.Dataset:
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(count, FEATURES)).astype(np.float32)
    targets = np.eye(CLASSES, dtype=np.float32)[features[:, :CLASSES].argmax(axis=-1)]
    return tf.data.Dataset.from_tensor_slices((features, targets)).batch(BATCH)


if __name__ == "__main__":
    main()
