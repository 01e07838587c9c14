"""What a model said of each photo: the little of its logits from which every score follows. NumPy alone."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

CHUNK = 2**20
"""Logits looked at at a time: all of many images' by many classes would not fit into memory twice, and these fit
into a processor's cache."""

TOP = 5
"""Answers that are kept of each photo."""

Array = np.ndarray


@dataclass(frozen=True)
class Outcomes:
    """Arrays of (num_examples,), but for the two of (num_examples, at most `TOP`)."""

    num_classes: int
    labels: Array
    """Class ids, as meant."""
    places: Array
    """Classes that the model holds for likelier than the label; 0 is right."""
    losses: Array
    """Cross-entropy, in nats."""
    top_answers: Array
    """Class ids, the likeliest first."""
    top_probs: Array

    @property
    def right(self) -> Array:
        """Whether the likeliest class is the label."""
        return self.places < 1

    @property
    def answers(self) -> Array:
        """The likeliest class."""
        return self.top_answers[:, 0]

    @property
    def confidences(self) -> Array:
        """The likeliest class's probability."""
        return self.top_probs[:, 0]


def judge(logits: Array, labels: Array) -> Outcomes:
    """Look at logits, or log-probabilities, once, a part at a time.

    Args:
        logits: (num_examples, num_classes); may lie on the disk.
        labels: (num_examples,) class ids.
    """
    parts = [_judge_part(*part) for part in in_chunks(logits, labels)]
    places, losses, answers, probs = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Outcomes(logits.shape[-1], labels, places, losses, answers, probs)


def top_k_accuracy(logits: Array, labels: Array, k: int) -> float:
    """Share of rows whose label is among the k highest of (batch, num_classes) logits."""
    return float((label_places(logits, labels) < k).mean())


def label_places(logits: Array, labels: Array) -> Array:
    """How many classes the model holds for likelier than the label, (batch,) int; 0 is right.

    A tie goes to the first class, as in argmax. What is not a number is never right.
    """
    return np.concatenate([_places(*part) for part in in_chunks(logits, labels)])


def cross_entropy(logits: Array, labels: Array) -> float:
    """Mean over rows, in nats."""
    losses = [_of_labels(-log_softmax(part), its_labels) for part, its_labels in in_chunks(logits, labels)]
    return float(np.concatenate(losses).mean())


def mean_log_probs(logits: Array) -> Array:
    """The logarithm of the probabilities' mean over views.

    Args:
        logits: (views, batch, num_classes), of the same photos.

    Returns:
        (batch, num_classes) float32.
    """
    log_probs = log_softmax(logits.astype(np.float64))
    highest = log_probs.max(axis=0)
    mean: Array = highest + np.log(np.exp(log_probs - highest).mean(axis=0))
    return mean.astype(np.float32)


def in_chunks(logits: Array, labels: Array) -> Iterator[tuple[Array, Array]]:
    """Rows of both, in order, at most `CHUNK` logits at a time."""
    rows = max(1, CHUNK // logits.shape[-1])
    for start in range(0, len(labels), rows):
        yield logits[start : start + rows], labels[start : start + rows]


def _judge_part(logits: Array, labels: Array) -> tuple[Array, Array, Array, Array]:
    log_probs = log_softmax(logits)
    answers = _top(logits, min(TOP, logits.shape[-1]))
    probs = np.exp(np.take_along_axis(log_probs, answers, axis=-1))
    return _places(logits, labels), _of_labels(-log_probs, labels), answers, probs


def _places(logits: Array, labels: Array) -> Array:
    own = np.take_along_axis(logits, labels[:, None], axis=-1)
    earlier = np.arange(logits.shape[-1]) < labels[:, None]
    places: Array = (~(logits <= own) | (earlier & (logits == own))).sum(axis=-1)
    return places


def _of_labels(values: Array, labels: Array) -> Array:
    """(batch, num_classes) → (batch,)."""
    own: Array = np.take_along_axis(values, labels[:, None], axis=-1)[:, 0]
    return own


def _top(logits: Array, count: int) -> Array:
    """The likeliest classes, (batch, count) int; of equals, the first."""
    left = np.array(logits)
    answers = np.empty((len(left), count), np.int32)
    for place in range(count):
        answers[:, place] = left.argmax(axis=-1)
        left[np.arange(len(left)), answers[:, place]] = -np.inf
    return answers


def log_softmax(logits: Array) -> Array:
    """Over the last axis."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    log_probs: Array = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return log_probs
