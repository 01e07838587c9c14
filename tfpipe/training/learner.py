"""Networks that learn: what each example costs, and how a batch becomes one update."""

from typing import Any

import keras
import tensorflow as tf

from tfpipe.training.losses import HardLoss
from tfpipe.training.metrics import build_metrics

Targets = Any
"""What a batch holds beside its inputs: a tensor or a dictionary of tensors, with (batch, …) each."""
Gradients = list[tf.Tensor]


class Learner(keras.Model):
    """Trains `network`; a subclass says what each example costs.

    A batch may be worked through in parts, one after the other. Their gradients add up
    to those of the whole batch, so that the update is the same; only batch norm, which
    normalises within a part, and dropout, which draws for each, tell the difference.
    The same holds for the replicas of a `tf.distribute` strategy.

    Args:
        network: inputs (batch, …) → logits (batch, num_classes).
        accumulation_steps: parts of a batch; must divide each replica's share of it.
    """

    def __init__(self, network: keras.Model, *, accumulation_steps: int = 1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.network = network

        self.mean_loss = keras.metrics.Mean("loss")
        self.accuracies = build_metrics()

        self.accumulation_steps = accumulation_steps

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """What the history tells of an epoch."""
        return [self.mean_loss, *self.accuracies]

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """(batch, …) → logits (batch, num_classes)."""
        return self.network(inputs, training=training)

    def answer(self, batch: tuple[tf.Tensor, Targets], *, training: bool) -> tuple[tf.Tensor, tf.Tensor]:
        """Logits (batch, num_classes), and what each example costs, (batch,)."""
        inputs, targets = batch
        logits = self(inputs, training=training)
        return logits, self.losses_of(targets, logits)

    def losses_of(self, targets: Targets, logits: tf.Tensor) -> tf.Tensor:
        """What each example costs, (batch,)."""
        raise NotImplementedError

    def labels_of(self, targets: Targets) -> tf.Tensor:
        """The labels among the targets, one-hot or mixed, (batch, num_classes)."""
        raise NotImplementedError

    def train_step(self, batch: tuple[tf.Tensor, Targets]) -> dict[str, tf.Tensor]:
        """One update from one replica's share of a batch."""
        variables = self.trainable_variables
        share = tf.cast(tf.shape(batch[0])[0] * tf.distribute.get_strategy().num_replicas_in_sync, tf.float32)
        gradients = self._gradients(batch, share) if self.accumulation_steps == 1 else self._add_up(batch, share)
        self.optimizer.apply(gradients, variables)
        return self.get_metrics_result()

    def test_step(self, batch: tuple[tf.Tensor, Targets]) -> dict[str, tf.Tensor]:
        """Measure without learning."""
        logits, losses = self.answer(batch, training=False)
        self._measure(batch[1], logits, losses)
        return self.get_metrics_result()

    def _gradients(self, batch: tuple[tf.Tensor, Targets], num_examples: tf.Tensor) -> Gradients:
        """Of these examples' part in the mean loss over `num_examples`."""
        with tf.GradientTape() as tape:
            logits, losses = self.answer(batch, training=True)
            loss = self.optimizer.scale_loss(tf.reduce_sum(losses) / num_examples)
        self._measure(batch[1], logits, losses)
        gradients = tape.gradient(loss, self.trainable_variables, unconnected_gradients="zero")
        return [tf.convert_to_tensor(gradient) for gradient in gradients]

    def _add_up(self, batch: tuple[tf.Tensor, Targets], num_examples: tf.Tensor) -> Gradients:
        """The sum over parts. A loop in the graph, so that one part's activations are gone when the next begins."""
        count = self.accumulation_steps
        parts = tf.nest.map_structure(lambda whole: in_parts(whole, count), batch)

        def add(number: tf.Tensor, sums: Gradients) -> tuple[tf.Tensor, Gradients]:
            new = self._gradients(tf.nest.map_structure(lambda whole: whole[number], parts), num_examples)
            return number + 1, [total + gradient for total, gradient in zip(sums, new, strict=True)]

        zeros = [tf.zeros(variable.shape, variable.dtype) for variable in self.trainable_variables]
        _, sums = tf.while_loop(lambda number, _: number < count, add, (tf.constant(0), zeros), parallel_iterations=1)
        return list(sums)

    def _measure(self, targets: Targets, logits: tf.Tensor, losses: tf.Tensor) -> None:
        self.mean_loss.update_state(losses)
        for metric in self.accuracies:
            metric.update_state(self.labels_of(targets), logits)


class Classifier(Learner):
    """Learns from labels alone. Batches are (inputs, targets (batch, num_classes)).

    Args:
        network: see `Learner`.
        hard_loss: cross-entropy, with its smoothing, weights and offsets.
    """

    def __init__(self, network: keras.Model, *, hard_loss: HardLoss, **kwargs: Any) -> None:
        super().__init__(network, **kwargs)
        self.hard_loss = hard_loss

    def losses_of(self, targets: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
        """(batch,) in nats."""
        return self.hard_loss(targets, logits)

    def labels_of(self, targets: tf.Tensor) -> tf.Tensor:
        """They are the targets."""
        return targets


def in_parts(whole: tf.Tensor, count: int) -> tf.Tensor:
    """(batch, …) → (count, batch / count, …)."""
    size = whole.shape[0] // count if whole.shape[0] else None
    shape = (count, size, *whole.shape[1:])
    # Texts are as long as their batch: the length is known when it runs.
    parts = tf.reshape(whole, tf.concat([(count, size or -1), tf.shape(whole)[1:]], axis=0))
    return tf.ensure_shape(parts, shape)
