"""What a calibration decides, fitted on some photos and checked on others."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from tfpipe.core.settings import CalibrateSettings
from tfpipe.training.calibration import describe, judge_probabilities
from tfpipe.training.conformal import SetRule, fit_sets, make_sets, measure_sets
from tfpipe.training.reliability import reliability
from tfpipe.training.temperature import fit_temperature, is_at_bound
from tfpipe.training.threshold import (
    Threshold,
    choose_threshold,
    measure_threshold,
    risk_coverage,
)

Array = np.ndarray


@dataclass(frozen=True)
class Calibration:
    """How logits become probabilities, and these an answer, a set of classes, or none."""

    temperature: float
    """That logits are divided by; 1, if the fitted one is not applied."""
    fitted_temperature: float
    fitted_ece: float
    """The expected calibration error that the fitted temperature leaves on the photos that it was fitted on."""
    threshold: Threshold
    sets: SetRule | None


def fit_calibration(logits: Array, labels: Array, settings: CalibrateSettings) -> Calibration:
    """Temperature first, then, of the probabilities at that temperature, threshold and sets.

    Args:
        logits: (num_examples, num_classes) of photos that the network was not trained on; may lie on the disk.
        labels: (num_examples,) class ids.
        settings: what is asked.
    """
    fitted = fit_temperature(logits, labels)
    ece, fitted_ece = (_ece(logits, labels, value) for value in (1.0, fitted))
    # A few sure and wrong answers, as wrong labels are, weigh more in the likelihood than in the error: it may rise.
    helps = ece > settings.max_ece and fitted_ece < ece
    applied = settings.temperature == "always" or (settings.temperature == "auto" and helps)
    temperature = fitted if applied and not is_at_bound(fitted) else 1.0
    judged = judge_probabilities(logits, labels, temperature)
    threshold = choose_threshold(
        judged.confidences, judged.right, precision=settings.precision, min_answers=settings.min_answers
    )
    sets = None
    if settings.sets != "none":
        sets = fit_sets(judged.label_probs, labels, level=settings.set_level, kind=settings.sets)
    return Calibration(temperature, fitted, fitted_ece, threshold, sets)


def recall_calibration(document: dict[str, Any]) -> Calibration:
    """What `calibration.json` tells of, to be checked on other logits."""
    sets = document["sets"]
    if sets:
        sets = SetRule(**sets | {"of_class": {int(name): value for name, value in sets["of_class"].items()}})
    return Calibration(
        document["temperature"],
        document["fitted_temperature"],
        document["fitted_ece"],
        Threshold(document["threshold"], reached=bool(document["precision_reached"])),
        sets,
    )


def check_calibration(
    calibration: Calibration, logits: Array, labels: Array, regions: Array, *, resamples: int, seed: int
) -> dict[str, Any]:
    """What it does on some photos, before and after the temperature, whole and by region.

    Args:
        calibration: as fitted, maybe on other photos.
        logits: (num_examples, num_classes); may lie on the disk.
        labels: (num_examples,) class ids.
        regions: (num_examples,) str; the empty one is passed over.
        resamples: of the bootstrap.
        seed: of its draws.
    """
    before, after = (judge_probabilities(logits, labels, value) for value in (1.0, calibration.temperature))
    sets = calibration.sets and make_sets(logits, labels, calibration.sets, temperature=calibration.temperature)

    def check(inside: Array) -> dict[str, Any]:
        judged = after.part(inside)
        found = {
            "before": describe(before.part(inside), resamples=resamples, seed=seed),
            "after": describe(judged, resamples=resamples, seed=seed),
            "threshold": measure_threshold(judged.confidences, judged.right, calibration.threshold.value),
        }
        return found | ({"sets": measure_sets(sets.part(inside), judged.labels)} if sets else {})

    whole = check(np.ones(len(labels), bool)) | risk_coverage(after.confidences, after.right)
    return whole | {"by_region": {str(region): check(regions == region) for region in np.unique(regions) if region}}


def _ece(logits: Array, labels: Array, temperature: float) -> float:
    judged = judge_probabilities(logits, labels, temperature)
    return float(reliability(judged.confidences, judged.right)["ece"])
