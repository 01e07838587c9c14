"""KerasHub's vision transformer (Dosovitskiy 2020), with stochastic depth and rematerialization.

Same layers, weights and names as `keras_hub.models.ViTBackbone`, and the same answers but for rounding: attention and,
in training, GELU are computed in a way that is faster on a CPU.
Classes are called like KerasHub's, too: a file of weights is laid out by their names, and either reads the other's.
"""

from typing import Any

import keras
import keras_hub
import tensorflow as tf
from keras.activations import gelu
from keras_hub.src.models.vit import vit_layers

from tfpipe.models.fused import Function, fused

TRAINING_GELU = fused(gelu)


@keras.saving.register_keras_serializable("tfpipe")
class VisionTransformer(keras_hub.models.Backbone):
    """Images (batch, height, width, 3) → tokens (batch, tokens, hidden_dim), the class token first if there is one.

    Args:
        image_shape: (height, width, 3), multiples of the patches.
        patch_size: (height, width) of a patch, or one number for both.
        num_layers: blocks of attention and perceptron.
        num_heads: of each attention; divides `hidden_dim`.
        hidden_dim: width of the tokens.
        mlp_dim: width inside the perceptrons.
        dropout_rate: after the embeddings, after each attention and twice in each perceptron.
        stochastic_depth: probability to leave out the last block's branches for an example; the others' rises to it.
        rematerialize: forget a block's activations, and compute them again for the gradient.
        layer_norm_epsilon: of all layer norms.
        use_mha_bias: whether attention has biases.
        use_mlp_bias: whether perceptrons have biases.
        use_class_token: whether there is a token that stands for no patch.
        use_patch_bias: whether the patches' projection has a bias.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        patch_size: int | tuple[int, int],
        num_layers: int,
        num_heads: int,
        hidden_dim: int,
        mlp_dim: int,
        dropout_rate: float = 0.0,
        stochastic_depth: float = 0.0,
        rematerialize: bool = False,
        layer_norm_epsilon: float = 1e-6,
        use_mha_bias: bool = True,
        use_mlp_bias: bool = True,
        use_class_token: bool = True,
        use_patch_bias: bool = True,
        dtype: Any = None,
        **kwargs: Any,
    ) -> None:
        patches = (patch_size, patch_size) if isinstance(patch_size, int) else tuple(patch_size)
        images = keras.layers.Input(shape=image_shape, name="images")
        tokens = vit_layers.ViTPatchingAndEmbedding(
            image_size=tuple(image_shape[:2]),
            patch_size=patches,
            hidden_dim=hidden_dim,
            use_class_token=use_class_token,
            use_patch_bias=use_patch_bias,
            dtype=dtype,
            name="vit_patching_and_embedding",
        )(images)
        tokens = ViTEncoder(
            num_layers=num_layers,
            num_heads=num_heads,
            hidden_dim=hidden_dim,
            mlp_dim=mlp_dim,
            dropout_rate=dropout_rate,
            stochastic_depth=stochastic_depth,
            rematerialize=rematerialize,
            layer_norm_epsilon=layer_norm_epsilon,
            use_mha_bias=use_mha_bias,
            use_mlp_bias=use_mlp_bias,
            dtype=dtype,
            name="vit_encoder",
        )(tokens)
        super().__init__(inputs=images, outputs=tokens, dtype=dtype, **kwargs)
        self.image_shape = tuple(image_shape)
        self.patch_size = patches
        self.num_layers = num_layers
        self.num_heads = num_heads
        self.hidden_dim = hidden_dim
        self.mlp_dim = mlp_dim
        self.dropout_rate = dropout_rate
        self.stochastic_depth = stochastic_depth
        self.rematerialize = rematerialize
        self.layer_norm_epsilon = layer_norm_epsilon
        self.use_mha_bias = use_mha_bias
        self.use_mlp_bias = use_mlp_bias
        self.use_class_token = use_class_token
        self.use_patch_bias = use_patch_bias

    def get_config(self) -> dict[str, Any]:
        """The arguments of `__init__`."""
        return super().get_config() | {name: getattr(self, name) for name in ARGUMENTS}


ARGUMENTS = (
    *("image_shape", "patch_size", "num_layers", "num_heads", "hidden_dim", "mlp_dim"),
    *("dropout_rate", "stochastic_depth", "rematerialize", "layer_norm_epsilon"),
    *("use_mha_bias", "use_mlp_bias", "use_class_token", "use_patch_bias"),
)


@keras.saving.register_keras_serializable("tfpipe")
class ViTEncoder(vit_layers.ViTEncoder):
    """All blocks and the last norm: tokens (batch, tokens, hidden_dim) → the same shape.

    Args:
        stochastic_depth: of the last block; the first has 0, and the others rise evenly (Huang 2016, §3).
        rematerialize: of every block.
        options: as in KerasHub's encoder.
    """

    def __init__(self, stochastic_depth: float = 0.0, rematerialize: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self.stochastic_depth = stochastic_depth
        self.rematerialize = rematerialize

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """KerasHub's layers, with blocks of our own."""
        tokens = (None, None, self.hidden_dim)
        self.encoder_layers = [
            ViTEncoderBlock(
                num_heads=self.num_heads,
                hidden_dim=self.hidden_dim,
                mlp_dim=self.mlp_dim,
                dropout_rate=self.dropout_rate,
                stochastic_depth=self.stochastic_depth * number / max(1, self.num_layers - 1),
                rematerialize=self.rematerialize,
                use_mha_bias=self.use_mha_bias,
                use_mlp_bias=self.use_mlp_bias,
                layer_norm_epsilon=self.layer_norm_epsilon,
                dtype=self.dtype_policy,
                name=f"transformer_block_{number + 1}",
            )
            for number in range(self.num_layers)
        ]
        for block in self.encoder_layers:
            block.build(tokens)
        self.dropout = keras.layers.Dropout(self.dropout_rate, dtype=self.dtype_policy, name="dropout")
        self.layer_norm = keras.layers.LayerNormalization(
            epsilon=self.layer_norm_epsilon, dtype=self.dtype_policy, name="ln"
        )
        self.layer_norm.build(tokens)
        self.built = True

    def get_config(self) -> dict[str, Any]:
        """KerasHub's and ours."""
        ours = {"stochastic_depth": self.stochastic_depth, "rematerialize": self.rematerialize}
        return super().get_config() | ours


