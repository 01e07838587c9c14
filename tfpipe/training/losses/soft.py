"""Losses against a teacher, by name.

Each takes what one teacher says, the student's logits (batch, num_classes), the labels (batch, num_classes) and the
temperature, and returns (batch,): means over the batch are the caller's. All that compare softened distributions
are multiplied by temperature², since softening shrinks their gradient by as much (Hinton 2015, §2): so weights keep
their meaning when the temperature changes.

Over several teachers the weighted sum of the losses is taken. What that pulls the student towards:

| loss              | target of several teachers                                                                  |
|-------------------|---------------------------------------------------------------------------------------------|
| `kl_divergence`   | the weighted mean of their probabilities: the sum is the divergence from it, and a constant |
| `reverse_kl`      | the weighted geometric mean of their probabilities, normalised                              |
| `jensen_shannon`  | nothing in closed form: it is close to all of them                                          |
| `dkd`             | the mean share of the label's class, and the mean of what each says of the others           |
| `dist`            | the weighted sum of their standardised probabilities, with which it correlates              |
| `standardized_kl` | the weighted mean of their probabilities, each from standardised logits                     |
| `mse`             | the weighted mean of their logits                                                           |

A class that a teacher does not know has probability 0 to it. What cannot be compared with 0, the reverse divergence
and logits themselves, is compared over the classes that it knows.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import keras
from keras import ops

from tfpipe.core.settings import SoftLoss
from tfpipe.training.losses.soft_labels import SMALLEST, SoftLabels, bucket_of_target, is_known, softened

TARGET_WEIGHT, OTHERS_WEIGHT = 1.0, 2.0
"""α and β of DKD. The authors' own settings have α = 1 throughout, β = 8 for most pairs of networks on CIFAR-100, and
0.5 to 2 on ImageNet; for MobileNet as the student, 2."""

INTER_WEIGHT, INTRA_WEIGHT = 1.0, 1.0
"""β and γ of DIST as in its code; the paper has 2 and 2 beside a cross-entropy of 1, which `loss_weights` can say."""

CONSTANT = 1e-6
"""Added to a sum of squares, or to a variance, so that what does not vary has a gradient: values that differ by
less than a thousandth count as equal."""

Tensor: TypeAlias = keras.KerasTensor
Compute = Callable[[SoftLabels, Tensor, Tensor, float], Tensor]


@dataclass(frozen=True)
class Loss:
    """An entry of the table."""

    compute: Compute
    """Labels, student's logits, targets, temperature → (batch,)."""
    needs_all_classes: bool = False
    """Whether it has no meaning over a teacher's best classes and the sum of the others."""
    softens: bool = True
    """Whether its target is softmax(logits / temperature)."""


def kl_divergence(labels: SoftLabels, student_logits: Tensor, targets: Tensor, temperature: float) -> Tensor:
    """KL(teacher ‖ student) = Σ_b p_b (log p_b - log q_b), T² (Hinton 2015, §2), over k + 1 buckets.

    Returns:
        (batch,) in nats, times temperature².
    """
    return _divergence(*softened(labels, student_logits, temperature)) * temperature**2


def reverse_kl(labels: SoftLabels, student_logits: Tensor, targets: Tensor, temperature: float) -> Tensor:
    """KL(student ‖ teacher) = Σ_b q_b (log q_b - log p_b), T² (Gu 2023), over k + 1 buckets.

    It punishes what the student says beyond the teacher, where `kl_divergence` punishes what it leaves out. Over
    the classes that the teacher knows, the student's probabilities of these made to sum to 1.

    Returns:
        (batch,) in nats, times temperature².
    """
    log_targets, log_student = softened(labels, student_logits, temperature)
    log_student = ops.log_softmax(ops.where(is_known(log_targets), log_student, SMALLEST))
    return _divergence(log_student, log_targets) * temperature**2


def jensen_shannon(labels: SoftLabels, student_logits: Tensor, targets: Tensor, temperature: float) -> Tensor:
    """½ KL(p ‖ m) + ½ KL(q ‖ m) with m = (p + q) / 2 (Lin 1991), T², over k + 1 buckets.

    Returns:
        (batch,) in nats, times temperature²; at most log 2 times that.
    """
    log_targets, log_student = softened(labels, student_logits, temperature)
    # log((p + q) / 2), where p may be 0, and q, from a softmax of finite logits, is not.
    log_middle = log_student + ops.softplus(log_targets - log_student) - ops.log(2.0)
    both = _divergence(log_targets, log_middle) + _divergence(log_student, log_middle)
    return both / 2 * temperature**2


def dkd(labels: SoftLabels, student_logits: Tensor, targets: Tensor, temperature: float) -> Tensor:
    """α TCKD + β NCKD, T² (Zhao 2022, eq. 7): plain divergence would weigh the second by 1 - p_target.

    TCKD is the divergence of (p_target, 1 - p_target), NCKD that of the other buckets among themselves. Of mixed
    labels, the target is the class with the larger share. A label that is none of the teacher's best k lies in
    the bucket of the rest, which is then the target.

    Returns:
        (batch,) in nats, times temperature².
    """
    is_target = bucket_of_target(labels, targets)
    sides = [_decoupled(side, is_target) for side in softened(labels, student_logits, temperature)]
    binary, others = zip(*sides, strict=True)
    return (TARGET_WEIGHT * _divergence(*binary) + OTHERS_WEIGHT * _divergence(*others)) * temperature**2


