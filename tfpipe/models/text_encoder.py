"""Transformer encoders of texts (Devlin 2018; Liu 2019), from plain layers, so that they also run in a browser.

BERT, RoBERTa, XLM-R and DistilBERT are one network here. Where they part: segments, of which a classifier of single
texts has one, are part of the positions; RoBERTa's first position is its table's third row; activation and epsilon
are the shape's. Attention is written as products of matrices, since TensorFlow.js has no `Einsum` for wasm.
"""

import math
from dataclasses import dataclass
from typing import Any, Literal

import keras
import tensorflow as tf
from keras_hub.layers import PositionEmbedding

from tfpipe.core.settings import Pooling
from tfpipe.models.family import FirstToken

NEGLIGIBLE = -3e4
"""Added to the score of a place that holds no token: within float16's range, and e to that power is 0 everywhere."""
INITIAL_DEVIATION = 0.02


@dataclass(frozen=True)
class EncoderShape:
    """The size of an encoder, and the little in which kinds differ."""

    vocabulary_size: int
    num_positions: int
    num_layers: int
    num_heads: int
    hidden_dim: int
    intermediate_dim: int
    layer_norm_epsilon: float
    head_activation: str
    """Of the dense layer above the first token: `tanh`, or DistilBERT's `relu`."""
    activation: Literal["gelu", "gelu_tanh"] = "gelu"
    """Of the perceptrons: exact, or the approximation of BERT's first code."""


def build_network(
    shape: EncoderShape, *, num_classes: int, pad_id: int, dropout: float, pooling: Pooling, seed: int
) -> keras.Model:
    """Token ids (batch, length) int32 → logits (batch, num_classes), float32 in every precision.

    Args:
        shape: of the encoder.
        num_classes: of the head.
        pad_id: the id that stands for no token.
        dropout: after the embeddings, in each attention, after each half of a layer, and in the head.
        pooling: `first` token, through a dense layer, as these encoders' own classifiers; or their `mean`.
        seed: of dropout; weights are drawn from the global one.
    """
    drop = _Dropouts(dropout, seed)
    token_ids = keras.Input((None,), dtype="int32", name="token_ids")
    mask = PaddingMask(pad_id, name="mask")(token_ids)
    tokens = _embed(shape, token_ids, drop)
    for number in range(shape.num_layers):
        tokens = _add_layer(tokens, mask, shape, f"layer_{number}", drop)
    if pooling == "mean":
        features = MeanToken(name="pool")([tokens, mask])
    else:
        first = FirstToken(name="pool")(tokens)
        dense = keras.layers.Dense(
            shape.hidden_dim, shape.head_activation, kernel_initializer=_initial(), name="head_dense"
        )
        features = dense(drop(first, "head_dropout"))
    logits = keras.layers.Dense(num_classes, kernel_initializer=_initial(), dtype="float32", name="logits")
    return keras.Model(token_ids, logits(drop(features, "dropout")), name="text_encoder")


@keras.saving.register_keras_serializable("tfpipe")
def gelu(values: tf.Tensor) -> tf.Tensor:
    """Hendrycks 2016, exact, by `erf`: TensorFlow's own has `erfc`, which browsers lack."""
    half = tf.cast(0.5, values.dtype)
    return half * values * (1 + tf.math.erf(values * tf.cast(0.5**0.5, values.dtype)))


@keras.saving.register_keras_serializable("tfpipe")
def gelu_tanh(values: tf.Tensor) -> tf.Tensor:
    """The same to some 0.0005, by `tanh`."""
    half, cubic, width = (tf.cast(number, values.dtype) for number in (0.5, 0.044715, (2 / math.pi) ** 0.5))
    return half * values * (1 + tf.tanh(width * (values + cubic * values * values * values)))


ACTIVATIONS = {"gelu": gelu, "gelu_tanh": gelu_tanh}


