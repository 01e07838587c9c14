"""Settings files: read, checked, explained when wrong."""

import difflib
import re
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

from pydantic import BaseModel, Field, PrivateAttr, ValidationError, model_validator

from tfpipe.core import settings as s
from tfpipe.core.errors import ConfigError
from tfpipe.core.plain_yaml import parse_yaml
from tfpipe.core.secrets import redact

DATASET_KEYS = {
    "dataset",
    "task",
    "snapshot",
    "fetch",
    "audit",
    "split",
    "pack",
    "baseline",
    "runner",
    "runner_options",
}
"""Settings of the data set; where `data.config` names another file, they belong there."""

TRAINING_ARGUMENTS = {
    "num_train_epochs": ("training", "epochs"),
    "metric_for_best_model": ("callbacks", "best_metric"),
    "load_best_model_at_end": ("callbacks", "save_best"),
    "logging_steps": ("callbacks", "logging_steps"),
}
"""Names in `training` that transformers' TrainingArguments have, and the plan of the texts → section and name here."""

MOST_PROBLEMS = 5
"""Of a file that are told."""
MOST_LETTERS = 300
"""Of a wrong value that are shown."""

Role = Literal["dataset", "teacher", "student"]
T = TypeVar("T")


class Config(s.Section):
    """One settings file.

    A file with `teachers` is a student's, one with a `model` alone a teacher's,
    one without either a data set's.
    """

    path: Path
    name: Annotated[str, Field(pattern=r"^[\w-][\w.-]*$", max_length=100)]
    """Names the folders `runs/<name>` and `exported/<name>`."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 42
    """Of splits, views, weights and every draw."""
    deterministic: bool = True
    """The same bits each time, also after an interruption; on some devices slower."""
    dataset: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=100)] = "herbarium"
    """Names the folder `data/<dataset>`."""
    task: s.Task = "image"
    """What a row holds: a photo, or a text."""
    runner: str = "local"
    """Where `fetch`, `audit`, `pack` and `label` run: here, or an Apache Beam runner such as `DirectRunner`."""
    runner_options: tuple[str, ...] = ()
    """Of the Beam runner, such as `--direct_num_workers=2`."""
    snapshot: s.SnapshotSettings = s.SnapshotSettings()
    fetch: s.FetchSettings = s.FetchSettings()
    audit: s.AuditSettings = s.AuditSettings()
    split: s.SplitSettings = s.SplitSettings()
    pack: s.PackSettings = s.PackSettings()
    baseline: s.BaselineSettings = s.BaselineSettings()
    data: s.DataSettings = s.DataSettings()
    model: s.ModelSettings | None = None
    training: s.TrainingSettings = s.TrainingSettings()
    regularization: s.RegularizationSettings = s.RegularizationSettings()
    callbacks: s.CallbackSettings = s.CallbackSettings()
    teachers: tuple[s.TeacherSettings, ...] = ()
    label: s.LabelSettings = s.LabelSettings()
    distillation: s.DistillationSettings = s.DistillationSettings()
    finetune: s.FinetuneSettings = s.FinetuneSettings()
    evaluate: s.EvaluateSettings = s.EvaluateSettings()
    calibrate: s.CalibrateSettings = s.CalibrateSettings()
    quantize: s.QuantizeSettings = s.QuantizeSettings()
    export: s.ExportSettings = s.ExportSettings()
    verify: s.VerifySettings = s.VerifySettings()
    serve: s.ServeSettings = s.ServeSettings()
    criteria: dict[str, dict[str, str]] = Field(default={})
    """Step → metric → bound, such as `evaluate: {top1_accuracy: ">= 0.85"}`."""
    _dataset_overrides: tuple[str, ...] = PrivateAttr(())

    @model_validator(mode="before")
    @classmethod
    def _in_our_words(cls, document: Any) -> Any:
        return _translated(document) if isinstance(document, dict) else document

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> "Config":
        if self.teachers and self.model is None:
            raise ValueError("`teachers` need a `model`: the student")
        if self.teachers and self.distillation_epochs < 1:
            raise ValueError(
                f"finetune.epochs is {self.finetune_epochs} of {self.training.epochs} training.epochs; "
                "leave the distillation at least one"
            )
        if self.teachers and self.finetune_epochs == 0 and self.training.corrects_on_labels:
            raise ValueError("`class_weights` and `logit_adjustment` act in fine-tuning, and finetune.epochs is 0")
        if self.label.views == "live":
            _check_live(self.teachers)
        elif self.distillation.feature_weight:
            raise ValueError("distillation.feature_weight needs the teacher's features: set `label.views: live`")
        if self.audit.tokenizer and self.task != "text":
            raise ValueError("audit.tokenizer tells lengths of texts, and `task` is image")
        stray = self.model_fields_set & DATASET_KEYS
        if self.data.config and stray:
            raise ValueError(f"`{min(stray)}` belongs into {self.data.config}, which `data.config` names")
        if self.training.per_device_train_batch_size and "batch_size" in self.training.model_fields_set:
            raise ValueError("training.batch_size and training.per_device_train_batch_size exclude each other")
        _agreed("weight decay", self.training.weight_decay, self.regularization.weight_decay)
        _agreed("dropout", self.model and self.model.dropout_rate, self.regularization.dropout)
        _agreed(
            "early_stopping_patience",
            self.callbacks.early_stopping_patience,
            self.regularization.early_stopping_patience,
        )
        return self

    @property
    def role(self) -> Role:
        """What the file describes."""
        if self.model is None:
            return "dataset"
        return "student" if self.teachers else "teacher"

    @property
    def network(self) -> s.ModelSettings:
        """The `model` section.

        Raises:
            ConfigError: when the file has none.
        """
        if self.model is None:
            raise ConfigError(
                f"{self.path}: this step needs a `model` section, such as `model: {{name: mobilenetv2}}`."
            )
        return self.model

    @property
    def weight_decay(self) -> float:
        """From `training` or `regularization`, wherever it stands."""
        return _agreed("", self.training.weight_decay, self.regularization.weight_decay) or 0.0

    @property
    def dropout(self) -> float:
        """From `model.dropout_rate` or `regularization.dropout`, wherever it stands."""
        return _agreed("", self.network.dropout_rate, self.regularization.dropout) or 0.0

    @property
    def early_stopping_patience(self) -> int | None:
        """Epochs without a better validation top-1 before training ends; None: never.

        A patience alone switches it on; `early_stopping: true` alone means 3; false wins over both.
        """
        if self.callbacks.early_stopping is False:
            return None
        patience = _agreed("", self.callbacks.early_stopping_patience, self.regularization.early_stopping_patience)
        return patience or (3 if self.callbacks.early_stopping else None)

    @property
    def finetune_epochs(self) -> int:
        """Epochs of the student's second phase; the first has the rest."""
        half = self.training.epochs // 2
        epochs = half if self.finetune.epochs is None else self.finetune.epochs
        return min(epochs, self.training.epochs)

    @property
    def distillation_epochs(self) -> int:
        """Epochs of the student's first phase."""
        return self.training.epochs - self.finetune_epochs

    @cached_property
    def dataset_config(self) -> "Config":
        """The settings that make the records: those of `data.config`, of `data.train_jsonl`, or its own."""
        if self.data.config:
            return self._last_named().dataset_config
        if self.data.train_jsonl:
            stem = re.sub(r"^(?![a-z])", "rows_", re.sub(r"[^a-z0-9]+", "_", self.data.train_jsonl.stem.lower()))[:100]
            snapshot = s.SnapshotSettings(source="jsonl", path=self.data.train_jsonl)
            return Config(path=self.data.train_jsonl, name=stem, dataset=stem, snapshot=snapshot)
        return self

    @property
    def things(self) -> str:
        """What reports and warnings call the examples."""
        return s.THINGS[self.dataset_config.task]

    @property
    def has_page(self) -> bool:
        """Whether `export` makes a page; of a teacher of texts, too large for one, a folder that transformers reads."""
        return self.dataset_config.task == "image" or self.role == "student"

    @cached_property
    def teacher_configs(self) -> tuple["Config | None", ...]:
        """One per entry of `teachers`; None where it names a model file."""
        return tuple(self._load(teacher.config) if teacher.config else None for teacher in self.teachers)

    @cached_property
    def start_config(self) -> "Config | None":
        """The teacher whose weights this one starts from."""
        start = self.model and self.model.start_from
        return self._load(start) if start else None

    @cached_property
    def against_configs(self) -> tuple["Config", ...]:
        """The models that `evaluate` compares this one with."""
        return tuple(self._load(path) for path in self.evaluate.against)

    def _last_named(self) -> "Config":
        """The settings that `data.config` leads to, and that name no others."""
        config, passed = self, [self.path.resolve()]
        while config.data.config:
            config = config._load(config.data.config)
            if config.path.resolve() in passed:
                raise ConfigError(f"{self.path}: `data.config` leads around in a circle.")
            passed.append(config.path.resolve())
        return config

    def _load(self, path: Path) -> "Config":
        """Settings that this file names; what was overridden of the data set is so for them too."""
        return load_config(self.path.parent / path, self._dataset_overrides)


