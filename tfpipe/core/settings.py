"""The settings of every step: what may stand in a YAML file, with its default, once.

A section carries the name of its step or of the plan's section; `core/config.py` reads the files.
"""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

SourceName = Literal["herbarium", "folder", "jsonl"]
RowField = Literal["id", "label", "region", "group", "path", "url", "text", "split"]
Augmentation = Literal["none", "moderate", "aggressive"]
SplitName = Literal["train", "validation", "test"]
Precision = Literal["float32", "float16"]
Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]


class Section(BaseModel):
    """Part of a settings file. Frozen; an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class SnapshotSettings(Section):
    """Where the rows come from."""

    source: SourceName = "herbarium"
    path: Path | None = None
    """`folder`: a folder per class; `jsonl`: the file."""
    metadata: Path | None = None
    """`folder`: a CSV with `path` (relative to the folder) and any of `region`, `group`, `id`."""
    fields: dict[RowField, str] = {}
    """`jsonl`: row field → the file's own name for it, such as `label: latin_name`."""
    label_map: Path | None = None
    """A CSV with the columns `synonym` and `label`; rows labelled with the one get the other."""
    num_images: Count = 6000
    """`herbarium`: how many photographs to draw."""
    image_side: Annotated[int, Field(ge=32, le=1024)] = 128
    """`herbarium`: short side in pixels."""

    @model_validator(mode="after")
    def _has_a_path(self) -> "SnapshotSettings":
        if self.source != "herbarium" and self.path is None:
            raise ValueError(f"source: {self.source} needs `path`")
        return self


class SplitSettings(Section):
    """Shares of the three splits, and which images are too small to keep."""

    train: Fraction = 0.8
    validation: Fraction = 0.1
    test: Fraction = 0.1
    min_side: Count = 100
    """Pixels; images with a shorter side are excluded and counted."""

    @model_validator(mode="after")
    def _sums_to_one(self) -> "SplitSettings":
        if abs(self.train + self.validation + self.test - 1) > 1e-6:
            raise ValueError("train + validation + test must be 1")
        return self


class PackSettings(Section):
    """Sharded records."""

    version: Annotated[str, Field(pattern=r"^\d+\.\d+\.\d+$")] = "1.0.0"
    num_shards: Count | None = None
    """Of each split; unset, TFDS decides by size."""


class DataSettings(Section):
    """Which records a model sees, and how."""

    config: Path | None = None
    """Settings file of the data set, relative to this file; unset, this file holds them."""
    train_jsonl: Path | None = None
    """Rows with their splits (the plan's `dataset_splits.jsonl`), instead of `config`."""
    split_name: SplitName = "train"
    region: str | None = None
    """Train and validate on this region's rows only; the class list stays whole."""
    augmentation: Augmentation = "moderate"
    image_size: Count = 224

    @model_validator(mode="after")
    def _has_one_source(self) -> "DataSettings":
        if self.config and self.train_jsonl:
            raise ValueError("`config` and `train_jsonl` exclude each other")
        return self


class ModelSettings(Section):
    """The network."""

    name: str
    """A key of `MODELS`, such as `mobilenetv2` or `vit_base_patch16_224`."""
    pretrained: bool = False
    """The plan's word for `weights: imagenet`."""
    weights: str = "none"
    """`none`, `imagenet`, or a file of backbone weights (`.weights.h5`, `.keras`)."""
    start_from: Path | None = None
    """Settings file of another teacher of the same shape whose fitted weights are the start."""
    num_classes: Count | None = None
    """Checked against the records; unset, taken from them."""
    alpha: Positive = 1.0
    """MobileNetV2's width multiplier."""
    dropout_rate: Fraction | None = None

    @model_validator(mode="after")
    def _has_one_start(self) -> "ModelSettings":
        if self.start_from and (self.pretrained or self.weights != "none"):
            raise ValueError("`start_from` excludes `weights` and `pretrained`")
        if self.pretrained and self.weights not in ("none", "imagenet"):
            raise ValueError("`pretrained: true` means `weights: imagenet`; drop one of the two")
        return self


class TrainingSettings(Section):
    """Optimiser and schedule."""

    learning_rate: Positive = 1e-3
    batch_size: Count = 64
    epochs: Count = 15
    warmup_epochs: Annotated[float, Field(ge=0)] = 1
    weight_decay: Annotated[float, Field(ge=0)] | None = None
    optimizer: Literal["adamw", "adam", "sgd"] = "adamw"
    clip_norm: Positive | None = None
    """Global norm to which gradients are clipped."""


class RegularizationSettings(Section):
    """What holds a network back from learning by heart."""

    dropout: Fraction | None = None
    weight_decay: Annotated[float, Field(ge=0)] | None = None
    mixup_alpha: Annotated[float, Field(ge=0)] = 0.0
    cutmix_alpha: Annotated[float, Field(ge=0)] = 0.0
    label_smoothing: Fraction = 0.0
    early_stopping_patience: Count | None = None


class CallbackSettings(Section):
    """What happens at the end of an epoch."""

    early_stopping: bool | None = None
    early_stopping_patience: Count | None = None
    save_best: bool = True
    """Keep the epoch with the best validation top-1; otherwise the last."""
    checkpoint_dir: Path | None = None
    """Unset: `checkpoints/` in the step's folder."""


class TeacherSettings(Section):
    """One teacher of a student: a settings file to train, or a model file."""

    config: Path | None = None
    """Relative to this file."""
    path: Path | None = None
    weight: Positive = 1.0
    region_filter: str | None = None
    """This teacher speaks only for rows of this region."""

    @model_validator(mode="after")
    def _is_one_of_two(self) -> "TeacherSettings":
        if (self.config is None) == (self.path is None):
            raise ValueError("a teacher needs either `config` or `path`")
        return self


class LabelSettings(Section):
    """The soft-label store."""

    views: Count = 1
    """Deterministic views per image; epoch e trains on view e mod views."""
    top_k: Count = 100
    """Classes kept per view; with at least as many as there are, nothing is lost."""


class LossWeights(Section):
    """Shares of the soft and the hard loss."""

    kl_divergence: Annotated[float, Field(ge=0)] = 0.7
    cross_entropy: Annotated[float, Field(ge=0)] = 0.3


class DistillationSettings(Section):
    """Phase 1 of the student."""

    temperature: Positive = 3.0
    loss_weights: LossWeights = LossWeights()


class FinetuneSettings(Section):
    """Phase 2 of the student: the last epochs, on labels alone."""

    epochs: Annotated[int, Field(ge=0)] | None = None
    """Out of `training.epochs`; unset, the second half of them."""
    learning_rate: Positive | None = None
    """Unset, half of `training.learning_rate`."""
    augmentation: Augmentation = "aggressive"


class EvaluateSettings(Section):
    """What to measure on."""

    split: SplitName = "test"


class ExportSettings(Section):
    """The page and its model."""

    precision: Precision = "float16"
    """How the page's weights are stored."""
    title: str = "What is in the picture?"
    description: str = ""
    num_examples: Annotated[int, Field(ge=0)] = 0
    """Test photos that the page offers for a try."""


class VerifySettings(Section):
    """The check in a real browser."""

    num_images: Count = 128
    """Test images to compare."""
    chromium: Path | None = None
    """The browser; unset, the first Chromium or Chrome on the path."""
