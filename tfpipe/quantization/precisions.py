"""Networks in the precisions of an export: which weights are kernels, and what all of them take."""

import math
import zlib
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from tfpipe.core.errors import TfpipeError
from tfpipe.core.settings import Precision
from tfpipe.quantization.grid import from_int8, on_grid, to_int8

Array = np.ndarray

WITH_KERNEL = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D, keras.layers.Dense, keras.layers.Embedding)
"""Layers whose first weight is a kernel, or a table: int8 has it on a grid, and everything else as float16."""


def in_float16(network: keras.Model) -> keras.Model:
    """The same network with every weight as float16 has it."""
    halved = keras.models.clone_model(network)
    halved.set_weights([halve(weight) for weight in network.get_weights()])
    return halved


def halve(weight: Array) -> Array:
    """The nearest float16 numbers, in the type that was given.

    Raises:
        TfpipeError: when a weight is too large for float16.
    """
    largest = float(np.abs(weight).max(initial=0))
    if not largest <= float(np.finfo(np.float16).max):
        raise TfpipeError(f"a weight is {largest:.3g}, and float16 holds 65504 at most: the training went astray.")
    return weight.astype(np.float16).astype(weight.dtype)


def snap(layer: Any, weights: list[Array]) -> list[Array]:
    """A layer's weights, each rounded by itself: its kernel to the nearest points of the grid, the rest to float16."""
    if not isinstance(layer, WITH_KERNEL):
        return [halve(weight) for weight in weights]
    kernel, *others = weights
    snapped = from_int8(*to_int8(by_channel(layer, kernel)))
    return [as_kernel(layer, snapped, kernel.shape), *(halve(weight) for weight in others)]


def scale_logits(network: keras.Model, factor: float) -> None:
    """Multiply what the last layer, a linear one on the grid, gives; the steps stay, and its scales change."""
    layer = network.outputs[0]._keras_history.operation
    kernel, *biases = layer.get_weights()
    steps, scales = on_grid(kernel)
    scaled = (scales.astype(np.float32) * np.float32(factor)).astype(np.float16)
    layer.set_weights([from_int8(steps, scaled), *(halve(bias * np.float32(factor)) for bias in biases)])


def by_channel(layer: Any, kernel: Array) -> Array:
    """(…, channels), each with a scale of its own.

    A depthwise kernel is (height, width, channels, multiplier); of a table (entries, dim), entries are the channels.
    """
    if isinstance(layer, keras.layers.Embedding):
        return kernel.T
    return kernel.reshape(*kernel.shape[:2], -1) if isinstance(layer, keras.layers.DepthwiseConv2D) else kernel


def as_kernel(layer: Any, channels: Array, shape: tuple[int, ...]) -> Array:
    """The inverse of `by_channel`."""
    return channels.T if isinstance(layer, keras.layers.Embedding) else channels.reshape(shape)


def weight_bytes(network: keras.Model, precision: Precision) -> int:
    """Of all weights, as TensorFlow.js stores them; in int8 each channel of a kernel has a float16 scale."""
    if precision != "int8":
        size = {"float32": 4, "float16": 2}[precision]
        return sum(size * math.prod(weight.shape) for weight in network.weights)
    return sum(_int8_bytes(layer) for layer in network.layers)


def compressed_bytes(network: keras.Model) -> int:
    """Of all weights in int8, as a host sends them that compresses by gzip."""
    return len(zlib.compress(b"".join(part for layer in network.layers for part in _iter_stored(layer))))


def _iter_stored(layer: Any) -> Iterator[bytes]:
    """What a file has of a layer whose kernel lies on the grid."""
    weights = layer.get_weights()
    if weights and isinstance(layer, WITH_KERNEL):
        steps, scales = on_grid(by_channel(layer, weights.pop(0)))
        yield steps.tobytes()
        yield scales.tobytes()
    yield from (weight.astype(np.float16).tobytes() for weight in weights)


def _int8_bytes(layer: Any) -> int:
    sizes = [math.prod(weight.shape) for weight in layer.weights]
    if not isinstance(layer, WITH_KERNEL):
        return 2 * sum(sizes)
    num_channels = by_channel(layer, layer.get_weights()[0]).shape[-1]
    return sizes[0] + 2 * num_channels + 2 * sum(sizes[1:])
