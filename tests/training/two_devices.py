"""Trains on one device and on two logical ones, alone in its process: `python two_devices.py`; prints JSON.

TensorFlow splits the processor into logical devices only before it is used.
"""

import json
import sys
import tempfile
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from tfpipe.core.settings import TrainingSettings
from tfpipe.training.checkpoints import Checkpoints
from tfpipe.training.distribution import build_strategy
from tfpipe.training.fitting import FitPlan, fit
from tfpipe.training.learner import Classifier
from tfpipe.training.losses import HardLoss
from tfpipe.training.optimizers import build_optimizer
from tfpipe.training.reproducible import make_reproducible

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
    json.dump({name: train(*way) for name, way in ways.items()}, sys.stdout)


def train(strategy_name: str, accumulation_steps: int, ema: float) -> dict[str, list[float]]:
    make_reproducible(1, deterministic=True)
    strategy = build_strategy(strategy_name)
    settings = TrainingSettings(clip_norm=1.0, ema_decay=ema if ema < 1 else 0.0)
    with strategy.scope(), tempfile.TemporaryDirectory() as folder:
        network = keras.Sequential(
            [
                keras.Input((FEATURES,)),
                keras.layers.Dense(16, activation="gelu"),
                keras.layers.LayerNormalization(),
                keras.layers.Dense(CLASSES),
            ]
        )
        learner = Classifier(network, hard_loss=HardLoss(0.1), accumulation_steps=accumulation_steps)
        learner(tf.zeros((1, FEATURES)))
        learner.compile(
            build_optimizer(settings, learning_rate=0.05, weight_decay=0.1, epochs=EPOCHS, steps_per_epoch=STEPS)
        )
        plan = FitPlan("fit", Checkpoints(Path(folder), Path(folder), "teach", 1), EPOCHS, STEPS, None, True, 3600.0)
        done = fit(learner, batches_from, batches(1, 2 * BATCH + 5), plan, lambda _, path: path.touch(), strategy)
        return {
            "losses": [epoch["loss"] for epoch in done.history],
            "val_losses": [epoch["val_loss"] for epoch in done.history],
            "top1": [epoch["top1"] for epoch in done.history],
            "weights": np.concatenate([w.ravel() for w in network.get_weights()]).tolist(),
        }


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
