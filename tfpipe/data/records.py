"""Records: sharded TFRecord in TFDS format, that `tfds.builder_from_directory` reads without tfpipe."""

import shutil
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from tfpipe.core.errors import DataError, MismatchError
from tfpipe.core.files import atomic_path, sha256_file, sha256_json
from tfpipe.core.settings import Task
from tfpipe.data.packing import Plan, plan_shards
from tfpipe.data.shards import write_shard
from tfpipe.data.workers import Runner, run_all

Array = np.ndarray


def write_records(
    rows_path: Path,
    directory: Path,
    *,
    task: Task = "image",
    classes: Sequence[str] = (),
    num_shards: int | None,
    title: str,
    runner: Runner,
) -> Plan:
    """Write rows as records below `directory` (`…/<dataset>/<version>`), a TFRecord set per split.

    Shards that an interrupted run of the same rows has finished are kept.

    Args:
        rows_path: rows as the step `split` writes them.
        directory: appears, or changes, whole or not at all.
        task: what the rows hold.
        classes: in the order of their ids; empty: the rows' labels in alphabetical order.
        num_shards: of each split; None lets TFDS decide by size.
        title: beside the bar.
        runner: where the shards are written.

    Raises:
        DataError: when there is nothing to train on, an image is gone or changed, or a label is no class.
    """
    key = sha256_json([sha256_file(rows_path), num_shards, list(classes)])[:12]
    unfinished = directory.with_name(f".{directory.name}.{key}")
    plan = plan_shards(
        rows_path, unfinished, name=directory.parent.name, task=task, classes=classes, num_shards=num_shards
    )
    if "train" not in plan.shards:
        raise DataError("no row is in train: nothing can be learned. Check `split` and the rows' own `split` fields.")
    _tidy(directory, unfinished)
    run_all(write_shard, [shard for shards in plan.shards.values() for shard in shards], title=title, runner=runner)
    with atomic_path(directory) as sibling:
        _write_metadata(unfinished, plan, task, version=directory.name)
        unfinished.rename(sibling)
    return plan


def _tidy(directory: Path, unfinished: Path) -> None:
    """Remove what interrupted runs have left, but for whole shards of these rows."""
    for folder in directory.parent.glob(f".{directory.name}.*"):
        if folder != unfinished:
            shutil.rmtree(folder)
    for file in unfinished.glob(".*"):
        file.unlink()


def _write_metadata(directory: Path, plan: Plan, task: Task, version: str) -> None:
    splits = [
        tfds.core.SplitInfo(
            name=split,
            shard_lengths=[len(shard.labels) for shard in shards],
            num_bytes=sum(shard.num_bytes for shard in shards),
            filename_template=tfds.core.ShardedFileTemplate(directory),
        )
        for split, shards in plan.shards.items()
    ]
    features = _features(plan.classes, task)
    tfds.folder_dataset.write_metadata(
        data_dir=directory, features=features, split_infos=splits, version=version, check_data=False
    )


