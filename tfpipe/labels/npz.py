"""Dense soft labels as `.npz`, brought from elsewhere and taken there, in pieces: the whole may not fit into memory.

A teacher's file has `logits` (photos, num_classes), or `soft_probs` of that shape, and `indices` (photos,), the rows'
ids; one that is taken has `confidences` (photos,) too, the likeliest class's probability. The file of all teachers
together has `soft_probs` and `indices`.
"""

import math
import os
import struct
import sys
import tokenize
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO

import numpy as np

from tfpipe.core.errors import DataError, MismatchError
from tfpipe.core.files import atomic_path

Array = np.ndarray

LOCAL_HEADER_BYTES = 30
"""Before name and extra field of a file in a zip archive (APPNOTE 4.3.7)."""

SUM_TOLERANCE = 1e-2
"""By which the probabilities of a row may miss 1: those of a float16 softmax over 9,000 classes do, a little."""


UNREADABLE = (
    *(zipfile.BadZipFile, zlib.error, struct.error, OSError, EOFError, tokenize.TokenError, SyntaxError),
    *(ValueError, TypeError, KeyError, IndexError, RuntimeError, NotImplementedError, MemoryError, OverflowError),
)
"""What a broken archive, or the header of an array that is none, is met with."""


@dataclass(frozen=True)
class Member:
    """An array in an `.npz`, where it lies uncompressed in the file."""

    offset: int
    """Of its first number, in bytes."""
    shape: tuple[int, ...]
    dtype: np.dtype

    @property
    def row_bytes(self) -> int:
        """Of one row."""
        return math.prod(self.shape[1:]) * self.dtype.itemsize


