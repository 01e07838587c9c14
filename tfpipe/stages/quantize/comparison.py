"""What each precision costs on the test photos, and whether the calibration of float32 still holds for int8."""

from dataclasses import asdict, dataclass

import numpy as np

from tfpipe.core.config import Config
from tfpipe.core.files import read_json
from tfpipe.core.steps import Metrics
from tfpipe.core.workspace import Workspace
from tfpipe.data.arrays import RowFile
from tfpipe.data.records import Records, check_classes
from tfpipe.models.saving import Card
from tfpipe.stages.calibrate.decisions import Calibration, check_calibration, recall_calibration
from tfpipe.stages.evaluate.predictions import Predict, predict
from tfpipe.training.binomial import exact_interval
from tfpipe.training.calibration import judge_probabilities
from tfpipe.training.comparison import mcnemar
from tfpipe.training.outcomes import Outcomes, judge
from tfpipe.training.reliability import reliability

Array = np.ndarray
REFERENCE = "float32"


@dataclass(frozen=True)
class Contender:
    """One line of the table."""

    answer: Predict
    num_bytes: int
    """Of its weights; of a TensorFlow Lite model, of its file."""


def compare(contenders: dict[str, Contender], chosen: str, card: Card, config: Config, workspace: Workspace) -> Metrics:
    """Ask each network of the test split.

    Args:
        contenders: `REFERENCE` first.
        chosen: whose calibration is checked.
        card: of the networks.
        config: of the step.
        workspace: where it lies.
    """
    records = Records(workspace.records_dir(config), "test", config.data.region)
    check_classes(records.classes, card.classes, f"the model of {config.name}")
    _, regions, labels = records.facts()
    document = read_json(workspace.calibration_path(config))
    calibration = recall_calibration(document)
    lines: dict[str, Metrics] = {}
    found: dict[str, Outcomes] = {}
    decided = {REFERENCE: _decided(document["test"])}
    for name, contender in contenders.items():
        file = RowFile(workspace.step_dir(config, "quantize") / f"{name}.f32", len(card.classes))
        predict(contender.answer, records, card.model_input, file, f"quantize {config.name}: {name}")
        logits = file.read()
        found[name] = judge(logits, labels)
        ece = _ece(logits, labels, calibration)
        lines[name] = _line(found[name], found[REFERENCE]) | {"ece": ece, "bytes": contender.num_bytes}
        if name == chosen:
            resamples = config.calibrate.resamples
            decided["int8"] = _decided(
                check_calibration(calibration, logits, labels, regions, resamples=resamples, seed=config.seed)
            )
        file.path.unlink()
    told = {"num_examples": len(labels), "temperature": calibration.temperature}
    return told | {"precisions": lines, "calibration": decided} | _headline(lines[chosen])


def _line(outcomes: Outcomes, exact: Outcomes) -> Metrics:
    """Beside what float32 says of the same photos."""
    right = outcomes.right
    return {
        "top1_accuracy": float(right.mean()),
        "top1_interval": asdict(exact_interval(int(right.sum()), len(right))),
        "top1_difference": float(right.mean() - exact.right.mean()),
        "top5_accuracy": float((outcomes.places < 5).mean()),
        "agreement": float((outcomes.answers == exact.answers).mean()),
        "mcnemar": mcnemar(right, exact.right),
    }


def _ece(logits: Array, labels: Array, calibration: Calibration) -> float:
    judged = judge_probabilities(logits, labels, calibration.temperature)
    return float(reliability(judged.confidences, judged.right)["ece"])


def _decided(checked: Metrics) -> Metrics:
    """Of what `check_calibration` found, what a person relies on."""
    answered = checked["threshold"]
    names = ("precision", "precision_interval", "coverage", "coverage_interval")
    return {"ece": checked["after"]["ece"], "ece_interval": checked["after"]["intervals"]["ece"]} | {
        name: answered[name] for name in names
    }


def _headline(line: Metrics) -> Metrics:
    """Of the network that is exported, where `criteria` find it by one name."""
    names = ("top1_accuracy", "top1_difference", "top5_accuracy", "ece", "agreement")
    return {name: line[name] for name in names} | {"weight_bytes": line["bytes"]}
