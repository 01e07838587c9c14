"""Losses: soft, against teachers, and hard, against the labels."""

from dataclasses import dataclass

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

SMALLEST = -1e30
"""A log-probability for what cannot be; its exponential and its gradient are zero."""


@dataclass(frozen=True)
class SoftLabels:
    """What one teacher says of a batch."""

    ids: keras.KerasTensor | None
    """(batch, k) int32, distinct in each row; None: all classes, in their order."""
    logits: keras.KerasTensor
    """(batch, k), of those classes, divided by the teacher's calibration temperature."""
    log_rest: keras.KerasTensor | None
    """(batch,), logarithm of the sum over all other classes of exp(logit / temperature); None: there are none."""


def sparse_kl_divergence(
    teacher_ids: keras.KerasTensor,
    teacher_logits: keras.KerasTensor,
    teacher_log_rest: keras.KerasTensor,
    student_logits: keras.KerasTensor,
    temperature: float,
) -> keras.KerasTensor:
    """Kullback-Leibler divergence of the student from the teacher, softened, over k + 1 buckets.

    The buckets are the teacher's k best classes, and all others together; with
    k = num_classes that is the plain divergence.

    Args:
        teacher_ids: (batch, k) int32, distinct in each row.
        teacher_logits: (batch, k), of those classes, before any softmax.
        teacher_log_rest: (batch,), logarithm of the sum over all other classes of
            exp(logit / temperature).
        student_logits: (batch, num_classes), before any softmax.
        temperature: divides both sides; above 1 it shows how the wrong classes rank.

    Returns:
        (batch,) in nats, times temperature².
    """
    log_student = ops.log_softmax(student_logits / temperature)
    scaled = ops.concatenate([teacher_logits / temperature, teacher_log_rest[:, None]], axis=-1)
    if teacher_ids.shape[-1] == student_logits.shape[-1]:
        scaled = scaled[:, :-1]
    log_targets = ops.log_softmax(scaled)
    log_buckets = _in_buckets(log_student, teacher_ids)
    divergence = ops.sum(ops.exp(log_targets) * (log_targets - log_buckets), axis=-1)
    # Softening shrinks the gradient by 1/temperature²; undo it, so that the
    # weights keep their meaning when the temperature changes (Hinton 2015, §2).
    return divergence * temperature**2


def cross_entropy(targets: keras.KerasTensor, student_logits: keras.KerasTensor) -> keras.KerasTensor:
    """(batch,) in nats; both arguments (batch, num_classes), targets being probabilities."""
    return -ops.sum(targets * ops.log_softmax(student_logits), axis=-1)


@dataclass(frozen=True)
class HardLoss:
    """Cross-entropy against the labels, in which rare classes may count more, or must win by more."""

    label_smoothing: float = 0.0
    """Share of each target that goes to all classes alike."""
    class_weights: NDArray[np.float32] | None = None
    """(num_classes,), multiply the loss of an example of that class; of a mixed one, their mix."""
    logit_offsets: NDArray[np.float32] | None = None
    """(num_classes,), added to the logits, here and nowhere else: with log priors the network learns what
    speaks for a class beside its frequency (Menon 2020, §5)."""

    def __call__(self, targets: keras.KerasTensor, logits: keras.KerasTensor) -> keras.KerasTensor:
        """(batch,) in nats; both arguments (batch, num_classes), targets being probabilities."""
        if self.logit_offsets is not None:
            logits = logits + ops.convert_to_tensor(self.logit_offsets, logits.dtype)
        smooth = (1 - self.label_smoothing) * targets + self.label_smoothing / targets.shape[-1]
        losses = cross_entropy(smooth, logits)
        if self.class_weights is None:
            return losses
        return losses * ops.sum(targets * ops.convert_to_tensor(self.class_weights, targets.dtype), axis=-1)


def _in_buckets(log_probs: keras.KerasTensor, ids: keras.KerasTensor) -> keras.KerasTensor:
    """(batch, num_classes) → (batch, k + 1): the classes `ids`, then all others summed; (batch, k) if none are left."""
    chosen = ops.take_along_axis(log_probs, ids, axis=-1)
    if ids.shape[-1] == log_probs.shape[-1]:
        return chosen
    rows = ops.repeat(ops.arange(ops.shape(ids)[0], dtype=ids.dtype), ids.shape[-1])
    places = ops.stack([rows, ops.reshape(ids, (-1,))], axis=-1)
    others = ops.scatter_update(log_probs, places, ops.full_like(ops.reshape(chosen, (-1,)), SMALLEST))
    rest = ops.logsumexp(others, axis=-1, keepdims=True)
    return ops.concatenate([chosen, rest], axis=-1)
