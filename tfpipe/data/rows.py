"""A row is one photo or text, from its source to the records; JSON Lines carry it."""

import csv
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from tfpipe.core.errors import DataError
from tfpipe.core.files import atomic_open


@dataclass(frozen=True)
class Row:
    """One photo or text.

    `path` is absolute or relative to the workspace. Fields that tfpipe does not
    know ride along in `extra`, under their own names in the file.
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
        known = {name: value for name, value in asdict(self).items() if value and name != "extra"}
        return json.dumps(known | self.extra, ensure_ascii=False)


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
        known = {name: value for name, value in document.items() if name in KNOWN_FIELDS}
        extra = {name: value for name, value in document.items() if name not in KNOWN_FIELDS}
        try:
            yield Row(**known, extra=extra)
        except TypeError as error:
            raise DataError(f"{path}:{number}: a row needs `id` and `label`.") from error


def read_label_map(path: Path) -> dict[str, str]:
    """Synonym → accepted label, from a CSV with these two columns.

    Raises:
        DataError: when the file is missing or has other columns.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file (`snapshot.label_map`).")
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        if not {"synonym", "label"} <= set(reader.fieldnames or []):
            raise DataError(f"{path}: needs the columns `synonym` and `label`; found {reader.fieldnames}.")
        return {row["synonym"]: row["label"] for row in reader}


def iter_documents(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line numbers (from 1) and objects of a JSON Lines file; blank lines are passed over.

    Raises:
        DataError: naming file and line, when a line is not a JSON object or not UTF-8.
    """
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                document = json.loads(line)
            except ValueError as error:
                raise DataError(f"{path}:{number}: not JSON ({error}). Mend or remove the line.") from error
            if not isinstance(document, dict):
                raise DataError(f"{path}:{number}: expected a JSON object, found {type(document).__name__}.")
            yield number, document
