"""Simple classifiers on frozen features: the nearest class mean, and a linear probe.

Both read features in parts, so that these may lie on disk and be larger than memory.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from tfpipe.core.progress import Advance

PENALTIES = (5.0, 0.5, 0.05, 0.005)
"""Factors of |weights|² / 2 beside the cross-entropy, divided by the number of classes: of the mean loss
over all examples, each class's weights feel about that share. The validation split chooses one."""

BATCH = 1024
PASSES = 8
LEAST_STEPS = 1000
"""So that few features are seen often enough; many are seen in `PASSES` passes."""
STEEPEST = 6.0
"""By how much a first step may change a logit: Adam moves each of its weights by the learning rate."""
CHUNK = 4096
"""Rows read at a time."""

Array = np.ndarray
Step = Callable[[tf.Tensor, tf.Tensor], None]


@dataclass(frozen=True)
class Scaler:
    """Shifts and scales each feature to mean 0 and variance 1."""

    mean: Array
    scale: Array

    def __call__(self, features: Array) -> Array:
        """(batch, columns) → the same, standardised, float32."""
        return (features.astype(np.float32) - self.mean) / self.scale


@dataclass(frozen=True)
class LinearLayers:
    """Linear layers on standardised features, one for each penalty they were fitted with."""

    penalties: tuple[float, ...]
    """Factors of |weights|² / 2 beside the mean cross-entropy."""
    scaler: Scaler
    kernels: Array
    """(penalties, columns, num_classes)."""
    biases: Array
    """(penalties, num_classes)."""

    def iter_logits(self, features: Array, number: int) -> Iterator[Array]:
        """Logits (batch, num_classes) of the layer of that number, in parts."""
        for part in in_chunks(features):
            yield self.scaler(part) @ self.kernels[number] + self.biases[number]


@dataclass(frozen=True)
class ClassMeans:
    """The direction in which the features of each class lie, on average."""

    centre: Array
    """(columns,): where directions are seen from."""
    directions: Array
    """(num_classes, columns), of unit length."""

    def iter_cosines(self, features: Array) -> Iterator[Array]:
        """Cosines (batch, num_classes) between features and class means, in parts."""
        for part in in_chunks(features):
            yield _unit(part - self.centre) @ self.directions.T


def in_chunks(rows: Array) -> Iterator[Array]:
    """Parts of an array, in order."""
    return (rows[start : start + CHUNK] for start in range(0, len(rows), CHUNK))


def fit_scaler(features: Array) -> Scaler:
    """Means and standard deviations; a feature that never changes is left at 0."""
    count = len(features)
    mean = sum(part.sum(axis=0, dtype=np.float64) for part in in_chunks(features)) / count
    variance = sum(np.square(part - mean).sum(axis=0) for part in in_chunks(features)) / count
    return Scaler(mean.astype(np.float32), np.sqrt(np.where(variance > 0, variance, 1)).astype(np.float32))


def fit_class_means(features: Array, labels: Array, num_classes: int) -> ClassMeans:
    """The class means of unit features, seen from the mean of all (Wang 2019, SimpleShot, CL2N)."""
    centre = fit_scaler(features).mean
    sums = np.zeros((num_classes, features.shape[-1]))
    for part, of_part in zip(in_chunks(features), in_chunks(labels), strict=True):
        np.add.at(sums, of_part, _unit(part - centre))
    return ClassMeans(centre, _unit(sums))


def num_steps(num_examples: int) -> int:
    """Steps that `fit_linear_layers` takes."""
    return max(LEAST_STEPS, math.ceil(PASSES * num_examples / BATCH))


def fit_linear_layers(
    features: Array, labels: Array, num_classes: int, *, penalties: Sequence[float], seed: int, advance: Advance
) -> LinearLayers:
    """Multinomial logistic regression with every penalty at once, by Adam, in a seeded order.

    Args:
        features: (examples, columns), possibly on disk.
        labels: (examples,) class ids.
        num_classes: how many there are.
        penalties: each has a layer of its own, and none knows of the others.
        seed: of the order.
        advance: called after each step.
    """
    scaler, steps = fit_scaler(features), num_steps(len(labels))
    kernels = tf.Variable(tf.zeros((len(penalties), features.shape[-1], num_classes)))
    biases = tf.Variable(tf.tile(_log_prior(labels, num_classes), (len(penalties), 1, 1)))
    step = _build_step(kernels, biases, tf.constant(penalties, tf.float32), steps)
    for places in _batches(len(labels), steps, seed):
        step(tf.constant(scaler(features[places])), tf.constant(labels[places]))
        advance()
    return LinearLayers(tuple(penalties), scaler, kernels.numpy(), biases.numpy()[:, 0])


def _build_step(kernels: tf.Variable, biases: tf.Variable, penalties: tf.Tensor, steps: int) -> Step:
    learning_rate = min(0.1, STEEPEST / kernels.shape[1])
    optimizer = keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(learning_rate, steps))
    optimizer.build([kernels, biases])

    @tf.function(reduce_retracing=True)
    def step(inputs: tf.Tensor, labels: tf.Tensor) -> None:
        with tf.GradientTape() as tape:
            logits = tf.einsum("bd,gdc->gbc", inputs, kernels) + biases
            of_all = tf.broadcast_to(labels, tf.shape(logits)[:2])
            losses = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(of_all, logits), axis=-1)
            squares = tf.reduce_sum(tf.square(kernels), axis=(1, 2))
            # The sum's gradient to one layer is that of its own loss, and Adam scales each weight by itself.
            total = tf.reduce_sum(losses + penalties / 2 * squares)
        optimizer.apply(tape.gradient(total, [kernels, biases]), [kernels, biases])

    return step


def _log_prior(labels: Array, num_classes: int) -> tf.Tensor:
    """(1, 1, num_classes): where biases are nearly right from the start."""
    counts = np.bincount(labels, minlength=num_classes)
    return tf.constant(np.log(np.maximum(counts, 1) / len(labels))[None, None], tf.float32)


def _batches(num_examples: int, steps: int, seed: int) -> Iterator[Array]:
    """Places of the examples of each step, rising within a batch, so that a disk is read forwards."""
    rng = np.random.default_rng(seed)
    size = min(BATCH, num_examples)
    while steps > 0:
        order = rng.permutation(num_examples)
        for start in range(0, min(num_examples // size, steps) * size, size):
            yield np.sort(order[start : start + size])
        steps -= num_examples // size


def _unit(rows: Array) -> Array:
    """Rows of length 1; a row of zeros stays one."""
    lengths = np.linalg.norm(rows, axis=-1, keepdims=True)
    return rows / np.where(lengths > 0, lengths, 1)
