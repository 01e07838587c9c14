"""A look at a source: what it is, how much there is of what, and what would go wrong later."""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any, cast, get_args

from PIL import Image, UnidentifiedImageError

from tfpipe.core.errors import ConfigError, DataError
from tfpipe.core.secrets import redact
from tfpipe.core.settings import ADDRESS_SOURCES, FILE_SOURCES, THINGS, SnapshotSettings, SourceName, Task
from tfpipe.data.rows import Row
from tfpipe.data.sources import SOURCES
from tfpipe.data.sources.folder import SUFFIXES
from tfpipe.stages.starter.columns import OPTIONS, TASKS, choose_fields, choose_task, read_columns
from tfpipe.stages.starter.naming import Ask, Wish

KINDS = {".csv": "csv", ".tsv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl"}
"""Ending of a file → source."""
NUM_OPENED = 200
"""Photos whose sizes are looked at."""
USUAL_MIN_SIDE = 100
SHOWN_CLASSES = 6
NOT_ENOUGH = 3
"""Photos of a class below which not every split has one."""
PASSWORDS = {"mongodb": "MONGO_PASSWORD", "postgresql": "POSTGRES_PASSWORD"}
"""The environment's variable that takes the place of a password."""


@dataclass(frozen=True)
class Found:
    """What there is."""

    name: str
    """What the source calls itself."""
    task: Task
    snapshot: dict[str, Any]
    """The section of the settings."""
    per_class: Counter[str] = field(default_factory=Counter)
    """Rows; empty where the source was not read."""
    per_region: Counter[str] = field(default_factory=Counter)
    min_side: int | None = None
    """For `audit.min_side`, where the photos are smaller than usual."""
    num_words: int = 0
    """Of all texts but the longest twentieth."""
    told: tuple[str, ...] = ()

    @property
    def num_rows(self) -> int | None:
        """None where nobody counted."""
        return self.per_class.total() or self.snapshot.get("num_images")


def look(wish: Wish, ask: Ask) -> Found:
    """Find out what the source is and holds; databases and TFDS are not asked.

    Raises:
        ConfigError: when there is no such source, or what was said of it is wrong.
        DataError: when it cannot be read, or holds nothing to learn from.
    """
    given = wish.source or ask("--source", SOURCE_QUESTION, None)
    kind, source, path = _kind_of(given, wish.path, ask)
    if kind == "folder":
        assert path
        return _look_at_folder(path, wish)
    if kind in FILE_SOURCES:
        assert path
        return _look_at_rows(kind, path, wish, ask)
    if kind in ("mongodb", "postgresql"):
        return _look_at_address(kind, source, wish, ask)
    if kind == "tfds":
        task = cast(Task, wish.task or ask("--task", "Photos or texts", "image", TASKS))
        return Found(re.split(r"[/:]", source.removeprefix("tfds://"))[0], task, {"source": source})
    if wish.task == "text":
        raise ConfigError("--source herbarium draws photos of plants; it has no texts.")
    return Found("herbarium", "image", {"source": "herbarium", "num_images": 1500}, told=HERBARIUM)


SOURCE_QUESTION = "Your data: a folder with a folder per class, a CSV or JSON Lines file, an address, or `herbarium`"
HERBARIUM = ("The herbarium draws 1,500 photos of invented plants; it needs nothing from elsewhere.",)


