"""Which column of a table, or field of JSON Lines, is what: by name, and by what stands in it."""

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from tfpipe.core.errors import ConfigError, DataError
from tfpipe.core.settings import RowField, SourceName, Task
from tfpipe.data.rows import iter_documents
from tfpipe.data.sources.folder import SUFFIXES
from tfpipe.data.tables import iter_records
from tfpipe.stages.starter.naming import Ask

LOOKED_AT = 20_000
"""Rows whose values tell what a column is."""
SHOWN_COLUMNS = 20
LINK = re.compile(r"https?://\S+", re.IGNORECASE)

USUAL: dict[RowField, tuple[str, ...]] = {
    "id": ("id", "uuid", "key"),
    "label": (
        *("label", "class", "category", "species", "latin_name", "target", "emotion", "sentiment", "topic"),
        *("etiqueta", "clase", "categoria", "especie", "emocion"),
    ),
    "text": ("text", "texto", "content", "sentence", "review", "message", "comment", "body"),
    "path": ("path", "file", "filename", "filepath", "image", "photo", "foto", "imagen"),
    "url": ("url", "image_url", "link"),
    "group": ("group",),
    "region": ("region",),
}
"""Row field → what people call it; the likeliest first."""

OPTIONS: dict[RowField, str] = {
    "id": "--id-column",
    "label": "--label-column",
    "text": "--text-column",
    "path": "--image-column",
    "url": "--image-column",
    "group": "--group-column",
    "region": "--region-column",
}


