"""Our vision transformer against KerasHub's, and what it does in training: leave out, forget, compute again."""

from pathlib import Path
from typing import Any

import keras
import keras_hub
import numpy as np
import pytest
import tensorflow as tf
from keras.activations import gelu

from tfpipe.models.vision_transformer import VisionTransformer

SHAPE = {
    "image_shape": (16, 16, 3),
    "patch_size": 8,
    "num_layers": 3,
    "num_heads": 2,
    "hidden_dim": 16,
    "mlp_dim": 24,
}

CHANCE = {"dropout_rate": 0.3, "stochastic_depth": 0.5}


def make(seed: int = 1, **options: Any) -> VisionTransformer:
    keras.utils.clear_session()
    keras.utils.set_random_seed(seed)
    return VisionTransformer(**SHAPE, **options)


def make_images(count: int = 4) -> tf.Tensor:
    return tf.random.stateless_normal((count, 16, 16, 3), (3, 4))


def gradients(backbone: keras.Model, *, in_graph: bool) -> list[np.ndarray]:
    """Of how far what a training step sees points into some direction."""
    variables = [variable.value for variable in backbone.trainable_variables]
    direction = tf.random.stateless_normal((4, 5, 16), (5, 6))

    def step() -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(direction * tf.cast(backbone(make_images(), training=True), tf.float32))
        return [tf.convert_to_tensor(gradient) for gradient in tape.gradient(loss, variables)]

    return [gradient.numpy() for gradient in (tf.function(step) if in_graph else step)()]


def test_answers_and_weights_are_kerashubs(tmp_path: Path) -> None:
    theirs, ours = keras_hub.models.ViTBackbone(**SHAPE), make(dropout_rate=0.2, stochastic_depth=0.5)
    assert [variable.path for variable in ours.weights] == [variable.path for variable in theirs.weights]
    theirs.save_weights(tmp_path / "theirs.weights.h5")
    ours.set_weights(theirs.get_weights())
    np.testing.assert_allclose(ours(make_images()), theirs(make_images()), atol=1e-6)


@pytest.mark.parametrize(
    ("writer", "reader"),
    [(keras_hub.models.ViTBackbone, VisionTransformer), (VisionTransformer, keras_hub.models.ViTBackbone)],
)
def test_each_reads_the_others_file(writer: type[keras.Model], reader: type[keras.Model], tmp_path: Path) -> None:
    written, read = writer(**SHAPE), reader(**SHAPE)
    written.save_weights(tmp_path / "backbone.weights.h5")
    read.load_weights(tmp_path / "backbone.weights.h5")
    np.testing.assert_allclose(read(make_images()), written(make_images()), atol=1e-5)


@pytest.mark.parametrize(
    ("in_graph", "chance", "policy"),
    [
        (False, {}, "float32"),
        (False, CHANCE, "float32"),
        (True, CHANCE, "float32"),
        (False, CHANCE, "mixed_bfloat16"),
        (True, CHANCE, "mixed_bfloat16"),
    ],
)
def test_gradients_are_the_same_with_and_without_rematerialization(
    in_graph: bool, chance: dict[str, float], policy: str
) -> None:
    """Also where chance plays a part: what is computed again must leave out and drop the very same things.

    In bfloat16 a graph may round in other places the second time.
    """
    tolerance = 1e-6 if policy == "float32" else 0.05
    plain = gradients(make(dtype=policy, **chance), in_graph=in_graph)
    again = gradients(make(dtype=policy, rematerialize=True, **chance), in_graph=in_graph)
    assert len(plain) == len(make().trainable_variables)
    assert min(np.abs(gradient).max() for gradient in plain) > 0
    # The keys' biases have none but rounding errors: what a key adds to all scores, softmax takes away.
    largest = max(np.abs(gradient).max() for gradient in plain)
    for left, right in zip(plain, again, strict=True):
        np.testing.assert_allclose(left, right, rtol=0, atol=tolerance * largest)


