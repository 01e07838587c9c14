"""A shard: one file of records, written without TensorFlow, so that a worker starts at once."""

import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
from numpy.typing import NDArray
from tensorflow_datasets.proto.tf_example_generated_pb2 import Example
from tensorflow_datasets.proto.tf_feature_generated_pb2 import BytesList, Feature, Features, Int64List

from tfpipe.core.errors import DataError
from tfpipe.core.files import atomic_open
from tfpipe.core.settings import Task
from tfpipe.data.photos import upright_jpeg

FRAME_BYTES = 16
"""Of the length and the two checksums around each record."""


@dataclass(frozen=True)
class Shard:
    """One file of records, to be written by any process that sees the disk."""

    path: Path
    rows_path: Path
    offsets: NDArray[np.int64]
    """(num_examples,) where the rows' lines begin, in bytes."""
    labels: NDArray[np.int64]
    """(num_examples,) class numbers."""
    task: Task

    @property
    def num_bytes(self) -> int:
        """Of the records alone, once they are written."""
        return self.path.stat().st_size - FRAME_BYTES * len(self.labels)


def write_shard(shard: Shard) -> None:
    """Write the file, unless it is there.

    Raises:
        DataError: when an image is gone, or another than the audit saw.
        EnvironmentProblemError: when the disk is full or refuses.
    """
    if shard.path.is_file():
        return
    with atomic_open(shard.path, "wb") as file, shard.rows_path.open("rb") as lines:
        for offset, label in zip(shard.offsets.tolist(), shard.labels.tolist(), strict=True):
            lines.seek(offset)
            row = json.loads(lines.readline())
            content = row["text"].encode() if shard.task == "text" else upright_jpeg(_read_image(row))
            file.writelines(_framed(_serialised(row, label, {shard.task: content})))


def _read_image(row: dict[str, Any]) -> bytes:
    again = "Bring it back, or run `tfpipe audit --force` and go on without it."
    try:
        content = Path(row["path"]).read_bytes()
    except OSError as error:
        raise DataError(f"row {row['id']}: {row['path']}: {error.strerror}, though the audit saw it. {again}") from None
    if len(content) != row["num_bytes"]:
        raise DataError(f"row {row['id']}: {row['path']} has changed since the audit. {again}")
    return content


def _serialised(row: dict[str, Any], label: int, content: dict[str, bytes]) -> bytes:
    """The row as a `tf.train.Example`, the same bytes each time."""
    texts = {name: row.get(name, "").encode() for name in ("id", "region", "group")}
    features = {name: Feature(bytes_list=BytesList(value=[value])) for name, value in {**texts, **content}.items()}
    features["label"] = Feature(int64_list=Int64List(value=[label]))
    serialised: bytes = Example(features=Features(feature=features)).SerializeToString(deterministic=True)
    return serialised


def _framed(record: bytes) -> tuple[bytes, bytes, bytes, bytes]:
    """A record as a TFRecord file holds it (tensorflow/core/lib/io/record_writer.h)."""
    length = struct.pack("<Q", len(record))
    return length, _masked_crc(length), record, _masked_crc(record)


def _masked_crc(content: bytes) -> bytes:
    crc = google_crc32c.value(content)
    # Rotated and shifted, since a checksum of what holds its own checksum would say little.
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)
