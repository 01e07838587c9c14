"""The settings of every step: what may stand in a YAML file, with its default, once.

A section carries the name of its step or of the plan's section; `core/config.py` reads the files.
"""

import re
from pathlib import Path
from typing import Annotated, Any, Literal, cast, get_args

from pydantic import BaseModel, ConfigDict, Field, field_serializer, model_validator

from tfpipe.core.secrets import redact

SourceName = Literal["herbarium", "folder", "jsonl", "csv", "tfds", "mongodb", "postgresql"]
FILE_SOURCES = ("folder", "jsonl", "csv")
ADDRESS_SOURCES = ("tfds", "mongodb", "postgresql")
Task = Literal["image", "text"]
RowField = Literal["id", "label", "region", "group", "path", "url", "text", "split"]
Augmentation = Literal["none", "moderate", "aggressive"]
Sampling = Literal["uniform", "class_balanced", "square_root", "effective_number"]
ClassWeights = Literal["none", "balanced", "effective_number"]
SplitName = Literal["train", "validation", "test"]
Precision = Literal["float32", "float16"]
Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]


AUTO_BATCH = 64


class Section(BaseModel):
    """Part of a settings file. Frozen; an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class SnapshotSettings(Section):
    """Where the rows come from."""

    source: str = "herbarium"
    """`herbarium`, `folder`, `jsonl`, `csv`, or an address: `mongodb://host/database`, `postgresql://…`, `tfds://name`.

    `${NAME}` in an address is the environment's, so that no password need stand in a file.
    """
    path: Path | None = None
    """`folder`: a folder per class; `jsonl` and `csv`: the file; `tfds`: TFDS's data folder, if not its usual one."""
    metadata: Path | None = None
    """`folder`: a CSV with `path` (relative to the folder) and any of `region`, `group`, `id`."""
    collection: str = ""
    """`mongodb`: which documents."""
    filter: dict[str, Any] = {}
    """`mongodb`: a query; only what matches is read. `{$oid: …}` stands for an ObjectId, as in Extended JSON."""
    query: str = ""
    """`postgresql`: a table's name, or a SELECT."""
    fields: dict[RowField, str] = {}
    """Row field → the source's own name for it, such as `label: latin_name`; dots reach into documents."""
    extra_fields: tuple[str, ...] | None = None
    """The source's other fields that ride along; unset, all that are no part of the row already."""
    label_map: Path | None = None
    """A CSV with the columns `synonym` and `label`; rows labelled with the one get the other."""
    num_images: Count = 6000
    """`herbarium`: how many photographs to draw."""
    image_side: Annotated[int, Field(ge=32, le=1024)] = 128
    """`herbarium`: short side in pixels."""

    @property
    def kind(self) -> SourceName:
        """The key of `SOURCES`."""
        scheme = re.split(r"[+:]", self.source, maxsplit=1)[0]
        return cast(SourceName, scheme)

    @model_validator(mode="after")
    def _is_whole(self) -> "SnapshotSettings":
        if self.kind not in get_args(SourceName) or ("://" in self.source) != (self.kind in ADDRESS_SOURCES):
            raise ValueError(
                f"source: {redact(self.source)!r} is none of herbarium, {', '.join(FILE_SOURCES)} "
                f"or an address that begins with {', '.join(f'{kind}://' for kind in ADDRESS_SOURCES)}"
            )
        if self.kind in FILE_SOURCES and self.path is None:
            raise ValueError(f"source: {self.source} needs `path`")
        if self.kind == "mongodb" and not self.collection:
            raise ValueError("a mongodb source needs `collection`")
        if self.kind == "postgresql" and not self.query:
            raise ValueError("a postgresql source needs `query`: a table's name, or a SELECT")
        return self

    @field_serializer("source")
    def _without_password(self, source: str) -> str:
        return redact(source)


class FetchSettings(Section):
    """How images are downloaded."""

    concurrency: Count = 128
    """Requests under way at a time, over all hosts; on another runner, of one worker."""
    per_host_concurrency: Count = 8
    per_host_rate: Positive = 10.0
    """Requests a second to one host."""
    connect_timeout_s: Positive = 10.0
    read_timeout_s: Positive = 20.0
    """Without a byte."""
    total_timeout_s: Positive = 60.0
    """Of one request."""
    retries: Annotated[int, Field(ge=0)] = 4
    """After the first try, for what may pass: time-outs, resets, 429 and 5xx."""
    backoff_s: Positive = 1.0
    """At most, before the first retry; doubled for each further one, with full jitter. `Retry-After` wins over it."""
    max_backoff_s: Positive = 60.0
    max_retry_after_s: Positive = 300.0
    """A host that asks for more patience gets so much."""
    breaker_failures: Count = 10
    """URLs of a host that fail in a row, after which it is left alone for a while."""
    breaker_pause_s: Positive = 30.0
    breaker_pauses: Count = 4
    """If a host fails still after so many, the rest of its URLs is not asked for."""
    max_redirects: Annotated[int, Field(ge=0)] = 5
    max_bytes: Count = 20 * 2**20
    """Of one image."""
    max_pixels: Count = 100_000_000
    """Of one image, decoded: more is a decompression bomb."""
    contact: str = ""
    """An address or URL for the user agent, so that a host's keeper can write to you."""
    allow_hosts: tuple[str, ...] = ()
    """Hosts that may lie at private addresses; all others are refused there."""
    reencode_side: Count | None = None
    """Keep images at this short side, upright and stripped of EXIF; unset, as they came."""
    check_only: bool = False
    """Look at every image, keep none."""
    recheck: bool = False
    """Ask again, with conditional requests, for what is already there."""


