"""What a teacher says of a batch, and both sides of a soft loss over the classes that it says it of."""

from dataclasses import dataclass
from typing import TypeAlias

import keras
from keras import ops

SMALLEST = -1e30
"""A logit, or a log-probability, for what cannot be; its exponential and its gradient are zero."""

Tensor: TypeAlias = keras.KerasTensor


@dataclass(frozen=True)
class SoftLabels:
    """One teacher's say over a batch.

    Logits are already divided by the teacher's calibration temperature; of classes that it does not know they
    are `SMALLEST`.
    """

    ids: Tensor | None
    """(batch, k) int32, distinct in each row; None: the logits are those of all classes, in order."""
    logits: Tensor
    """(batch, k), before any softmax; (batch, num_classes) without ids."""
    log_rest: Tensor | None
    """(batch,), logarithm of the sum over all other classes of exp(logit / temperature); None without ids."""
    speaks: Tensor | None = None
    """(batch,), 1 where the teacher has a say, 0 where its row means nothing; None: everywhere."""

    def in_class_order(self) -> Tensor:
        """(batch, num_classes) logits; only where all classes are kept."""
        if self.ids is None:
            return self.logits
        return ops.take_along_axis(self.logits, ops.argsort(self.ids, axis=-1), axis=-1)

    def has_all(self, num_classes: int) -> bool:
        """Whether no class is left to the rest."""
        return self.logits.shape[-1] == num_classes


def softened(labels: SoftLabels, student_logits: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Log-probabilities of teacher and student, softened, over the same buckets.

    The buckets are the teacher's k classes, and all others together; where all classes are kept, the classes
    in their order.

    Args:
        labels: the teacher's.
        student_logits: (batch, num_classes), before any softmax.
        temperature: divides both sides; above 1 it shows how the wrong classes rank.

    Returns:
        Twice (batch, k + 1), or (batch, num_classes).
    """
    log_student = ops.log_softmax(student_logits / temperature)
    if labels.has_all(student_logits.shape[-1]):
        return _log_probs(labels.in_class_order() / temperature), log_student
    assert labels.ids is not None and labels.log_rest is not None, "dense labels have all classes"
    scaled = ops.concatenate([labels.logits / temperature, labels.log_rest[:, None]], axis=-1)
    return _log_probs(scaled), _in_buckets(log_student, labels.ids)


def bucket_of_target(labels: SoftLabels, targets: Tensor) -> Tensor:
    """In which of `softened`'s buckets the label lies; of mixed labels, the one that has the larger share.

    Args:
        labels: the teacher's.
        targets: (batch, num_classes), one-hot or mixed.

    Returns:
        (batch, k + 1) or (batch, num_classes), bool.
    """
    classes = ops.argmax(targets, axis=-1)
    if labels.has_all(targets.shape[-1]):
        return ops.cast(ops.one_hot(classes, targets.shape[-1]), "bool")
    assert labels.ids is not None, "dense labels have all classes"
    kept = ops.equal(labels.ids, ops.cast(classes, labels.ids.dtype)[:, None])
    return ops.concatenate([kept, ops.logical_not(ops.any(kept, axis=-1, keepdims=True))], axis=-1)


def is_known(logits: Tensor) -> Tensor:
    """Which classes, or buckets, a teacher knows: of logits or log-probabilities, the same shape, bool."""
    return logits > SMALLEST * 1e-6


def _log_probs(scaled_logits: Tensor) -> Tensor:
    """(batch, buckets), `SMALLEST` for what cannot be, whatever the temperature made of it."""
    return ops.maximum(ops.log_softmax(scaled_logits), SMALLEST)


def _in_buckets(log_probs: Tensor, ids: Tensor) -> Tensor:
    """(batch, num_classes) → (batch, k + 1): the classes `ids`, then all others summed."""
    chosen = ops.take_along_axis(log_probs, ids, axis=-1)
    rows = ops.repeat(ops.arange(ops.shape(ids)[0], dtype=ids.dtype), ids.shape[-1])
    places = ops.stack([rows, ops.reshape(ids, (-1,))], axis=-1)
    others = ops.scatter_update(log_probs, places, ops.full_like(ops.reshape(chosen, (-1,)), SMALLEST))
    rest = ops.logsumexp(others, axis=-1, keepdims=True)
    return ops.concatenate([chosen, rest], axis=-1)
