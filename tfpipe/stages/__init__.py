"""Steps, each a module here with `run(config, workspace) -> Metrics`, and the table that orders them.

Nothing is imported from the modules until a step runs, so that the command line stays light.
"""

from collections.abc import Callable
from pathlib import Path
from typing import get_args

from tfpipe.core.config import Config, Role
from tfpipe.core.errors import ConfigError
from tfpipe.core.files import sha256_file, sha256_json
from tfpipe.core.settings import Precision
from tfpipe.core.steps import Need, Step
from tfpipe.core.workspace import Workspace

PROBLEM = ("seed", "deterministic", "data", "model", "training", "regularization", "callbacks")
"""The settings that shape a fitted model."""

LABELS = ("label.views", "label.top_k", "label.mixup_alpha", "label.cutmix_alpha")
"""The settings that shape soft labels."""

TRAINING = ("teach", "distill")
"""The steps that several workers may do together."""

LAST_STEP: dict[Role, str] = {"dataset": "pack", "teacher": "teach", "student": "distill"}
"""What makes the thing that a kind of settings describes."""


def _dataset(config: Config) -> Config:
    return config.dataset_config


def _fitted(config: Config) -> Need:
    """The step that fits the model of these settings."""
    return (config, "distill" if config.role == "student" else "teach")


def reference(config: Config) -> list[Need]:
    """The baseline that reports show their gain over: of texts, or where the settings give it pretrained weights."""
    dataset = _dataset(config)
    random_features = dataset.task == "image" and dataset.baseline.weights == "none"
    return [] if random_features else [(dataset, "baseline")]


def _teach_needs(config: Config) -> list[Need]:
    _expect_role(config, "teacher", "teach")
    start = [(config.start_config, "teach")] if config.start_config else []
    return [(_dataset(config), "pack"), *start]


def _label_needs(config: Config) -> list[Need]:
    _expect_role(config, "student", "label")
    if config.label.views == "live":
        raise ConfigError(
            f"{config.path}: label.views is live, so there is nothing to store: the teachers label each batch while "
            f"the student trains. Run `tfpipe distill --config {config.path}`."
        )
    return [(_dataset(config), "pack"), *((t, "teach") for t in config.teacher_configs if t)]


def _distill_needs(config: Config) -> list[Need]:
    """Live teachers are asked while the student trains; nothing is stored."""
    if config.label.views != "live":
        return [(_dataset(config), "pack"), (config, "label")]
    _expect_role(config, "student", "distill")
    return [(_dataset(config), "pack"), *((t, "teach") for t in config.teacher_configs if t)]


def _evaluate_needs(config: Config) -> list[Need]:
    for other in config.against_configs:
        _check_comparable(config, other)
    others: list[Need] = [(other, "evaluate") for other in config.against_configs]
    return [(_dataset(config), "pack"), _fitted(config), *reference(config), *others]


def _check_comparable(config: Config, other: Config) -> None:
    """Refuse, before anything is trained, models that are not measured on the same photos."""
    ours, theirs = _dataset(config), _dataset(other)
    if ours.path.resolve() != theirs.path.resolve():
        found = f"knows the data set of {theirs.path}, and this one that of {ours.path}"
    elif config.evaluate.split != other.evaluate.split:
        found = f"is measured on {other.evaluate.split}, and this one on {config.evaluate.split} (evaluate.split)"
    else:
        return
    raise ConfigError(
        f"{config.path}: evaluate.against: {other.path} {found}. Compare models on the same {ours.things}."
    )


def _calibrate_needs(config: Config) -> list[Need]:
    return [(_dataset(config), "pack"), _fitted(config)]


def _quantize_needs(config: Config) -> list[Need]:
    """Where it trains, also what taught the student."""
    _refuse_folder(config, "quantize")
    needs = [(_dataset(config), "pack"), _fitted(config), (config, "calibrate")]
    if config.quantize.method == "post_training":
        return needs
    if _dataset(config).task == "text":
        raise ConfigError(
            f"{config.path}: quantize.method: aware is for photos: TF-MOT knows no encoders of texts. Set it to "
            "post_training."
        )
    if config.role != "student":
        raise ConfigError(
            f"{config.path}: quantize.method: aware keeps distilling, and a {config.role} has no teachers. "
            "Set it to post_training."
        )
    return [*needs, *(need for need in _distill_needs(config) if need not in needs)]


def _export_needs(config: Config) -> list[Need]:
    if not config.has_page:
        return [_fitted(config), (config, "calibrate")]
    before = ("evaluate", "calibrate", "quantize")
    return [(_dataset(config), "pack"), _fitted(config), *((config, step) for step in before)]


