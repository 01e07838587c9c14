"""Sources: where rows come from. One file each, and one line in `SOURCES`."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tfpipe.core.settings import SnapshotSettings, SourceName
from tfpipe.data.rows import Row
from tfpipe.data.sources import folder, herbarium, jsonl


class IterRows(Protocol):
    """Yields every row; images that the source makes or downloads itself go below `images_dir`."""

    def __call__(self, settings: SnapshotSettings, *, images_dir: Path, seed: int) -> Iterator[Row]:
        """Raises DataError where the source cannot be read."""


@dataclass(frozen=True)
class Source:
    """How to read the rows, and how to know, cheaply, that they have changed."""

    iter_rows: IterRows
    fingerprint: Callable[[SnapshotSettings], str]


SOURCES: dict[SourceName, Source] = {
    "folder": Source(folder.iter_rows, folder.fingerprint),
    "herbarium": Source(herbarium.iter_rows, herbarium.fingerprint),
    "jsonl": Source(jsonl.iter_rows, jsonl.fingerprint),
}
