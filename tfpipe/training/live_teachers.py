"""Teachers in memory, which label each batch as the student sees it."""

from collections.abc import Sequence

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

    def __call__(self, teacher_images: Sequence[tf.Tensor]) -> list[SoftLabels]:
        """What each says of its images, (batch, size, size, 3) each: all classes, in their order."""
        together = zip(self.networks, teacher_images, self.temperatures, strict=True)
        return [
            SoftLabels(None, tf.stop_gradient(network(images, training=False)) / temperature, None)
            for network, images, temperature in together
        ]
