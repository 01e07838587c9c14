"""`calibrate`: confidence that means what it says, and a threshold below which the model says nothing.

Everything is fitted on the validation split; the test split only says what came of it.
"""

from dataclasses import asdict, dataclass

import keras
import numpy as np

from tfpipe.core.config import Config
from tfpipe.core.errors import DataError
from tfpipe.core.files import finite, write_json
from tfpipe.core.progress import say
from tfpipe.core.steps import Metrics
from tfpipe.core.workspace import Workspace
from tfpipe.data.arrays import RowFile
from tfpipe.data.records import Records, check_classes, classes_sha256
from tfpipe.models.saving import Card, load_model, weights_sha256
from tfpipe.stages.calibrate.decisions import Calibration, check_calibration, fit_calibration
from tfpipe.stages.calibrate.report import iter_sentences, write_report
from tfpipe.stages.evaluate.predictions import compiled, predict
from tfpipe.training.calibration import judge_probabilities
from tfpipe.training.outcomes import in_chunks
from tfpipe.training.reproducible import make_reproducible
from tfpipe.training.threshold import planned_table

Array = np.ndarray


@dataclass(frozen=True)
class Said:
    """What the network says of the photos of a split, in the records' order; (num_examples,) each."""

    regions: Array
    labels: Array
    logits: Array
    """(num_examples, num_classes), on the disk."""


def run(config: Config, workspace: Workspace) -> Metrics:
    """Fit temperature, threshold and sets on validation, check them on test, and write what the page needs."""
    make_reproducible(config.seed, deterministic=config.deterministic)
    network, card = load_model(workspace.best_path(config))
    validation, test = (_predict(network, card, split, config, workspace) for split in ("validation", "test"))
    calibration = fit_calibration(validation.logits, validation.labels, config.calibrate)
    metrics = _measure(calibration, validation, test, config)
    hashes = {"classes_sha256": classes_sha256(card.classes), "model_sha256": weights_sha256(network)}
    write_json(
        finite(metrics | hashes | _of_examples(calibration, validation, config)), workspace.calibration_path(config)
    )
    write_json(_short(calibration, metrics, config) | hashes, workspace.page_calibration_path(config))
    write_report(metrics, config.calibrate, workspace.step_dir(config, "calibrate"))
    for split in ("validation", "test"):
        _logits_file(card, split, config, workspace).path.unlink()
    for sentence in iter_sentences(metrics, config):
        say(f"  {sentence}")
    return metrics


def _predict(network: keras.Model, card: Card, split: str, config: Config, workspace: Workspace) -> Said:
    """One look at each photo; a regional teacher's are those of its region."""
    records = Records(workspace.records_dir(config), split, config.data.region)
    check_classes(records.classes, card.classes, f"the model of {config.name}")
    file = _logits_file(card, split, config, workspace)
    predict(compiled(network), records, card.model_input, file, f"calibrate {config.name}: {split}")
    ids, regions, labels = records.facts()
    check_finite(file.read(), ids, f"the model of {config.name}, asked of {split}")
    return Said(regions, labels, file.read())


def check_finite(logits: Array, ids: Array, what: str) -> None:
    """What is no number has no confidence.

    Args:
        logits: (num_examples, num_classes).
        ids: (num_examples,) str.
        what: answered so.

    Raises:
        DataError: naming the first example.
    """
    for part, of_part in in_chunks(logits, ids):
        bad = ~np.isfinite(part).all(axis=-1)
        if bad.any():
            raise DataError(
                f"{what}, gives {of_part[bad.argmax()]} a logit that is no finite number: there is nothing to "
                "calibrate. Look at that photo, or train the model again, at a lower learning rate."
            )


def _logits_file(card: Card, split: str, config: Config, workspace: Workspace) -> RowFile:
    return RowFile(workspace.step_dir(config, "calibrate") / f"{split}.f32", len(card.classes))


def _measure(calibration: Calibration, validation: Said, test: Said, config: Config) -> Metrics:
    """The plan's words for what the model was on validation; the rest of the head is of test."""
    settings = config.calibrate
    fitted, checked = (
        check_calibration(
            calibration, said.logits, said.labels, said.regions, resamples=settings.resamples, seed=config.seed
        )
        for said in (validation, test)
    )
    answered = checked["threshold"]
    return {
        "ece": fitted["before"]["ece"],
        "mce": fitted["before"]["mce"],
        "temperature": calibration.temperature,
        "fitted_temperature": calibration.fitted_temperature,
        "fitted_ece": calibration.fitted_ece,
        "ece_before": checked["before"]["ece"],
        "ece_after": checked["after"]["ece"],
        "threshold": calibration.threshold.value,
        "precision_reached": int(calibration.threshold.reached),
        "precision": answered["precision"],
        "coverage": answered["coverage"],
        "meets_precision": int(answered["precision"] >= settings.precision),
        "meets_coverage": int(answered["coverage"] >= settings.coverage),
        "sets": calibration.sets and asdict(calibration.sets),
        "validation": fitted,
        "test": checked,
    }


def _of_examples(calibration: Calibration, validation: Said, config: Config) -> Metrics:
    """The plan's lists, of each validation photo: the answer's confidence, as `ece` was measured from, and the label.

    All probabilities would be gigabytes, and the plan's own code reads only the likeliest class's.
    """
    plain, judged = (
        judge_probabilities(validation.logits, validation.labels, temperature)
        for temperature in (1.0, calibration.temperature)
    )
    return {
        "settings": config.calibrate.model_dump(mode="json"),
        "predicted_probs": plain.confidences.tolist(),
        "calibrated_probs": judged.confidences.tolist(),
        "predicted_labels": judged.answers.tolist(),
        "true_labels": validation.labels.tolist(),
        "accuracy_by_threshold": planned_table(judged.confidences, judged.right),
    }


def _short(calibration: Calibration, metrics: Metrics, config: Config) -> Metrics:
    """What travels with every export.

    Probabilities are softmax(logits / temperature); the answer is "not conclusive" when the largest is below
    `threshold`; a set has every class with a probability of at least 1 - its own quantile in `of_class`, by id, or
    else 1 - `quantile`. `precision` and `coverage` are those of test; no number, if nothing is answered there.
    """
    sets = calibration.sets
    of_class = {str(number): quantile for number, quantile in sets.of_class.items()} if sets else {}
    return {
        "temperature": calibration.temperature,
        "threshold": calibration.threshold.value,
        "precision": finite(metrics["precision"]),
        "coverage": metrics["coverage"],
        "target_precision": config.calibrate.precision,
        "sets": sets and {"level": sets.level, "quantile": sets.quantile, "of_class": of_class},
    }
