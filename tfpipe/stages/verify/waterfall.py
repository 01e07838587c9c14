"""One table from teacher to browser: what each step on the way costs in accuracy, and gains in bytes and honesty."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tfpipe.core.config import Config
from tfpipe.core.files import read_json
from tfpipe.core.settings import Backend
from tfpipe.core.workspace import Workspace
from tfpipe.data.arrays import RowFile
from tfpipe.data.records import Records
from tfpipe.models.saving import load_model
from tfpipe.stages.evaluate.predictions import compiled, predict
from tfpipe.stages.verify.asking import Answers
from tfpipe.training.binomial import exact_interval
from tfpipe.training.bootstrap import Interval
from tfpipe.training.calibration import judge_probabilities
from tfpipe.training.reliability import reliability

Array = np.ndarray
Json = dict[str, Any]

QUANTIZED = {
    "float16": "float16",
    "post_training": "int8, post-training",
    "aware": "int8, quantization-aware",
    "tflite": "int8, TensorFlow Lite",
}
"""Key among the metrics of `quantize` → name in the table."""


@dataclass(frozen=True)
class Level:
    """A model on its way, measured on test photos or texts."""

    name: str
    num_examples: int
    top1_accuracy: float
    top1_interval: Interval
    """95 %, of examples drawn anew."""
    ece: float
    bytes: int
    """Of the weights."""
    latency_ms: float | None = None
    """p50 of one example, in a browser."""


def iter_levels(config: Config, workspace: Workspace) -> Iterator[Level]:
    """Teachers, and the student as it was distilled, finished, calibrated and made small."""
    for teacher in config.teacher_configs:
        # Without `tfpipe run`, a teacher may never have been evaluated.
        if teacher and (workspace.step_dir(teacher, "evaluate") / "metrics.json").is_file():
            yield _evaluated(f"teacher {teacher.name}", teacher, workspace)
    yield from _distilled(config, workspace)
    yield _evaluated(f"{config.name}, finished", config, workspace)
    yield _calibrated(config, workspace)
    yield from _quantized(config, workspace)


def iter_levels_in_browser(
    config: Config, workspace: Workspace, by_backend: Mapping[Backend, Answers]
) -> Iterator[Level]:
    """What a browser makes of the page's model, on each backend."""
    _, _, labels = Records(workspace.records_dir(config), "test").facts()
    num_bytes = _metrics("export", config, workspace)["weight_bytes"][config.export.precision]
    for backend, answers in by_backend.items():
        yield _in_browser(f"the page, {config.export.precision} on {backend}", answers, labels, num_bytes)


def to_markdown(levels: list[Level], things: str) -> str:
    """A table, of photos or of texts."""
    lines = [f"| | {things} | top-1, % | ECE | bytes | p50, ms |", "|---|---:|---:|---:|---:|---:|"]
    for level in levels:
        interval = f"[{100 * level.top1_interval.low:.1f}, {100 * level.top1_interval.high:.1f}]"
        latency = "" if level.latency_ms is None else f"{level.latency_ms:.1f}"
        lines.append(
            f"| {level.name} | {level.num_examples:,} | {100 * level.top1_accuracy:.2f} {interval} | {level.ece:.3f} | "
            f"{level.bytes:,} | {latency} |"
        )
    return "\n".join(["# From teacher to browser", "", *lines, ""])


def _evaluated(name: str, config: Config, workspace: Workspace) -> Level:
    """As `evaluate` left it, its probabilities as they come out of the network."""
    metrics = _metrics("evaluate", config, workspace)
    with np.load(workspace.step_dir(config, "evaluate") / "predictions.npz") as saved:
        ece = _ece(saved["logits"], saved["labels"], temperature=1.0)
    count, top1 = metrics["num_examples"], metrics["top1_accuracy"]
    # Exact, as on the other levels, where `evaluate` has the bootstrap's: equal scores have equal intervals here.
    interval = exact_interval(round(top1 * count), count)
    return Level(name, count, top1, interval, ece, _float32_bytes(config, workspace))


def _distilled(config: Config, workspace: Workspace) -> Iterator[Level]:
    """The student before it was fine-tuned, as its last epoch of distillation left it."""
    checkpoints = sorted((workspace.step_dir(config, "distill") / "checkpoints").glob("distill-*.keras"))
    if not checkpoints:
        return
    network, card = load_model(checkpoints[-1])
    records = Records(workspace.records_dir(config), "test")
    file = RowFile(workspace.step_dir(config, "verify") / "distilled.f32", len(card.classes))
    predict(compiled(network), records, card.model_input, file, f"verify {config.name}: distilled")
    _, _, labels = records.facts()
    right = np.argmax(file.read(), axis=-1) == labels
    ece = _ece(file.read(), labels, temperature=1.0)
    file.path.unlink()
    interval = exact_interval(int(right.sum()), len(right))
    yield Level(
        f"{config.name}, distilled", len(right), float(right.mean()), interval, ece, _float32_bytes(config, workspace)
    )


def _float32_bytes(config: Config, workspace: Workspace) -> int:
    step = "distill" if config.role == "student" else "teach"
    return 4 * int(_metrics(step, config, workspace)["num_parameters"])


def _calibrated(config: Config, workspace: Workspace) -> Level:
    metrics = _metrics("calibrate", config, workspace)
    after = metrics["test"]["after"]
    right = round(after["top1_accuracy"] * after["num_examples"])
    return Level(
        f"calibrated, temperature {metrics['temperature']:.3f}",
        after["num_examples"],
        after["top1_accuracy"],
        exact_interval(right, after["num_examples"]),
        after["ece"],
        _float32_bytes(config, workspace),
    )


def _quantized(config: Config, workspace: Workspace) -> Iterator[Level]:
    metrics = _metrics("quantize", config, workspace)
    for key, name in QUANTIZED.items():
        if key in metrics["precisions"]:
            line = metrics["precisions"][key]
            interval = Interval(**line["top1_interval"])
            yield Level(name, metrics["num_examples"], line["top1_accuracy"], interval, line["ece"], line["bytes"])


def _in_browser(name: str, answers: Answers, labels: Array, num_bytes: int) -> Level:
    count = len(answers.probs)
    right = answers.probs.argmax(axis=-1) == labels[:count]
    ece = float(reliability(answers.probs.max(axis=-1), right)["ece"])
    interval = exact_interval(int(right.sum()), count)
    latency = float(np.percentile(answers.latency_ms, 50))
    return Level(name, count, float(right.mean()), interval, ece, num_bytes, latency)


def _ece(logits: Array, labels: Array, *, temperature: float) -> float:
    judged = judge_probabilities(logits, labels, temperature)
    return float(reliability(judged.confidences, judged.right)["ece"])


def _metrics(step: str, config: Config, workspace: Workspace) -> Json:
    path: Path = workspace.step_dir(config, step) / "metrics.json"
    found: Json = read_json(path)
    return found
