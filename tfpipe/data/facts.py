"""Facts: what the audit knows of each row's image or text. `facts.jsonl` has a line a row, in the rows' order."""

import json
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

from tfpipe.core.errors import DataError
from tfpipe.data.rows import iter_documents


@dataclass(frozen=True)
class Facts:
    """What is known of one row's image or text."""

    id: str
    fault: str = ""
    """Why the row cannot be used, in a word; empty if it can."""
    path: str = ""
    """Where the image lies, be it the row's own or a downloaded one."""
    sha256: str = ""
    """Of the image's bytes, or of the normalised text: rows that share it are exact duplicates."""
    phash: str = ""
    """64-bit perceptual hash, 16 hex digits."""
    width: int = 0
    """In pixels, as stored: before the image is turned upright."""
    height: int = 0
    mode: str = ""
    """Colour mode, as Pillow names it."""
    format: str = ""
    orientation: int = 1
    """EXIF's; 1 is upright."""
    num_bytes: int = 0
    num_chars: int = 0

    def to_json(self) -> str:
        """One line of JSON; fields that are empty are left out."""
        return json.dumps({name: value for name, value in vars(self).items() if value or name == "fault"})


KNOWN_FACTS = frozenset(field.name for field in fields(Facts))


def iter_facts(path: Path) -> Iterator[Facts]:
    """Read the facts of all rows, in the rows' order.

    Raises:
        DataError: naming file and line, when a line is not one of ours.
    """
    for number, document in iter_documents(path):
        if "id" not in document or not document.keys() <= KNOWN_FACTS:
            raise DataError(f"{path}:{number}: not a line of facts. Run `tfpipe audit --force` to write them anew.")
        yield Facts(**document)


def normalised_text(text: str) -> str:
    """The text as duplicates are told by: compatible characters, letters without case, single spaces."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())
