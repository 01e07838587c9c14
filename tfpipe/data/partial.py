"""Rows on their way into a file: what stood at the last checkpoint outlives a kill."""

import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from tfpipe.core.files import atomic_path, read_json, write_json
from tfpipe.data.rows import Row, iter_rows

CHECKPOINT_ROWS = 10_000


@dataclass(frozen=True)
class Place:
    """How far the file has come: so many bytes, after which the source goes on at `end`."""

    end: str = ""
    num_bytes: int = 0


class PartialRows:
    """A file that grows, and beside it the last place that is sure to be on disk. To be used in a `with`."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / "partial.jsonl"
        self._checkpoint_path = folder / "checkpoint.json"
        self._file = self._path.open("ab")
        self._place = self._last_place()
        self._file.truncate(self._place.num_bytes)
        self._unsaved = 0

    def __enter__(self) -> "PartialRows":
        return self

    def __exit__(self, *_: object) -> None:
        # A disk that is full, and told already, must not hide what went wrong first.
        with suppress(OSError):
            self.save()
        with suppress(OSError):
            self._file.close()

    @property
    def end(self) -> str:
        """Where the source goes on; empty: at its beginning."""
        return self._place.end

    def rows(self) -> Iterator[Row]:
        """Those that an interrupted run has left."""
        return iter_rows(self._path)

    def append(self, rows: Iterable[Row], end: str) -> None:
        """Write rows after which the source goes on at `end`; empty where it can only begin again."""
        lines = [row.to_json() + "\n" for row in rows]
        # JSON can carry half of a surrogate pair, UTF-8 cannot.
        self._file.write("".join(lines).encode("utf-8", "replace"))
        self._place = Place(end, self._file.tell())
        self._unsaved += len(lines)
        if self._unsaved >= CHECKPOINT_ROWS:
            self.save()

    def save(self) -> None:
        """Have the disk hold what is written, and then the place."""
        if self._place.end and self._unsaved:
            self._file.flush()
            os.fsync(self._file.fileno())
            write_json(asdict(self._place), self._checkpoint_path)
            self._unsaved = 0

    def finish(self, path: Path) -> None:
        """Put the whole file where it belongs, perhaps on another disk."""
        self._file.close()
        with atomic_path(path) as sibling:
            shutil.move(self._path, sibling)
        self._checkpoint_path.unlink(missing_ok=True)
        self._unsaved = 0

    def _last_place(self) -> Place:
        if not self._checkpoint_path.is_file():
            return Place()
        place = Place(**read_json(self._checkpoint_path))
        return place if place.num_bytes <= self._path.stat().st_size else Place()
