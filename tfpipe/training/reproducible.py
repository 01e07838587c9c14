"""The same seed, the same numbers."""

import keras
import tensorflow as tf


def make_reproducible(seed: int, *, deterministic: bool, precision: str = "float32") -> None:
    """Forget what earlier steps left in this process, and seed everything.

    Args:
        seed: for Python, NumPy, TensorFlow and Keras.
        deterministic: also make every operation give the same bits each time.
        precision: of the arithmetic of layers built from now on; their weights stay float32.
    """
    keras.utils.clear_session()
    keras.config.set_dtype_policy(precision if precision == "float32" else f"mixed_{precision}")
    keras.utils.set_random_seed(seed)
    if deterministic:
        tf.config.experimental.enable_op_determinism()
