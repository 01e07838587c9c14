"""Batch norm on the fused operation against Keras's own, which is built from primitive ones."""

import json
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfpipe.models.batch_norm import FusedBatchNormalization

SHAPE = (6, 5, 4, 8)
SETTINGS = {"momentum": 0.9, "epsilon": 1e-3}


def make_pair(**settings: float) -> tuple[keras.layers.BatchNormalization, FusedBatchNormalization]:
    """Keras's layer and ours with the same, not trivial, weights."""
    rng = np.random.default_rng(0)
    weights = [rng.uniform(0.5, 2, 8), rng.normal(size=8), rng.normal(size=8), rng.uniform(0.5, 3, 8)]
    pair = (keras.layers.BatchNormalization(**SETTINGS | settings), FusedBatchNormalization(**SETTINGS | settings))
    for layer in pair:
        layer.build(SHAPE)
        layer.set_weights([weight.astype(np.float32) for weight in weights])
    return pair


def make_inputs(seed: int = 1) -> tf.Tensor:
    return tf.constant(np.random.default_rng(seed).normal(2, 3, SHAPE), tf.float32)


def test_training_outputs_are_equal() -> None:
    plain, fused = make_pair()
    inputs = make_inputs()
    np.testing.assert_allclose(fused(inputs, training=True), plain(inputs, training=True), atol=1e-5)


def test_training_normalises_with_the_statistics_of_the_batch() -> None:
    _, fused = make_pair()
    inputs = make_inputs().numpy().astype(np.float64)
    gamma, beta = (weight.astype(np.float64) for weight in fused.get_weights()[:2])
    variance = inputs.var(axis=(0, 1, 2)) + SETTINGS["epsilon"]
    expected = gamma * (inputs - inputs.mean(axis=(0, 1, 2))) / np.sqrt(variance) + beta
    np.testing.assert_allclose(fused(tf.constant(inputs, tf.float32), training=True), expected, atol=1e-5)


