"""A student that learns from its teachers' soft labels and from the labels at once."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import keras
import tensorflow as tf
from keras import ops

from tfpipe.core.settings import LossWeights, SoftLoss
from tfpipe.training.learner import Learner
from tfpipe.training.losses import LOSSES, SoftLabels, cross_entropy

Targets = dict[str, Any]
"""What a batch for distillation holds beside its images, see `Distiller`."""
Teachers = Callable[[Sequence[tf.Tensor]], list[SoftLabels]]
"""Per teacher, images (batch, size, size, 3) as it wants them → what each says."""


class Distiller(Learner):
    """Trains a student on Σ_t weight_t · loss(teacher_t, student) and cross-entropy.

    A sum over teachers needs no common set of top-k classes; `losses/soft.py` says what it pulls towards.

    Batches are (images, y) with y a dictionary of
        targets: (batch, num_classes), one-hot or mixed labels;
        teacher_weights: (batch, teachers), rows sum to 1;
    and, of stored labels,
        teacher_ids: (batch, teachers, k) int32;
        teacher_logits: (batch, teachers, k);
        teacher_log_rest: (batch, teachers), at `temperature`;
    or, of live ones,
        teacher_inputs: per teacher (batch, size, size, 3), as it wants them.

    Args:
        student: the network to train, see `Learner`.
        loss: the soft loss, a key of `LOSSES`.
        temperature: of both sides of the soft loss.
        loss_weights: of the soft and the hard loss; without weight, the soft one is not computed.
        teachers: that label the batches; None: they come with labels.
    """

    def __init__(
        self,
        student: keras.Model,
        *,
        loss: SoftLoss,
        temperature: float,
        loss_weights: LossWeights,
        teachers: Teachers | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(student, **kwargs)

        self.soft_loss = keras.metrics.Mean("soft_loss")
        self.hard_loss = keras.metrics.Mean("hard_loss")

        self.soft = LOSSES[loss]
        self.temperature = temperature
        self.loss_weights = loss_weights
        self.teachers = teachers

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """Both losses, or the only one, beside the rest."""
        soft = [self.soft_loss] if self.loss_weights.kl_divergence else []
        return [*super().metrics, *soft, self.hard_loss]

    def losses_of(self, targets: Targets, logits: tf.Tensor) -> tf.Tensor:
        """The weighted sum of the soft and the hard loss, (batch,)."""
        weights = self.loss_weights
        hard_losses = cross_entropy(targets["targets"], logits)
        self.hard_loss.update_state(hard_losses)
        if not weights.kl_divergence:
            return weights.cross_entropy * hard_losses
        soft_losses = self._soft_losses(targets, logits)
        self.soft_loss.update_state(soft_losses)
        return weights.kl_divergence * soft_losses + weights.cross_entropy * hard_losses

    def labels_of(self, targets: Targets) -> tf.Tensor:
        """(batch, num_classes)."""
        return targets["targets"]

    def soft_labels(self, targets: Targets) -> list[SoftLabels]:
        """What each teacher says of the batch."""
        speaks = ops.cast(targets["teacher_weights"] > 0, "float32")
        return [replace(labels, speaks=speaks[:, number]) for number, labels in enumerate(self.ask(targets))]

    def ask(self, targets: Targets) -> list[SoftLabels]:
        """What each teacher says, whether or not it speaks for an example."""
        return self.teachers(targets["teacher_inputs"]) if self.teachers else stored_labels(targets)

    def _soft_losses(self, targets: Targets, student_logits: tf.Tensor) -> tf.Tensor:
        """The sum over teachers, (batch,)."""
        total = ops.zeros(())
        for number, labels in enumerate(self.soft_labels(targets)):
            weights = targets["teacher_weights"][:, number]
            losses = self.soft.compute(labels, student_logits, targets["targets"], self.temperature)
            total = total + weights * losses
        return total


def stored_labels(targets: Targets) -> list[SoftLabels]:
    """Of each teacher, from a batch of stored labels."""
    names = ("teacher_ids", "teacher_logits", "teacher_log_rest")
    teachers = range(targets["teacher_ids"].shape[1])
    return [SoftLabels(*(targets[name][:, number] for name in names)) for number in teachers]
