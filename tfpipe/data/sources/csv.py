"""A CSV file with a line per row, under our column names or the user's own."""

from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path

from tfpipe.core.errors import DataError
from tfpipe.core.settings import SnapshotSettings
from tfpipe.data.rows import Row
from tfpipe.data.sources.documents import RowReader
from tfpipe.data.sources.stamps import stamp_of
from tfpipe.data.tables import iter_records


def iter_rows(settings: SnapshotSettings, *, images_dir: Path, seed: int) -> Iterator[Row]:
    """One row per line. A relative `path` is relative to the file's own folder.

    Raises:
        DataError: naming file and line, when it is not UTF-8, is no whole record, or has no label or no id.
    """
    path = _file(settings)
    reader = RowReader(settings, path.parent)
    for number, record in iter_records(path):
        yield reader.read(record, f"{path}:{number}")


def fingerprint(settings: SnapshotSettings) -> str:
    """Changes with the file, and when an image it names changes its size or time."""
    path = _file(settings)
    column = settings.fields.get("path", "path")
    having = takewhile(lambda record: column in record, (record for _, record in iter_records(path)))
    return stamp_of(path, (record[column] for record in having if record[column]))


def _file(settings: SnapshotSettings) -> Path:
    path = settings.path
    if path is None or not path.is_file():
        raise DataError(f"{path}: no such file. `snapshot.path` needs a CSV file with a header.")
    return path