def dist(labels: SoftLabels, student_logits: Tensor, targets: Tensor, temperature: float) -> Tensor:
    """β (1 - ρ(p_i, q_i)) + γ mean_c (1 - ρ(p_·c, q_·c)), T², with Pearson's ρ (Huang 2022, §3).

    The first part compares an example's probabilities of all classes, the second one class's probabilities over
    the examples, as far as they are worked through at once: those of one device, in one accumulation step. It is
    the same for each of them, so that means over examples, parts and devices come out right.

    Returns:
        (batch,), at most 2 (β + γ) temperature².
    """
    log_targets, log_student = softened(labels, student_logits, temperature)
    inter = 1 - _correlation(log_targets, log_student, axis=-1)
    if labels.speaks is not None:
        silent = ops.equal(labels.speaks, 0)[:, None]
        log_targets, log_student = (ops.where(silent, SMALLEST, side) for side in (log_targets, log_student))
    intra = ops.mean(1 - _correlation(log_targets, log_student, axis=0, speaks=labels.speaks))
    return (INTER_WEIGHT * inter + INTRA_WEIGHT * intra) * temperature**2


def standardized_kl(labels: SoftLabels, student_logits: Tensor, targets: Tensor, temperature: float) -> Tensor:
    """KL of softmax((z - mean z) / (σ(z) τ)) on both sides, τ² (Sun 2024, §4): scale and offset are the student's.

    The temperature is the paper's base temperature, 2 there. It divides numbers of deviation 1, whatever the
    logits' own spread, so that targets are soft as it is. Mean and deviation are over the classes that the
    teacher knows.

    Returns:
        (batch,) in nats, times temperature².
    """
    teacher_logits = labels.in_class_order()
    known = is_known(teacher_logits)
    log_targets = ops.log_softmax(ops.where(known, _standardized(teacher_logits, known) / temperature, SMALLEST))
    log_student = ops.log_softmax(_standardized(student_logits, known) / temperature)
    return _divergence(log_targets, log_student) * temperature**2


def mse(labels: SoftLabels, student_logits: Tensor, targets: Tensor, temperature: float) -> Tensor:
    """mean_c (z_c - v_c)² of the logits (Ba 2014; Kim 2021), over the classes that the teacher knows.

    It has no temperature: it is, but for the logits' means, twice what `kl_divergence` comes to as that grows.

    Returns:
        (batch,).
    """
    teacher_logits = labels.in_class_order()
    known = is_known(teacher_logits)
    differences = ops.where(known, student_logits - teacher_logits, 0.0)
    return ops.sum(differences**2, axis=-1) / _count(known)


def _divergence(log_p: Tensor, log_q: Tensor) -> Tensor:
    """Σ_b p_b (log p_b - log q_b): (batch, buckets) twice → (batch,)."""
    return ops.sum(ops.exp(log_p) * (log_p - log_q), axis=-1)


def _decoupled(log_probs: Tensor, is_target: Tensor) -> tuple[Tensor, Tensor]:
    """(batch, buckets) → the logarithms of (target, others): (batch, 2), and of the others alone: (batch, buckets)."""
    others = ops.where(is_target, SMALLEST, log_probs)
    target = ops.sum(ops.where(is_target, log_probs, 0.0), axis=-1)
    # A teacher that knows none of the others says nothing of them.
    among_others = ops.where(is_known(others), ops.log_softmax(others), SMALLEST)
    return ops.stack([target, ops.logsumexp(others, axis=-1)], axis=-1), among_others


def _correlation(log_p: Tensor, log_q: Tensor, *, axis: int, speaks: Tensor | None = None) -> Tensor:
    """Pearson's, of the probabilities, along an axis of (batch, num_classes); 0 where one side does not vary."""
    p, q = (_centred(side, axis, speaks) for side in (log_p, log_q))
    squares = (ops.sum(p**2, axis=axis) + CONSTANT) * (ops.sum(q**2, axis=axis) + CONSTANT)
    return ops.sum(p * q, axis=axis) / ops.sqrt(squares)


def _centred(log_probs: Tensor, axis: int, speaks: Tensor | None) -> Tensor:
    """Probabilities less their mean, in units of the largest: correlation knows no scale, and squares would vanish."""
    values = ops.exp(log_probs - ops.stop_gradient(ops.max(log_probs, axis=axis, keepdims=True)))
    if speaks is None:
        return values - ops.mean(values, axis=axis, keepdims=True)
    counted = speaks[:, None]
    total = ops.sum(counted * values, axis=axis, keepdims=True)
    return counted * (values - total / ops.maximum(ops.sum(speaks), 1))


def _standardized(logits: Tensor, known: Tensor) -> Tensor:
    """(batch, num_classes): mean 0 and deviation 1 over the known classes."""
    count = _count(known)[:, None]
    mean = ops.sum(ops.where(known, logits, 0.0), axis=-1, keepdims=True) / count
    squares = ops.where(known, logits - mean, 0.0) ** 2
    return (logits - mean) / ops.sqrt(ops.sum(squares, axis=-1, keepdims=True) / count + CONSTANT)


def _count(known: Tensor) -> Tensor:
    """(batch, num_classes) bool → (batch,), at least 1."""
    return ops.maximum(ops.sum(ops.cast(known, "float32"), axis=-1), 1)


LOSSES: dict[SoftLoss, Loss] = {
    "kl_divergence": Loss(kl_divergence),
    "reverse_kl": Loss(reverse_kl),
    "jensen_shannon": Loss(jensen_shannon),
    "dkd": Loss(dkd),
    "dist": Loss(dist, needs_all_classes=True),
    "standardized_kl": Loss(standardized_kl, needs_all_classes=True, softens=False),
    "mse": Loss(mse, needs_all_classes=True, softens=False),
}
