"""Networks whose weights lie where an int8 export puts them."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfpipe.quantization.compensation import round_compensated
from tfpipe.quantization.grid import nearest, to_int8

Array = np.ndarray

WITH_KERNEL = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D, keras.layers.Dense)
PATCHES_AN_IMAGE = 2048
"""Places of an image whose inputs count; neighbours tell much the same."""


def round_weights(network: keras.Model, images: Array) -> keras.Model:
    """The same functional network with each kernel on its int8 grid, and all other weights as float16 has them.

    Layer by layer from the images on, so that each makes up for what the layers below it changed.

    Args:
        network: without batch norms; its layers are used once each.
        images: (images, height, width, 3) as the network wants them; some ten show enough.
    """
    rounded = keras.models.clone_model(network)
    waiting = Counter(id(tensor) for layer in rounded.layers for tensor in _taken(layer))
    values = {id(rounded.inputs[0]): tf.constant(images)}
    for layer in rounded.layers:
        if not _taken(layer):
            continue
        inputs = [values[id(tensor)] for tensor in _taken(layer)]
        if layer.weights:
            layer.set_weights(_round_layer(network.get_layer(layer.name), inputs[0]))
        values[id(layer.output)] = layer(inputs if isinstance(layer.input, list) else inputs[0])
        waiting.subtract(id(tensor) for tensor in _taken(layer))
        values = {name: value for name, value in values.items() if waiting[name]}
    return rounded


def halve_weights(network: keras.Model) -> keras.Model:
    """The same functional network with all weights as float16 has them."""
    halved = keras.models.clone_model(network)
    halved.set_weights([weight.astype(np.float16).astype(weight.dtype) for weight in network.get_weights()])
    return halved


def kernels_on_grid(network: keras.Model, rounded: keras.Model) -> Callable[[Array], tuple[Array, Array]]:
    """A kernel of the network → int8 (…, channels) and scales (channels,) of the rounded one.

    A kernel is known by its values, whatever a converter called it; one of a depthwise convolution
    comes as (height, width, channels).
    """
    known = {}
    for layer in network.layers:
        if isinstance(layer, WITH_KERNEL):
            kernel = _by_channel(layer, layer.kernel.numpy())
            _, scales = to_int8(kernel)
            on_grid = _by_channel(layer, rounded.get_layer(layer.name).kernel.numpy())
            known[kernel.tobytes()] = (nearest(on_grid, scales), scales)
    return lambda kernel: known[kernel.tobytes()]


def _taken(layer: Any) -> list[Any]:
    """The tensors that a layer reads; none where the network begins."""
    return [] if isinstance(layer, keras.layers.InputLayer) else keras.tree.flatten(layer.input)


def _round_layer(layer: Any, inputs: tf.Tensor) -> list[Array]:
    weights = layer.get_weights()
    halves = [weight.astype(np.float16).astype(weight.dtype) for weight in weights]
    return [_round_kernel(layer, weights[0], inputs), *halves[1:]] if isinstance(layer, WITH_KERNEL) else halves


def _round_kernel(layer: Any, kernel: Array, inputs: tf.Tensor) -> Array:
    _, scales = to_int8(_by_channel(layer, kernel))
    patches = np.concatenate([_patches(layer, inputs[i : i + 1]) for i in range(len(inputs))])
    if not isinstance(layer, keras.layers.DepthwiseConv2D):
        moments = patches.T @ patches / len(patches)
        return round_compensated(kernel.reshape(-1, kernel.shape[-1]), scales, moments).reshape(kernel.shape)
    # (height, width, channels, multiplier): each channel sees itself alone.
    channels, multiplier = kernel.shape[2:]
    # In this order in memory, or NumPy multiplies without BLAS.
    of_channel = np.ascontiguousarray(patches.reshape(len(patches), -1, channels).transpose(2, 1, 0))
    moments = of_channel @ of_channel.transpose(0, 2, 1) / len(patches)
    parts = zip(np.moveaxis(kernel, 2, 0), scales.reshape(channels, multiplier), moments, strict=True)
    rounded = [round_compensated(part.reshape(-1, multiplier), scale, moment) for part, scale, moment in parts]
    return np.stack(rounded, axis=1).reshape(kernel.shape)


def _by_channel(layer: Any, kernel: Array) -> Array:
    """(…, channels), which a depthwise kernel (height, width, channels, multiplier) is not."""
    return kernel.reshape(*kernel.shape[:2], -1) if isinstance(layer, keras.layers.DepthwiseConv2D) else kernel


def _patches(layer: Any, inputs: tf.Tensor) -> Array:
    """What a kernel is multiplied with in one image (1, …), a row a place: (places, inputs of an output)."""
    if not isinstance(layer, keras.layers.Dense):
        (height, width), (down, right), (tall, wide) = layer.kernel_size, layer.strides, layer.dilation_rate
        inputs = tf.image.extract_patches(
            inputs, (1, height, width, 1), (1, down, right, 1), (1, tall, wide, 1), layer.padding.upper()
        )
    rows = inputs.numpy().reshape(-1, inputs.shape[-1])
    return rows[:: -(-len(rows) // PATCHES_AN_IMAGE)]
