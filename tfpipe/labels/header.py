"""What labels were made with: they serve nothing else, and say in what they differ."""

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from tfpipe.core.errors import MismatchError
from tfpipe.core.files import read_json


@dataclass(frozen=True)
class TeacherHeader:
    """What one teacher's labels were made with."""

    model_sha256: str
    """Of its file: the weights, and the card beside them."""
    knowledge_sha256: str
    """Of its own class list, and of which classes it was trained on."""
    preprocessing_sha256: str
    """Of what it wants to see."""
    augmentation: str
    mixup_alpha: float
    cutmix_alpha: float
    view_seed: int
    views: int
    region: str | None
    """The region that it speaks for."""
    calibration_temperature: float
    """Divides its logits before anything else."""
    calibrated_on: str
    """Hash of the examples on which that was fitted; empty where it was given."""
    classes_sha256: str
    """Of the records' class list."""
    examples_sha256: str
    """Of the examples' ids and photos, in their order."""
    speaks_sha256: str
    """Of which of them it speaks for; of the others nothing is stored."""
    num_classes: int
    shard_lengths: tuple[int, ...]
    """Examples of each file of records."""
    kept: int
    """Classes stored of each view."""
    temperature: float
    """Of the distillation: the rest's mass is stored at 1 and at this."""

    @property
    def num_examples(self) -> int:
        """In all shards."""
        return sum(self.shard_lengths)


@dataclass(frozen=True)
class LabelHeader:
    """What a store of several teachers' labels was made with."""

    names: tuple[str, ...]
    """Of the teachers, and of their folders."""
    teachers: tuple[TeacherHeader, ...]
    """They differ in what is each one's own alone."""
    weights: tuple[float, ...]
    """As in the settings."""

    @property
    def num_teachers(self) -> int:
        """At least one."""
        return len(self.teachers)

    @property
    def views(self) -> int:
        """Stored of each example."""
        return self.teachers[0].views

    @property
    def view_seed(self) -> int:
        """Of all views."""
        return self.teachers[0].view_seed

    @property
    def kept(self) -> int:
        """Classes stored of each view."""
        return self.teachers[0].kept

    @property
    def num_classes(self) -> int:
        """Of the records."""
        return self.teachers[0].num_classes

    @property
    def num_examples(self) -> int:
        """Of the records."""
        return self.teachers[0].num_examples

    @property
    def shard_lengths(self) -> tuple[int, ...]:
        """Examples of each file of records."""
        return self.teachers[0].shard_lengths

    @property
    def temperature(self) -> float:
        """Of the distillation."""
        return self.teachers[0].temperature

    def to_json(self) -> dict[str, Any]:
        """As it lies in the store."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> "LabelHeader":
        """Reads what `to_json` wrote."""
        teachers = tuple(teacher_header(teacher) for teacher in document["teachers"])
        return cls(tuple(document["names"]), teachers, tuple(document["weights"]))


def teacher_header(document: dict[str, Any]) -> TeacherHeader:
    """Reads what `dataclasses.asdict` made of one."""
    return TeacherHeader(**document | {"shard_lengths": tuple(document["shard_lengths"])})


def read_teacher_header(folder: Path) -> TeacherHeader | None:
    """The header in a teacher's folder; None where there is none, or one of another kind."""
    path = folder / "header.json"
    try:
        return teacher_header(read_json(path)) if path.is_file() else None
    except (TypeError, KeyError, ValueError):
        return None


def check_header(found: LabelHeader, wanted: LabelHeader, store: Path) -> None:
    """Refuse labels that were made with something else.

    Raises:
        MismatchError: naming all that differs.
    """
    if found.names != wanted.names:
        differing = [f"teachers {', '.join(found.names)}, wanted {', '.join(wanted.names)}"]
    else:
        several = found.num_teachers > 1
        pairs = zip(found.names, found.teachers, wanted.teachers, strict=True)
        differing = [f"{name}: {what}" if several else what for name, *two in pairs for what in differences(*two)]
    if found.weights != wanted.weights and not differing:
        differing.append(f"weights {_listed(found.weights)}, wanted {_listed(wanted.weights)}")
    if differing:
        raise MismatchError(f"{store}: labels made with {'; '.join(differing)}. Run `tfpipe label` again.")


def differences(found: TeacherHeader, wanted: TeacherHeader) -> list[str]:
    """In words, all in which two headers differ."""
    told = []
    for field in fields(TeacherHeader):
        one, other = getattr(found, field.name), getattr(wanted, field.name)
        if one != other:
            told.append(WORDS[field.name].format(one, other))
    return told


def _listed(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:g}" for value in values)


WORDS = {
    "model_sha256": "another teacher (other weights)",
    "knowledge_sha256": "another class list of the teacher",
    "preprocessing_sha256": "another preprocessing (image size, mean or scale)",
    "augmentation": "augmentation {}, wanted {}",
    "mixup_alpha": "mixup_alpha {}, wanted {}",
    "cutmix_alpha": "cutmix_alpha {}, wanted {}",
    "view_seed": "view seed {}, wanted {}",
    "views": "{} views, wanted {}",
    "region": "region {}, wanted {}",
    "calibration_temperature": "the teacher's temperature {}, wanted {}",
    "calibrated_on": "another validation split to calibrate on",
    "classes_sha256": "another class list",
    "examples_sha256": "other examples, or another order of them",
    "speaks_sha256": "other examples that the teacher speaks for",
    "num_classes": "{} classes, wanted {}",
    "shard_lengths": "other shards of records",
    "kept": "the best {} classes, wanted {}",
    "temperature": "distillation temperature {}, wanted {}",
}
"""How a person would say that a field differs; with braces, found and wanted."""