def test_gradients_are_equal() -> None:
    inputs = make_inputs()
    towards = tf.constant(np.random.default_rng(2).normal(size=SHAPE), tf.float32)
    found = []
    for layer in make_pair():
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            loss = tf.reduce_sum(layer(inputs, training=True) * towards)
        found.append(tape.gradient(loss, [inputs, layer.gamma.value, layer.beta.value]))
    for plain, fused in zip(*found, strict=True):
        assert np.abs(plain).max() > 0.1
        np.testing.assert_allclose(fused, plain, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("momentum", [0.9, 0.99])
def test_averages_move_alike_over_several_steps(momentum: float) -> None:
    pair = make_pair(momentum=momentum)
    start = [pair[0].moving_mean.numpy().copy(), pair[0].moving_variance.numpy().copy()]
    for step in range(5):
        for layer in pair:
            layer(make_inputs(step), training=True)
    plain, fused = pair
    assert np.abs(plain.moving_mean.numpy() - start[0]).max() > 0.05
    assert np.abs(plain.moving_variance.numpy() - start[1]).max() > 0.05
    np.testing.assert_allclose(fused.moving_mean, plain.moving_mean, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(fused.moving_variance, plain.moving_variance, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("values", "mean", "variance"), [([1.0, 3.0], 2.0, 1.0), ([5.0], 5.0, 0.0)])
def test_average_variance_is_the_biased_one(values: list[float], mean: float, variance: float) -> None:
    """With two values, n/(n-1) would be a factor of two: nobody could miss it. One has no unbiased variance at all."""
    layer = FusedBatchNormalization(momentum=0.0)
    layer(tf.reshape(tf.constant(values), (-1, 1, 1, 1)), training=True)
    np.testing.assert_allclose(layer.moving_mean, [mean], atol=1e-6)
    np.testing.assert_allclose(layer.moving_variance, [variance], atol=1e-6)


@pytest.mark.parametrize("training", [False, None])
def test_inference_uses_the_averages_and_leaves_them(training: bool | None) -> None:
    plain, fused = make_pair()
    before = fused.get_weights()
    inputs = make_inputs()
    np.testing.assert_allclose(fused(inputs, training=training), plain(inputs, training=False), atol=1e-5)
    gamma, beta, mean, variance = before
    by_hand = gamma * (inputs.numpy() - mean) / np.sqrt(variance + SETTINGS["epsilon"]) + beta
    np.testing.assert_allclose(fused(inputs, training=training), by_hand, atol=1e-5)
    for left, right in zip(before, fused.get_weights(), strict=True):
        np.testing.assert_array_equal(left, right)


def test_a_frozen_layer_uses_the_averages_even_in_training() -> None:
    plain, fused = make_pair()
    inputs = make_inputs()
    expected = plain(inputs, training=False)
    before = fused.get_weights()
    plain.trainable = fused.trainable = False
    np.testing.assert_allclose(fused(inputs, training=True), expected, atol=1e-5)
    np.testing.assert_allclose(fused(inputs, training=True), plain(inputs, training=True), atol=1e-5)
    for left, right in zip(before, fused.get_weights(), strict=True):
        np.testing.assert_array_equal(left, right)


def test_settings_survive_a_round_trip() -> None:
    _, fused = make_pair(momentum=0.7, epsilon=0.02)
    again = FusedBatchNormalization.from_config(fused.get_config())
    assert again.get_config() == fused.get_config()
    assert (again.momentum, again.epsilon) == (0.7, 0.02)
    through_keras = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(fused))
    assert type(through_keras) is FusedBatchNormalization


def test_it_takes_the_place_of_kerass_layer_weight_by_weight() -> None:
    plain, fused = make_pair()
    assert [(w.name, w.shape, w.trainable) for w in fused.weights] == [
        (w.name, w.shape, w.trainable) for w in plain.weights
    ]


@pytest.mark.parametrize("options", [{"scale": False}, {"center": False}, {"scale": False, "center": False}])
def test_scale_and_offset_may_be_missing(options: dict[str, bool]) -> None:
    plain, fused = keras.layers.BatchNormalization(**options), FusedBatchNormalization(**options)
    for training in (True, False):
        np.testing.assert_allclose(
            fused(make_inputs(), training=training), plain(make_inputs(), training=training), atol=1e-5
        )
    np.testing.assert_allclose(fused.moving_variance, plain.moving_variance, rtol=1e-5)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_statistics_are_float32_in_mixed_precision(policy: str) -> None:
    """The batch's variance is that of the rounded values, summed with more digits than these have."""
    plain = keras.layers.BatchNormalization(momentum=0.0, dtype=policy)
    fused = FusedBatchNormalization(momentum=0.0, dtype=policy)
    inputs = make_inputs() + 100
    for training in (True, False):
        found, expected = fused(inputs, training=training), plain(inputs, training=training)
        assert found.dtype == expected.dtype == policy.removeprefix("mixed_")
        np.testing.assert_allclose(tf.cast(found, tf.float32), tf.cast(expected, tf.float32), atol=0.02)
    assert {weight.dtype for weight in fused.weights} == {"float32"}
    rounded = tf.cast(tf.cast(inputs, policy.removeprefix("mixed_")), tf.float64).numpy()
    np.testing.assert_allclose(fused.moving_variance, rounded.var(axis=(0, 1, 2)), rtol=1e-3)


REPLICAS = """
import json
import keras
import numpy as np
import tensorflow as tf
from tfpipe.models.batch_norm import FusedBatchNormalization

two = [tf.config.LogicalDeviceConfiguration()] * 2
tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], two)
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
inputs = np.random.default_rng(0).normal(3, 3, (8, 5, 4, 8)).astype("float32")
inputs[4:] += 4
found = []
for kind in (keras.layers.BatchNormalization, FusedBatchNormalization):
    with strategy.scope():
        keras.utils.set_random_seed(0)
        images = keras.Input((5, 4, 8))
        within = keras.Model(images, kind(momentum=0.5)(images))
        outputs = keras.layers.Dense(3)(keras.layers.GlobalAveragePooling2D()(within(images)))
        network = keras.Model(images, outputs)
        network.compile("sgd", "mse")
    losses = network.fit(inputs, np.ones((8, 3)), batch_size=8, epochs=3, shuffle=False, verbose=0).history["loss"]
    found.append([losses, *(weight.tolist() for weight in network.get_weights())])
print(json.dumps(found))
"""


def test_two_replicas_do_with_it_what_they_do_with_kerass() -> None:
    """Inside a nested network; a process can be given two devices only before it has used one."""
    done = subprocess.run([sys.executable, "-c", REPLICAS], capture_output=True, text=True, check=True)
    plain, fused = json.loads(done.stdout.splitlines()[-1])
    assert len(plain) == 1 + 4 + 2
    for left, right in zip(fused, plain, strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-4, atol=1e-5)
