"""The plan of records: which rows stand in which shard, and in which order."""

import json
from array import array
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from tensorflow_datasets.core.utils.shard_utils import ShardConfig

from tfpipe.core.errors import DataError
from tfpipe.data.assignment import SPLITS
from tfpipe.data.clusters import Keys, key_of
from tfpipe.data.shards import Shard
from tfpipe.data.splitting import in_alphabetical_order


@dataclass(frozen=True)
class Plan:
    """The class list, and the shards of each split that has rows."""

    classes: list[str]
    shards: dict[str, list[Shard]]


def plan_shards(rows_path: Path, directory: Path, *, name: str, num_shards: int | None) -> Plan:
    """Order each split's rows by a hash of their ids, so that no shard holds one class alone, and cut it.

    Args:
        rows_path: rows with `split`, `path` and `num_bytes`, as the step `split` writes them.
        directory: of the shards.
        name: of the data set.
        num_shards: of each split; None lets TFDS decide by size.

    Raises:
        DataError: when a row has no image.
    """
    lines = _read_lines(rows_path)
    shards = {}
    for number, split in enumerate(SPLITS):
        rows = np.flatnonzero(lines.splits == number)
        if not len(rows):
            continue
        rows = rows[np.argsort(lines.keys[rows], kind="stable")]
        wanted = ShardConfig(num_shards=num_shards).get_number_shards(int(lines.num_bytes[rows].sum()), len(rows))
        parts = np.array_split(rows, min(wanted, len(rows)))
        shards[split] = [
            Shard(
                directory / f"{name}-{split}.tfrecord-{index:05d}-of-{len(parts):05d}",
                rows_path,
                lines.offsets[part],
                lines.labels[part],
            )
            for index, part in enumerate(parts)
        ]
    return Plan(lines.classes, shards)


class _Lines(NamedTuple):
    """What a plan asks of the rows, (num_rows,) each."""

    classes: list[str]
    labels: NDArray[np.int64]
    splits: NDArray[np.int8]
    keys: Keys
    num_bytes: NDArray[np.int64]
    offsets: NDArray[np.int64]


def _read_lines(rows_path: Path) -> _Lines:
    labels, splits, keys, sizes, offsets = (array(kind) for kind in "qbQqq")
    numbers: dict[str, int] = {}
    offset = 0
    with rows_path.open("rb") as file:
        for line in file:
            row = json.loads(line)
            if not row.get("path"):
                raise DataError(f"row {row['id']} has no image, and `pack` writes images.")
            labels.append(numbers.setdefault(row["label"], len(numbers)))
            splits.append(SPLITS.index(row["split"]))
            keys.append(key_of(row["id"]))
            sizes.append(row["num_bytes"])
            offsets.append(offset)
            offset += len(line)
    columns = (np.array(splits), np.array(keys), np.array(sizes), np.array(offsets))
    return _Lines(*in_alphabetical_order(numbers, labels), *columns)
