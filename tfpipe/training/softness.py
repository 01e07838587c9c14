"""How soft soft labels are: near the uniform distribution they say next to nothing (NumPy alone)."""

from dataclasses import dataclass

import numpy as np
from scipy.special import log_softmax

TOO_SOFT = 0.9
"""Share of the largest possible entropy above which a target is hardly more than the advice not to be sure."""
SOFT_ENOUGH = 0.7
STEPS_OF_TWO = 4
"""Temperatures that are tried between one and its half."""
COLDEST = 0.1

Array = np.ndarray


@dataclass(frozen=True)
class SoftTargets:
    """What teachers say of some examples, as a batch for distillation holds it."""

    num_classes: int
    ids: Array
    """(num_examples, teachers, k)."""
    logits: Array
    """(num_examples, teachers, k), before any softmax."""
    log_rest: Array
    """(num_examples, teachers), logarithm of the sum over all other classes of exp(logit / temperature)."""
    weights: Array
    """(num_examples, teachers); rows sum to 1."""
    temperature: float

    def relative_entropy(self, temperature: float) -> float:
        """Mean entropy of the teachers' combined targets at some temperature, as a share of log(num_classes).

        Of the classes outside the best k only the sum is known, at one temperature: they are taken to be alike.
        """
        if self.num_classes == 1:
            return 0.0
        entropies = [self._entropy(number, temperature) for number in range(len(self.logits))]
        return float(np.mean(entropies) / np.log(self.num_classes))

    def _entropy(self, number: int, temperature: float) -> float:
        """Of one example's mixture, in nats."""
        probs = np.zeros(self.num_classes)
        for teacher in np.flatnonzero(self.weights[number]):
            log_probs = self._log_probs(number, teacher, temperature)
            probs += self.weights[number, teacher] * np.exp(log_probs)
        return float(-(probs * np.log(np.maximum(probs, np.finfo(float).tiny))).sum())

    def _log_probs(self, number: int, teacher: int, temperature: float) -> Array:
        """(num_classes,)."""
        ids = self.ids[number, teacher]
        others = self.num_classes - len(ids)
        scaled = np.zeros(self.num_classes)
        if others:
            alike = (self.log_rest[number, teacher] - np.log(others)) * self.temperature
            scaled[:] = alike / temperature
        scaled[ids] = self.logits[number, teacher].astype(np.float64) / temperature
        found: Array = log_softmax(scaled)
        return found

    def better_temperature(self) -> float | None:
        """The highest below the present one that is soft enough; None if none is."""
        tried = self.temperature
        while tried > COLDEST:
            tried /= 2 ** (1 / STEPS_OF_TWO)
            if self.relative_entropy(tried) < SOFT_ENOUGH:
                return tried
        return None
