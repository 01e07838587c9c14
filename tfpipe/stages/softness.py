"""A word before distillation where the soft labels are too soft to teach much."""

from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np
import tensorflow as tf

from tfpipe.core.progress import say
from tfpipe.training.distiller import Distiller
from tfpipe.training.losses import SoftLabels
from tfpipe.training.softness import TOO_SOFT, SoftTargets

BATCHES = 4
"""That are looked at."""

Array = np.ndarray


def tell_of_softness(batches: tf.data.Dataset, distiller: Distiller) -> None:
    """Look at the first batches, and warn where the teachers' softened targets are nearly uniform.

    Args:
        batches: for distillation.
        distiller: that will learn from them.
    """
    if not distiller.soft.softens:
        return
    targets = _gather([_soft_targets(y, distiller) for _, y in islice(batches, BATCHES)])
    found = targets.relative_entropy(distiller.temperature)
    if found <= TOO_SOFT:
        return
    better = targets.better_temperature()
    about = "" if targets.ids.shape[-1] == targets.num_classes else "about "
    advice = (
        f"at {better:.2g} it would be {about}{100 * targets.relative_entropy(better):.0f} %"
        if better
        else "no lower temperature helps: the teachers themselves are that unsure"
    )
    say(
        f"warning: at distillation.temperature {distiller.temperature:g} the soft labels of {len(targets.weights)} "
        f"examples have {about}{100 * found:.0f} % of the entropy of a uniform distribution over "
        f"{targets.num_classes:,} classes, and say little more than it; {advice}"
    )


def _soft_targets(y: dict[str, Any], distiller: Distiller) -> SoftTargets:
    """One batch."""
    num_classes = y["targets"].shape[-1]
    parts = [_arrays(labels, num_classes) for labels in distiller.soft_labels(y)]
    ids, logits, log_rest = (np.stack(column, axis=1) for column in zip(*parts, strict=True))
    return SoftTargets(num_classes, ids, logits, log_rest, y["teacher_weights"].numpy(), distiller.temperature)


def _arrays(labels: SoftLabels, num_classes: int) -> tuple[Array, Array, Array]:
    """Ids (batch, k), logits (batch, k) and the log-mass of the rest (batch,)."""
    logits = np.asarray(labels.logits)
    ids = np.tile(np.arange(num_classes), (len(logits), 1)) if labels.ids is None else np.asarray(labels.ids)
    return ids, logits, np.zeros(len(logits)) if labels.log_rest is None else np.asarray(labels.log_rest)


def _gather(parts: list[SoftTargets]) -> SoftTargets:
    """All batches as one."""
    names = ("ids", "logits", "log_rest", "weights")
    joined = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
    return replace(parts[0], **joined)
