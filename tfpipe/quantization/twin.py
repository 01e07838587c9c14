"""A network's twin in tf_keras, the only Keras that TF-MOT knows, and the way of the weights there and back.

Importing TF-MOT sets TF_USE_LEGACY_KERAS for the whole process: what imports this module runs in one of its own.
"""

from collections.abc import Callable
from typing import Any, TypeAlias

import keras
import numpy as np
import tensorflow as tf
import tf_keras

from tfpipe.core.errors import ConfigError, MismatchError
from tfpipe.quantization.precisions import snap

CONVOLUTION = ("kernel_size", "strides", "padding", "dilation_rate", "activation", "use_bias")
SETTINGS: dict[str, tuple[str, ...]] = {
    "Conv2D": ("filters", "groups", *CONVOLUTION),
    "DepthwiseConv2D": ("depth_multiplier", *CONVOLUTION),
    "Dense": ("units", "activation", "use_bias"),
    "ReLU": ("max_value", "negative_slope", "threshold"),
    "Activation": ("activation",),
    "ZeroPadding2D": ("padding",),
    "Add": (),
    "GlobalAveragePooling2D": ("keepdims",),
}
"""Kind of layer, with the same name and weights on both sides → its settings that both sides have."""

LEFT_OUT = "Dropout"
"""A finished network changes too little in a few epochs to learn by heart; and without it, an interrupted training
ends in the same bits."""

TOLERANCE = 1e-4
"""Of the largest output: how far the twins' answers may be apart."""


Layer: TypeAlias = tf_keras.layers.Layer


def build_twin(network: keras.Model, wrap: Callable[[Layer], Layer] = lambda layer: layer) -> tf_keras.Model:
    """The same functional network and weights in tf_keras, without dropout.

    Args:
        network: its batch norms are folded, its layers used once each.
        wrap: gets each new layer that has weights, unbuilt, and returns one of the same name and weights.

    Raises:
        ConfigError: when the network has a layer that is not in `SETTINGS`.
    """
    (images,) = network.inputs
    tensors = {id(images): tf_keras.Input(images.shape[1:], name=images.name)}
    for layer in network.layers:
        if isinstance(layer, keras.layers.InputLayer):
            continue
        taken = [tensors[id(tensor)] for tensor in keras.tree.flatten(layer.input)]
        if type(layer).__name__ == LEFT_OUT:
            (tensors[id(layer.output)],) = taken
            continue
        twin = wrap(_counterpart(layer)) if layer.weights else _counterpart(layer)
        tensors[id(layer.output)] = twin(taken if isinstance(layer.input, list) else taken[0])
    model = tf_keras.Model(tensors[id(images)], tensors[id(network.outputs[0])], name=network.name)
    for layer in network.layers:
        for variable, value in zip(_variables(model, layer), layer.get_weights(), strict=True):
            variable.assign(value)
    return model


def check_twin(network: keras.Model, twin: tf_keras.Model) -> None:
    """Refuse a twin that answers differently.

    Raises:
        MismatchError: saying by how much.
    """
    images = np.random.default_rng(0).uniform(-1, 1, (2, *network.input_shape[1:])).astype(np.float32)
    expected, found = (model(images, training=False).numpy() for model in (network, twin))
    difference = float(np.abs(expected - found).max() / np.abs(expected).max())
    if not difference <= TOLERANCE:
        raise MismatchError(
            f"{network.name}, carried over to tf_keras, answers differently, by {difference:.2g} of its largest logit: "
            "it cannot be trained there. Set quantize.method to post_training."
        )


def carry_back(twin: tf_keras.Model, network: keras.Model) -> None:
    """Give the network what its twin has learned: kernels on the int8 grid, all else as float16 has it."""
    for layer in network.layers:
        if layer.weights:
            layer.set_weights(snap(layer, [variable.numpy() for variable in _variables(twin, layer)]))


def _variables(twin: tf_keras.Model, layer: Any) -> list[tf.Variable]:
    """Those that stand for a layer's weights, in their order: kernel and bias."""
    return twin.get_layer(layer.name).trainable_weights if layer.weights else []


def _counterpart(layer: Any) -> Layer:
    kind, config = type(layer).__name__, layer.get_config()
    if kind not in SETTINGS:
        raise ConfigError(
            f"quantize.method: aware knows layers such as {', '.join(SETTINGS)}, and {layer.name} is a {kind}. "
            "Set it to post_training."
        )
    return getattr(tf_keras.layers, kind)(name=layer.name, **{name: config[name] for name in SETTINGS[kind]})