def load_config(path: Path, overrides: tuple[str, ...] = ()) -> Config:
    """Read one settings file.

    Args:
        path: YAML.
        overrides: `key.path=value` each, the value as YAML; they win over the file. Those of the data set
            reach the file that `data.config` names.

    Raises:
        ConfigError: naming file and key, and what would be right.
    """
    document = _read_yaml(path)
    elsewhere = _names_its_dataset(document)
    passed_on = tuple(o for o in overrides if elsewhere and re.split(r"[.=]", o)[0] in DATASET_KEYS)
    for override in overrides:
        if override not in passed_on:
            _override(document, override)
    try:
        config = Config(**{"name": _name_of(path)} | document | {"path": path})
    except ValidationError as error:
        raise ConfigError(_explain_all(path, error.errors())) from None
    config._dataset_overrides = passed_on
    return config


def _names_its_dataset(document: dict[str, Any]) -> bool:
    data = document.get("data")
    return isinstance(data, dict) and bool(data.get("config"))


def _read_yaml(path: Path) -> dict[str, Any]:
    if not path.is_file():
        nearby = sorted(p.as_posix() for p in path.parent.glob("*.yaml"))
        there = f"{path.parent} has: {', '.join(nearby)}." if nearby else f"{path.parent} has no YAML files."
        raise ConfigError(f"{path}: no such settings file. {there}")
    try:
        document = parse_yaml(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigError(f"{path}: not YAML: {_short(str(error))}") from None
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise ConfigError(f"{path}: expected sections such as `model:`, found a {type(document).__name__}.")
    for key in document:
        if not isinstance(key, str) or key == "path":
            raise ConfigError(f"{path}: {_short(str(key))}: unknown key.{_nearest([str(key)])}")
    return {key: value for key, value in document.items() if value is not None}


def _override(document: dict[str, Any], override: str) -> None:
    key, equals, value = override.partition("=")
    if not equals or not key:
        raise ConfigError(f"--set {_short(override)}: expected key.path=value, such as training.epochs=3.")
    *parents, last = key.split(".")
    for parent in parents:
        document = document.setdefault(parent, {})
        if not isinstance(document, dict):
            raise ConfigError(f"--set {_short(override)}: `{parent}` is not a section.")
    try:
        document[last] = parse_yaml(value)
    except ValueError as error:
        raise ConfigError(f"--set {_short(override)}: the value is not YAML: {_short(str(error))}") from None


def _name_of(path: Path) -> str:
    """`configs/flowers/student.yaml` → `flowers-student`; outside a `configs` folder, the stem."""
    parts = path.resolve().with_suffix("").parts
    if "configs" in parts[:-1]:
        return "-".join(parts[len(parts) - parts[::-1].index("configs") :])
    return parts[-1]


def _translated(document: dict[str, Any]) -> dict[str, Any]:
    """Settings with the names of TrainingArguments in our own."""
    training = document.get("training")
    if not isinstance(training, dict):
        return document
    sections = document | {"training": dict(training)}
    for theirs, (section, ours) in TRAINING_ARGUMENTS.items():
        if theirs not in training:
            continue
        value, there = sections["training"].pop(theirs), sections.get(section) or {}
        if ours in there:
            raise ValueError(f"training.{theirs} says what {section}.{ours} says; drop one")
        sections[section] = {**there, ours: value}
    return sections


def _check_live(teachers: tuple[s.TeacherSettings, ...]) -> None:
    for teacher in teachers:
        if teacher.path and teacher.path.suffix == ".npz":
            raise ValueError(f"{teacher.path} holds answers and no network, and `label.views` is live; name a `.keras`")
        if teacher.temperature == "calibrated":
            raise ValueError("`temperature: calibrated` is fitted by `label`; give live teachers a number")


def _agreed(what: str, first: T | None, second: T | None) -> T | None:
    if first is not None and second is not None and first != second:
        raise ValueError(f"{what} is given twice, as {first} and as {second}; drop one")
    return second if first is None else first


def _explain_all(path: Path, problems: Sequence[Any]) -> str:
    """A line each; of many, the first."""
    more = [f"{path}: … and {len(problems) - MOST_PROBLEMS} more."] if len(problems) > MOST_PROBLEMS else []
    return "\n".join([*(_explain(path, problem) for problem in problems[:MOST_PROBLEMS]), *more])


def _explain(path: Path, problem: Any) -> str:
    location = [str(part) for part in problem["loc"]]
    key = _short(".".join(location)) or "settings"
    if problem["type"] == "extra_forbidden":
        return f"{path}: {key}: unknown key.{_nearest(location)}"
    if problem["type"] == "missing":
        return f"{path}: {key}: missing."
    found = "" if isinstance(problem["input"], (dict, BaseModel)) else f"found {_short(repr(problem['input']))}; "
    message = _short(re.sub(r"^(Value error, |Input )", "", problem["msg"]), 3 * MOST_LETTERS)
    return f"{path}: {key}: {found}{message}."


def _short(text: str, most: int = MOST_LETTERS) -> str:
    """Without passwords, and no longer than a person reads."""
    told = redact(text)
    return told if len(told) <= most else f"{told[:most]}…"


def _nearest(location: list[str]) -> str:
    allowed = _keys_at(location[:-1])
    near = difflib.get_close_matches(location[-1], allowed, n=1, cutoff=0.5)
    return f" Did you mean `{near[0]}`?" if near else f" Allowed: {', '.join(allowed)}."


def _keys_at(location: list[str]) -> list[str]:
    section: type[BaseModel] = Config
    for part in location:
        if not part.isdigit():
            section = _section_in(section.model_fields[part].annotation)
    return [name for name in section.model_fields if (section, name) != (Config, "path")]


def _section_in(annotation: Any) -> type[BaseModel]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(_section_in(a) for a in get_args(annotation) if a not in (type(None), Ellipsis))