@dataclass(frozen=True)
class Column:
    """What the first rows say of a column."""

    num_rows: int
    num_distinct: int
    num_images: int
    """Values that are the name of an image file, or a link."""
    num_links: int
    mean_length: float

    def suits(self, field: RowField) -> bool:
        """Whether its values could be that."""
        if field == "id":
            return self.num_distinct == self.num_rows
        if field == "label":
            return 2 <= self.num_distinct <= max(2, self.num_rows // 2)
        if field in ("path", "url"):
            return self.num_images >= 0.9 * self.num_rows
        return field != "text" or (self.mean_length >= 10 and not self.suits("path"))


Columns = Mapping[str, Column]


def read_columns(kind: SourceName, path: Path) -> Columns:
    """Every column that the first rows have.

    Raises:
        DataError: when the file is not there, cannot be read, or has no rows.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file.")
    records: Iterable[tuple[int, Mapping[str, Any]]] = iter_records(path) if kind == "csv" else iter_documents(path)
    values: dict[str, list[str]] = {}
    num_rows = 0
    for _, record in islice(records, LOOKED_AT):
        num_rows += 1
        for name, value in record.items():
            if value is not None and not isinstance(value, dict | list) and str(value).strip():
                values.setdefault(name, []).append(str(value).strip())
            else:
                values.setdefault(name, [])
    if not num_rows:
        raise DataError(f"{path}: no rows.")
    return {name: _summarised(of_column, num_rows) for name, of_column in values.items()}


def _summarised(values: Sequence[str], num_rows: int) -> Column:
    links = sum(bool(LINK.fullmatch(value)) for value in values)
    files = sum(Path(value).suffix.lower() in SUFFIXES and not LINK.fullmatch(value) for value in values)
    length = sum(map(len, values)) / len(values) if values else 0.0
    return Column(num_rows, len(set(values)), links + files, links, length)


def choose_task(columns: Columns, given: Mapping[RowField, str], ask: Ask, said: Task | None) -> Task:
    """What is to be classified."""
    if said or "text" in given:
        return said or "text"
    has_images = "path" in given or any(column.suits("path") for column in columns.values())
    task: Task = (
        "image" if ask("--task", "Photos or texts", "image" if has_images else "text", TASKS) == "image" else "text"
    )
    return task


TASKS = ("image", "text")


def choose_fields(
    columns: Columns, task: Task, given: Mapping[RowField, str], ask: Ask, path: Path
) -> dict[RowField, str]:
    """Row field → column.

    Args:
        columns: that there are.
        task: a photo's row needs another column than a text's.
        given: columns that were named.
        ask: confirms what is likely, and tells what is not clear.
        path: the file, for errors.

    Raises:
        ConfigError: when a column was named that is not there, with the nearest.
        DataError: when no column can be the id.
    """
    for field, name in given.items():
        _check_is_there(name, columns, OPTIONS[field], path)
    content: RowField = "text" if task == "text" else "path"
    chosen: dict[RowField, str] = {}
    for field in (content, "label"):
        usual = given.get(field) or _likeliest(field, columns, taken=chosen.values())
        question = f"Which column is the {NAMES[field]} ({_listed(columns)})"
        chosen[field] = given.get(field) or ask(OPTIONS[field], question, usual)
        _check_is_there(chosen[field], columns, OPTIONS[field], path)
    chosen["id"] = given.get("id") or _id_column(columns, chosen, path)
    for field in ("group", "region"):
        if optional := given.get(field) or _likeliest_by_name(field, columns):
            chosen[field] = optional
    content_column = columns.get(chosen[content])
    if content == "path" and content_column and content_column.num_links:
        chosen["url"] = chosen.pop("path")
    return chosen


NAMES: dict[RowField, str] = {"text": "text", "path": "photo (a path or a URL)", "label": "label"}


def _check_is_there(name: str, columns: Columns, option: str, path: Path) -> None:
    """Dots reach into the objects of JSON Lines."""
    if name in columns or name.partition(".")[0] in columns:
        return
    near = difflib.get_close_matches(name, columns, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise ConfigError(f"{path}: no column {name!r} ({option}); {hint}There are {_listed(columns)}.")


def _listed(columns: Columns) -> str:
    names = [*columns]
    more = f" and {len(names) - SHOWN_COLUMNS} more" if len(names) > SHOWN_COLUMNS else ""
    return ", ".join(names[:SHOWN_COLUMNS]) + more


def _likeliest(field: RowField, columns: Columns, taken: Iterable[str]) -> str | None:
    """By name, else the only one, or of texts the longest, whose values could be that; None: several could."""
    taken = set(taken)
    suiting = {name: column for name, column in columns.items() if column.suits(field) and name not in taken}
    if named := _likeliest_by_name(field, suiting):
        return named
    if field == "path" and (named := _likeliest_by_name("url", suiting)):
        return named
    if field == "text":
        return max(suiting, key=lambda name: suiting[name].mean_length, default=None)
    return next(iter(suiting)) if len(suiting) == 1 else None


def _likeliest_by_name(field: RowField, columns: Columns) -> str | None:
    """A column of a usual name, else one in whose name such a word stands, as in `emocion_principal`."""
    small = {name.lower(): name for name in reversed([*columns])}
    for usual in USUAL[field]:
        if usual in small:
            return small[usual]
    if field in ("group", "region"):
        return None
    words = {name: set(re.split(r"[^a-z0-9]+", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower())) for name in columns}
    return next((name for usual in USUAL[field] for name in columns if usual in words[name]), None)


def _id_column(columns: Columns, chosen: Mapping[RowField, str], path: Path) -> str:
    """One that is different on every row; of photos, the path or URL if there is no better."""
    content = [name for field, name in chosen.items() if field == "path"]
    unique = {name: column for name, column in columns.items() if column.suits("id") and name not in chosen.values()}
    named = _likeliest_by_name("id", unique)
    short = sorted(unique, key=lambda name: unique[name].mean_length)
    fallback = [name for name in content if name in columns and columns[name].suits("id")]
    for name in ([named] if named else []) + fallback + short:
        return name
    raise DataError(
        f"{path}: no column is different on every row, and each row needs an id that stays its own. Add a column `id`, "
        "such as a running number."
    )
