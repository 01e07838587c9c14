"""Optimisers: the schedule by hand, and which variables weight decay and clipping touch."""

import math
from collections.abc import Callable
from typing import Any, get_args

import keras
import keras_hub
import numpy as np
import pytest
import tensorflow as tf

from tfpipe.core.inputs import ImageInput
from tfpipe.core.settings import ModelSettings, TrainingSettings
from tfpipe.models import build_model
from tfpipe.training.optimizers import OPTIMIZERS, build_optimizer, is_decayed, warmup_cosine

RATE, DECAY = 0.1, 0.5


def make_optimizer(*, weight_decay: float = 0.0, **settings: Any) -> keras.optimizers.Optimizer:
    """Full learning rate at its first step, unless told otherwise."""
    training = TrainingSettings(**{"warmup_epochs": 0} | settings)
    return build_optimizer(training, learning_rate=RATE, weight_decay=weight_decay, epochs=2, steps_per_epoch=10)


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (0, 0.0),
        (1, 0.25),
        (3, 0.75),
        (4, 1.0),
        (6, 0.5 * (1 + math.sqrt(0.5))),  # a quarter of the way down: cos 45°
        (8, 0.5),
        (10, 0.5 * (1 - math.sqrt(0.5))),
        (12, 0.0),
        (50, 0.0),
    ],
)
def test_schedule_climbs_a_line_and_descends_half_a_cosine(step: int, expected: float) -> None:
    schedule = warmup_cosine(1.0, warmup_steps=4, total_steps=12)
    assert float(schedule(step)) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("step", "expected"), [(0, 2.0), (5, 1.0), (10, 0.0)])
def test_schedule_without_warmup_starts_at_the_top(step: int, expected: float) -> None:
    schedule = warmup_cosine(2.0, warmup_steps=0, total_steps=10)
    assert float(schedule(step)) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("warmup_epochs", "epochs", "peak_step"),
    [(1, 5, 10), (0.25, 5, 3), (4, 5, 25)],
    ids=["an epoch", "rounded up to a whole step", "half of the epochs at most"],
)
def test_warmup_lasts(warmup_epochs: float, epochs: int, peak_step: int) -> None:
    settings = TrainingSettings(warmup_epochs=warmup_epochs)
    optimizer = build_optimizer(settings, learning_rate=RATE, weight_decay=0, epochs=epochs, steps_per_epoch=10)
    rates = [float(optimizer._learning_rate(step)) for step in range(epochs * 10 + 1)]
    assert int(np.argmax(rates)) == peak_step
    assert rates[peak_step] == pytest.approx(RATE)
    assert rates[-1] == pytest.approx(0, abs=1e-8)


def make_vit_with_class_token() -> keras.Model:
    """As the published weights have it."""
    return keras_hub.models.ViTBackbone(
        image_shape=(16, 16, 3), patch_size=8, num_layers=1, num_heads=2, hidden_dim=8, mlp_dim=16, use_class_token=True
    )


def make_network(name: str) -> keras.Model:
    settings = ModelSettings(name=name, alpha=0.35)
    return build_model(
        settings,
        num_classes=5,
        model_input=ImageInput(32),
        dropout=0.1,
        stochastic_depth=0.0,
        rematerialize=False,
        seed=0,
    )


@pytest.mark.parametrize(
    ("make", "num_kernels"),
    [
        (lambda: make_network("mobilenetv2"), 1 + 2 + 16 * 3 + 1 + 1),  # first, block 0, blocks 1 to 16, last, logits
        (lambda: make_network("vit_micro_patch8_32"), 1 + 4 * (4 + 2) + 1),  # patches, attention and MLP, logits
        (make_vit_with_class_token, 1 + (4 + 2)),
    ],
    ids=["mobilenetv2", "vit", "vit with class token"],
)
def test_weight_decay_pulls_kernels_and_nothing_else(make: Callable[[], keras.Model], num_kernels: int) -> None:
    """With gradients of zero, only decay moves anything: every kernel by rate · decay, and all else not a bit."""
    network = make()
    variables = network.trainable_variables
    for variable in variables:
        variable.assign(np.ones(variable.shape, np.float32))
    make_optimizer(weight_decay=DECAY).apply([tf.zeros(v.shape) for v in variables], variables)
    values = {variable.path: np.unique(variable.numpy()) for variable in variables}
    kernels = {path for path in values if path.endswith("/kernel")}
    assert len(kernels) == num_kernels
    assert {path for path, value in values.items() if not np.array_equal(value, [1.0])} == kernels
    for path in kernels:
        np.testing.assert_allclose(values[path], [1 - RATE * DECAY], rtol=1e-6, err_msg=path)


