"""Fused functions: the same numbers and gradients, whatever the shape and the precision."""

import numpy as np
import pytest
import tensorflow as tf
from keras.activations import gelu

from tfpipe.models.fused import fused
from tfpipe.models.vision_transformer import ViTEncoderBlock


@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-6), ("bfloat16", 2e-2), ("float16", 2e-3)])
def test_values_and_gradients_are_those_of_the_plain_function(precision: str, tolerance: float) -> None:
    values = tf.cast(tf.constant(np.linspace(-6, 6, 240).reshape(3, 8, 10)), precision)
    upstream = tf.cast(tf.constant(np.random.default_rng(0).normal(size=(3, 8, 10))), precision)
    found = []
    for function in (fused(gelu), gelu):
        with tf.GradientTape() as tape:
            tape.watch(values)
            results = function(values)
        found.append((results, tape.gradient(results, values, upstream)))
    for ours, plain in zip(*found, strict=True):
        assert ours.dtype == precision
        np.testing.assert_allclose(tf.cast(ours, "float32"), tf.cast(plain, "float32"), atol=tolerance)


def test_xla_is_left_alone_where_there_is_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    def compiled_by_xla() -> bool:
        graph = tf.function(fused(gelu)).get_concrete_function(tf.TensorSpec((3,))).graph.as_graph_def()
        return any(function.attr["_XlaMustCompile"].b for function in graph.library.function)

    assert compiled_by_xla()
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [kind])
    assert not compiled_by_xla()


@pytest.mark.parametrize("rematerialize", [False, True])
def test_a_block_that_trains_answers_and_learns_as_one_that_does_not(rematerialize: bool) -> None:
    block = ViTEncoderBlock(num_heads=2, hidden_dim=8, mlp_dim=16, rematerialize=rematerialize)
    tokens = tf.random.stateless_normal((3, 5, 8), (1, 2))
    found = []
    for training in (True, False):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(block(tokens, training=training) ** 2)
        found.append([loss, *tape.gradient(loss, block.trainable_variables)])
    for trained, answered in zip(*found, strict=True):
        np.testing.assert_allclose(trained, answered, rtol=1e-4, atol=1e-4)