def test_blocks_are_computed_again_only_where_asked_for() -> None:
    """A rematerialized step has each block's multiplications once more in its graph."""

    def count_of_products(backbone: keras.Model) -> int:
        @tf.function
        def step(images: tf.Tensor) -> list[tf.Tensor]:
            with tf.GradientTape() as tape:
                loss = tf.reduce_sum(backbone(images, training=True))
            return tape.gradient(loss, [variable.value for variable in backbone.trainable_variables])

        operations = step.get_concrete_function(make_images()).graph.get_operations()
        return sum(operation.type in ("MatMul", "BatchMatMulV2", "Einsum", "Softmax") for operation in operations)

    plain, again = count_of_products(make()), count_of_products(make(rematerialize=True))
    assert again > 1.25 * plain


def test_stochastic_depth_rises_evenly_to_the_last_block() -> None:
    encoder = make(stochastic_depth=0.4).get_layer("vit_encoder")
    np.testing.assert_allclose([block.stochastic_depth for block in encoder.encoder_layers], [0, 0.2, 0.4])


def test_a_branch_is_left_out_for_some_examples_and_stretched_for_the_others() -> None:
    """Each of two branches is there with probability 1 - p, and then 1 / (1 - p) times as large (Huang 2016)."""
    block = make(stochastic_depth=0.75).get_layer("vit_encoder").encoder_layers[-1]
    tokens = tf.repeat(tf.random.stateless_normal((1, 5, 16), (1, 2)), 4000, axis=0)
    attended = block.mha(block.layer_norm_1(tokens), block.layer_norm_1(tokens)).numpy()[0]
    found = block(tokens, training=True).numpy()
    start = tokens.numpy()[0]

    def think(hidden: np.ndarray) -> np.ndarray:
        hidden = gelu(block.mlp.dense_1(block.layer_norm_2(hidden[None])))
        return block.mlp.dense_2(hidden).numpy()[0]

    middles = {attends: start + 4 * attends * attended for attends in (0, 1)}
    cases = {(a, m): middles[a] + 4 * m * think(middles[a]) for a in (0, 1) for m in (0, 1)}
    shares = {case: np.mean(np.abs(found - expected).max(axis=(1, 2)) < 1e-4) for case, expected in cases.items()}
    assert sum(shares.values()) == pytest.approx(1)
    for (attends, thinks), share in shares.items():
        probability = (0.25 if attends else 0.75) * (0.25 if thinks else 0.75)
        assert share == pytest.approx(probability, abs=0.03), (attends, thinks)


def test_chance_differs_from_step_to_step_and_is_off_in_inference() -> None:
    backbone = make(dropout_rate=0.2, stochastic_depth=0.5)
    steps = [backbone(make_images(), training=True).numpy() for _ in range(2)]
    assert np.abs(steps[0] - steps[1]).max() > 1e-2
    plain = make()
    plain.set_weights(backbone.get_weights())
    for training in (False, None):
        np.testing.assert_array_equal(backbone(make_images(), training=training), plain(make_images(), training=False))


def test_chance_goes_on_from_the_state_that_is_among_the_variables(tmp_path: Path) -> None:
    """A `.keras` file holds no state of chance, of no layer of Keras; checkpoints take it from the variables."""
    backbone = make(**CHANCE, rematerialize=True)
    backbone(make_images(), training=True)
    backbone.save(tmp_path / "backbone.keras")
    again = keras.saving.load_model(tmp_path / "backbone.keras", compile=False, safe_mode=True)
    for ours, theirs in zip(again.variables, backbone.variables, strict=True):
        ours.assign(theirs)
    np.testing.assert_array_equal(again(make_images(), training=True), backbone(make_images(), training=True))
    assert (again.stochastic_depth, again.dropout_rate, again.rematerialize) == (0.5, 0.3, True)
