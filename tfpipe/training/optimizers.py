"""Optimisers and their learning-rate schedule."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras

from tfpipe.core.settings import TrainingSettings

NOT_DECAYED = ("bias", "beta", "gamma", "position_embedding", "class_token")
"""Weight decay pulls matrices, not offsets and scales (Loshchilov 2017, and practice since)."""


def build_optimizer(
    settings: TrainingSettings,
    *,
    learning_rate: float,
    weight_decay: float,
    epochs: int,
    steps_per_epoch: int,
    rates: dict[str, float] | None = None,
) -> keras.optimizers.Optimizer:
    """The optimiser of the settings, with linear warm-up and cosine decay to zero over `epochs`."""
    schedule = warmup_cosine(
        learning_rate,
        warmup_steps=math.ceil(min(settings.warmup_epochs, epochs / 2) * steps_per_epoch),
        total_steps=epochs * steps_per_epoch,
    )
    optimizer = OPTIMIZERS[settings.optimizer](
        learning_rate=schedule, weight_decay=weight_decay, global_clipnorm=settings.clip_norm
    )
    if weight_decay:
        optimizer.exclude_from_weight_decay(var_names=list(NOT_DECAYED))
    return optimizer


def warmup_cosine(
    learning_rate: float, *, warmup_steps: int, total_steps: int
) -> keras.optimizers.schedules.LearningRateSchedule:
    """From 0 up to `learning_rate` in a line, then down to 0 along a half cosine."""
    return keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0 if warmup_steps else learning_rate,
        decay_steps=max(1, total_steps - warmup_steps),
        warmup_target=learning_rate if warmup_steps else None,
        warmup_steps=warmup_steps,
    )


@contextmanager
def averaged_weights(learner: keras.Model) -> Iterator[None]:
    """Within, the weights are their moving averages, where the optimiser keeps some."""
    yield


def _sgd(**settings: Any) -> keras.optimizers.Optimizer:
    return keras.optimizers.SGD(momentum=0.9, nesterov=True, **settings)


OPTIMIZERS = {"adam": keras.optimizers.Adam, "adamw": keras.optimizers.AdamW, "sgd": _sgd}
