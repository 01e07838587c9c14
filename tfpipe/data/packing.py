"""The plan of records: which rows stand in which shard, and in which order."""

import json
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from tensorflow_datasets.core.utils.shard_utils import ShardConfig

from tfpipe.core.errors import DataError
from tfpipe.core.settings import Task
from tfpipe.data.assignment import SPLITS
from tfpipe.data.clusters import Keys, key_of
from tfpipe.data.shards import Shard
from tfpipe.data.splitting import in_alphabetical_order


@dataclass(frozen=True)
class Plan:
    """The class list, and the shards of each split that has rows."""

    classes: list[str]
    shards: dict[str, list[Shard]]


def plan_shards(
    rows_path: Path,
    directory: Path,
    *,
    name: str,
    num_shards: int | None,
    task: Task = "image",
    classes: Sequence[str] = (),
) -> Plan:
    """Order each split's rows by a hash of their ids, so that no shard holds one class alone, and cut it.

    Args:
        rows_path: rows with `split`, and `path` and `num_bytes` or `text`, as the step `split` writes them.
        directory: of the shards.
        name: of the data set.
        task: what the rows hold.
        classes: in the order of their ids; empty: the rows' labels in alphabetical order.
        num_shards: of each split; None lets TFDS decide by size.

    Raises:
        DataError: when a row has no image or text, or its label is no class.
    """
    lines = _read_lines(rows_path, task, classes)
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
                task,
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


def _read_lines(rows_path: Path, task: Task, classes: Sequence[str]) -> _Lines:
    labels, splits, keys, sizes, offsets = (array(kind) for kind in "qbQqq")
    numbers: dict[str, int] = {}
    offset = 0
    with rows_path.open("rb") as file:
        for line in file:
            row = json.loads(line)
            if not row.get(CONTENT_FIELDS[task]):
                raise DataError(f"row {row['id']} has no {task}, and the task of this data set is `{task}`.")
            labels.append(numbers.setdefault(row["label"], len(numbers)))
            splits.append(SPLITS.index(row["split"]))
            keys.append(key_of(row["id"]))
            sizes.append(len(line) if task == "text" else row["num_bytes"])
            offsets.append(offset)
            offset += len(line)
    columns = (np.array(splits), np.array(keys), np.array(sizes), np.array(offsets))
    ordered = _in_given_order(numbers, labels, classes) if classes else in_alphabetical_order(numbers, labels)
    return _Lines(*ordered, *columns)


def _in_given_order(
    numbers: dict[str, int], labels: Sequence[int], classes: Sequence[str]
) -> tuple[list[str], NDArray[np.int64]]:
    """Classes, and labels renumbered by them.

    Raises:
        DataError: when the rows have other labels.
    """
    stray, missing = sorted(numbers.keys() - set(classes)), [name for name in classes if name not in numbers]
    if stray:
        raise DataError(f"pack.classes: rows are labelled {', '.join(stray[:SHOWN])}, which is no class of the list.")
    if missing:
        raise DataError(f"pack.classes: no row is labelled {', '.join(missing[:SHOWN])}.")
    places = np.array([classes.index(name) for name in numbers])
    return list(classes), places[np.array(labels, np.int64)]


SHOWN = 5

CONTENT_FIELDS: dict[Task, str] = {"image": "path", "text": "text"}
"""Where a row has what a model is to see."""
