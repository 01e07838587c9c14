"""A student that learns from stored soft labels and from the labels at once."""

from typing import Any

import keras
import tensorflow as tf
from keras import ops

from tfpipe.core.settings import LossWeights
from tfpipe.training.losses import cross_entropy, sparse_kl_divergence
from tfpipe.training.metrics import build_metrics


class Distiller(keras.Model):
    """Trains `student` on Σ_t weight_t · KL(teacher_t ‖ student) · T² and cross-entropy.

    The first sum equals, up to a constant, the divergence from the weighted mean
    of the teachers' probabilities, and needs no common set of top-k classes.

    Batches are (images, y) with y a dictionary of
        targets: (batch, num_classes), one-hot labels;
        teacher_ids: (batch, teachers, k) int32;
        teacher_logits: (batch, teachers, k);
        teacher_log_rest: (batch, teachers), at `temperature`;
        teacher_weights: (batch, teachers), rows sum to 1.
    """

    def __init__(self, student: keras.Model, *, temperature: float, loss_weights: LossWeights, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.student = student

        self.soft_loss = keras.metrics.Mean("soft_loss")
        self.hard_loss = keras.metrics.Mean("hard_loss")
        self.accuracies = build_metrics()

        self.temperature = temperature
        self.loss_weights = loss_weights

    def call(self, images: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """(batch, size, size, 3) → the student's logits (batch, num_classes)."""
        return self.student(images, training=training)

    def compute_loss(
        self,
        x: tf.Tensor,
        y: dict[str, tf.Tensor],
        y_pred: tf.Tensor,
        sample_weight: None = None,
        training: bool = True,
    ) -> tf.Tensor:
        """The weighted sum of the soft and the hard loss, a scalar."""
        soft_losses = self._soft_losses(y, y_pred)
        hard_losses = cross_entropy(y["targets"], y_pred)
        self.soft_loss.update_state(soft_losses)
        self.hard_loss.update_state(hard_losses)
        weights = self.loss_weights
        return ops.mean(weights.kl_divergence * soft_losses + weights.cross_entropy * hard_losses)

    def compute_metrics(
        self, x: tf.Tensor, y: dict[str, tf.Tensor], y_pred: tf.Tensor, sample_weight: None = None
    ) -> dict[str, tf.Tensor]:
        """Top-1 and top-5 against the labels."""
        for metric in self.accuracies:
            metric.update_state(y["targets"], y_pred)
        return self.get_metrics_result()

    def _soft_losses(self, y: dict[str, tf.Tensor], student_logits: tf.Tensor) -> tf.Tensor:
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