@dataclass(frozen=True)
class Records:
    """The records of one split, or of one region of it, in their canonical order."""

    directory: Path
    split: str
    region: str | None = None

    @property
    def classes(self) -> list[str]:
        """In the order of their ids."""
        names: list[str] = self._builder.info.features["label"].names
        return names

    @property
    def task(self) -> Task:
        """What a model sees of an example, and the name of that feature."""
        return "text" if "text" in self._builder.info.features else "image"

    @cached_property
    def _builder(self) -> Any:
        return tfds.builder_from_directory(self.directory)

    def examples(self, first: int = 0) -> tf.data.Dataset:
        """Undecoded examples: id, image (JPEG bytes) or text, label (int64), region, all scalar tensors.

        What stands before `first` is passed over, whole shards without being opened.

        Raises:
            DataError: when the split or the region has no rows.
        """
        if self.split not in self._builder.info.splits:
            raise DataError(
                f"{self.directory}: no rows in split {self.split}. "
                "Check `split` in the data set's settings, and the rows' own `split` fields."
            )
        # Where a region's examples stand, only reading tells; TFDS refuses a stretch without any.
        unread = 0 if self.region else min(first, self._builder.info.splits[self.split].num_examples - 1)
        ds = self._builder.as_dataset(
            split=f"{self.split}[{unread}:]" if unread else self.split,
            decoders={"image": tfds.decode.SkipDecoding()} if self.task == "image" else None,
            shuffle_files=False,
            read_config=tfds.ReadConfig(try_autocache=False, interleave_cycle_length=1),
        )
        if self.region:
            ds = ds.filter(lambda example: example["region"] == self.region)
        return ds.skip(first - unread) if first > unread else ds

    def contents(self, numbers: Collection[int]) -> dict[int, bytes]:
        """JPEG bytes, or texts in UTF-8, of the examples with these places in the canonical order, by place."""
        wanted = tf.constant(sorted(numbers), tf.int64)
        found = self.examples().enumerate().filter(lambda number, _: tf.reduce_any(number == wanted)).take(len(numbers))
        return {int(number): example[self.task] for number, example in found.as_numpy_iterator()}

    def iter_texts(self) -> Iterator[str]:
        """Of records that hold texts."""
        for example in self.examples().map(lambda example: example["text"]).as_numpy_iterator():
            yield example.decode("utf-8", "replace")

    @cached_property
    def num_examples(self) -> int:
        """Counted once; with a region, by reading.

        Raises:
            DataError: when the split or the region has no rows.
        """
        examples = self.examples()
        if not self.region:
            return int(self._builder.info.splits[self.split].num_examples)
        count = int(examples.reduce(0, lambda count, _: count + 1))
        if count == 0:
            known = sorted(set(Records(self.directory, self.split).facts()[1]))
            raise DataError(f"region {self.region!r} has no rows in {self.split}; there are: {', '.join(known)}.")
        return count

    def shard_lengths(self) -> tuple[int, ...]:
        """Examples in each file of the split; with a region, of that region, counted by reading."""
        lengths = list(self._builder.info.splits[self.split].shard_lengths)
        if self.region:
            regions = Records(self.directory, self.split).facts()[1]
            lengths = [(part == self.region).sum() for part in np.split(regions, np.cumsum(lengths)[:-1])]
        return tuple(int(length) for length in lengths)

    @property
    def bytes_per_example(self) -> int:
        """On average over the split, undecoded."""
        split = self._builder.info.splits[self.split]
        return max(1, int(split.num_bytes // split.num_examples))

    def facts(self) -> tuple[Array, Array, Array]:
        """Ids (str), regions (str) and labels (int) of all examples, (num_examples,) each, in canonical order."""
        facts = self.examples().map(lambda example: (example["id"], example["region"], example["label"]))
        ids, regions, labels = zip(*facts.as_numpy_iterator(), strict=True)
        return np.array([i.decode() for i in ids]), np.array([r.decode() for r in regions]), np.array(labels)


def check_classes(classes: list[str], expected: list[str], what: str) -> None:
    """Compare the class list of records with that of a model.

    Raises:
        MismatchError: naming the first classes that differ.
    """
    if classes == expected:
        return
    gone, new = sorted(set(expected) - set(classes)), sorted(set(classes) - set(expected))
    changes = [f"gone: {', '.join(gone[:3])}" if gone else "", f"new: {', '.join(new[:3])}" if new else ""]
    told = "; ".join(change for change in changes if change) or "the order differs"
    raise MismatchError(
        f"{what} knows {len(expected)} classes, the records have {len(classes)} ({told}). "
        "The class list changed since it was trained: train it again with these records."
    )


def classes_sha256(classes: list[str]) -> str:
    """The hash by which labels and models know the class list they were made with."""
    return sha256_json(classes)


def _features(classes: list[str], task: Task) -> Any:
    return tfds.features.FeaturesDict(
        {
            "id": tfds.features.Text(),
            task: tfds.features.Text() if task == "text" else _jpeg(),
            "label": tfds.features.ClassLabel(names=classes),
            "region": tfds.features.Text(),
            "group": tfds.features.Text(),
        }
    )


def _jpeg() -> Any:
    return tfds.features.Image(shape=(None, None, 3), encoding_format="jpeg")
