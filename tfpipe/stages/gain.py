"""What a student has of its teachers: the same student without them, on the same photos."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from tfpipe.core.config import Config
from tfpipe.core.errors import DataError
from tfpipe.core.progress import say
from tfpipe.core.steps import Metrics
from tfpipe.core.workspace import Workspace
from tfpipe.data.arrays import RowFile
from tfpipe.data.records import Records
from tfpipe.labels.speaking import share_say
from tfpipe.models.saving import load_model
from tfpipe.stages.evaluate.predictions import compiled, count_training, predict
from tfpipe.stages.label.teachers import Teacher, gather_facts
from tfpipe.stages.label.work import teachers_as_asked
from tfpipe.training.agreement import measure_agreement
from tfpipe.training.bootstrap import resample
from tfpipe.training.comparison import compare
from tfpipe.training.outcomes import Outcomes, judge
from tfpipe.training.reliability import reliability
from tfpipe.training.reproducible import make_reproducible

Array = np.ndarray


def check_measurable(config: Config, workspace: Workspace) -> None:
    """Refuse, before training, a split with nothing on it to measure.

    Raises:
        DataError: naming the split.
    """
    if not Records(workspace.records_dir(config), config.evaluate.split).num_examples:
        raise DataError(
            f"{config.path}: distillation.baseline: no rows in {config.evaluate.split} (evaluate.split) to measure on. "
            "Check `split` in the data set's settings."
        )


def measure_gain(config: Config, workspace: Workspace, *, baseline_path: Path) -> Metrics:
    """The student beside its baseline on `evaluate.split`, whole, per region and per class frequency.

    Differences are paired photo by photo, and have intervals; agreement with the teachers and calibration are told
    of both. What it finds is said to the person watching.
    """
    make_reproducible(config.seed, deterministic=config.deterministic)
    records = Records(workspace.records_dir(config), config.evaluate.split)
    _, regions, labels = records.facts()
    scratch = workspace.step_dir(config, "distill") / "gain"
    paths = {"student": workspace.best_path(config), "baseline": baseline_path}
    logits = {name: _ask(path, records, scratch / f"{name}.f32", config.name) for name, path in paths.items()}
    outcomes = {name: judge(said, labels) for name, said in logits.items()}
    counts = count_training(config, workspace, records.classes)
    gain = (
        {"split": config.evaluate.split, "num_examples": len(labels)}
        | _differences(outcomes, regions, _buckets(counts[labels], config), config)
        | {"agreement": _agreement(logits, records, scratch, config, workspace)}
        | {"ece": {name: reliability(each.confidences, each.right)["ece"] for name, each in outcomes.items()}}
    )
    for path in scratch.iterdir():
        path.unlink()
    scratch.rmdir()
    say(_verdict(config.name, gain))
    return gain


def _ask(path: Path, records: Records, answers: Path, name: str) -> Array:
    """(num_examples, num_classes) logits of a model, on the disk."""
    network, card = load_model(path)
    file = RowFile(answers, len(card.classes))
    predict(compiled(network), records, card.model_input, file, f"distill {name}: {answers.stem}")
    return file.read()


def _differences(outcomes: dict[str, Outcomes], regions: Array, buckets: Array, config: Config) -> Metrics:
    """Top-1 of both and the difference, over all photos and over parts of them."""
    whole, by_region = _compared(outcomes, regions, config)
    _, by_bucket = _compared(outcomes, buckets, config)
    return {
        "top1_accuracy": whole["this"],
        "baseline_top1_accuracy": whole["that"],
        "top1_difference": whole["difference"],
        "top1_interval": {"low": whole["low"], "high": whole["high"]},
        "helped": whole["low"] > 0,
        "per_region": by_region,
        "per_bucket": by_bucket,
    }


def _compared(outcomes: dict[str, Outcomes], parts: Array, config: Config) -> tuple[Metrics, Metrics]:
    """Top-1 of all photos, and of those of each part; the same seed draws the same photos for both models."""
    this, that = outcomes["student"], outcomes["baseline"]
    draws = [resample(each, parts, resamples=config.evaluate.resamples, seed=config.seed) for each in (this, that)]
    found = compare(this, that, parts, this_draws=draws[0], that_draws=draws[1])
    by_part = {
        part: {"num_examples": numbers["num_examples"]} | _renamed(numbers["top1"])
        for part, numbers in found["by_region"].items()
    }
    return found["top1_accuracy"], by_part


def _renamed(row: dict[str, float]) -> dict[str, float]:
    names = {"this": "top1_accuracy", "that": "baseline_top1_accuracy", "difference": "top1_difference"}
    return {names.get(name, name): value for name, value in row.items()}


def _buckets(train_counts: Array, config: Config) -> Array:
    """(num_examples,) of str: whether its class has many, a medium number of, or few training examples."""
    many, few = config.evaluate.many_above, config.evaluate.few_below
    return np.select([train_counts > many, train_counts < few], ["many", "few"], "medium")


def _agreement(
    students: dict[str, Array], records: Records, scratch: Path, config: Config, workspace: Workspace
) -> dict[str, Any]:
    """Of both with the teachers together; nothing, where no teacher is a network that speaks for one of the photos."""
    teachers, shares = _speakers(config, workspace, records)
    if not teachers:
        return {}
    files = [RowFile(scratch / f"teacher{number}.f32", len(records.classes)) for number in range(len(teachers))]
    for teacher, file in zip(teachers, files, strict=True):
        assert teacher.model_input
        predict(teacher.load(), records, teacher.model_input, file, f"distill {config.name}: {teacher.name}")
    found = measure_agreement([file.read() for file in files], shares, students)
    return {name: asdict(each) for name, each in found.items()}


def _speakers(config: Config, workspace: Workspace, records: Records) -> tuple[list[Teacher], Array]:
    """The teachers that are networks, and (num_examples, teachers) shares; all 0 where none of them has a say."""
    teachers = teachers_as_asked(config, workspace)
    asked = [not teacher.is_brought and one.weight > 0 for teacher, one in zip(teachers, config.teachers, strict=True)]
    heard = [teacher for teacher, is_asked in zip(teachers, asked, strict=True) if is_asked]
    if not heard:
        return [], np.empty((0, 0))
    facts = gather_facts(records)
    weights = [one.weight for one, is_asked in zip(config.teachers, asked, strict=True) if is_asked]
    return heard, share_say(np.stack([teacher.speaks(facts) for teacher in heard], axis=1), weights)


def _verdict(name: str, gain: Metrics) -> str:
    """A sentence, in per cent and percentage points."""
    interval, names = gain["top1_interval"], ("top1_accuracy", "baseline_top1_accuracy", "top1_difference")
    with_teachers, without, difference = (100 * gain[name] for name in names)
    told = (
        f"{name} has {with_teachers:.1f} % top-1 with teachers and {without:.1f} % without on {gain['num_examples']:,} "
        f"photos of {gain['split']}: {difference:+.1f} points, "
        f"95 % interval [{100 * interval['low']:+.1f}, {100 * interval['high']:+.1f}]"
    )
    if gain["helped"]:
        return f"distillation helped: {told}"
    if interval["high"] < 0:
        return f"distillation did not help, it hurt: {told}"
    return f"distillation did not help: {told}, in which there may be no difference"
