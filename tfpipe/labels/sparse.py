"""Sparse labels: of a teacher's logits the k best, and the weight of all others together.

A record is k class ids (uint16), k logits (float16), and the logarithms of the sums over all other
classes of exp(logit) and of exp(logit / temperature) (float32): 4 k + 8 bytes. With them the masses of
k + 1 buckets, each of the k classes and all others, are exact at both temperatures. With k = number of
classes nothing is left out.

A class that a teacher does not know has the logit -inf.
"""

from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from tfpipe.core.errors import DataError

Array = np.ndarray

NOTHING = -np.inf
"""Logarithm of the mass of no class at all."""

SMALLEST = -1e30
"""What stands for `NOTHING` in what is decoded: its exponential and its gradient are zero, and it stays a number."""

MOST_CLASSES = 2**16
"""That ids of two bytes can tell apart."""

HIGHEST_LOGIT = 65504.0
"""The largest float16."""


def record_type(kept: int) -> np.dtype:
    """One record on disk, little-endian, with `kept` classes by falling logit."""
    return np.dtype(
        [
            ("ids", "<u2", (kept,)),
            ("logits", "<f2", (kept,)),
            ("log_rest", "<f4"),
            ("log_rest_softened", "<f4"),
        ]
    )


@dataclass(frozen=True)
class Sparse:
    """Tensors of a batch's records."""

    ids: tf.Tensor
    """(batch, k) uint16, distinct in a row, by falling logit."""
    logits: tf.Tensor
    """(batch, k) float16."""
    log_rest: tf.Tensor
    """(batch,) float32."""
    log_rest_softened: tf.Tensor
    """(batch,) float32."""
    is_number: tf.Tensor
    """(batch,) whether no logit was NaN or +inf, and not all were -inf."""
    is_small: tf.Tensor
    """(batch,) whether float16 holds the highest logit."""

    def tensors(self) -> tuple[tf.Tensor, ...]:
        """In their order, as a graph returns them."""
        return tuple(vars(self).values())


def sparsify(logits: tf.Tensor, kept: int, temperature: float) -> Sparse:
    """Dense logits as records, in the graph beside the network that made them.

    Args:
        logits: (batch, num_classes) float32; -inf for a class that the teacher does not know. Such a one is kept only
            where others are too few, and adds nothing to the rest.
        kept: at most num_classes.
        temperature: of the distillation.
    """
    best, ids = tf.math.top_k(logits, kept)
    others = _without(logits, ids) if kept < logits.shape[-1] else tf.fill((tf.shape(logits)[0], 1), NOTHING)
    lowest = tf.where(tf.math.is_inf(best), best, tf.maximum(best, -HIGHEST_LOGIT))
    return Sparse(
        tf.cast(ids, tf.uint16),
        tf.cast(lowest, tf.float16),
        tf.reduce_logsumexp(others, axis=-1),
        tf.reduce_logsumexp(others / temperature, axis=-1),
        tf.reduce_all(logits < np.inf, axis=-1) & (best[:, 0] > NOTHING),
        best[:, 0] <= HIGHEST_LOGIT,
    )


def align(logits: tf.Tensor, positions: Array) -> tf.Tensor:
    """A teacher's logits (batch, its classes) → (batch, num_classes) in the order of the records' classes.

    What is no number becomes NaN, since -inf will mean a class that the teacher does not know.

    Args:
        logits: of the teacher, float32.
        positions: (num_classes,), where each class stands among the teacher's, -1 where it knows none such.
    """
    logits = tf.where(tf.math.is_finite(logits), logits, np.nan)
    if np.array_equal(positions, np.arange(logits.shape[-1])):
        return logits
    unknown = tf.fill((tf.shape(logits)[0], 1), NOTHING)
    return tf.gather(
        tf.concat([logits, unknown], axis=-1), np.where(positions < 0, logits.shape[-1], positions), axis=1
    )


def to_records(sparse: Sparse, ids: Array, teacher: str) -> Array:
    """(batch,) of `record_type(k)`.

    Args:
        sparse: tensors of a batch.
        ids: (batch,) of the examples, bytes or str.
        teacher: whose they are, in messages.

    Raises:
        DataError: naming the example whose logits are no numbers, or too large to be stored.
    """
    for holds, fault in ((sparse.is_number, NO_NUMBER), (sparse.is_small, TOO_LARGE)):
        wrong = np.flatnonzero(~np.asarray(holds))
        if len(wrong):
            name = np.asarray(ids)[wrong[0]]
            name = name.decode() if isinstance(name, bytes) else name
            raise DataError(f"the teacher {teacher} answered example {name} with {fault}")
    records = np.empty(len(ids), record_type(sparse.ids.shape[-1]))
    for name in records.dtype.names or ():
        records[name] = getattr(sparse, name)
    return records


def silence(kept: int, num_classes: int) -> Array:
    """(1,) record of a teacher that has no say: all classes alike, so that what gets no weight is a number still."""
    left = num_classes - kept
    record = np.zeros(1, record_type(kept))
    record["ids"] = np.arange(kept)
    record["log_rest"] = record["log_rest_softened"] = np.log(left) if left else NOTHING
    return record


def softened(records: Array, num_classes: int, temperature: float, rest: str = "log_rest") -> Array:
    """Probabilities (batch, num_classes) float64; classes left out share the mass of the rest evenly.

    Args:
        records: (batch,) of `record_type(k)`.
        num_classes: of the records.
        temperature: divides the logits.
        rest: the field with the mass of the rest at that temperature.
    """
    logits = dense_logits(records, num_classes, temperature, rest)
    highest = logits.max(axis=-1, keepdims=True)
    weights = np.exp(logits - highest)
    probs: Array = weights / weights.sum(axis=-1, keepdims=True)
    return probs


def dense_logits(records: Array, num_classes: int, temperature: float = 1.0, rest: str = "log_rest") -> Array:
    """Logits divided by `temperature`, (batch, num_classes) float64, as in `softened`."""
    kept = records["ids"].shape[-1]
    left = max(1, num_classes - kept)
    logits = np.repeat(records[rest].astype(np.float64)[:, None] - np.log(left), num_classes, axis=1)
    np.put_along_axis(logits, records["ids"].astype(np.int64), records["logits"].astype(np.float64) / temperature, -1)
    return logits


def _without(logits: tf.Tensor, ids: tf.Tensor) -> tf.Tensor:
    """The logits, -inf in the places `ids`: to subtract their mass from the whole would leave rounding alone."""
    rows = tf.repeat(tf.range(tf.shape(ids)[0]), ids.shape[-1])
    places = tf.stack([rows, tf.reshape(ids, (-1,))], axis=-1)
    return tf.tensor_scatter_nd_update(logits, places, tf.fill(tf.shape(rows), NOTHING))


NO_NUMBER = "NaN or infinity: its training went wrong. Train it again."
TOO_LARGE = (
    f"a logit above {HIGHEST_LOGIT:.0f}, which the store's float16 does not hold. "
    "Give it a `temperature` in `teachers`."
)
