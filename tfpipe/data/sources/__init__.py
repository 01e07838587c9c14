"""Sources: where rows come from. One file each, and one line in `SOURCES`."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tfpipe.core.settings import SnapshotSettings, SourceName
from tfpipe.data.rows import Row
from tfpipe.data.sources import csv, folder, herbarium, jsonl, mongo, postgresql, tfds
from tfpipe.data.sources.documents import IterBatches, from_the_start


@dataclass(frozen=True)
class Source:
    """How to read the rows, and how to know, cheaply, that they have changed."""

    iter_batches: IterBatches
    fingerprint: Callable[[SnapshotSettings], str]
    """Of a database and of TFDS, which cannot be asked cheaply, it is always the same: what was
    taken from there stands until `--force` takes it anew."""
    count: Callable[[SnapshotSettings], int | None] = lambda _: None
    """How many rows there will be, or nearly; None where that is not cheap to know."""

    def iter_rows(self, settings: SnapshotSettings, *, images_dir: Path, seed: int) -> Iterator[Row]:
        """Every row."""
        for batch in self.iter_batches(settings, images_dir=images_dir, seed=seed):
            yield from batch.rows


def _constant(settings: SnapshotSettings) -> str:
    return ""


SOURCES: dict[SourceName, Source] = {
    "csv": Source(from_the_start(csv.iter_rows), csv.fingerprint),
    "folder": Source(from_the_start(folder.iter_rows), folder.fingerprint),
    "herbarium": Source(from_the_start(herbarium.iter_rows), herbarium.fingerprint, herbarium.count),
    "jsonl": Source(from_the_start(jsonl.iter_rows), jsonl.fingerprint),
    "mongodb": Source(mongo.iter_batches, _constant, mongo.count),
    "postgresql": Source(from_the_start(postgresql.iter_rows), _constant),
    "tfds": Source(from_the_start(tfds.iter_rows), _constant),
}
