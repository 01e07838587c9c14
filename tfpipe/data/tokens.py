"""Texts → ids of sub-words, by the package `tokenizers`, inside tf.data."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf
from tokenizers import Tokenizer

from tfpipe.core.inputs import TextInput

LENGTH_UNIT = 8
"""Batches are as long as a multiple of this: fewer shapes, and none that vectors fit badly."""

Encode = Callable[[tf.Tensor], tf.Tensor]
"""Texts (batch,) string → ids (batch, length) int32."""


def build_encode(text_input: TextInput) -> Encode:
    """A function that encodes batches, to be mapped over them; each is as long as its longest text."""
    encode = build_encode_array(text_input)

    def encode_batch(texts: tf.Tensor) -> tf.Tensor:
        ids = tf.numpy_function(encode, [texts], tf.int32, stateful=False)
        return tf.ensure_shape(ids, (texts.shape[0], None))

    return encode_batch


def build_encode_array(text_input: TextInput) -> Callable[[np.ndarray], np.ndarray]:
    """The same for arrays of UTF-8 (batch,) bytes. What is no UTF-8 becomes U+FFFD."""
    tokenizer = Tokenizer.from_str(text_input.tokenizer)
    tokenizer.no_padding()
    tokenizer.enable_truncation(text_input.max_length)

    def encode(texts: np.ndarray) -> np.ndarray:
        found = tokenizer.encode_batch_fast([text.decode("utf-8", "replace") for text in texts])
        longest = max((len(one.ids) for one in found), default=1)
        length = min(-(-longest // LENGTH_UNIT) * LENGTH_UNIT, text_input.max_length)
        ids = np.full((len(found), length), text_input.pad_id, np.int32)
        for row, one in zip(ids, found, strict=True):
            row[: len(one.ids)] = one.ids
        return ids

    return encode