def _kind_of(given: str, path: Path | None, ask: Ask) -> tuple[SourceName, str, Path | None]:
    """The kind, the setting `snapshot.source` and the file or folder."""
    scheme = re.split(r"[+:]", given, maxsplit=1)[0]
    if "://" in given and scheme in ADDRESS_SOURCES:
        return cast(SourceName, scheme), given, None
    if given in ADDRESS_SOURCES:
        return _kind_of(_expect_address(given, ask("--source", f"Its address: {EXAMPLES[given]}", None)), path, ask)
    if given in FILE_SOURCES:
        where = path or Path(ask("--path", "The folder, or the file", None)).expanduser()
        return cast(SourceName, given), given, where
    if given in get_args(SourceName):
        return cast(SourceName, given), given, None
    where = Path(given).expanduser()
    if where.is_dir():
        return "folder", "folder", where
    if where.is_file() and where.suffix.lower() in KINDS:
        kind = cast(SourceName, KINDS[where.suffix.lower()])
        return kind, kind, where
    why = f"{where.suffix or 'its kind'} is not read; save it as CSV" if where.is_file() else "no such file or folder"
    raise ConfigError(
        f"--source {redact(given)}: {why}. It takes a folder, a .csv or .jsonl file, `herbarium`, or an address that "
        f"begins with {', '.join(f'{kind}://' for kind in ADDRESS_SOURCES)}."
    )


EXAMPLES = {
    "mongodb": "mongodb://reader:${MONGO_PASSWORD}@host:27017/database",
    "postgresql": "postgresql://reader:${POSTGRES_PASSWORD}@host/database",
    "tfds": "tfds://tf_flowers",
}


def _expect_address(kind: str, address: str) -> str:
    if not re.match(rf"{kind}(\+\w+)?://.", address):
        raise ConfigError(f"--source {redact(address)}: expected an address, such as {EXAMPLES[kind]}.")
    return address


def _look_at_folder(path: Path, wish: Wish) -> Found:
    if wish.task == "text":
        raise ConfigError(f"{path}: a folder per class holds photos. Texts come from CSV, JSON Lines or a database.")
    _check_holds_classes(path)
    snapshot: dict[str, Any] = {"source": "folder", "path": path.as_posix()}
    if wish.metadata:
        snapshot["metadata"] = wish.metadata.as_posix()
    found = Found(path.resolve().name, "image", snapshot)
    return _with_rows(found, SnapshotSettings(**snapshot))


def _check_holds_classes(path: Path) -> None:
    if not path.is_dir():
        raise DataError(f"{path}: no such folder.")
    folders = {entry.name for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith(".")}
    loose = sum(entry.suffix.lower() in SUFFIXES for entry in path.iterdir())
    if not folders:
        raise DataError(
            f"{path}: {loose:,} photos, but no folder per class. Sort them into {path / 'rose'}, {path / 'tulip'} and "
            "so on: a folder's name is the label."
        )


def _look_at_rows(kind: SourceName, path: Path, wish: Wish, ask: Ask) -> Found:
    columns = read_columns(kind, path)
    task = choose_task(columns, wish.fields, ask, wish.task)
    fields = choose_fields(columns, task, wish.fields, ask, path)
    own = {name: column for name, column in fields.items() if name != column}
    snapshot: dict[str, Any] = {"source": kind, "path": path.as_posix()} | ({"fields": own} if own else {})
    told = "Columns: " + ", ".join(f"{name} is {column!r}" for name, column in fields.items()) + "."
    return _with_rows(Found(path.stem, task, snapshot, told=(told,)), SnapshotSettings(**snapshot))


def _look_at_address(kind: SourceName, source: str, wish: Wish, ask: Ask) -> Found:
    """The database is not asked; its password goes into the environment."""
    task = cast(
        Task, wish.task or ask("--task", "Photos or texts", "text" if "text" in wish.fields else "image", TASKS)
    )
    snapshot: dict[str, Any] = {"source": _without_password(source, PASSWORDS[kind])}
    if kind == "mongodb":
        snapshot["collection"] = wish.collection or ask("--collection", "Which collection", None)
    else:
        snapshot["query"] = wish.query or ask("--query", "A table, or a SELECT", None)
    fields = {str(field): column for field, column in wish.fields.items()}
    if task == "image" and "path" in fields:
        # What a database holds of a photo is its address.
        fields["url"] = fields.pop("path")
    if "label" not in fields:
        fields["label"] = ask(OPTIONS["label"], "Which field is the label", "label")
    own = {name: column for name, column in fields.items() if name != column}
    if own:
        snapshot["fields"] = own
    told = [f"{redact(source)} was not asked; `tfpipe doctor` does."]
    if snapshot["source"] != source:
        told.append(f"The password stands in no file: export {PASSWORDS[kind]}='…', as it is, not percent-encoded.")
    name = re.split(r"[?]", source.rsplit("/", 1)[-1])[0] or kind
    return Found(name, task, snapshot, told=tuple(told))


