"""Networks whose weights lie where an int8 export puts them."""

from collections import Counter
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfpipe.quantization.compensation import round_compensated
from tfpipe.quantization.grid import to_int8
from tfpipe.quantization.precisions import WITH_KERNEL, by_channel, halve, snap

Array = np.ndarray

PATCHES_AN_IMAGE = 2048
"""Places of an image whose inputs count; neighbours tell much the same."""


def round_weights(network: keras.Model, inputs: Array) -> keras.Model:
    """The same functional network with each kernel on its int8 grid, and all other weights as float16 has them.

    Layer by layer from the inputs on, so that each makes up for what the layers below it changed. Tables, which
    only look up, are rounded to the nearest.

    Args:
        network: without batch norms; its layers are used once each.
        inputs: as the network wants them: some ten images (images, height, width, 3) show enough, or some hundred
            rows of token ids (rows, length), no place of which is padding.
    """
    rounded = keras.models.clone_model(network)
    waiting = Counter(id(tensor) for layer in rounded.layers for tensor in _taken(layer))
    values = {id(rounded.inputs[0]): tf.constant(inputs)}
    for layer in rounded.layers:
        if not _taken(layer):
            continue
        taken = [values[id(tensor)] for tensor in _taken(layer)]
        if layer.weights:
            layer.set_weights(_round_layer(network.get_layer(layer.name), taken[0]))
        values[id(layer.output)] = layer(taken if isinstance(layer.input, list) else taken[0])
        waiting.subtract(id(tensor) for tensor in _taken(layer))
        values = {name: value for name, value in values.items() if waiting[name]}
    return rounded


def _taken(layer: Any) -> list[Any]:
    """The tensors that a layer reads; none where the network begins."""
    return [] if isinstance(layer, keras.layers.InputLayer) else keras.tree.flatten(layer.input)


def _round_layer(layer: Any, inputs: tf.Tensor) -> list[Array]:
    if not isinstance(layer, WITH_KERNEL) or isinstance(layer, keras.layers.Embedding):
        return snap(layer, layer.get_weights())
    kernel, *others = layer.get_weights()
    return [_round_kernel(layer, kernel, inputs), *(halve(weight) for weight in others)]


def _round_kernel(layer: Any, kernel: Array, inputs: tf.Tensor) -> Array:
    _, scales = to_int8(by_channel(layer, kernel))
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


def _patches(layer: Any, inputs: tf.Tensor) -> Array:
    """What a kernel is multiplied with in one image (1, …), a row a place: (places, inputs of an output)."""
    if not isinstance(layer, keras.layers.Dense):
        (height, width), (down, right), (tall, wide) = layer.kernel_size, layer.strides, layer.dilation_rate
        inputs = tf.image.extract_patches(
            inputs, (1, height, width, 1), (1, down, right, 1), (1, tall, wide, 1), layer.padding.upper()
        )
    rows = inputs.numpy().reshape(-1, inputs.shape[-1])
    return rows[:: -(-len(rows) // PATCHES_AN_IMAGE)]
