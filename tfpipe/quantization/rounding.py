"""Networks whose weights lie where an int8 export puts them, to measure with before anything is exported."""

from typing import Any

import keras
import numpy as np

from tfpipe.quantization.grid import from_int8, to_int8

Array = np.ndarray

WITH_KERNEL = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D, keras.layers.Dense)


def round_weights(network: keras.Model) -> keras.Model:
    """The same network with each kernel on its int8 grid, and all other weights as float16 has them.

    Batch norms must have been folded; kernels are those of convolutions, depthwise convolutions and dense layers.
    """
    rounded = keras.models.clone_model(network)
    for layer, original in zip(rounded.layers, network.layers, strict=True):
        layer.set_weights([_round(weights, original) for weights in original.get_weights()])
    return rounded


def _round(weights: Array, layer: Any) -> Array:
    if weights.ndim == 1 or not isinstance(layer, WITH_KERNEL):
        return weights.astype(np.float16).astype(weights.dtype)
    # A depthwise kernel is (height, width, channels, multiplier), each of the last two axes with scales of its own.
    by_channel = weights.reshape(*weights.shape[:2], -1) if isinstance(layer, keras.layers.DepthwiseConv2D) else weights
    return from_int8(*to_int8(by_channel)).reshape(weights.shape)
