"""Fake quantization by TF-MOT: layers that compute with the int8 points nearest to the weights that they train.

TF-MOT's own settings for eight bits do not fit here, in two ways. They give a depthwise kernel one scale for all its
channels; and they quantize activations, which TensorFlow.js computes in float32. So weights alone are quantized, each
channel for itself, on the very grid of `quantization/grid.py`: what is trained is, to the bit, what is exported.
"""

from typing import Any, TypeAlias

import tensorflow as tf
import tf_keras
from tensorflow_model_optimization.python.core.api.quantization import keras as tfmot

from tfpipe.quantization.grid import LARGEST

Layer: TypeAlias = tf_keras.layers.Layer


def with_fake_quantization(layer: Layer) -> Layer:
    """The layer, unbuilt, such that it computes with its kernel on the grid."""
    return tfmot.QuantizeWrapperV2(layer, KernelAlone(), name=layer.name)


def to_grid(kernel: tf.Tensor) -> tf.Tensor:
    """The nearest points of each channel's grid, as `grid.to_int8` and `grid.from_int8` have them; gradients pass.

    Args:
        kernel: (…, channels).
    """
    magnitudes = tf.reduce_max(tf.abs(kernel), axis=list(range(len(kernel.shape) - 1)))
    scales = tf.cast(_float16_scales(magnitudes), tf.float32)
    divisors = tf.where(scales > 0, scales, 1.0)
    steps = tf.clip_by_value(tf.round(kernel / divisors), -LARGEST, LARGEST)
    return _straight_through(kernel, steps * scales)


@tf.custom_gradient
def _straight_through(weights: tf.Tensor, rounded: tf.Tensor) -> Any:
    """The rounded weights, with the gradients of those that were not (Bengio 2013, §2.3)."""
    return tf.identity(rounded), lambda gradient: (gradient, None)


def _float16_scales(magnitudes: tf.Tensor) -> tf.Tensor:
    """The nearest float16 to each channel's largest weight / 127; the next above where that would cut weights off."""
    scales = tf.cast(magnitudes / LARGEST, tf.float16)
    cuts_off = tf.cast(scales, tf.float32) * (LARGEST + 0.5) < magnitudes
    # Of positive numbers, the next one's bits are the next whole number.
    next_above = tf.bitcast(tf.bitcast(scales, tf.uint16) + tf.constant(1, tf.uint16), tf.float16)
    return tf.where(cuts_off, next_above, scales)


class PerChannel(tfmot.quantizers.Quantizer):
    """The grid for a kernel as a layer has it; a depthwise one is (height, width, channels, multiplier)."""

    def __init__(self, *, of_depthwise: bool) -> None:
        self.of_depthwise = of_depthwise

    def build(self, tensor_shape: Any, name: str, layer: Layer) -> dict[str, tf.Variable]:
        """Scales follow from the weights: there is nothing to remember."""
        return {}

    def __call__(self, inputs: tf.Tensor, training: bool, weights: Any, **kwargs: Any) -> tf.Tensor:
        """The kernel on its grid."""
        if not self.of_depthwise:
            return to_grid(inputs)
        shape = inputs.shape
        return tf.reshape(to_grid(tf.reshape(inputs, (*shape[:2], -1))), shape)

    def get_config(self) -> dict[str, Any]:
        """Its argument."""
        return {"of_depthwise": self.of_depthwise}


class KernelAlone(tfmot.QuantizeConfig):
    """Quantizes a layer's kernel: no bias, and no activations."""

    def get_weights_and_quantizers(self, layer: Layer) -> list[tuple[tf.Variable, PerChannel]]:
        """The kernel with its grid."""
        of_depthwise = isinstance(layer, tf_keras.layers.DepthwiseConv2D)
        kernel = layer.depthwise_kernel if of_depthwise else layer.kernel
        return [(kernel, PerChannel(of_depthwise=of_depthwise))]

    def set_quantize_weights(self, layer: Layer, quantize_weights: list[tf.Tensor]) -> None:
        """Let the layer compute with the kernel on its grid."""
        (kernel,) = quantize_weights
        if isinstance(layer, tf_keras.layers.DepthwiseConv2D):
            layer.depthwise_kernel = kernel
        else:
            layer.kernel = kernel

    def get_activations_and_quantizers(self, layer: Layer) -> list[Any]:
        """None."""
        return []

    # TF-MOT calls this inside of a graph, where AutoGraph stumbles over a function that does nothing.
    @tf.autograph.experimental.do_not_convert
    def set_quantize_activations(self, layer: Layer, quantize_activations: list[Any]) -> None:
        """There are none."""

    def get_output_quantizers(self, layer: Layer) -> list[Any]:
        """None."""
        return []

    def get_config(self) -> dict[str, Any]:
        """No arguments."""
        return {}
