"""Every row's image or text looked at once: its facts, and the thumbnails by which near duplicates are told.

The rows go in pieces, each of which leaves what it finds in files of its own, so that an interrupted run goes on
and any machine that sees the disk can take a piece.
"""

import shutil
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfpipe.core.errors import DataError
from tfpipe.core.files import atomic_open
from tfpipe.core.settings import Task
from tfpipe.data.checks import Fault, inspect_image, inspect_text
from tfpipe.data.clusters import key_of
from tfpipe.data.download.answers import Reason
from tfpipe.data.duplicates import NearDuplicate, find_duplicates
from tfpipe.data.facts import Facts, iter_facts
from tfpipe.data.hamming import Hashes, count_different_bits
from tfpipe.data.perceptual import SIDE, Thumbnails, are_alike
from tfpipe.data.rows import parse_document
from tfpipe.data.workers import Runner, run_all

ROWS = 1000
"""Of a piece."""
REDO = "Run `tfpipe fetch --force`, then this again."
Document = dict[str, Any]


@dataclass(frozen=True)
class Piece:
    """Some rows, and where what is found of them goes."""

    rows_path: Path
    fetched_path: Path
    rows_offset: int
    """Where its first line begins, in bytes."""
    fetched_offset: int
    first_line: int
    """Its number, from 1."""
    task: Task
    min_side: int
    facts_path: Path
    """There only when the piece is done."""

    @property
    def thumbnails_path(self) -> Path:
        """(num_rows, SIDE, SIDE); black where a row has none."""
        return self.facts_path.with_suffix(".npy")


def inspect_rows(
    rows_path: Path, fetched_path: Path, facts_path: Path, *, task: Task, min_side: int, folder: Path, runner: Runner
) -> None:
    """Write `facts.jsonl`, a line a row.

    Args:
        rows_path: of `snapshot`.
        fetched_path: of `fetch`, a line a row.
        facts_path: to be written.
        task: what the rows hold.
        min_side: pixels; an image with a shorter side has a fault.
        folder: for the pieces, which stay there for `find_near_duplicates`.
        runner: where.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pieces = [
        Piece(rows_path, fetched_path, *offsets, number * ROWS + 1, task, min_side, folder / f"{number:06d}.jsonl")
        for number, offsets in enumerate(_iter_offsets(rows_path, fetched_path))
    ]
    run_all(inspect_piece, pieces, title=f"audit: looking at {task}s, {ROWS} rows a piece", runner=runner)
    with atomic_open(facts_path, "wb") as file:
        for piece in pieces:
            with piece.facts_path.open("rb") as part:
                shutil.copyfileobj(part, file)


def inspect_piece(piece: Piece) -> None:
    """Look at its rows, unless that is done."""
    if piece.facts_path.is_file():
        return
    found = [_inspect(row, fetched, piece) for row, fetched in _iter_lines(piece)]
    if piece.task == "image":
        black = np.zeros((SIDE, SIDE), np.uint8)
        with atomic_open(piece.thumbnails_path, "wb") as file:
            np.save(file, np.stack([black if thumbnail is None else thumbnail for _, thumbnail in found]))
    # Last, since this file says that the piece is done.
    with atomic_open(piece.facts_path) as file:
        file.writelines(facts.to_json() + "\n" for facts, _ in found)


def find_near_duplicates(facts_path: Path, folder: Path, *, max_bits: int) -> Iterator[NearDuplicate]:
    """Pairs of usable rows that connect every cluster of near duplicates; of equal images, the first stands for all.

    Args:
        facts_path: what `inspect_rows` wrote.
        folder: its pieces.
        max_bits: in which the perceptual hashes of near duplicates may differ.
    """
    numbers, hashes, ids = _distinct(facts_path)
    thumbnails = _gather(folder, numbers)
    edges = find_duplicates(hashes, partial(are_alike, thumbnails), max_bits=max_bits, title="audit: near duplicates")
    for (one, other), distance in zip(edges.tolist(), count_different_bits(hashes, edges).tolist(), strict=True):
        yield NearDuplicate(ids[one], ids[other], distance)


def _inspect(row: Document, fetched: Document, piece: Piece) -> tuple[Facts, Thumbnails | None]:
    if piece.task == "text":
        return inspect_text(row["id"], row.get("text", "")), None
    reason = Reason(fetched["reason"])
    if reason not in (Reason.LOCAL, Reason.OK):
        is_without = reason is Reason.BAD_URL and not row.get("url")
        return Facts(row["id"], fault=Fault.NO_IMAGE if is_without else reason), None
    path = row.get("path") or fetched.get("path", "")
    return inspect_image(row["id"], path, min_side=piece.min_side)


def _iter_lines(piece: Piece) -> Iterator[tuple[Document, Document]]:
    """The piece's rows, each with what became of its image."""
    with piece.rows_path.open("rb") as rows, piece.fetched_path.open("rb") as fetched:
        rows.seek(piece.rows_offset)
        fetched.seek(piece.fetched_offset)
        for number, lines in enumerate(islice(zip(rows, fetched, strict=False), ROWS), piece.first_line):
            row, answer = (
                parse_document(line, path, number)
                for line, path in zip(lines, (piece.rows_path, piece.fetched_path), strict=True)
            )
            if row["id"] != answer["id"]:
                raise DataError(
                    f"{piece.fetched_path}:{number} is of {answer['id']!r}, the row of {row['id']!r}. {REDO}"
                )
            yield row, answer


def _iter_offsets(rows_path: Path, fetched_path: Path) -> Iterator[tuple[int, int]]:
    """Where the pieces begin, in bytes.

    Raises:
        DataError: when one file has fewer lines than the other.
    """
    with rows_path.open("rb") as rows, fetched_path.open("rb") as fetched:
        offsets = 0, 0
        while lines := list(islice(rows, ROWS)):
            others = list(islice(fetched, len(lines)))
            if len(others) < len(lines):
                break
            yield offsets
            offsets = offsets[0] + sum(map(len, lines)), offsets[1] + sum(map(len, others))
        if lines or fetched.readline():
            raise DataError(f"{rows_path} and {fetched_path} have not the same number of lines. {REDO}")


def _distinct(facts_path: Path) -> tuple[NDArray[np.int64], Hashes, list[str]]:
    """Row numbers (num_images,), perceptual hashes (num_images,) and ids of the usable images, each content once."""
    seen: set[int] = set()
    numbers, hashes, ids = array("q"), array("Q"), []
    for number, facts in enumerate(iter_facts(facts_path)):
        content = key_of(facts.sha256)
        if facts.phash and content not in seen:
            seen.add(content)
            numbers.append(number)
            hashes.append(int(facts.phash, 16))
            ids.append(facts.id)
    return np.array(numbers, np.int64), np.array(hashes, np.uint64), ids


def _gather(folder: Path, numbers: NDArray[np.int64]) -> Thumbnails:
    """(num_images, SIDE, SIDE), in a file, of which memory holds what is looked at."""
    if not len(numbers):
        return np.empty((0, SIDE, SIDE), np.uint8)
    shape = (len(numbers), SIDE, SIDE)
    gathered = np.lib.format.open_memmap(folder / "thumbnails.npy", "w+", np.uint8, shape)
    for piece, part in enumerate(sorted(folder.glob("[0-9]*.npy"))):
        begin, end = np.searchsorted(numbers, [piece * ROWS, (piece + 1) * ROWS])
        gathered[begin:end] = np.load(part)[numbers[begin:end] - piece * ROWS]
    return np.asarray(gathered)
