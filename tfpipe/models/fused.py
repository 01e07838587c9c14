"""Functions of single numbers, over a tensor in one pass, on a CPU."""

from collections.abc import Callable
from functools import cache

import tensorflow as tf

from tfpipe.core.progress import native_silence

Function = Callable[[tf.Tensor], tf.Tensor]


def fused(function: Function) -> Function:
    """The same function, which XLA compiles on a CPU so that neither it nor its gradient writes down what lies between.

    For training: TensorFlow's GELU and its gradient pass over memory a dozen times, which is a fifth of the time of a
    small vision transformer's step on a CPU. Networks that are exported have the plain one.
    So has a machine with a GPU, whose XLA needs files of CUDA that TensorFlow's packages often do not find.

    Args:
        function: of each number by itself; shapes and types stay.
    """
    forward = tf.function(function, jit_compile=True, autograph=False)

    @tf.function(jit_compile=True, autograph=False)
    def backward(values: tf.Tensor, upstream: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            tape.watch(values)
            results = function(values)
        return tape.gradient(results, values, upstream)

    @tf.custom_gradient
    def run(values: tf.Tensor) -> tuple[tf.Tensor, Function]:
        _let_xla_greet()
        return forward(values), lambda upstream: backward(values, upstream)

    def choose(values: tf.Tensor) -> tf.Tensor:
        return function(values) if tf.config.list_physical_devices("GPU") else run(values)

    return choose


@cache
def _let_xla_greet() -> None:
    """It does, on standard error, when it first compiles, and no variable hides that."""
    with tf.init_scope(), native_silence():
        tf.function(lambda: tf.zeros(()), jit_compile=True)()
