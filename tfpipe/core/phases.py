"""The phases of the plan, as its `TRAINING_MANIFEST` tells of them: what each has come to, with its own keys."""

from collections.abc import Iterable
from typing import Any

from tfpipe.core.config import Config
from tfpipe.core.lineage import Lineage
from tfpipe.core.workspace import Workspace

Json = dict[str, Any]

MEGABYTE = 1e6
DATA_STEPS = ("snapshot", "fetch", "audit", "split", "pack")


def describe_data(lineage: Lineage) -> Json:
    """Counts and hashes of the rows and of the records."""
    dataset, workspace = lineage.config.dataset_config, lineage.workspace
    split = lineage.metrics(dataset, "split")
    per_split = split.get("per_split", {})
    files = {
        "raw_sha256": ("snapshot", workspace.raw_path(dataset)),
        "splits_sha256": ("split", workspace.splits_path(dataset)),
        "records_sha256": ("pack", workspace.records_dir(dataset)),
    }
    hashes = {
        name: ran.state["outputs"][path.as_posix()]
        for name, (step, path) in files.items()
        if (ran := lineage.steps.get((dataset.name, step)))
    }
    source = "mongo_snapshot" if dataset.snapshot.kind == "mongodb" else "snapshot"
    return {
        "dataset": dataset.dataset,
        source: workspace.raw_path(dataset).as_posix(),
        "splits": workspace.splits_path(dataset).as_posix(),
        "total_samples": split.get("num_rows"),
        "total_species" if dataset.task == "image" else "total_classes": split.get("num_classes"),
        "train_samples": per_split.get("train"),
        "val_samples": per_split.get("validation"),
        "test_samples": per_split.get("test"),
        "excluded_samples": sum(split["excluded"].values()) if split else None,
        **hashes,
    }


def describe_phases(lineage: Lineage) -> Json:
    """Status and results of each phase that these settings take part in."""
    config, dataset = lineage.config, lineage.config.dataset_config
    baseline = lineage.metrics(dataset, "baseline")
    teachers = [config] if config.role == "teacher" else [each for each in config.teacher_configs if each]
    found = {
        "phase_0": _status(lineage, dataset, DATA_STEPS) | {"baseline_top1": baseline.get("top1_accuracy")},
        "phase_1": _teachers(lineage, [each for each in teachers if not each.data.region]),
        "phase_2": _teachers(lineage, [each for each in teachers if each.data.region]),
    }
    return {name: phase for name, phase in (found | _of_student(lineage)).items() if phase}


def hyperparameters(config: Config) -> Json:
    """The plan's, of whichever models there are; all settings stand under `configs`."""
    teachers = [config] if config.role == "teacher" else [each for each in config.teacher_configs if each]
    found: Json = {f"{each.name}_lr": each.training.learning_rate for each in teachers}
    if config.role != "student":
        return found
    weights = config.distillation.loss_weights
    return found | {
        "student_distill_lr": config.training.learning_rate,
        "student_finetune_lr": config.finetune.learning_rate,
        "distillation_temperature": config.distillation.temperature,
        "kl_weight": weights.kl_divergence,
        "ce_weight": weights.cross_entropy,
    }


def _teachers(lineage: Lineage, teachers: list[Config]) -> Json:
    """Of the first; further ones stand under their names."""
    told = {each.name: _teacher(lineage, each) for each in teachers}
    if not told:
        return {}
    first, *more = told
    return told[first] | ({"more": {name: told[name] for name in more}} if more else {})


def _teacher(lineage: Lineage, teacher: Config) -> Json:
    metrics, region = lineage.metrics(teacher, "evaluate"), teacher.data.region
    found = _status(lineage, teacher, ("teach", "evaluate")) | {
        "teacher": teacher.network.name,
        "top1": metrics.get("top1_accuracy"),
        "top5": metrics.get("top5_accuracy"),
        "checkpoint": _best(lineage.workspace, teacher),
    }
    if region:
        found[f"top1_{region.lower()}"] = metrics.get("by_region", {}).get(region, {}).get("top1")
    return found


def _of_student(lineage: Lineage) -> Json:
    """Phases 3 to 7."""
    config = lineage.config
    if config.role != "student":
        return {"phase_7": _status(lineage, config, ("report",))}
    scores, calibrated = lineage.metrics(config, "evaluate"), lineage.metrics(config, "calibrate")
    stored = () if config.label.views == "live" else ("label",)
    width = f"_{config.network.alpha}" if config.network.name == "mobilenetv2" else ""
    return {
        "phase_3": _status(lineage, config, stored) | {"student_architecture": f"{config.network.name}{width}"},
        "phase_4": _status(lineage, config, ("distill", "evaluate"))
        | {
            "distillation_epochs": config.distillation_epochs,
            "finetuning_epochs": config.finetune_epochs,
            "final_top1": scores.get("top1_accuracy"),
            "final_top5": scores.get("top5_accuracy"),
            "checkpoint": _best(lineage.workspace, config),
        },
        "phase_5": _status(lineage, config, ("calibrate",))
        | {"ece": calibrated.get("ece_after"), "confidence_threshold": calibrated.get("threshold")},
        "phase_6": _status(lineage, config, ("quantize", "export", "verify")) | _sizes(lineage),
        "phase_7": _status(lineage, config, ("report",)),
    }


def _sizes(lineage: Lineage) -> Json:
    """Of the weights in the page, in megabytes of 10⁶ bytes."""
    config = lineage.config
    sizes = lineage.metrics(config, "export").get("weight_bytes", {})
    return {
        **{f"model_size_{name}": round(sizes[key] / MEGABYTE, 3) for name, key in SIZES.items() if key in sizes},
        "tfjs_export": lineage.workspace.exported_dir(config).as_posix(),
    }


def _status(lineage: Lineage, config: Config, steps: Iterable[str]) -> Json:
    done = [lineage.has(config, step) for step in steps]
    return {"status": "completed" if all(done) else "in progress" if any(done) else "pending"}


def _best(workspace: Workspace, config: Config) -> str:
    return workspace.best_path(config).as_posix()


SIZES = {"fp32": "float32", "fp16": "float16", "int8": "int8"}
"""Name in the manifest → key among the metrics of `export`."""
