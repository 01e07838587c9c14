"""A row is one photo or text, from its source to the records; JSON Lines carry it."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, fields
from datetime import date
from pathlib import Path
from typing import Any

from tfpipe.core.errors import DataError
from tfpipe.core.files import atomic_open, finite
from tfpipe.data.tables import iter_records


@dataclass(frozen=True)
class Row:
    """One photo or text.

    `path` is absolute or relative to the workspace. Fields that tfpipe does not
    know ride along in `extra`, under their own names in the file; what JSON has
    no type for is written as `plain` tells it.
    """

    id: str
    label: str
    region: str = ""
    group: str = ""
    path: str = ""
    url: str = ""
    text: str = ""
    split: str = ""
    extra: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> str:
        """One line of JSON; fields that are empty are left out."""
        known = {name: value for name in KNOWN_FIELDS if (value := getattr(self, name))}
        document = known | self.extra
        try:
            return ENCODER.encode(document)
        except ValueError:
            return ENCODER.encode(finite(document))


def plain(value: Any) -> str:
    """A value that JSON has no type for, as a text: dates and times in ISO 8601, bytes in hex."""
    if isinstance(value, date):
        return value.isoformat()
    return value.hex() if isinstance(value, bytes) else str(value)


def writable(text: str) -> str:
    """The text with `?` for halves of surrogate pairs: JSON can carry them, UTF-8 cannot."""
    return text.encode("utf-8", "replace").decode()


# What comes from a file or a server holds no circles, and looking for them takes time.
ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, check_circular=False, default=plain)
KNOWN_FIELDS = tuple(field.name for field in fields(Row) if field.name != "extra")


def write_rows(rows: Iterable[Row], path: Path) -> int:
    """Write rows as JSON Lines, whole or not at all; returns how many."""
    count = 0
    with atomic_open(path) as file:
        for row in rows:
            file.write(row.to_json() + "\n")
            count += 1
    return count


def iter_rows(path: Path) -> Iterator[Row]:
    """Read the rows that `write_rows` wrote.

    Raises:
        DataError: naming file and line, when a line is not one of ours.
    """
    for number, document in iter_documents(path):
        known = {name: document.pop(name) for name in KNOWN_FIELDS if name in document}
        try:
            yield Row(**known, extra=document)
        except TypeError as error:
            raise DataError(f"{path}:{number}: a row needs `id` and `label`.") from error


def read_label_map(path: Path) -> dict[str, str]:
    """Synonym → accepted label, from a CSV with these two columns.

    Raises:
        DataError: when the file is missing or has other columns.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file (`snapshot.label_map`).")
    records = iter_records(path, needed=("synonym", "label"))
    return {record["synonym"]: record["label"] for _, record in records}


def iter_documents(path: Path, *, containing: bytes = b"") -> Iterator[tuple[int, dict[str, Any]]]:
    """Line numbers (from 1) and objects of a JSON Lines file; blank lines are passed over.

    Args:
        path: the file.
        containing: lines without these bytes are passed over too, unread.

    Raises:
        DataError: naming file and line, when a line is not a JSON object or not UTF-8.
    """
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if containing not in line or not line.strip():
                continue
            yield number, parse_document(line, path, number)


def parse_document(line: bytes, path: Path, number: int) -> dict[str, Any]:
    """The object of a line.

    Raises:
        DataError: naming file and line, when it is not a JSON object or not UTF-8.
    """
    try:
        document = json.loads(line)
    except RecursionError:
        raise DataError(f"{path}:{number}: not JSON (nested too deep). Mend or remove the line.") from None
    except ValueError as error:
        raise DataError(f"{path}:{number}: not JSON ({error}). Mend or remove the line.") from error
    if not isinstance(document, dict):
        raise DataError(f"{path}:{number}: expected a JSON object, found {type(document).__name__}.")
    return document