def _without_password(source: str, variable: str) -> str:
    """The address with `${NAME}` where a password stood."""
    hidden = redact(source)
    return hidden if hidden == source else hidden.replace("***", f"${{{variable}}}")


def _with_rows(found: Found, settings: SnapshotSettings) -> Found:
    """The same, counted, and checked for what would end the chain later."""
    rows = SOURCES[settings.kind].iter_rows(settings, images_dir=Path(), seed=0)
    per_class: Counter[str] = Counter()
    per_region: Counter[str] = Counter()
    lengths: list[int] = []
    first: list[Row] = []
    for row in rows:
        per_class[row.label] += 1
        if row.region:
            per_region[row.region] += 1
        if found.task == "text":
            lengths.append(len(row.text.split()))
        elif row.path and len(first) < NUM_OPENED:
            first.append(row)
    where = settings.path or Path()
    _check_can_be_learned(per_class, found.task, where)
    min_side = _min_side(first, where) if first else None
    longest = sorted(lengths)[int(0.95 * len(lengths))] if lengths else 0
    told = (*_sentences(per_class, found.task, where, min_side), *found.told)
    return replace(found, per_class=per_class, per_region=per_region, min_side=min_side, num_words=longest, told=told)


def _check_can_be_learned(per_class: Counter[str], task: Task, where: Path) -> None:
    things = THINGS[task]
    if len(per_class) < 2:
        one = next(iter(per_class), "nothing")
        raise DataError(f"{where}: one class only ({one}). A classifier needs two.")
    if max(per_class.values()) < NOT_ENOUGH:
        raise DataError(
            f"{where}: no class has {NOT_ENOUGH} {things}, so none would be left to test on. Collect some more."
        )


def _min_side(rows: Iterable[Row], where: Path) -> int | None:
    """Where most photos are smaller than `audit` usually wants them, a size that nine in ten have; else None."""
    sides, missing = [], []
    for row in islice(rows, NUM_OPENED):
        try:
            with Image.open(row.path) as image:
                sides.append(min(image.size))
        except FileNotFoundError:
            missing.append(row.path)
        except (UnidentifiedImageError, OSError, Image.DecompressionBombError):
            continue
    if missing and not sides:
        raise DataError(f"{where}: {missing[0]} is not there. A relative path is relative to the file's own folder.")
    sides.sort()
    return sides[len(sides) // 10] if sides and sides[len(sides) // 2] < USUAL_MIN_SIDE else None


def _sentences(per_class: Counter[str], task: Task, where: Path, min_side: int | None) -> Iterable[str]:
    things = THINGS[task]
    some = ", ".join(f"{label} {count:,}" for label, count in per_class.most_common(SHOWN_CLASSES))
    more = ", …" if len(per_class) > SHOWN_CLASSES else ""
    yield f"{where}: {per_class.total():,} {things} of {len(per_class):,} classes ({some}{more})."
    rare = [label for label, count in per_class.items() if count < NOT_ENOUGH]
    if rare:
        named = ", ".join(rare[:SHOWN_CLASSES]) + (", …" if len(rare) > SHOWN_CLASSES else "")
        yield f"Of {named} there are less than {NOT_ENOUGH}: one alone is only trained on, two are not validated on."
    if min_side is not None:
        yield f"Most photos are small; `audit.min_side` is set to {min_side} pixels, so that they count."
