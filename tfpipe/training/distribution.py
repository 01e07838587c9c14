"""Over which devices a network trains: `tf.distribute` strategies by name."""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import keras
import tensorflow as tf

from tfpipe.core.cluster import this_worker
from tfpipe.core.errors import ConfigError, EnvironmentProblemError
from tfpipe.training.learner import in_parts

GONE = (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError, tf.errors.DeadlineExceededError)
"""What TensorFlow raises when another worker no longer answers."""


def build_strategy(name: str) -> tf.distribute.Strategy:
    """The strategy of that name; with several workers, all must ask for theirs before this returns.

    Args:
        name: a key of `STRATEGIES`, or `auto`: workers if the environment names some, all GPUs of this
            machine if it has several, else one device.

    Raises:
        ConfigError: when workers are wanted and the environment names none.
    """
    if name != "auto":
        return STRATEGIES[name]()
    if this_worker().num_workers > 1:
        return _multi_worker()
    return _mirrored() if len(tf.config.list_logical_devices("GPU")) > 1 else _one_device()


def spread(strategy: tf.distribute.Strategy, ds: tf.data.Dataset) -> tf.data.Dataset:
    """Batches of this worker, each cut into as many equal parts as it has replicas, in their order."""
    replicas = strategy.num_replicas_in_sync // this_worker().num_workers
    if strategy.num_replicas_in_sync == 1:
        return ds
    cut = ds.map(lambda *batch: tf.nest.map_structure(lambda whole: in_parts(whole, replicas), batch)).unbatch()
    return strategy.distribute_datasets_from_function(lambda _: cut.prefetch(2 * replicas))


def share_out(strategy: tf.distribute.Strategy, ds: tf.data.Dataset) -> tf.data.Dataset:
    """Batches of a whole, the last perhaps smaller, cut between all replicas of all workers."""
    if strategy.num_replicas_in_sync == 1:
        return ds
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    return strategy.experimental_distribute_dataset(ds.with_options(options))


def build_vote(strategy: tf.distribute.Strategy) -> Callable[..., tuple[bool, ...]]:
    """A function of yes-or-no questions: for each, whether any worker says yes. All must ask at the same step."""
    if this_worker().num_workers == 1:
        return lambda *answers: answers

    @tf.function
    def count(answers: tf.Tensor) -> tf.Tensor:
        return strategy.reduce(tf.distribute.ReduceOp.SUM, strategy.run(tf.identity, args=(answers,)), axis=None)

    return lambda *answers: tuple(bool(yes) for yes in count(tf.constant(answers, tf.float32)).numpy())


def agree(strategy: tf.distribute.Strategy, variables: Iterable[keras.Variable]) -> None:
    """Give all replicas the mean of what each has averaged by itself: batch norm's moving statistics."""
    if strategy.num_replicas_in_sync == 1:
        return
    for variable in variables:
        if tf.as_dtype(variable.dtype).is_floating:
            variable.assign(strategy.reduce(tf.distribute.ReduceOp.MEAN, variable.value, axis=None))


@contextmanager
def telling_who_is_gone() -> Iterator[None]:
    """Turn what TensorFlow raises, when another worker ends, into a sentence.

    Raises:
        EnvironmentProblemError: then.
    """
    try:
        yield
    except GONE as error:
        raise EnvironmentProblemError(
            f"another worker no longer answers ({' '.join(str(error).split())[:120]}…). "
            "Look at its messages, then run the same command again on all: training goes on from its last checkpoint."
        ) from None


def _one_device() -> tf.distribute.Strategy:
    return tf.distribute.get_strategy()


def _mirrored() -> tf.distribute.Strategy:
    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    return tf.distribute.MirroredStrategy([device.name for device in devices])


def _multi_worker() -> tf.distribute.Strategy:
    if this_worker().num_workers == 1:
        raise ConfigError(
            "training.strategy: `multi_worker`, but neither TF_CONFIG nor Slurm names several workers. "
            "Set TF_CONFIG on each, start them with srun, or choose `auto`."
        )
    slurm = None if "TF_CONFIG" in os.environ else tf.distribute.cluster_resolver.SlurmClusterResolver()
    return tf.distribute.MultiWorkerMirroredStrategy(cluster_resolver=slurm)


STRATEGIES: dict[str, Callable[[], tf.distribute.Strategy]] = {
    "one_device": _one_device,
    "mirrored": _mirrored,
    "multi_worker": _multi_worker,
}
