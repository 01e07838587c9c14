"""A student that learns from stored soft labels and from the labels at once."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf
from keras import ops

from tfpipe.core.settings import LossWeights
from tfpipe.training.learner import Learner
from tfpipe.training.losses import SMALLEST, SoftLabels, cross_entropy, sparse_kl_divergence

Targets = dict[str, Any]
"""What a batch for distillation holds beside its images, see `Distiller`."""
Teachers = Callable[[Sequence[tf.Tensor]], list[SoftLabels]]
"""Per teacher, images (batch, size, size, 3) as it wants them → what each says."""


class Distiller(Learner):
    """Trains a student on Σ_t weight_t · KL(teacher_t ‖ student) · T² and cross-entropy.

    The first sum equals, up to a constant, the divergence from the weighted mean
    of the teachers' probabilities, and needs no common set of top-k classes.

    Batches are (images, y) with y a dictionary of
        targets: (batch, num_classes), one-hot labels;
        teacher_ids: (batch, teachers, k) int32;
        teacher_logits: (batch, teachers, k);
        teacher_log_rest: (batch, teachers), at `temperature`;
        teacher_weights: (batch, teachers), rows sum to 1;
    with live teachers, instead of ids, logits and log_rest,
        teacher_images: per teacher (batch, size, size, 3), as it wants them.

    Args:
        student: the network to train, see `Learner`.
        temperature: of both sides of the soft loss.
        loss_weights: of the soft and the hard loss.
        teachers: that label the batches; None: they come with labels.
    """

    def __init__(
        self,
        student: keras.Model,
        *,
        temperature: float,
        loss_weights: LossWeights,
        teachers: Teachers | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(student, **kwargs)

        self.soft_loss = keras.metrics.Mean("soft_loss")
        self.hard_loss = keras.metrics.Mean("hard_loss")

        self.temperature = temperature
        self.loss_weights = loss_weights
        self.teachers = teachers

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """Both losses beside the rest."""
        return [*super().metrics, self.soft_loss, self.hard_loss]

    def losses_of(self, targets: Targets, logits: tf.Tensor) -> tf.Tensor:
        """The weighted sum of the soft and the hard loss, (batch,)."""
        soft_losses = self._soft_losses(targets, logits)
        hard_losses = cross_entropy(targets["targets"], logits)
        self.soft_loss.update_state(soft_losses)
        self.hard_loss.update_state(hard_losses)
        weights = self.loss_weights
        return weights.kl_divergence * soft_losses + weights.cross_entropy * hard_losses

    def labels_of(self, targets: Targets) -> tf.Tensor:
        """(batch, num_classes)."""
        return targets["targets"]

    def _soft_losses(self, targets: Targets, student_logits: tf.Tensor) -> tf.Tensor:
        total = ops.zeros(())
        for number, labels in enumerate(self._soft_labels(targets)):
            divergence = _divergence(labels, student_logits, self.temperature)
            total = total + targets["teacher_weights"][:, number] * divergence
        return total

    def _soft_labels(self, targets: Targets) -> list[SoftLabels]:
        if self.teachers:
            return self.teachers(targets["teacher_images"])
        ids, logits, log_rest = (targets[f"teacher_{name}"] for name in ("ids", "logits", "log_rest"))
        return [SoftLabels(ids[:, t], logits[:, t], log_rest[:, t]) for t in range(ids.shape[1])]


def _divergence(labels: SoftLabels, student_logits: tf.Tensor, temperature: float) -> tf.Tensor:
    ids, log_rest = labels.ids, labels.log_rest
    if ids is None:
        ids = ops.broadcast_to(ops.arange(labels.logits.shape[-1], dtype="int32"), ops.shape(labels.logits))
    if log_rest is None:
        log_rest = ops.full_like(labels.logits[:, 0], SMALLEST)
    return sparse_kl_divergence(ids, labels.logits, log_rest, student_logits, temperature)
