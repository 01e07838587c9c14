"""A JSON Lines file of rows, under our field names or the user's own."""

from collections.abc import Iterator
from pathlib import Path

from tfpipe.core.errors import DataError
from tfpipe.core.settings import SnapshotSettings
from tfpipe.data.rows import Row, iter_documents
from tfpipe.data.sources.documents import RowReader
from tfpipe.data.sources.stamps import stamp_of


def iter_rows(settings: SnapshotSettings, *, images_dir: Path, seed: int) -> Iterator[Row]:
    """One row per line. A relative `path` is relative to the file's own folder.

    Raises:
        DataError: naming file and line, when a line has no label or no id.
    """
    path = _file(settings)
    reader = RowReader(settings, path.parent)
    for number, document in iter_documents(path):
        yield reader.read(document, f"{path}:{number}")


def fingerprint(settings: SnapshotSettings) -> str:
    """Changes with the file, and when an image it names changes its size or time."""
    path = _file(settings)
    name = settings.fields.get("path", "path")
    documents = iter_documents(path, containing=f'"{name}"'.encode())
    return stamp_of(path, (str(document[name]) for _, document in documents if document.get(name)))


def _file(settings: SnapshotSettings) -> Path:
    path = settings.path
    if path is None or not path.is_file():
        raise DataError(f"{path}: no such file. `snapshot.path` (or `data.train_jsonl`) needs a JSON Lines file.")
    return path
