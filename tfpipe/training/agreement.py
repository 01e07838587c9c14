"""How far a student says what its teachers say. NumPy alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tfpipe.training.outcomes import CHUNK, log_softmax

Array = np.ndarray

TINY = np.finfo(np.float64).tiny
"""A probability that is 0 adds nothing, and has no logarithm."""


@dataclass(frozen=True)
class Agreement:
    """Of one student with its teachers together."""

    top1: float
    """Share of examples of which both hold the same class for the likeliest."""
    kl: float
    """Mean KL(teachers ‖ student), in nats, neither side softened."""


def measure_agreement(
    teacher_logits: Sequence[Array], shares: Array, students: Mapping[str, Array]
) -> dict[str, Agreement]:
    """Students beside Σ_t share_t · softmax(logits_t), over the examples of which a teacher says something.

    Args:
        teacher_logits: of each teacher (num_examples, num_classes), calibrated; may lie on the disk.
        shares: (num_examples, teachers); rows sum to 1, or to 0 where none says anything.
        students: name → logits (num_examples, num_classes); may lie on the disk.
    """
    same, divergence, count = dict.fromkeys(students, 0.0), dict.fromkeys(students, 0.0), 0
    rows = max(1, CHUNK // teacher_logits[0].shape[-1])
    for start in range(0, len(shares), rows):
        spoken = np.flatnonzero(shares[start : start + rows].sum(axis=-1) > 0) + start
        probs = sum(
            shares[spoken, number, None] * np.exp(log_softmax(logits[spoken].astype(np.float64)))
            for number, logits in enumerate(teacher_logits)
        )
        count += len(spoken)
        for name, logits in students.items():
            log_probs = log_softmax(logits[spoken].astype(np.float64))
            same[name] += float((log_probs.argmax(axis=-1) == probs.argmax(axis=-1)).sum())
            divergence[name] += float((probs * (np.log(np.maximum(probs, TINY)) - log_probs)).sum())
    return {name: Agreement(same[name] / count, divergence[name] / count) for name in students} if count else {}
