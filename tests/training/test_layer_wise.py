"""Optimisers layer by layer: a rate for each, the weights' moving average, and replicas."""

import math
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfpipe.core.settings import TrainingSettings
from tfpipe.training.optimizers import (
    OPTIMIZERS,
    AdamW,
    LossScaling,
    averaged_weights,
    build_optimizer,
    warmup_cosine,
)

RATE, DECAY, EPSILON = 0.1, 0.5, 0.01
RATES = {"body/kernel": 0.25, "body/bias": 0.25, "head/kernel": 1.0}


def make_optimizer(*, weight_decay: float = 0.0, **settings: Any) -> keras.optimizers.Optimizer:
    """Full learning rate at its first step."""
    training = TrainingSettings(**{"warmup_epochs": 0} | settings)
    return build_optimizer(training, learning_rate=RATE, weight_decay=weight_decay, epochs=2, steps_per_epoch=10)


def make_variables() -> list[keras.Variable]:
    random = np.random.default_rng(3)
    variables = []
    for path in RATES:
        layer, name = path.split("/")
        with keras.name_scope(layer):
            value = random.normal(size=(3,) if name == "bias" else (2, 3)).astype(np.float32)
            variables.append(keras.Variable(value, name=name))
    assert [variable.path for variable in variables] == list(RATES)
    return variables


def make_gradients(steps: int) -> list[list[np.ndarray]]:
    random = np.random.default_rng(4)
    return [
        [random.normal(size=(3,) if p.endswith("bias") else (2, 3)).astype(np.float32) for p in RATES]
        for _ in range(steps)
    ]


def test_adamw_by_hand_with_a_rate_for_each_layer_and_decay() -> None:
    """Loshchilov 2017, algorithm 2, with the learning rate times the layer's factor, over two steps.

    Epsilon, so large that it is seen, stands beside the uncorrected average (Kingma 2014, the end of section 2).
    """
    optimizer = AdamW(learning_rate=RATE, weight_decay=DECAY, rates=RATES, epsilon=EPSILON)
    variables = make_variables()
    expected = [variable.numpy().astype(np.float64) for variable in variables]
    first, second = ([np.zeros_like(value) for value in expected] for _ in range(2))
    for step, gradients in enumerate(make_gradients(2), start=1):
        optimizer.apply([tf.constant(gradient) for gradient in gradients], variables)
        for i, (path, gradient) in enumerate(zip(RATES, gradients, strict=True)):
            first[i] = 0.9 * first[i] + 0.1 * gradient
            second[i] = 0.999 * second[i] + 0.001 * gradient**2
            corrected = np.sqrt(1 - 0.999**step) / (1 - 0.9**step)
            decay = 0.0 if path.endswith("bias") else DECAY
            moved = corrected * first[i] / (np.sqrt(second[i]) + EPSILON)
            expected[i] -= RATE * RATES[path] * (moved + decay * expected[i])
    for variable, value in zip(variables, expected, strict=True):
        np.testing.assert_allclose(variable, value, rtol=1e-4)


@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
def test_a_step_is_longer_by_its_factor_and_clipping_knows_nothing_of_it(name: str) -> None:
    """Five steps with a rate each are those of three optimisers, each with its own rate for all."""
    together = walk(make_optimizer(optimizer=name, weight_decay=DECAY, clip_norm=0.5), RATES)
    for i, (path, factor) in enumerate(RATES.items()):
        alone = walk(make_optimizer(optimizer=name, weight_decay=DECAY, clip_norm=0.5), dict.fromkeys(RATES, factor))
        np.testing.assert_array_equal(together[i], alone[i], err_msg=path)
    # One rate for all is the same as a smaller learning rate.
    training = TrainingSettings(warmup_epochs=0, optimizer=name, clip_norm=0.5)
    slower = build_optimizer(training, learning_rate=RATE / 4, weight_decay=DECAY, epochs=2, steps_per_epoch=10)
    for one, other in zip(walk(slower, None), together[:2], strict=False):
        np.testing.assert_allclose(one, other, rtol=1e-5)