@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
def test_weight_decay_is_decoupled_in_every_optimizer(name: str) -> None:
    """It shrinks the kernel by rate · decay on top of the step without decay, untouched by momenta and clipping."""
    moved = {}
    for decay in (0.0, DECAY):
        kernel = keras.Variable([[2.0, -4.0]], name="kernel")
        optimizer = make_optimizer(optimizer=name, weight_decay=decay, clip_norm=1.0)
        optimizer.apply([tf.constant([[0.3, 0.1]])], [kernel])
        moved[decay] = kernel.numpy()
    np.testing.assert_allclose(moved[DECAY], moved[0.0] - RATE * DECAY * np.array([[2.0, -4.0]]), rtol=1e-5)


def test_every_name_that_settings_allow_has_an_optimizer() -> None:
    assert set(OPTIMIZERS) == set(get_args(TrainingSettings.model_fields["optimizer"].annotation))


@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_first_step_of_adam_is_the_learning_rate_against_the_sign(name: str) -> None:
    """Kingma 2014, §2.1: at the first step m̂ / √v̂ is the gradient's sign."""
    kernel = keras.Variable([1.0, 1.0, 1.0], name="kernel")
    make_optimizer(optimizer=name).apply([tf.constant([5.0, -0.01, 0.0])], [kernel])
    np.testing.assert_allclose(kernel, [1 - RATE, 1 + RATE, 1.0], rtol=1e-4)


def test_sgd_has_nesterov_momentum() -> None:
    """Two steps with gradient g: v = -r g, x += 0.9 v - r g; then v = 0.9 v - r g, again."""
    kernel = keras.Variable([0.0], name="kernel")
    optimizer = make_optimizer(optimizer="sgd")
    position, velocity = 0.0, 0.0
    for step in range(2):
        rate = RATE * 0.5 * (1 + math.cos(math.pi * step / 20))
        velocity = 0.9 * velocity - rate * 2.0
        position += 0.9 * velocity - rate * 2.0
        optimizer.apply([tf.constant([2.0])], [kernel])
    np.testing.assert_allclose(kernel, [position], rtol=1e-5)


@pytest.mark.parametrize(
    ("clip_norm", "shrunk"), [(None, 1.0), (1.0, 1 / 5), (50.0, 1.0)], ids=["off", "over", "under"]
)
def test_gradients_are_clipped_by_their_common_norm(clip_norm: float | None, shrunk: float) -> None:
    """(3, 0) and (4) are together 5 long: SGD's first step is 1.9 · rate · gradient."""
    kernel, bias = keras.Variable([0.0, 0.0], name="kernel"), keras.Variable([0.0], name="bias")
    optimizer = make_optimizer(optimizer="sgd", clip_norm=clip_norm)
    optimizer.apply([tf.constant([3.0, 0.0]), tf.constant([4.0])], [kernel, bias])
    np.testing.assert_allclose(kernel, [-1.9 * RATE * 3 * shrunk, 0], rtol=1e-5)
    np.testing.assert_allclose(bias, [-1.9 * RATE * 4 * shrunk], rtol=1e-5)


def test_clipping_leaves_gradients_of_zero_at_zero() -> None:
    kernel = keras.Variable([1.0, 2.0], name="kernel")
    make_optimizer(optimizer="sgd", clip_norm=1.0).apply([tf.zeros(2)], [kernel])
    np.testing.assert_array_equal(kernel, [1.0, 2.0])


# Which variables decay


def make_dinov2() -> keras.Model:
    return keras_hub.models.DINOV2Backbone(
        patch_size=8,
        num_layers=1,
        hidden_dim=8,
        num_heads=2,
        intermediate_dim=16,
        image_shape=(16, 16, 3),
        num_register_tokens=2,
    )


def make_bert() -> keras.Model:
    return keras_hub.models.BertBackbone(
        vocabulary_size=10, num_layers=1, num_heads=2, hidden_dim=8, intermediate_dim=16, max_sequence_length=12
    )


def make_convnext() -> keras.Model:
    return keras.applications.ConvNeXtTiny(weights=None, input_shape=(32, 32, 3), classes=3)


@pytest.mark.parametrize(
    ("make", "decayed", "not_decayed"),
    [
        (
            make_dinov2,
            {"kernel"},
            {
                *("bias", "gamma", "beta", "cls_token", "mask_token", "register_tokens"),
                *("interpolated_position_embeddings", "lambda1"),
            },
        ),
        (make_convnext, {"kernel"}, {"bias", "gamma", "beta", "variable"}),  # `variable`: its layer scale
        (
            make_bert,
            {"kernel", "token_embedding", "segment_embedding"},
            {"bias", "gamma", "beta", "position_embedding"},
        ),
    ],
    ids=["dinov2", "convnext", "bert"],
)
def test_kernels_and_words_decay_whatever_the_others_call_themselves(
    make: Callable[[], keras.Model], decayed: set[str], not_decayed: set[str]
) -> None:
    found: dict[bool, set[str]] = {True: set(), False: set()}
    for variable in make().trainable_variables:
        *_, layer, name = variable.path.split("/")
        named = layer if name == "embeddings" else name.rstrip("0123456789_") if name.startswith("variable") else name
        found[is_decayed(variable)].add(named)
    assert found == {True: decayed, False: not_decayed}
