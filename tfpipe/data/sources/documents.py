"""Documents become rows: dictionaries, whether from JSON, CSV or a database."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from tfpipe.core.errors import DataError
from tfpipe.core.settings import SnapshotSettings
from tfpipe.data.rows import KNOWN_FIELDS, Row, plain, writable
from tfpipe.data.sources.stamps import locate

OTHER_NAMES = {"label": ("latin_name",), "url": ("image_url",), "id": ("_id",)}
"""Accepted where neither the field itself nor `snapshot.fields` names one."""
BATCH_ROWS = 100
LONGEST_LABEL = 500
"""Characters. What is longer is a text that took a label's place."""


class Batch(NamedTuple):
    """Rows that follow each other in the source."""

    rows: list[Row]
    end: str = ""
    """From where to go on after them; empty where the source can only begin again."""


class IterRows(Protocol):
    """Yields every row; images that the source makes or downloads itself go below `images_dir`."""

    def __call__(self, settings: SnapshotSettings, *, images_dir: Path, seed: int) -> Iterator[Row]:
        """Raises DataError where the source cannot be read."""


class IterBatches(Protocol):
    """Yields the rows after a batch whose end was `after`, or all of them."""

    def __call__(self, settings: SnapshotSettings, *, images_dir: Path, seed: int, after: str = "") -> Iterator[Batch]:
        """Raises DataError where the source cannot be read."""


def from_the_start(iter_rows: IterRows) -> IterBatches:
    """The batches of a source that cannot be taken up in the middle."""

    def iter_batches(settings: SnapshotSettings, *, images_dir: Path, seed: int, after: str = "") -> Iterator[Batch]:
        rows = iter_rows(settings, images_dir=images_dir, seed=seed)
        while batch := list(islice(rows, BATCH_ROWS)):
            yield Batch(batch)

    return iter_batches


class RowReader:
    """Makes rows of documents, whose names are those of `snapshot.fields` or the usual ones.

    Args:
        settings: which names they are, and which other fields ride along.
        folder: what a relative `path` is relative to; None: the workspace.
    """

    def __init__(self, settings: SnapshotSettings, folder: Path | None = None) -> None:
        own = {str(field): (name,) for field, name in settings.fields.items()}
        self.names = {field: own.get(field) or (field, *OTHER_NAMES.get(field, ())) for field in KNOWN_FIELDS}
        self._extra_fields = settings.extra_fields
        self._folder = folder

    def read(self, document: dict[str, Any], where: str) -> Row:
        """One row.

        Raises:
            DataError: beginning with `where`, when there is no label or no id, or a field is no text.
        """
        known: dict[str, str] = {}
        used = [*KNOWN_FIELDS]
        for field, names in self.names.items():
            for name in names:
                value = document.get(name)
                if value is None and "." in name:
                    value = _reach(document, name)
                if value is None:
                    continue
                text = value.strip() if type(value) is str else _text(value, f"{where}: `{name}`")
                if text:
                    known[field] = text if text.isascii() else writable(text)
                    used.append(name)
                    break
        if "id" not in known or "label" not in known:
            raise DataError(f"{where}: {self._what_is_missing(known, document)}")
        if len(known["label"]) > LONGEST_LABEL:
            raise DataError(
                f"{where}: a label of {len(known['label']):,} characters; a class has no more than {LONGEST_LABEL}. "
                "`snapshot.fields` can name another field for `label`."
            )
        if "path" in known and self._folder:
            known["path"] = locate(self._folder, known["path"]).as_posix()
        if known.get("split") == "val":
            known["split"] = "validation"
        extra = self._extra(document)
        for name in used:
            extra.pop(name, None)
        return Row(**known, extra=extra | {"latin_name": known["label"]})

    def _extra(self, document: dict[str, Any]) -> dict[str, Any]:
        if self._extra_fields is None:
            return document.copy()
        there = {name: _reach(document, name) for name in self._extra_fields}
        return {name: value for name, value in there.items() if value is not None}

    def _what_is_missing(self, known: dict[str, str], document: dict[str, Any]) -> str:
        field = "id" if "id" not in known else "label"
        names = self.names[field]
        name = next((name for name in names if name in document), names[0])
        there = ", ".join(f"`{name}`" for name in document)
        return (
            f"no `{name}`: every row needs a label and an id. The fields are {there}; "
            f"`snapshot.fields` can name another for `{field}`."
        )


def _reach(document: dict[str, Any], name: str) -> Any:
    """The value at a name with dots in it, such as `taxon.name` or `photos.0.url`; None if there is none."""
    if name in document or "." not in name:
        return document.get(name)
    value: Any = document
    for part in name.split("."):
        if isinstance(value, dict):
            value = value.get(part)
        elif isinstance(value, list) and part.isdecimal() and int(part) < len(value):
            value = value[int(part)]
        else:
            return None
    return value


def _text(value: Any, where: str) -> str:
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, float) and value.is_integer():
        # Some databases know no whole numbers, and 7.0 was meant as 7.
        return str(int(value))
    if isinstance(value, list | dict | bytes):
        kind = {list: "a list", dict: "an object"}.get(type(value), "binary")
        raise DataError(f"{where} is {kind}, expected a text. Dots reach into it: `a_list.0`, `an_object.name`.")
    return str(plain(value))