class AuditSettings(Section):
    """What counts as a fault, and as a duplicate."""

    min_side: Count = 100
    """Pixels; images with a shorter side are excluded and counted."""
    near_duplicate_bits: Annotated[int, Field(ge=0, le=16)] = 14
    """Images whose 64-bit perceptual hashes differ in at most so many bits may be near duplicates."""
    head_from: Count = 100
    """Rows of a class from which on it counts as a head class."""
    few_below: Count = 20
    """Rows of a class below which it counts as few."""
    synonyms: Path | None = None
    """A CSV with `synonym` and `label`: names known to be one taxon."""


class SplitSettings(Section):
    """Shares of the three splits."""

    train: Fraction = 0.8
    validation: Fraction = 0.1
    test: Fraction = 0.1

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


class BaselineSettings(Section):
    """The reference score: frozen features that were never fitted to this task."""

    alpha: Positive = 1.0
    """Width of the MobileNetV2."""
    weights: str = "none"
    """`none` (random features: the floor), `imagenet`, or a file."""
    image_size: Count = 224


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
    """`none`, `imagenet`, a KerasHub preset, a Hugging Face folder, or a file of backbone weights
    (`.weights.h5`, `.keras`)."""
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
    batch_size: Count | Literal["auto"] = AUTO_BATCH
    """Examples of one update, over all devices and accumulation steps.

    `auto`: 64, in as few accumulation steps as memory allows; more would ask for another learning rate.
    """
    accumulation_steps: Count = 1
    """Parts that a batch is worked through in, one after the other: less memory, the same update."""
    epochs: Count = 15
    warmup_epochs: Annotated[float, Field(ge=0)] = 1
    weight_decay: Annotated[float, Field(ge=0)] | None = None
    optimizer: Literal["adamw", "adam", "sgd"] = "adamw"
    clip_norm: Positive | None = None
    """Global norm to which gradients are clipped."""
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Each layer learns, and decays, by this factor slower than the one above it (Clark 2020; Bao 2021); 1: all alike.

    For pretrained weights: 0.65 to 0.85 for a vision transformer. From scratch it holds back what must learn most.
    """
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Of the moving average of the weights that is validated and kept in their place; 0: off.

    It reaches back some 1 / (1 - decay) steps, which should be an epoch or so: 0.99 for hundreds of steps
    in all, 0.999 for ten thousand, 0.9999 for a hundred thousand.
    """
    head_epochs: Annotated[int, Field(ge=0)] = 0
    """Epochs before the others, in which the last layer alone learns (Kumar 2022)."""
    head_learning_rate: Positive = 1e-3
    """Of those epochs."""
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    """Of the layers' arithmetic; weights stay float32, and float16's loss is scaled."""
    rematerialize: bool = False
    """Forget activations and compute them again for the gradient: less memory, a third more time."""
    xla: bool = False
    """Compile the training step."""
    strategy: Literal["auto", "one_device", "mirrored", "multi_worker"] = "auto"
    """`auto`: workers if the environment names some, all GPUs of this machine if it has several, else one device."""
    sampling: Sampling = "uniform"
    """How often an example comes: each once an epoch, or by its class's size."""
    class_weights: ClassWeights = "none"
    """Weight of an example's loss, by its class's size. On labels alone: a teacher's loss, a student's fine-tuning."""
    logit_adjustment: Annotated[float, Field(ge=0)] = 0.0
    """τ of the logit-adjusted loss (Menon 2020), where `class_weights` act; 0: off, 1: as the paper.

    Sampling, weights and adjustment may be on together: each sees the classes as the one before it left them.
    """

    @property
    def corrects_on_labels(self) -> bool:
        """Whether the loss on labels is not plain cross-entropy."""
        return self.class_weights != "none" or self.logit_adjustment > 0


class RegularizationSettings(Section):
    """What holds a network back from learning by heart."""

    dropout: Fraction | None = None
    weight_decay: Annotated[float, Field(ge=0)] | None = None
    mixup_alpha: Annotated[float, Field(ge=0)] = 0.0
    cutmix_alpha: Annotated[float, Field(ge=0)] = 0.0
    random_erasing: Fraction = 0.0
    """Probability that a box of a view is filled with noise (Zhong 2017), in training on labels."""
    stochastic_depth: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Probability that a vision transformer's last layer is left out, the others' less in proportion (Huang 2016)."""
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
    checkpoint_minutes: Positive = 10
    """Between two states from which a killed run goes on; one is kept at every epoch's end too."""
    keep_checkpoints: Count = 1
    """Epochs whose networks are kept, the latest, beside the best."""


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
    many_above: Count = 100
    few_below: Count = 20
    """Training examples of a class above which it counts as many-shot, and below which as few-shot."""
    min_recall: Fraction = 0.6
    """Recall below which a class counts in `num_classes_below`; the plan wants every class above it."""
    views: Annotated[int, Field(ge=1, le=8)] = 1
    """Looks at each photo, whose probabilities are averaged: the plain one, its mirror image, then closer ones."""
    resamples: Count = 1000
    """Of the bootstrap that the 95 % intervals come from."""
    num_confusions: Annotated[int, Field(ge=0)] = 20
    """Most confused pairs of classes to show."""
    against: tuple[Path, ...] = ()
    """Settings files, relative to this one, of models to compare with this one, on the same photos."""


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
