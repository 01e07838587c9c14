"""Teachers in memory, which label each batch as the student sees it."""

from collections.abc import Sequence
from functools import cached_property

import keras
import tensorflow as tf

from tfpipe.training.losses import SoftLabels


class LiveTeachers:
    """Fitted networks that answer inside a training step, and learn nothing in it.

    No Keras class, so that a learner that holds it does not count the teachers' weights among its own: no optimiser,
    moving average or checkpoint knows them. Under a strategy the networks must have been loaded in its scope.

    Args:
        networks: images (batch, size, size, 3) → logits (batch, num_classes), one per teacher, with the classes in
            the student's order.
        temperatures: of calibration, one per teacher; they divide the logits.
    """

    def __init__(self, networks: Sequence[keras.Model], temperatures: Sequence[float]) -> None:
        self.networks = list(networks)
        self.temperatures = list(temperatures)
        for network in self.networks:
            network.trainable = False

    def __call__(self, teacher_inputs: Sequence[tf.Tensor]) -> list[SoftLabels]:
        """What each says of its images, (batch, size, size, 3) each: all classes, in their order."""
        together = zip(self.networks, teacher_inputs, strict=True)
        return self._said([network(images, training=False) for network, images in together])

    def with_features(self, teacher_inputs: Sequence[tf.Tensor]) -> tuple[list[SoftLabels], tf.Tensor]:
        """The same, and the first teacher's features (batch, channels)."""
        features, logits = self._first(teacher_inputs[0], training=False)
        together = zip(self.networks[1:], teacher_inputs[1:], strict=True)
        labels = self._said([logits, *(network(images, training=False) for network, images in together)])
        return labels, tf.stop_gradient(features)

    @cached_property
    def _first(self) -> keras.Model:
        return features_and_logits(self.networks[0])

    def _said(self, logits: Sequence[tf.Tensor]) -> list[SoftLabels]:
        together = zip(logits, self.temperatures, strict=True)
        return [SoftLabels(None, tf.stop_gradient(answer) / warmth, None) for answer, warmth in together]


def features_and_logits(network: keras.Model) -> keras.Model:
    """The same layers, and what the layer `pool` below the head says beside the logits: (batch, channels) each."""
    return keras.Model(network.inputs[0], [network.get_layer("pool").output, network.outputs[0]])
