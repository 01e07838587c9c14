"""Networks in the precisions of an export, and what their weights take."""

import keras
import numpy as np
import pytest

from tfpipe.core.errors import TfpipeError
from tfpipe.quantization.grid import from_int8, on_grid, to_int8
from tfpipe.quantization.precisions import halve, in_float16, scale_logits, snap, weight_bytes

layers = keras.layers


def build() -> keras.Model:
    keras.utils.set_random_seed(1)
    hidden = layers.Conv2D(8, 3, name="plain", bias_initializer="random_normal")(inputs := keras.Input((6, 6, 3)))
    hidden = layers.DepthwiseConv2D(3, depth_multiplier=2, name="depthwise")(hidden)
    return keras.Model(inputs, layers.Dense(5, name="logits")(layers.GlobalAveragePooling2D()(hidden)))


def test_float16_moves_no_weight_by_more_than_its_precision_and_leaves_the_network_alone() -> None:
    network = build()
    before = [weight.copy() for weight in network.get_weights()]
    halved = in_float16(network)
    for weight, half, then in zip(network.get_weights(), halved.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, then)
        np.testing.assert_array_equal(half, half.astype(np.float16))
        np.testing.assert_allclose(half, weight, rtol=2**-11, atol=2**-25)


def test_bytes_are_those_of_weights_and_scales() -> None:
    """Kernels of 3·3·3·8, 3·3·8·2 and 16·5 weights, 8 + 16 + 5 channels of each of which there is a bias too."""
    kernels, channels = 216 + 144 + 80, 8 + 16 + 5
    network = build()
    assert weight_bytes(network, "float32") == 4 * (kernels + channels)
    assert weight_bytes(network, "float16") == 2 * (kernels + channels)
    assert weight_bytes(network, "int8") == kernels + 2 * channels + 2 * channels


def test_a_depthwise_kernel_is_rounded_channel_by_channel() -> None:
    layer = build().get_layer("depthwise")
    kernel, bias = layer.get_weights()
    kernel *= np.geomspace(1e-3, 1e3, 16).reshape(8, 2)
    rounded, half = snap(layer, [kernel, bias])
    for channel in range(8):
        for copy in range(2):
            of_one = kernel[:, :, channel, copy].reshape(9, 1)
            expected = from_int8(*to_int8(of_one)).reshape(3, 3)
            np.testing.assert_array_equal(rounded[:, :, channel, copy], expected)
    np.testing.assert_array_equal(half, bias.astype(np.float16))


def test_scaled_logits_keep_their_answers_and_their_grid() -> None:
    network = build()
    for layer in network.layers:
        layer.set_weights(snap(layer, layer.get_weights()) if layer.weights else [])
    images = np.random.default_rng(0).normal(size=(8, 6, 6, 3)).astype(np.float32)
    steps, _ = on_grid(network.get_layer("logits").kernel.numpy())
    before = network(images).numpy()
    scale_logits(network, 1.7)
    np.testing.assert_allclose(network(images), 1.7 * before, rtol=2e-3, atol=1e-4)
    found, _ = on_grid(network.get_layer("logits").kernel.numpy())
    np.testing.assert_array_equal(found, steps)


def test_what_float16_cannot_hold_is_told() -> None:
    with pytest.raises(TfpipeError, match=r"a weight is 1e\+05, and float16 holds 65504 at most"):
        halve(np.array([1.0, -1e5], np.float32))