def walk(optimizer: keras.optimizers.Optimizer, rates: dict[str, float] | None, steps: int = 5) -> list[np.ndarray]:
    """The variables after some steps."""
    if rates is not None:
        optimizer.rates = rates
    variables = make_variables()
    optimizer.build(variables)
    for gradients in make_gradients(steps):
        optimizer.apply([tf.constant(gradient) for gradient in gradients], variables)
    return [variable.numpy() for variable in variables]


@pytest.mark.parametrize(
    ("name", "make_keras", "tolerance"),
    [
        ("adam", keras.optimizers.Adam, 1e-5),
        ("adamw", keras.optimizers.AdamW, 1e-5),
        ("sgd", lambda **settings: keras.optimizers.SGD(momentum=0.9, nesterov=True, **settings), 0),
    ],
)
def test_with_all_factors_at_one_it_is_kerass_own(
    name: str, make_keras: Callable[..., keras.optimizers.Optimizer], tolerance: float
) -> None:
    """Keras and the fused step round 1 - 0.999 differently, which shows in the fifth digit of a step."""
    schedule = warmup_cosine(RATE, warmup_steps=0, total_steps=20)
    judge = make_keras(learning_rate=schedule, weight_decay=DECAY, global_clipnorm=0.5)
    judge.exclude_from_weight_decay(var_names=["bias"])
    ours = walk(make_optimizer(optimizer=name, weight_decay=DECAY, clip_norm=0.5), dict.fromkeys(RATES, 1.0))
    for mine, kerass in zip(ours, walk(judge, None), strict=True):
        np.testing.assert_allclose(mine, kerass, rtol=0, atol=tolerance)


def test_a_variable_without_a_rate_is_named() -> None:
    with pytest.raises(ValueError, match="no factor for body/bias; there are body/kernel, head/kernel"):
        walk(make_optimizer(), {"body/kernel": 1.0, "head/kernel": 1.0})


def test_state_carries_over_to_another_optimizer_to_the_bit() -> None:
    """What a checkpoint holds, `optimizer.variables`, is all there is."""
    settings = {"weight_decay": DECAY, "clip_norm": 0.5, "ema_decay": 0.9}
    through = make_optimizer(**settings)
    expected = walk(through, RATES, steps=5)
    first, second = make_optimizer(**settings), make_optimizer(**settings)
    variables = make_variables()
    gradients = make_gradients(5)
    for optimizer, part in ((first, gradients[:2]), (second, gradients[2:])):
        optimizer.rates = RATES
        optimizer.build(variables)
        if optimizer is second:
            for new, old in zip(second.variables, first.variables, strict=True):
                new.assign(old)
        for values in part:
            optimizer.apply([tf.constant(value) for value in values], variables)
    for variable, value in zip(variables, expected, strict=True):
        np.testing.assert_array_equal(variable, value)
    for one, other in zip(second.variables, through.variables, strict=True):
        np.testing.assert_array_equal(one, other)


# The moving average


def test_averages_begin_with_the_first_step_and_then_follow() -> None:
    kernel = keras.Variable([[1.0, -1.0]], name="kernel")
    optimizer = make_optimizer(optimizer="sgd", ema_decay=0.8)
    average = None
    for gradient in (3.0, -1.0, 0.5):
        optimizer.apply([tf.fill((1, 2), gradient)], [kernel])
        average = kernel.numpy() if average is None else 0.8 * average + 0.2 * kernel.numpy()
        own = kernel.numpy()
        with averaged_weights(optimizer):
            np.testing.assert_allclose(kernel, average, rtol=1e-6)
        np.testing.assert_array_equal(kernel, own)


@pytest.mark.parametrize("scaled", [False, True], ids=["plain", "loss scaled"])
def test_averaged_weights_come_and_go_in_a_network_that_trains(scaled: bool) -> None:
    network = keras.Sequential([keras.Input((4,)), keras.layers.BatchNormalization(), keras.layers.Dense(2)])
    optimizer = make_optimizer(ema_decay=0.9)
    network.compile(LossScaling(optimizer) if scaled else optimizer, "mse")
    images, targets = np.random.default_rng(0).normal(size=(2, 8, 4)).astype(np.float32)
    for _ in range(3):
        network.train_on_batch(images, targets[:, :2])
    own, statistics = network.get_weights(), [v.numpy() for v in network.non_trainable_variables]
    averages = [average.numpy() for average in optimizer._model_variables_moving_average]
    with pytest.raises(KeyboardInterrupt), averaged_weights(network.optimizer):
        for variable, average in zip(network.trainable_variables, averages, strict=True):
            np.testing.assert_array_equal(variable, average)
        for variable, value in zip(network.non_trainable_variables, statistics, strict=True):
            np.testing.assert_array_equal(variable, value)
        assert any(not np.array_equal(a, b) for a, b in zip(network.get_weights(), own, strict=True))
        raise KeyboardInterrupt
    for value, before in zip(network.get_weights(), own, strict=True):
        np.testing.assert_array_equal(value, before)