@keras.saving.register_keras_serializable("tfpipe")
class ViTEncoderBlock(vit_layers.ViTEncoderBlock):
    """Norm, attention, norm, perceptron: tokens (batch, tokens, hidden_dim) → the same shape.

    All chance is drawn before the computation, so that to repeat it for the gradient gives the same numbers.

    Args:
        stochastic_depth: probability that a branch is left out for an example of a training batch.
        rematerialize: compute the activations again in the backward pass.
        options: as in KerasHub's block.
    """

    def __init__(self, stochastic_depth: float = 0.0, rematerialize: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self.stochastic_depth = stochastic_depth
        self.rematerialize = rematerialize
        if self.dropout_rate or stochastic_depth:
            self.seed_generator = keras.random.SeedGenerator()

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """KerasHub's layers; the perceptron's activation is called apart from its first layer."""
        super().build(input_shape)
        self.mlp.dense_1.activation = keras.activations.linear

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Dropout and stochastic depth act in training only."""
        if not training:
            return self._forward(inputs, None, gelu)
        seeds = self._draw_seeds() if self.dropout_rate or self.stochastic_depth else None
        if self.rematerialize:
            return keras.remat(lambda tokens: self._forward(tokens, seeds, TRAINING_GELU))(inputs)
        return self._forward(inputs, seeds, TRAINING_GELU)

    def _draw_seeds(self) -> dict[str, tf.Tensor]:
        return {place: tf.cast(self.seed_generator.next(), tf.int32) for place in CHANCES}

    def _forward(self, inputs: tf.Tensor, seeds: dict[str, tf.Tensor] | None, activate: Function) -> tf.Tensor:
        hidden = self._drop(self._attend(self.layer_norm_1(inputs)), seeds, "attention")
        tokens = inputs + self._leave_out(hidden, seeds, "attention_branch")
        hidden = self._drop(activate(self.mlp.dense_1(self.layer_norm_2(tokens))), seeds, "perceptron")
        hidden = self._drop(self.mlp.dense_2(hidden), seeds, "perceptron_output")
        return tokens + self._leave_out(hidden, seeds, "perceptron_branch")

    def _attend(self, hidden: tf.Tensor) -> tf.Tensor:
        """`self.mha` of the tokens with themselves, its einsums written as products of matrices."""
        batch, length, width = tf.shape(hidden)[0], tf.shape(hidden)[1], self.hidden_dim
        rows = tf.reshape(hidden, (-1, width))

        def by_head(dense: keras.layers.EinsumDense) -> tf.Tensor:
            split = tf.reshape(_project(dense, rows, width), (batch, length, self.num_heads, self.key_dim))
            return tf.transpose(split, (0, 2, 1, 3))

        queries, keys, values = map(by_head, (self.mha.query_dense, self.mha.key_dense, self.mha.value_dense))
        scores = tf.matmul(queries * tf.cast(self.key_dim**-0.5, queries.dtype), keys, transpose_b=True)
        together = tf.transpose(tf.matmul(tf.nn.softmax(scores), values), (0, 2, 1, 3))
        return tf.reshape(_project(self.mha.output_dense, tf.reshape(together, (-1, width)), width), tf.shape(hidden))

    def _drop(self, values: tf.Tensor, seeds: dict[str, tf.Tensor] | None, place: str) -> tf.Tensor:
        if not seeds or not self.dropout_rate:
            return values
        return tf.nn.experimental.stateless_dropout(values, self.dropout_rate, seeds[place])

    def _leave_out(self, branch: tf.Tensor, seeds: dict[str, tf.Tensor] | None, place: str) -> tf.Tensor:
        if not seeds or not self.stochastic_depth:
            return branch
        per_example = (tf.shape(branch)[0], 1, 1)
        return tf.nn.experimental.stateless_dropout(
            branch, self.stochastic_depth, seeds[place], noise_shape=per_example
        )

    def get_config(self) -> dict[str, Any]:
        """KerasHub's and ours; `key_dim` follows from the others."""
        config = super().get_config()
        config.pop("key_dim")
        return config | {"stochastic_depth": self.stochastic_depth, "rematerialize": self.rematerialize}


def _project(dense: keras.layers.EinsumDense, rows: tf.Tensor, width: int) -> tf.Tensor:
    """(count, width) → the same, by weights that may be laid out by heads."""
    # Cast here, too: what is computed again for the gradient runs outside of Keras's own casting.
    kernel, bias = (part if part is None else tf.cast(part, rows.dtype) for part in (dense.kernel, dense.bias))
    projected = tf.matmul(rows, tf.reshape(kernel, (width, width)))
    return projected if bias is None else projected + tf.reshape(bias, (width,))


CHANCES = ("attention", "attention_branch", "perceptron", "perceptron_output", "perceptron_branch")
"""Where a block leaves something to chance."""
