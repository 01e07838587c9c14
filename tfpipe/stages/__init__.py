"""Steps, each a module here with `run(config, workspace) -> Metrics`, and the table that orders them.

Nothing is imported from the modules until a step runs, so that the command line stays light.
"""

from collections.abc import Callable
from pathlib import Path
from typing import get_args

from tfpipe.core.config import Config
from tfpipe.core.files import sha256_file, sha256_json
from tfpipe.core.settings import Precision
from tfpipe.core.steps import Step
from tfpipe.core.workspace import Workspace
from tfpipe.stages import needs

PROBLEM = ("seed", "deterministic", "data", "model", "training", "regularization", "callbacks")
"""The settings that shape a fitted model."""

LABELS = ("label.views", "label.top_k", "label.mixup_alpha", "label.cutmix_alpha")
"""The settings that shape soft labels."""

TRAINING = ("teach", "distill")
"""The steps that several workers may do together."""


def _source_fingerprint(config: Config) -> str:
    from tfpipe.data.sources import SOURCES

    label_map = config.snapshot.label_map
    mapped = sha256_file(label_map) if label_map and label_map.is_file() else ""
    return SOURCES[config.snapshot.kind].fingerprint(config.snapshot) + mapped


def _audit_fingerprint(config: Config) -> str:
    """The rows may be the same while an image changed in its place."""
    named = (config.audit.synonyms, config.audit.tokenizer)
    return _source_fingerprint(config) + "".join(_hash_of(path) for path in named if path)


def _weights_fingerprint(config: Config) -> str:
    tokenizer = config.network.tokenizer
    return _hash_of(Path(config.network.weights)) + (_hash_of(tokenizer) if tokenizer else "")


def _hash_of(path: Path) -> str:
    """Of a file, or of all files in a folder; of nothing, nothing."""
    if path.is_dir():
        files = [file for file in sorted(path.rglob("*")) if file.is_file()]
        return sha256_json([[file.relative_to(path).as_posix(), sha256_file(file)] for file in files])
    return sha256_file(path) if path.is_file() else ""


def _baseline_fingerprint(config: Config) -> str:
    weights = Path(config.baseline.weights)
    return sha256_file(weights) if weights.is_file() else ""


def _teachers_fingerprint(config: Config) -> str:
    return sha256_json([sha256_file(t.path) for t in config.teachers if t.path and t.path.is_file()])


def _distill_fingerprint(config: Config) -> str:
    """With stored labels their files tell of the teachers; what the student is measured on counts only where it is."""
    measured = {"split", "many_above", "few_below", "resamples"}
    told = config.evaluate.model_dump(mode="json", include=measured) if config.distillation.baseline else None
    teachers = _teachers_fingerprint(config) if config.label.views == "live" else ""
    return _weights_fingerprint(config) + teachers + (sha256_json(told) if told else "")


def _distill_outputs(config: Config, workspace: Workspace) -> list[Path]:
    names = ("best.keras", "baseline.keras") if config.distillation.baseline else ("best.keras",)
    return _in_step_dir("distill", *names)(config, workspace)


def _export_outputs(config: Config, workspace: Workspace) -> list[Path]:
    names = ("saved_model", *get_args(Precision), *_of_photos(config, "float32.tflite", "float16.tflite"))
    of_step = _in_step_dir("export", *names)(config, workspace) if config.has_page else []
    return [workspace.exported_dir(config), *of_step]


def _quantize_outputs(config: Config, workspace: Workspace) -> list[Path]:
    names = ("int8.keras", "quantized.md", *_of_photos(config, "int8.tflite"))
    return _in_step_dir("quantize", *names)(config, workspace)


def _of_photos(config: Config, *names: str) -> tuple[str, ...]:
    """Files that there are for photos alone."""
    return names if config.dataset_config.task == "image" else ()


def _in_step_dir(step: str, *names: str) -> Callable[[Config, Workspace], list[Path]]:
    return lambda config, workspace: [workspace.step_dir(config, step) / name for name in names]


