"""Shuffling in a pipeline that stays ahead of the training step, deterministic or not."""

import tensorflow as tf


def shuffled(ds: tf.data.Dataset, buffer: int, seed: tf.Tensor) -> tf.data.Dataset:
    """The elements in the order that `Dataset.shuffle` gives them, the same each time that they are read.

    `Dataset.shuffle` holds its seed as a state. In a function that is mapped over a data set, as here over epochs, any
    state makes TensorFlow's determinism take every thread and buffer from the whole pipeline, and each training step
    then waits for its batch to be made. The operation below is the same without one.

    Args:
        ds: of tensors, or dictionaries of them.
        buffer: elements among which the next one is drawn.
        seed: () int64.
    """
    first, second = tf.compat.v1.get_seed(seed)
    variant = tf.raw_ops.ShuffleDataset(
        input_dataset=tf.data.experimental.to_variant(ds),
        buffer_size=tf.constant(buffer, tf.int64),
        seed=tf.cast(first, tf.int64),
        seed2=tf.cast(second, tf.int64),
        output_types=tf.nest.flatten(tf.compat.v1.data.get_output_types(ds)),
        output_shapes=tf.nest.flatten(tf.compat.v1.data.get_output_shapes(ds)),
        reshuffle_each_iteration=False,
    )
    return tf.data.experimental.from_variant(variant, ds.element_spec)