@pytest.mark.parametrize("ema_decay", [0.0, 0.9], ids=["off", "before the first step"])
def test_without_averages_the_weights_stay(ema_decay: float) -> None:
    kernel = keras.Variable([[1.0, 2.0]], name="kernel")
    optimizer = make_optimizer(ema_decay=ema_decay)
    optimizer.build([kernel])
    with averaged_weights(optimizer):
        np.testing.assert_array_equal(kernel, [[1.0, 2.0]])


# Replicas


def test_two_replicas_take_the_steps_of_one() -> None:
    """In a process of its own: logical devices must be there before TensorFlow starts."""
    source = f"import sys; sys.path[:0] = {sys.path!r}; import test_layer_wise as t; t.compare_two_replicas_with_one()"
    child = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=False)
    assert child.returncode == 0, child.stderr[-3000:]


def compare_two_replicas_with_one() -> None:
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    mirrored = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    for name in sorted(OPTIMIZERS):
        for scaled in (False, True):
            one = walk_in(tf.distribute.get_strategy(), name, scaled)
            two = walk_in(mirrored, name, scaled)
            for mine, other in zip(one, two, strict=True):
                np.testing.assert_allclose(mine, other, rtol=1e-6)
    for overflown in (0, 1):
        check_overflow_of_one_replica(mirrored, overflown)


def walk_in(strategy: tf.distribute.Strategy, name: str, scaled: bool) -> list[np.ndarray]:
    """Variables and averages after four steps, for which each of two replicas has a part of the gradients.

    The second part is larger and of other signs, so that clipping part by part would show.
    """
    with strategy.scope():
        variables = make_variables()
        inner = make_optimizer(optimizer=name, weight_decay=DECAY, clip_norm=0.5, ema_decay=0.7)
        inner.rates = RATES
        optimizer = LossScaling(inner, initial_scale=4.0) if scaled else inner
        optimizer.build(variables)
    replicas = strategy.num_replicas_in_sync

    @tf.function
    def step(*gradients: tf.Tensor) -> None:
        def of_replica() -> None:
            number = tf.distribute.get_replica_context().replica_id_in_sync_group
            share = tf.where(tf.equal(number, 0), -0.5, 1.5) if replicas > 1 else 1.0
            optimizer.apply([gradient * share * (4.0 if scaled else 1.0) for gradient in gradients], variables)

        strategy.run(of_replica)

    for gradients in make_gradients(4):
        step(*[tf.constant(gradient) for gradient in gradients])
    with averaged_weights(optimizer):
        averages = [keras.ops.convert_to_numpy(variable) for variable in variables]
    return [keras.ops.convert_to_numpy(variable) for variable in variables] + averages


def check_overflow_of_one_replica(strategy: tf.distribute.Strategy, overflown: int) -> None:
    """The step is left out and the scale halved, whichever replica it was."""
    with strategy.scope():
        kernel = keras.Variable([1.0, 2.0], name="kernel")
        optimizer = LossScaling(make_optimizer(optimizer="sgd"), initial_scale=8.0)
        optimizer.build([kernel])

    @tf.function
    def step() -> None:
        def of_replica() -> None:
            number = tf.distribute.get_replica_context().replica_id_in_sync_group
            optimizer.apply([tf.where(tf.equal(number, overflown), [math.inf, 1.0], [1.0, 1.0])], [kernel])

        strategy.run(of_replica)

    step()
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(kernel), [1.0, 2.0])
    assert float(keras.ops.convert_to_numpy(optimizer.dynamic_scale)) == 4.0
