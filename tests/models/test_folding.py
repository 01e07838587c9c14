"""Batch norms folded into the layers before them: the same outputs from fewer layers."""

import keras
import numpy as np
import pytest
from scipy.special import softmax

from tfpipe.core.inputs import ImageInput
from tfpipe.core.settings import ModelSettings
from tfpipe.models import build_model
from tfpipe.models.batch_norm import FusedBatchNormalization
from tfpipe.models.folding import fold_batch_norms

layers = keras.layers


def enliven(network: keras.Model) -> keras.Model:
    """Weights as after training: fresh norms are the identity, and through fresh kernels the signal fades."""
    rng = np.random.default_rng(3)
    for layer in network.layers:
        weights = layer.get_weights()
        if isinstance(layer, layers.BatchNormalization):
            drawn = [rng.uniform(0.7, 1.5, 4), rng.normal(0, 0.3, 4), rng.normal(0, 0.3, 4), rng.uniform(0.5, 1.5, 4)]
            layer.set_weights([np.resize(values, weights[0].shape) for values in drawn])
        elif weights and weights[0].ndim == 4:
            fan_in = np.prod(weights[0].shape[: 2 if isinstance(layer, layers.DepthwiseConv2D) else 3])
            layer.set_weights([rng.normal(0, np.sqrt(2 / fan_in), weights[0].shape), *weights[1:]])
    return network


def images(size: int, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(0).uniform(-1, 1, (4, size, size, channels)).astype(np.float32)


def count_norms(network: keras.Model) -> int:
    return sum(isinstance(layer, layers.BatchNormalization) for layer in network.layers)


def branched() -> keras.Model:
    """Every kind of layer that takes a norm in, with and without a bias, and three norms that must stay."""
    inputs = keras.Input((8, 8, 4))
    stem = layers.Conv2D(6, 3, strides=2, padding="same", name="stem")(inputs)
    stem = FusedBatchNormalization(name="stem_norm")(stem)
    deep = layers.DepthwiseConv2D(3, depth_multiplier=2, use_bias=False, padding="same", name="deep")(stem)
    deep = layers.ReLU()(layers.BatchNormalization(name="deep_norm")(deep))
    wide = layers.Conv2D(12, 1, activation="relu", name="activated")(stem)
    wide = layers.BatchNormalization(name="norm_of_activated")(wide)
    total = FusedBatchNormalization(name="norm_of_sum")(layers.Add()([deep, wide]))
    shared = layers.Conv2D(12, 1, name="read_twice")(total)
    both = layers.Add()([shared, layers.BatchNormalization(name="norm_beside_another_reader")(shared)])
    flat = layers.GlobalAveragePooling2D()(both)
    return keras.Model(inputs, layers.BatchNormalization(name="dense_norm")(layers.Dense(5, name="dense")(flat)))


def test_outputs_stay_and_what_cannot_be_folded_stays_too() -> None:
    network = enliven(branched())
    folded = fold_batch_norms(network)
    left = {layer.name for layer in folded.layers if isinstance(layer, layers.BatchNormalization)}
    assert left == {"norm_of_activated", "norm_of_sum", "norm_beside_another_reader"}
    expected = network(images(8, 4), training=False).numpy()
    assert np.ptp(expected) > 1
    np.testing.assert_allclose(folded(images(8, 4), training=False), expected, rtol=1e-5, atol=1e-5)


def test_a_norm_that_shifts_or_scales_only_is_folded() -> None:
    inputs = keras.Input((8, 8, 3))
    shifted = FusedBatchNormalization(scale=False)(layers.Conv2D(4, 3, name="a")(inputs))
    scaled = layers.BatchNormalization(center=False)(layers.Conv2D(4, 3, use_bias=False, name="b")(shifted))
    network = keras.Model(inputs, scaled)
    rng = np.random.default_rng(1)
    network.set_weights([rng.uniform(0.5, 1.5, weight.shape) for weight in network.get_weights()])
    folded = fold_batch_norms(network)
    assert count_norms(folded) == 0
    np.testing.assert_allclose(folded(images(8)), network(images(8), training=False), rtol=1e-5, atol=1e-4)


@pytest.fixture(scope="module")
def mobilenet() -> keras.Model:
    settings = ModelSettings(name="mobilenetv2", alpha=0.35)
    sizes = {"num_classes": 5, "model_input": ImageInput(32), "dropout": 0.2, "stochastic_depth": 0.0}
    return enliven(build_model(settings, **sizes, rematerialize=False, seed=1))


def test_a_mobilenet_has_none_left_and_the_same_probabilities(mobilenet: keras.Model) -> None:
    folded = fold_batch_norms(mobilenet)
    assert count_norms(mobilenet) == 52
    assert count_norms(folded) == 0
    expected = mobilenet(images(32), training=False).numpy()
    found = folded(images(32), training=False).numpy()
    assert np.ptp(expected, axis=0).max() > 1e-2
    np.testing.assert_allclose(softmax(found, axis=-1), softmax(expected, axis=-1), atol=1e-5)


def test_the_network_itself_is_left_as_it_was(mobilenet: keras.Model) -> None:
    before = mobilenet.get_weights()
    fold_batch_norms(mobilenet)
    for now, then in zip(mobilenet.get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, then)
