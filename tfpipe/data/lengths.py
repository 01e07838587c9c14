"""Texts of like length in one batch, so that little of it is padding; whole epochs stay in random order."""

import tensorflow as tf

Example = dict[str, tf.Tensor]

WINDOW = 32
"""Batches among which texts are sorted by length: as `group_by_length` of transformers has 50."""


def by_length(ds: tf.data.Dataset, batch_size: int, seed: tf.Tensor) -> tf.data.Dataset:
    """Examples in another order: windows in theirs, a window's batches in a random one, neighbours of like length.

    Args:
        ds: examples with `text`, a whole number of batches.
        batch_size: how many stand together.
        seed: () integer, of the order of batches.
    """

    def sort(number: tf.Tensor, window: Example) -> Example:
        places = tf.reshape(tf.argsort(tf.strings.length(window["text"]), stable=True), (-1, batch_size))
        key = tf.stack([tf.cast(seed, tf.int64), number])
        order = tf.argsort(tf.random.stateless_uniform(tf.shape(places)[:1], key))
        places = tf.reshape(tf.gather(places, order), (-1,))
        return tf.nest.map_structure(lambda column: tf.gather(column, places), window)

    return ds.batch(WINDOW * batch_size).enumerate().map(sort).unbatch()
