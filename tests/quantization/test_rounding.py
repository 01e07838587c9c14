"""Networks rounded to the int8 grid, layer by layer."""

import keras
import numpy as np
import pytest

from tfpipe.quantization.grid import from_int8, on_grid, to_int8
from tfpipe.quantization.precisions import by_channel
from tfpipe.quantization.rounding import round_weights

layers = keras.layers


def build() -> keras.Model:
    keras.utils.set_random_seed(4)
    inputs = keras.Input((6, 6, 3))
    hidden = layers.Conv2D(8, 3, name="plain", bias_initializer="random_normal")(inputs)
    hidden = layers.DepthwiseConv2D(3, depth_multiplier=2, name="depthwise")(hidden)
    pooled = layers.GlobalAveragePooling2D()(hidden)
    return keras.Model(inputs, layers.Dense(5, name="logits")(pooled))


IMAGES = np.random.default_rng(0).uniform(-1, 1, (8, 6, 6, 3)).astype(np.float32)


def test_each_output_channel_has_a_grid_of_its_own() -> None:
    network = build()
    rounded = round_weights(network, IMAGES)
    for name, axis in {"plain": (0, 1, 2), "depthwise": (0, 1), "logits": 0}.items():
        weights, kernel = network.get_layer(name).get_weights()[0], rounded.get_layer(name).get_weights()[0]
        scales = (np.abs(weights).max(axis=axis) / 127).astype(np.float16).astype(np.float32)
        steps = kernel / scales
        np.testing.assert_allclose(steps, np.rint(steps), atol=1e-4, err_msg=name)
        assert (np.abs(kernel - weights) < 3 * scales).all(), name
        assert (kernel != weights).mean() > 0.9, name


def test_biases_are_those_of_float16() -> None:
    network = build()
    before, after = (model.get_layer("plain").get_weights()[1] for model in (network, round_weights(network, IMAGES)))
    assert not np.array_equal(before, after)
    np.testing.assert_array_equal(after, before.astype(np.float16).astype(np.float32))


def test_the_network_itself_is_left_as_it_was() -> None:
    network = build()
    before = network.get_weights()
    round_weights(network, IMAGES)
    for now, then in zip(network.get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, then)


@pytest.mark.parametrize("name", ["plain", "depthwise", "logits"])
def test_an_export_finds_the_int8_values_again_and_they_are_those_of_the_networks_own_scales(name: str) -> None:
    network = build()
    layers_of = (model.get_layer(name) for model in (round_weights(network, IMAGES), network))
    kernel, original = (by_channel(layer, layer.kernel.numpy()) for layer in layers_of)
    integers, scales = on_grid(kernel)
    np.testing.assert_array_equal(from_int8(integers, scales), kernel)
    np.testing.assert_array_equal(scales, to_int8(original)[1])


def test_what_is_rounded_already_stays() -> None:
    network = build()
    plainly = keras.models.clone_model(network)
    for layer in plainly.layers:
        layer.set_weights(
            [_on_grid(weights) for weights in network.get_layer(layer.name).get_weights()] if layer.weights else []
        )
    again = round_weights(plainly, IMAGES)
    for now, then in zip(again.get_weights(), plainly.get_weights(), strict=True):
        np.testing.assert_array_equal(now, then)


def _on_grid(weights: np.ndarray) -> np.ndarray:
    if weights.ndim == 1:
        return weights.astype(np.float16)
    flat = weights.reshape(3, 3, -1) if weights.shape[-1] == 2 else weights
    return from_int8(*to_int8(flat)).reshape(weights.shape)


def test_the_outputs_are_closer_than_those_of_plain_rounding() -> None:
    network = build()
    plainly = keras.models.clone_model(network)
    plainly.set_weights([_on_grid(weights) for weights in network.get_weights()])
    images = np.random.default_rng(5).uniform(0, 1, (32, 6, 6, 3)).astype(np.float32)
    exact = network(images).numpy()
    compensated = round_weights(network, images[:16])(images).numpy()
    assert np.square(compensated - exact).mean() < 0.5 * np.square(plainly(images).numpy() - exact).mean()
