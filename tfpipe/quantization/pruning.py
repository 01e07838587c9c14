"""Pruning by TF-MOT: while a network trains, ever more of its smallest weights become 0, and stay it (Zhu 2017)."""

from typing import Any

import tensorflow as tf
import tf_keras
from tensorflow_model_optimization.python.core.api.sparsity import keras as tfmot
from tensorflow_model_optimization.python.core.sparsity.keras.pruning_impl import Pruning

NUM_UPDATES = 50
"""How often the share of zeros grows."""


class Pruner:
    """The masks of a twin's kernels. Depthwise ones are few, lose most, and are left as they are."""

    def __init__(self, twin: tf_keras.Model, share: float, num_steps: int, step: tf.Variable) -> None:
        """Pruning that grows along a cubic curve.

        Args:
            twin: its layers are wrapped by `with_fake_quantization`.
            share: of each kernel's weights that are 0 in the end.
            num_steps: after which that is so.
            step: counts them from 1 on.
        """
        kernels = [kernel for layer in twin.layers for kernel in _kernels(layer)]
        self.masks = [tf.Variable(tf.ones_like(kernel), trainable=False) for kernel in kernels]
        thresholds = [tf.Variable(0.0, trainable=False) for _ in kernels]
        pause = max(1, num_steps // NUM_UPDATES)
        schedule = tfmot.PolynomialDecay(0.0, share, 0, max(1, num_steps // pause) * pause, frequency=pause)
        parts = list(zip(kernels, self.masks, thresholds, strict=True))
        self._pruning = Pruning(lambda: step, parts, schedule, (1, 1), "AVG")

    def after_step(self) -> None:
        """Choose the weights anew, if it is time, and set them to 0."""
        self._pruning.conditional_mask_update()
        self._pruning.weight_mask_op()


def _kernels(layer: Any) -> list[tf.Variable]:
    if not layer.trainable_weights or isinstance(layer.layer, tf_keras.layers.DepthwiseConv2D):
        return []
    return [variable for variable in layer.trainable_weights if len(variable.shape) > 1]
