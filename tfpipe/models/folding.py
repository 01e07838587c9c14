"""Batch norm folded into the convolution before it, as everything that runs elsewhere wants it (Jacob 2018, §3.2)."""

from typing import Any

import keras
import numpy as np

from tfpipe.models.batch_norm import FusedBatchNormalization

Array = np.ndarray

FOLDABLE = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D, keras.layers.Dense)
NORMS = (keras.layers.BatchNormalization, FusedBatchNormalization)


def fold_batch_norms(network: keras.Model) -> keras.Model:
    """The same functional network for inference, without the batch norms that follow a linear layer of their own.

    Such a layer gets the norm's scale in its kernel and the norm's shift as its bias. A norm stays where
    something else stands before it, such as an addition, or where others read what it reads.
    """
    norm_after = _find_pairs(network)
    folded_norms = {norm.name for norm in norm_after.values()}

    def clone(layer: Any) -> Any:
        config = layer.get_config()
        return type(layer).from_config(config | {"use_bias": True} if layer.name in norm_after else config)

    def call(layer: Any, *inputs: Any, **options: Any) -> Any:
        return inputs[0] if layer.name in folded_norms else layer(*inputs, **options)

    folded = keras.models.clone_model(network, clone_function=clone, call_function=call)
    for layer in folded.layers:
        if layer.weights:
            original = network.get_layer(layer.name)
            norm = norm_after.get(layer.name)
            layer.set_weights(_fold(original, norm) if norm else original.get_weights())
    return folded


def _find_pairs(network: keras.Model) -> dict[str, Any]:
    """Name of each layer that can take in a norm → that norm."""
    pairs = {}
    for norm in network.layers:
        if type(norm) not in NORMS or norm.axis not in (-1, len(norm.output.shape) - 1):
            continue
        layer = norm.input._keras_history.operation
        is_linear = type(layer) in FOLDABLE and layer.activation is keras.activations.linear
        if is_linear and len(_readers(network, layer.output)) == 1:
            pairs[layer.name] = norm
    return pairs


def _readers(network: keras.Model, tensor: keras.KerasTensor) -> list[Any]:
    """The layers that read a tensor, and the network itself where it is an output."""
    takers = [(layer, layer.input) for layer in network.layers] + [(network, network.outputs)]
    return [taker for taker, taken in takers if any(tensor is read for read in keras.tree.flatten(taken))]


def _fold(layer: Any, norm: Any) -> list[Array]:
    """Kernel and bias (channels,) that do what layer and norm do."""
    mean, variance = norm.moving_mean.numpy(), norm.moving_variance.numpy()
    factor = (norm.gamma.numpy() if norm.scale else 1) / np.sqrt(variance.astype(np.float64) + norm.epsilon)
    kernel = layer.kernel.numpy()
    before = layer.bias.numpy() if layer.use_bias else 0
    bias = (before - mean) * factor + (norm.beta.numpy() if norm.center else 0)
    # A depthwise kernel (height, width, channels, multiplier) gives its channels in the order of its last two axes.
    of_kernel = factor.reshape(kernel.shape[2:]) if isinstance(layer, keras.layers.DepthwiseConv2D) else factor
    return [(kernel * of_kernel).astype(np.float32), bias.astype(np.float32)]