def _verify_needs(config: Config) -> list[Need]:
    _refuse_folder(config, "verify")
    return [(_dataset(config), "pack"), (config, "export")]


def _run_needs(config: Config) -> list[Need]:
    """Everything to a verified page; a teacher's settings end before."""
    if config.role == "dataset":
        return [(config, "baseline")]
    if config.role == "teacher":
        return [(config, "evaluate")]
    teachers: list[Need] = [(t, "evaluate") for t in config.teacher_configs if t]
    return [*teachers, (config, "evaluate"), (config, "calibrate"), (config, "verify")]


def _refuse_folder(config: Config, step: str) -> None:
    if not config.has_page:
        raise ConfigError(
            f"{config.path}: `{step}` is for what runs in a page, and a {config.role} of texts is too large for one. "
            f"Distil a student; or `tfpipe export --config {config.path}` writes a folder that transformers reads."
        )


def _expect_role(config: Config, role: Role, step: str) -> None:
    if config.role != role:
        raise ConfigError(
            f"{config.path} holds a {config.role}'s settings, and `{step}` needs a {role}'s. "
            f"Did you mean `tfpipe {LAST_STEP[config.role]} --config {config.path}`?"
        )


def _source_fingerprint(config: Config) -> str:
    from tfpipe.data.sources import SOURCES

    label_map = config.snapshot.label_map
    mapped = sha256_file(label_map) if label_map and label_map.is_file() else ""
    return SOURCES[config.snapshot.kind].fingerprint(config.snapshot) + mapped


def _audit_fingerprint(config: Config) -> str:
    """The rows may be the same while an image changed in its place."""
    synonyms = config.audit.synonyms
    return _source_fingerprint(config) + (sha256_file(synonyms) if synonyms and synonyms.is_file() else "")


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
    return names if _dataset(config).task == "image" else ()


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
            needs=_teach_needs,
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
            needs=_label_needs,
            outputs=_in_step_dir("label", "store"),
            fingerprint=_teachers_fingerprint,
            headline=("bytes_per_view", "num_examples", "top_k", "views"),
            version=3,
        ),
        Step(
            name="distill",
            summary="Train the student from soft labels, then fine-tune it on labels.",
            sections=(*PROBLEM, "teachers", *LABELS, "distillation", "finetune"),
            needs=_distill_needs,
            outputs=_distill_outputs,
            fingerprint=_distill_fingerprint,
            version=5,
        ),
        Step(
            name="evaluate",
            summary="Measure top-1, top-5 and loss, whole, per region and by class frequency.",
            sections=("seed", "evaluate"),
            needs=_evaluate_needs,
            outputs=_in_step_dir("evaluate", "predictions.npz", "predictions.csv", "eval_by_region.json"),
            headline=(
                *("baseline_top1_accuracy", "gain_over_baseline", "loss", "macro_accuracy", "macro_f1"),
                *("num_examples", "top1_accuracy", "top5_accuracy", "weighted_f1"),
            ),
            version=4,
        ),
        Step(
            name="calibrate",
            summary="Make confidence mean what it says, and find when to say nothing.",
            sections=("seed", "deterministic", "data.region", "calibrate"),
            needs=_calibrate_needs,
            outputs=lambda config, workspace: [
                workspace.calibration_path(config),
                workspace.page_calibration_path(config),
            ],
            headline=("ece", "ece_after", "temperature", "threshold", "coverage", "precision"),
        ),
        Step(
            name="quantize",
            summary="Bring the weights to int8, and measure what each precision costs.",
            sections=(
                *("seed", "deterministic", "data", "training", "callbacks.save_best"),
                *(*LABELS, "distillation", "calibrate", "quantize"),
            ),
            needs=_quantize_needs,
            outputs=_quantize_outputs,
            headline=("num_examples", "top1_accuracy", "top1_difference", "agreement", "weight_bytes"),
        ),
        Step(
            name="export",
            summary="Bring the model to TensorFlow.js, and build the page around it.",
            sections=("data.region", "export"),
            needs=_export_needs,
            outputs=_export_outputs,
            version=5,
        ),
        Step(
            name="verify",
            summary="Compare the page in a real browser with Python.",
            sections=("verify",),
            needs=_verify_needs,
            outputs=_in_step_dir("verify", "differences.npz", "report.md", "waterfall.md"),
            headline=("num_examples", "num_backends", "max_backend_difference", "num_leaked_tensors", "wasm_with_simd"),
            version=5,
        ),
    )
}

RUN = Step(
    name="run",
    summary="All steps, to a verified page.",
    sections=(),
    needs=_run_needs,
    outputs=lambda config, workspace: [],
)
"""Not a step of its own: only the steps it needs."""
