"""A JSON Lines file of rows, under our field names or the user's own."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tfpipe.core.errors import DataError
from tfpipe.core.files import sha256_file, sha256_json
from tfpipe.core.settings import SnapshotSettings
from tfpipe.data.rows import KNOWN_FIELDS, Row, iter_documents

OTHER_NAMES = {"label": ("latin_name",), "url": ("image_url",), "id": ("_id",)}
"""Accepted where neither the field itself nor `snapshot.fields` names one."""


def iter_rows(settings: SnapshotSettings, *, images_dir: Path, seed: int) -> Iterator[Row]:
    """One row per line. A relative `path` is relative to the file's own folder.

    Raises:
        DataError: naming file and line, when a line has no label or no id.
    """
    path = _file(settings)
    names = {str(field): name for field, name in settings.fields.items()}
    for number, document in iter_documents(path):
        yield _row(document, names, path, f"{path}:{number}")


def fingerprint(settings: SnapshotSettings) -> str:
    """Changes with the file, and when an image it names changes its size or time."""
    path = _file(settings)
    name = settings.fields.get("path", "path")
    images = [path.parent / str(document[name]) for _, document in iter_documents(path) if document.get(name)]
    stats = [(image.stat().st_size, image.stat().st_mtime_ns) for image in images if image.is_file()]
    return sha256_json([sha256_file(path), stats])


def _file(settings: SnapshotSettings) -> Path:
    path = settings.path
    if path is None or not path.is_file():
        raise DataError(f"{path}: no such file. `snapshot.path` (or `data.train_jsonl`) needs a JSON Lines file.")
    return path


def _row(document: dict[str, Any], names: dict[str, str], path: Path, where: str) -> Row:
    sources = {field: _source_of(field, document, names) for field in KNOWN_FIELDS}
    values = {field: document[name] for field, name in sources.items() if name in document}
    for field in ("id", "label"):
        if values.get(field) in (None, ""):
            raise DataError(f"{where}: no `{sources[field]}`: every row needs a label and an id.")
    known = {field: str(value).strip() for field, value in values.items() if value is not None}
    if known.get("path"):
        known["path"] = (path.parent / known["path"]).as_posix()
    if known.get("split") == "val":
        known["split"] = "validation"
    extra = {name: value for name, value in document.items() if name not in KNOWN_FIELDS}
    return Row(**known, extra=extra | {"latin_name": known["label"]})


def _source_of(field: str, document: dict[str, Any], names: dict[str, str]) -> str:
    if field in names:
        return names[field]
    return next((n for n in (field, *OTHER_NAMES.get(field, ())) if n in document), field)
