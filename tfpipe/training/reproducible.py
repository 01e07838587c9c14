"""The same seed, the same numbers."""

import keras
import tensorflow as tf


def make_reproducible(seed: int, *, deterministic: bool) -> None:
    """Forget what earlier steps left in this process, and seed everything.

    Args:
        seed: for Python, NumPy, TensorFlow and Keras.
        deterministic: also make every operation give the same bits each time.
    """
    keras.utils.clear_session()
    keras.utils.set_random_seed(seed)
    if deterministic:
        tf.config.experimental.enable_op_determinism()