class NpzLabels:
    """A file of dense soft labels, of which rows are read as they are wanted."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def check(self, num_classes: int) -> None:
        """Look at all but the numbers.

        Raises:
            DataError: when the file is no such file.
            MismatchError: when it has another number of classes.
        """
        name, member = self._answers
        if len(member.shape) != 2 or member.shape[0] != len(self.places) or member.dtype.kind != "f":
            raise DataError(
                f"{self.path}: `{name}` is {member.dtype} {member.shape}, and `indices` has {len(self.places)} ids. "
                "Expected floats, a row for each id and a column for each class."
            )
        if member.shape[1] != num_classes:
            raise MismatchError(
                f"{self.path}: `{name}` has {member.shape[1]} classes, and the records have {num_classes}. "
                "Its columns must be the records' classes in their order."
            )

    def iter_logits(self, ids: Array, size: int) -> Iterator[tuple[Array, Array]]:
        """Batches of (ids, logits (batch, num_classes) float32).

        Raises:
            DataError: when an id is missing, or probabilities are none.
        """
        missing = [name for name in ids.tolist() if name not in self.places]
        if missing:
            raise DataError(
                f"{self.path}: no row for {len(missing)} of {len(ids)} examples, such as {missing[0]}. "
                "Write it anew for all of them, or give the teacher a `region_filter`."
            )
        name, member = self._answers
        with self.path.open("rb") as file:
            for begin in range(0, len(ids), size):
                batch = ids[begin : begin + size]
                rows = np.stack([_read_row(file, member, self.places[one]) for one in batch.tolist()])
                yield batch, rows if name == "logits" else self._logits(rows, batch)

    @cached_property
    def places(self) -> dict[str, int]:
        """The row of each id."""
        member = self._members.get("indices")
        if member is None or len(member.shape) != 1:
            raise DataError(f"{self.path}: no `indices` (photos,) with the rows' ids; there are: {self._named()}.")
        if member.dtype.kind not in "iuSU" or not member.dtype.itemsize:
            raise DataError(f"{self.path}: `indices` is {member.dtype}: no ids. Expected strings or whole numbers.")
        with self.path.open("rb") as file:
            file.seek(member.offset)
            indices = np.fromfile(file, member.dtype, member.shape[0])
        try:
            ids = _as_texts(indices)
        except ValueError as error:
            raise DataError(f"{self.path}: `indices` holds what is no text ({error}).") from None
        places = {name: place for place, name in enumerate(ids)}
        if len(places) < len(ids):
            raise DataError(f"{self.path}: `indices` names {len(ids) - len(places)} ids twice.")
        return places

    @property
    def _answers(self) -> tuple[str, Member]:
        for name in ("logits", "soft_probs"):
            if name in self._members:
                return name, self._members[name]
        raise DataError(f"{self.path}: neither `logits` nor `soft_probs`; there are: {self._named()}.")

    @cached_property
    def _members(self) -> dict[str, Member]:
        try:
            with zipfile.ZipFile(self.path) as archive, self.path.open("rb") as file:
                infos = [info for info in archive.infolist() if info.filename.endswith(".npy")]
                return {info.filename.removesuffix(".npy"): self._find(archive, info, file) for info in infos}
        except FileNotFoundError:
            raise DataError(f"{self.path}: no such file.") from None
        except UNREADABLE as error:
            reason = " ".join(str(error).split())[:120]
            raise DataError(f"{self.path}: not an .npz that can be read ({reason}). It may be cut off.") from None

    def _find(self, archive: zipfile.ZipFile, info: zipfile.ZipInfo, file: IO[bytes]) -> Member:
        if info.compress_type != zipfile.ZIP_STORED:
            raise DataError(
                f"{self.path}: `{info.filename}` is compressed, so that its rows cannot be read one by one. "
                "Write it with numpy.savez instead of savez_compressed."
            )
        with archive.open(info) as stream:
            version = np.lib.format.read_magic(stream)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, by_columns, dtype = read(stream)
            header_bytes = stream.tell()
        if dtype.hasobject:
            raise DataError(
                f"{self.path}: `{info.filename}` holds pickled Python objects, which could run anything. "
                "Write it as numbers or strings, such as numpy.array(ids, dtype=str)."
            )
        if by_columns and len(shape) > 1:
            raise DataError(
                f"{self.path}: `{info.filename}` lies column by column. Write numpy.ascontiguousarray of it."
            )
        file.seek(info.header_offset)
        name_bytes, extra_bytes = struct.unpack("<26xHH", file.read(LOCAL_HEADER_BYTES))
        begin = info.header_offset + LOCAL_HEADER_BYTES + name_bytes + extra_bytes
        held = min(info.file_size, self.path.stat().st_size - begin) - header_bytes
        # Before a byte is allocated for them.
        if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize > held:
            raise DataError(
                f"{self.path}: `{info.filename}` says that it is {dtype} {str(shape)[:60]}: more than the file holds."
            )
        return Member(begin + header_bytes, shape, dtype)

    def _named(self) -> str:
        return ", ".join(self._members) or "none"

    def _logits(self, probs: Array, ids: Array) -> Array:
        """Logarithms; NaN stays, and is told by who stores it."""
        sums = probs.sum(axis=-1, dtype=np.float64)
        wrong = np.flatnonzero((np.abs(sums - 1) > SUM_TOLERANCE) | (probs < 0).any(axis=-1))
        if len(wrong):
            raise DataError(
                f"{self.path}: `soft_probs` of {ids[wrong[0]]} sum to {sums[wrong[0]]:.4g} or are below 0: "
                "no probabilities. Logits belong into `logits`."
            )
        with np.errstate(divide="ignore"):
            logits: Array = np.log(probs)
        return logits


@dataclass(frozen=True)
class Column:
    """An array to be written, in pieces."""

    shape: tuple[int, ...]
    dtype: np.dtype
    pieces: Iterable[Array]


def write_npz(columns: dict[str, Column], path: Path) -> None:
    """Write an `.npz`, one array after the other, whole or not at all.

    Raises:
        EnvironmentProblemError: when the disk is full or refuses.
    """
    with atomic_path(path) as sibling, zipfile.ZipFile(sibling, "w", zipfile.ZIP_STORED) as archive:
        for name, column in columns.items():
            # Dated as no file is, so that equal labels are equal bytes.
            info = zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0))
            with archive.open(info, "w", force_zip64=True) as stream:
                descr = np.lib.format.dtype_to_descr(column.dtype)
                header = {"descr": descr, "fortran_order": False, "shape": column.shape}
                np.lib.format.write_array_header_1_0(stream, header)
                for piece in column.pieces:
                    stream.write(np.ascontiguousarray(piece, column.dtype).tobytes())


def _as_texts(values: Array) -> list[str]:
    """Raises ValueError for bytes that are no UTF-8, and for letters beyond the last, of which NumPy makes strings."""
    if values.dtype.kind == "U" and values.size:
        codes = values.view(np.dtype(np.uint32).newbyteorder(values.dtype.byteorder))
        if codes.max() > sys.maxunicode:
            raise ValueError(f"character {codes.max():#x}")
    return [value.decode() if isinstance(value, bytes) else str(value) for value in values.tolist()]


def _read_row(file: IO[bytes], member: Member, place: int) -> Array:
    """(num_classes,) float32."""
    content = os.pread(file.fileno(), member.row_bytes, member.offset + place * member.row_bytes)
    if len(content) < member.row_bytes:
        raise DataError(f"{file.name}: cut off at row {place}. Bring the file again.")
    return np.frombuffer(content, member.dtype).astype(np.float32)