@keras.saving.register_keras_serializable("tfpipe")
class PaddingMask(keras.layers.Layer):
    """Token ids (batch, length) → 1 where there is a token, 0 where there is none, (batch, length) float.

    Args:
        pad_id: the id that stands for no token.
    """

    def __init__(self, pad_id: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.pad_id = pad_id

    def call(self, token_ids: tf.Tensor) -> tf.Tensor:
        """1 or 0."""
        return tf.cast(tf.not_equal(token_ids, self.pad_id), self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        """The arguments of `__init__`."""
        return super().get_config() | {"pad_id": self.pad_id}


@keras.saving.register_keras_serializable("tfpipe")
class Attention(keras.layers.Layer):
    """Queries, keys, values (batch, length, hidden_dim) each, mask (batch, length) → (batch, length, hidden_dim).

    Args:
        num_heads: divides hidden_dim.
        dropout: of the weights.
        seed: of the dropout.
    """

    def __init__(self, num_heads: int, dropout: float, seed: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.drop = keras.layers.Dropout(dropout, seed=seed)

        self.num_heads = num_heads
        self.dropout = dropout
        self.seed = seed

    def call(self, inputs: list[tf.Tensor], training: bool | None = None) -> tf.Tensor:
        """Scaled dot products (Vaswani 2017, §3.2)."""
        *parts, mask = inputs
        queries, keys, values = map(self._by_head, parts)
        scale = tf.cast(queries.shape[-1] ** -0.5, queries.dtype)
        scores = tf.matmul(queries * scale, keys, transpose_b=True)
        scores += (1 - mask[:, None, None, :]) * tf.cast(NEGLIGIBLE, scores.dtype)
        mixed = tf.matmul(self.drop(tf.nn.softmax(scores), training=training), values)
        together = tf.transpose(mixed, (0, 2, 1, 3))
        return tf.reshape(together, tf.shape(parts[0]))

    def _by_head(self, tokens: tf.Tensor) -> tf.Tensor:
        """(batch, length, hidden_dim) → (batch, num_heads, length, hidden_dim / num_heads)."""
        count, length = tf.unstack(tf.shape(tokens)[:2])
        split = tf.reshape(tokens, (count, length, self.num_heads, tokens.shape[-1] // self.num_heads))
        return tf.transpose(split, (0, 2, 1, 3))

    def compute_output_shape(self, input_shape: list[tuple[int | None, ...]]) -> tuple[int | None, ...]:
        """As the queries."""
        return input_shape[0]

    def get_config(self) -> dict[str, Any]:
        """The arguments of `__init__`."""
        return super().get_config() | {"num_heads": self.num_heads, "dropout": self.dropout, "seed": self.seed}


@keras.saving.register_keras_serializable("tfpipe")
class MeanToken(keras.layers.Layer):
    """Tokens (batch, length, hidden_dim) and mask (batch, length) → the mean of those there are (batch, hidden_dim)."""

    def call(self, inputs: list[tf.Tensor]) -> tf.Tensor:
        """A text has one token at least, since its marks of beginning and end are tokens."""
        tokens, mask = inputs
        return tf.reduce_sum(tokens * mask[..., None], axis=1) / tf.reduce_sum(mask, axis=1, keepdims=True)


class _Dropouts:
    """Dropout layers, each with a seed of its own."""

    def __init__(self, rate: float, seed: int) -> None:
        self.rate = rate
        self.seed = seed

    def next_seed(self) -> int:
        self.seed += 1
        return self.seed

    def __call__(self, values: keras.KerasTensor, name: str) -> keras.KerasTensor:
        return keras.layers.Dropout(self.rate, seed=self.next_seed(), name=name)(values)


def _embed(shape: EncoderShape, token_ids: keras.KerasTensor, drop: _Dropouts) -> keras.KerasTensor:
    embedding = keras.layers.Embedding(
        shape.vocabulary_size, shape.hidden_dim, embeddings_initializer=_initial(), name="token_embedding"
    )
    positions = PositionEmbedding(shape.num_positions, initializer=_initial(), name="position_embedding")
    words = embedding(token_ids)
    tokens = keras.layers.Add(name="embeddings")([words, positions(words)])
    return drop(_norm(shape, "embeddings_norm")(tokens), "embeddings_dropout")


def _add_layer(
    tokens: keras.KerasTensor, mask: keras.KerasTensor, shape: EncoderShape, name: str, drop: _Dropouts
) -> keras.KerasTensor:
    """Attention and perceptron, each added to what it reads, and then normalised."""

    def dense(part: str, units: int, activation: Any = None) -> keras.layers.Layer:
        return keras.layers.Dense(units, activation, kernel_initializer=_initial(), name=f"{name}_{part}")

    width = shape.hidden_dim
    projected = [dense(part, width)(tokens) for part in ("query", "key", "value")]
    attend = Attention(shape.num_heads, drop.rate, drop.next_seed(), name=f"{name}_attention")
    hidden = drop(dense("attention_output", width)(attend([*projected, mask])), f"{name}_attention_dropout")
    tokens = _norm(shape, f"{name}_attention_norm")(keras.layers.Add(name=f"{name}_attention_sum")([tokens, hidden]))
    hidden = dense("output", width)(
        dense("intermediate", shape.intermediate_dim, ACTIVATIONS[shape.activation])(tokens)
    )
    hidden = drop(hidden, f"{name}_dropout")
    return _norm(shape, f"{name}_norm")(keras.layers.Add(name=f"{name}_sum")([tokens, hidden]))


def _norm(shape: EncoderShape, name: str) -> keras.layers.Layer:
    return keras.layers.LayerNormalization(epsilon=shape.layer_norm_epsilon, name=name)


def _initial() -> keras.initializers.Initializer:
    return keras.initializers.TruncatedNormal(stddev=INITIAL_DEVIATION)
