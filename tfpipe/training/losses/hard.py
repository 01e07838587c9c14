"""Losses against the labels."""

from dataclasses import dataclass

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray


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
