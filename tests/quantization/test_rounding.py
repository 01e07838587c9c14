"""Networks rounded to the int8 grid, layer by layer."""

import keras
import numpy as np

from tfpipe.quantization.rounding import round_weights

layers = keras.layers


def build() -> keras.Model:
    keras.utils.set_random_seed(4)
    inputs = keras.Input((6, 6, 3))
    hidden = layers.Conv2D(8, 3, name="plain", bias_initializer="random_normal")(inputs)
    hidden = layers.DepthwiseConv2D(3, depth_multiplier=2, name="depthwise")(hidden)
    pooled = layers.GlobalAveragePooling2D()(hidden)
    return keras.Model(inputs, layers.Dense(5, name="logits")(pooled))


def test_each_output_channel_has_a_grid_of_its_own() -> None:
    network = build()
    rounded = round_weights(network)
    for name, axis in {"plain": (0, 1, 2), "depthwise": (0, 1), "logits": 0}.items():
        weights, kernel = network.get_layer(name).get_weights()[0], rounded.get_layer(name).get_weights()[0]
        scales = (np.abs(weights).max(axis=axis) / 127).astype(np.float16).astype(np.float32)
        steps = kernel / scales
        np.testing.assert_allclose(steps, np.rint(steps), atol=1e-4, err_msg=name)
        assert np.abs(steps).max(axis=axis).round().min() == 127, name
        assert (np.abs(kernel - weights) <= scales / 2 * (1 + 1e-5)).all(), name


def test_biases_are_those_of_float16() -> None:
    network = build()
    before, after = (model.get_layer("plain").get_weights()[1] for model in (network, round_weights(network)))
    assert not np.array_equal(before, after)
    np.testing.assert_array_equal(after, before.astype(np.float16).astype(np.float32))


def test_the_network_itself_is_left_as_it_was() -> None:
    network = build()
    before = network.get_weights()
    round_weights(network)
    for now, then in zip(network.get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, then)
