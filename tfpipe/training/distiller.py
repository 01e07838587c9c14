"""A student that learns from stored soft labels and from the labels at once."""

from typing import Any

import keras
import tensorflow as tf
from keras import ops

from tfpipe.core.settings import LossWeights
from tfpipe.training.learner import Learner
from tfpipe.training.losses import cross_entropy, sparse_kl_divergence

SoftLabels = dict[str, tf.Tensor]


class Distiller(Learner):
    """Trains a student on Σ_t weight_t · KL(teacher_t ‖ student) · T² and cross-entropy.

    The first sum equals, up to a constant, the divergence from the weighted mean
    of the teachers' probabilities, and needs no common set of top-k classes.

    Batches are (images, y) with y a dictionary of
        targets: (batch, num_classes), one-hot labels;
        teacher_ids: (batch, teachers, k) int32;
        teacher_logits: (batch, teachers, k);
        teacher_log_rest: (batch, teachers), at `temperature`;
        teacher_weights: (batch, teachers), rows sum to 1.

    Args:
        student: the network to train, see `Learner`.
        temperature: of both sides of the soft loss.
        loss_weights: of the soft and the hard loss.
    """

    def __init__(self, student: keras.Model, *, temperature: float, loss_weights: LossWeights, **kwargs: Any) -> None:
        super().__init__(student, **kwargs)

        self.soft_loss = keras.metrics.Mean("soft_loss")
        self.hard_loss = keras.metrics.Mean("hard_loss")

        self.temperature = temperature
        self.loss_weights = loss_weights

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """Both losses beside the rest."""
        return [*super().metrics, self.soft_loss, self.hard_loss]

    def losses_of(self, targets: SoftLabels, logits: tf.Tensor) -> tf.Tensor:
        """The weighted sum of the soft and the hard loss, (batch,)."""
        soft_losses = self._soft_losses(targets, logits)
        hard_losses = cross_entropy(targets["targets"], logits)
        self.soft_loss.update_state(soft_losses)
        self.hard_loss.update_state(hard_losses)
        weights = self.loss_weights
        return weights.kl_divergence * soft_losses + weights.cross_entropy * hard_losses

    def labels_of(self, targets: SoftLabels) -> tf.Tensor:
        """(batch, num_classes)."""
        return targets["targets"]

    def _soft_losses(self, y: SoftLabels, student_logits: tf.Tensor) -> tf.Tensor:
        total = ops.zeros(())
        for teacher in range(y["teacher_ids"].shape[1]):
            divergence = sparse_kl_divergence(
                y["teacher_ids"][:, teacher],
                y["teacher_logits"][:, teacher],
                y["teacher_log_rest"][:, teacher],
                student_logits,
                self.temperature,
            )
            total = total + y["teacher_weights"][:, teacher] * divergence
        return total
