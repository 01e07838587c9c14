"""Settings of the steps that make records: from a source to shards, and the reference score."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal, cast, get_args

from pydantic import Field, field_serializer, model_validator

from tfpipe.core.secrets import redact
from tfpipe.core.settings.base import Augmentation, Count, Fraction, Number, Positive, Section, SplitName

SourceName = Literal["herbarium", "folder", "jsonl", "csv", "tfds", "mongodb", "postgresql"]
FILE_SOURCES = ("folder", "jsonl", "csv")
ADDRESS_SOURCES = ("tfds", "mongodb", "postgresql")
RowField = Literal["id", "label", "region", "group", "path", "url", "text", "split"]


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
    filter: dict[str, Any] = Field(default={})
    """`mongodb`: a query; only what matches is read. `{$oid: …}` stands for an ObjectId, as in Extended JSON."""
    query: str = ""
    """`postgresql`: a table's name, or a SELECT."""
    fields: dict[RowField, str] = Field(default={})
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
    """Requests under way at a time to one host."""
    per_host_rate: Positive = 10.0
    """Requests a second to one host."""
    connect_timeout_s: Positive = 10.0
    """Until there is a connection."""
    read_timeout_s: Positive = 20.0
    """Without a byte."""
    total_timeout_s: Positive = 60.0
    """Of one request."""
    retries: Annotated[int, Field(ge=0, le=100)] = 4
    """After the first try, for what may pass: time-outs, resets, 429 and 5xx."""
    backoff_s: Positive = 1.0
    """At most, before the first retry; doubled for each further one, with full jitter. `Retry-After` wins over it."""
    max_backoff_s: Positive = 60.0
    """The longest pause before a retry, but for `Retry-After`."""
    max_retry_after_s: Positive = 300.0
    """A host that asks for more patience gets so much."""
    breaker_failures: Count = 10
    """URLs of a host that fail in a row, after which it is left alone for a while."""
    breaker_pause_s: Positive = 30.0
    """How long it is left alone."""
    breaker_pauses: Count = 4
    """If a host fails still after so many, the rest of its URLs is not asked for."""
    max_redirects: Number = 5
    """Of one URL, to be followed."""
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
    tokenizer: Path | None = None
    """Texts: a folder as `model.tokenizer` names it, by which their lengths are told in sub-words, too."""


class SplitSettings(Section):
    """Shares of the three splits."""

    train: Fraction = 0.8
    """Share of the rows; all three make 1."""
    validation: Fraction = 0.1
    """Share of the rows that choose the epoch, the temperature and the threshold."""
    test: Fraction = 0.1
    """Share of the rows that nothing is chosen by."""
    unit: Literal["cluster", "row"] = "cluster"
    """What is given to a split: all rows that belong together, or each for itself, as scripts have it. With rows, test
    holds what train has shown, and scores are too good: for a look at how much."""

    @model_validator(mode="after")
    def _sums_to_one(self) -> "SplitSettings":
        if abs(self.train + self.validation + self.test - 1) > 1e-6:
            raise ValueError("train + validation + test must be 1")
        return self


class PackSettings(Section):
    """Sharded records."""

    version: Annotated[str, Field(pattern=r"^[0-9]{1,9}\.[0-9]{1,9}\.[0-9]{1,9}$")] = "1.0.0"
    """Of the records: their folder in `data/<dataset>/`."""
    num_shards: Count | None = None
    """Of each split; unset, TFDS decides by size."""
    classes: tuple[str, ...] = ()
    """The labels in the order of their ids; unset, in alphabetical order."""


class BaselineSettings(Section):
    """The reference score: frozen features that were never fitted to this task."""

    alpha: Positive = 1.0
    """Width of the MobileNetV2."""
    weights: str = "none"
    """`none` (random features: the floor), `imagenet`, or a file."""
    image_size: Count = 224
    """Pixels of a side."""


class DataSettings(Section):
    """Which records a model sees, and how."""

    config: Path | None = None
    """Settings file of the data set, relative to this file; unset, this file holds them."""
    train_jsonl: Path | None = None
    """Rows with their splits (the plan's `dataset_splits.jsonl`), instead of `config`."""
    split_name: SplitName = "train"
    """What to train on."""
    region: str | None = None
    """Train and validate on this region's rows only; the class list stays whole."""
    augmentation: Augmentation = "moderate"
    """How a view differs from its photo, or a text from itself."""
    image_size: Count = 224
    """Pixels of a side, as the network sees them."""
    max_length: Annotated[int, Field(ge=4, lt=2**31)] = 128
    """Sub-words of a text that a model reads, the marks of its beginning and end included."""

    @model_validator(mode="after")
    def _has_one_source(self) -> "DataSettings":
        if self.config and self.train_jsonl:
            raise ValueError("`config` and `train_jsonl` exclude each other")
        return self