STEPS = {
    step.name: step
    for step in (
        Step(
            name="snapshot",
            summary="Read the source's rows into raw.jsonl.",
            of_dataset=True,
            sections=("seed", "dataset", "snapshot"),
            needs=lambda config: [],
            outputs=lambda config, workspace: [workspace.raw_path(config)],
            fingerprint=_source_fingerprint,
            version=2,
        ),
        Step(
            name="fetch",
            summary="Check and download the images that the rows' URLs name.",
            of_dataset=True,
            sections=("fetch", "audit.min_side"),
            needs=lambda config: [(config, "snapshot")],
            outputs=lambda config, workspace: [workspace.fetched_path(config)],
            headline=("num_rows", "num_urls", "failure_rate"),
        ),
        Step(
            name="audit",
            summary="Count, look for faults, duplicates and leaks, and report.",
            of_dataset=True,
            sections=("task", "audit"),
            needs=lambda config: [(config, "snapshot"), (config, "fetch")],
            outputs=lambda config, workspace: [
                workspace.facts_path(config),
                workspace.near_duplicates_path(config),
                *_in_step_dir("audit", "report.json", "report.html", "label_map.csv", "label_map_unsure.csv")(
                    config, workspace
                ),
            ],
            fingerprint=_audit_fingerprint,
            headline=("num_rows", "num_usable", "num_exact_duplicates", "num_near_duplicates", "num_warnings"),
        ),
        Step(
            name="split",
            summary="Leave out what cannot be used, and split the rest without leaks.",
            of_dataset=True,
            sections=("seed", "split"),
            needs=lambda config: [(config, "snapshot"), (config, "audit")],
            outputs=lambda config, workspace: [workspace.splits_path(config), workspace.excluded_path(config)],
            version=3,
        ),
        Step(
            name="pack",
            summary="Write sharded records in TFDS format.",
            of_dataset=True,
            sections=("pack",),
            needs=lambda config: [(config, "split")],
            outputs=lambda config, workspace: [workspace.records_dir(config)],
            version=3,
        ),
        Step(
            name="baseline",
            summary="Score features that were never fitted to this task.",
            of_dataset=True,
            sections=(
                *("seed", "deterministic", "task", "baseline"),
                *("evaluate.many_above", "evaluate.few_below", "evaluate.min_recall"),
            ),
            needs=lambda config: [(config, "split" if config.task == "text" else "pack")],
            outputs=_in_step_dir("baseline", "predictions.npz"),
            fingerprint=_baseline_fingerprint,
            headline=(
                *(
                    "inverse_l2_penalty",
                    "l2_penalty",
                    "loss",
                    "macro_accuracy",
                    "macro_f1",
                    "nearest_mean_top1_accuracy",
                ),
                *("num_examples", "top1_accuracy", "top5_accuracy"),
            ),
            version=3,
        ),
        Step(
            name="teach",
            summary="Fine-tune a teacher.",
            sections=PROBLEM,
            needs=needs.teach,
            outputs=_in_step_dir("teach", "best.keras"),
            fingerprint=_weights_fingerprint,
            version=4,
        ),
        Step(
            name="label",
            summary="Store the teachers' soft labels of every training view.",
            sections=(
                *("seed", "deterministic", "teachers", *LABELS, "distillation.temperature"),
                *("data.augmentation", "data.region", "data.split_name"),
            ),
            needs=needs.label,
            outputs=_in_step_dir("label", "store"),
            fingerprint=_teachers_fingerprint,
            headline=("bytes_per_view", "num_examples", "top_k", "views"),
            version=3,
        ),
        Step(
            name="distill",
            summary="Train the student from soft labels, then fine-tune it on labels.",
            sections=(*PROBLEM, "teachers", *LABELS, "distillation", "finetune"),
            needs=needs.distill,
            outputs=_distill_outputs,
            fingerprint=_distill_fingerprint,
            version=5,
        ),
        Step(
            name="evaluate",
            summary="Measure top-1, top-5 and loss, whole, per region and by class frequency.",
            sections=("seed", "evaluate"),
            needs=needs.evaluate,
            outputs=_in_step_dir(
                "evaluate", "predictions.npz", "predictions.csv", "eval_by_region.json", "chapters.html"
            ),
            headline=(
                *("baseline_top1_accuracy", "gain_over_baseline", "loss", "macro_accuracy", "macro_f1"),
                *("num_examples", "top1_accuracy", "top5_accuracy", "weighted_f1"),
            ),
            version=5,
        ),
        Step(
            name="calibrate",
            summary="Make confidence mean what it says, and find when to say nothing.",
            sections=("seed", "deterministic", "data.region", "calibrate"),
            needs=needs.calibrate,
            outputs=lambda config, workspace: [
                workspace.calibration_path(config),
                workspace.page_calibration_path(config),
            ],
            headline=("ece_before", "ece_after", "temperature", "threshold", "coverage", "precision"),
        ),
        Step(
            name="quantize",
            summary="Bring the weights to int8, and measure what each precision costs.",
            sections=(
                *("seed", "deterministic", "data", "training", "callbacks.save_best"),
                *(*LABELS, "distillation", "calibrate", "quantize"),
            ),
            needs=needs.quantize,
            outputs=_quantize_outputs,
            headline=("num_examples", "top1_accuracy", "top1_difference", "agreement", "weight_bytes"),
        ),
        Step(
            name="export",
            summary="Bring the model to TensorFlow.js, and build the page around it.",
            sections=("data.region", "export"),
            needs=needs.export,
            outputs=_export_outputs,
            version=6,
        ),
        Step(
            name="verify",
            summary="Compare the page in a real browser with Python.",
            sections=("verify",),
            needs=needs.verify,
            measures=True,
            outputs=_in_step_dir("verify", "differences.npz", "report.md", "waterfall.md"),
            headline=("num_examples", "num_backends", "max_backend_difference", "num_leaked_tensors", "wasm_with_simd"),
            version=5,
        ),
        Step(
            name="report",
            summary="Tell the whole run on one page, and plot it.",
            sections=(),
            needs=needs.report,
            measures=True,
            outputs=_in_step_dir("report", "report.html"),
        ),
    )
}

LAST = "report"
"""The step that needs all others: `run` makes it."""
