"""What a person wishes, who is asked for the rest, and what things are called."""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from tfpipe.core.settings import RowField, Task


class Ask(Protocol):
    """Gives the answer to a question; where nobody is there to be asked, the usual one."""

    def __call__(self, option: str, question: str, usual: str | None, choices: Sequence[str] = ()) -> str:
        """Raises where there is nobody and no usual answer, naming the option that would have told it."""


@dataclass(frozen=True)
class Wish:
    """What was said on the command line; empty where nothing was."""

    source: str = ""
    path: Path | None = None
    task: Task | None = None
    name: str = ""
    fields: dict[RowField, str] = field(default_factory=dict)
    """Row field → the source's own name for it."""
    metadata: Path | None = None
    """Of a folder of photos: a CSV that tells of their regions and groups."""
    collection: str = ""
    query: str = ""
    region: str = ""
    """Of a second teacher."""
    weights: str = ""
    """To start from."""


@dataclass(frozen=True)
class Place:
    """Where the files go, and what the runs and the data set are called."""

    folder: Path
    dataset: str
    run_prefix: str
    """Before the stems of settings files, in the names of runs."""
    is_told: bool
    """Whether the names of runs must stand in the files, since they do not follow from where those lie."""

    def path(self, name: str) -> str:
        """A file's path as it is typed."""
        return (self.folder / name).as_posix()

    def run_name(self, name: str) -> str:
        """What `runs/<name>` a settings file has."""
        return f"{self.run_prefix}{Path(name).stem}"


def place_of(folder: Path, name: str) -> Place:
    """Names for what a folder will hold.

    Below a folder `configs` a settings file is named by its path, elsewhere by its stem alone,
    which two folders would share.
    """
    parts = folder.resolve().parts
    below = parts[len(parts) - parts[::-1].index("configs") :] if "configs" in parts else None
    if below is not None and all(re.fullmatch(r"[\w-][\w.-]*", part) for part in below):
        return Place(folder, slug(name), "".join(f"{part}-" for part in below), is_told=False)
    return Place(folder, slug(name), f"{slug(folder.resolve().name)}-", is_told=True)


def slug(name: str) -> str:
    """In small letters, digits and underscores, beginning with a letter: `Flores del Sur` → `flores_del_sur`."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    parts = re.sub(r"[^a-z0-9]+", "_", plain).strip("_")
    return parts if re.match("[a-z]", parts) else f"data_{parts}".rstrip("_")
