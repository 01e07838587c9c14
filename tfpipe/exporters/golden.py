"""Inputs whose answers are known, which travel with a model: a browser that answers otherwise computes wrongly.

Images are small, and enlarged by the page's own resizing, so that no decoder has a part in the answer. Texts are
nobody's: sub-words that were drawn at random.
"""

import base64
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfpipe.core.inputs import ImageInput
from tfpipe.data.views import centre_square, normalise

Array = np.ndarray

SIDE = 32
SHORT = 8
"""Sub-words."""
NUM_KNOWN = 10
"""Probabilities of an input that are told: the largest."""


def make_golden(network: keras.Model, thumbnails: Array, image_input: ImageInput, temperature: float) -> dict[str, Any]:
    """`golden.json`: images, and the largest probabilities that the network gives each.

    Args:
        network: (batch, size, size, 3) → logits.
        thumbnails: (images, side, side, 3) uint8.
        image_input: what the network takes.
        temperature: that logits are divided by.
    """
    side, size = thumbnails.shape[1], image_input.size
    enlarged = tf.image.resize(thumbnails, (size, size), antialias=True)
    logits = network(normalise(enlarged, image_input), training=False)
    return {
        "side": side,
        "images": [base64.b64encode(thumbnail.tobytes()).decode() for thumbnail in thumbnails],
        "expected": _expected(logits, temperature),
    }


def make_golden_texts(
    network: keras.Model, vocabulary_size: int, max_length: int, temperature: float
) -> dict[str, Any]:
    """The same of ids of sub-words: a long text and a short one.

    Args:
        network: (batch, length) → logits.
        vocabulary_size: from which ids are drawn.
        max_length: of the long text.
        temperature: that logits are divided by.
    """
    rng = np.random.default_rng(0)
    texts = [rng.integers(0, vocabulary_size, length, np.int32) for length in (max_length, min(max_length, SHORT))]
    logits = tf.concat([network(ids[None], training=False) for ids in texts], axis=0)
    return {"texts": [ids.tolist() for ids in texts], "expected": _expected(logits, temperature)}


def _expected(logits: tf.Tensor, temperature: float) -> list[dict[str, Any]]:
    probs = tf.nn.softmax(logits / temperature).numpy()
    likeliest = np.argsort(-probs, axis=-1)[:, :NUM_KNOWN]
    return [
        {"ids": ids.tolist(), "probs": of_input[ids].astype(float).tolist()}
        for ids, of_input in zip(likeliest, probs, strict=True)
    ]


def make_thumbnail(jpeg: bytes) -> Array:
    """(SIDE, SIDE, 3) uint8 of a photo's centre square."""
    pixels = centre_square(tf.constant(jpeg), SIDE, tf.zeros(2, tf.int32))
    return np.rint(pixels.numpy()).clip(0, 255).astype(np.uint8)
