"""Records: sharded TFRecord in TFDS format, that `tfds.builder_from_directory` reads without tfpipe."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import cached_property
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from tfpipe.core.errors import DataError, MismatchError
from tfpipe.core.files import atomic_path, sha256_json
from tfpipe.data.rows import Row
from tfpipe.data.splitting import SPLITS

Array = np.ndarray
ReadImage = Callable[[Row], bytes]


def write_records(
    rows: Sequence[Row], directory: Path, *, read_image: ReadImage, classes: list[str], num_shards: int | None
) -> None:
    """Write rows as records below `directory` (`…/<dataset>/<version>`), a TFRecord set per split.

    Args:
        rows: with `split`; held in memory, their images are not.
        directory: appears, or changes, whole or not at all.
        read_image: gives a row's JPEG bytes.
        classes: in the order of their ids.
        num_shards: of each split; None lets TFDS decide by size.
    """
    by_split = {name: [row for row in rows if row.split == name] for name in SPLITS}
    if not by_split["train"]:
        raise DataError("no row is in train: nothing can be learned. Check `split` and the rows' own `split` fields.")

    class Builder(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
        """The TFDS builder of this one data set."""

        name = directory.parent.name
        VERSION = tfds.core.Version(directory.name)
        pkg_dir_path = directory.parent

        def _info(self) -> Any:
            return tfds.core.DatasetInfo(builder=self, features=_features(classes))

        def _split_generators(self, dl_manager: object) -> dict[str, Iterator[tuple[str, dict[str, Any]]]]:
            return {name: self._generate_examples(rows) for name, rows in by_split.items() if rows}

        def _generate_examples(self, rows: list[Row]) -> Iterator[tuple[str, dict[str, Any]]]:
            for row in rows:
                yield row.id, _record(row, read_image(row))

    config = tfds.download.DownloadConfig(num_shards=num_shards, try_download_gcs=False)
    tfds.disable_progress_bar()
    with atomic_path(directory) as sibling, TemporaryDirectory(dir=directory.parent, prefix=".pack") as folder:
        with redirect_stdout(StringIO()):
            Builder(data_dir=folder).download_and_prepare(download_config=config)
        (Path(folder) / Builder.name / directory.name).rename(sibling)


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

    @cached_property
    def _builder(self) -> Any:
        return tfds.builder_from_directory(self.directory)

    def examples(self) -> tf.data.Dataset:
        """Undecoded examples: id, image (JPEG bytes), label (int64), region, all scalar tensors.

        Raises:
            DataError: when the split or the region has no rows.
        """
        if self.split not in self._builder.info.splits:
            raise DataError(
                f"{self.directory}: no rows in split {self.split}. Check `split` in the data set's settings."
            )
        ds = self._builder.as_dataset(
            split=self.split,
            decoders={"image": tfds.decode.SkipDecoding()},
            shuffle_files=False,
            read_config=tfds.ReadConfig(try_autocache=False, interleave_cycle_length=1),
        )
        return ds.filter(lambda example: example["region"] == self.region) if self.region else ds

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


def ids_sha256(records: Records) -> str:
    """The hash by which labels know the examples, and their order."""
    return sha256_json(records.facts()[0].tolist())


def classes_sha256(classes: list[str]) -> str:
    """The hash by which labels and models know the class list they were made with."""
    return sha256_json(classes)


def _features(classes: list[str]) -> Any:
    return tfds.features.FeaturesDict(
        {
            "id": tfds.features.Text(),
            "image": tfds.features.Image(shape=(None, None, 3), encoding_format="jpeg"),
            "label": tfds.features.ClassLabel(names=classes),
            "region": tfds.features.Text(),
            "group": tfds.features.Text(),
        }
    )


def _record(row: Row, jpeg: bytes) -> dict[str, Any]:
    return {"id": row.id, "image": jpeg, "label": row.label, "region": row.region, "group": row.group}
