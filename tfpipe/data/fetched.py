"""Fetched: what became of each row's image. `fetch.jsonl` has a line a row, in the rows' order."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tfpipe.core.errors import DataError
from tfpipe.data.download.answers import Reason
from tfpipe.data.rows import iter_documents


@dataclass(frozen=True)
class Fetched:
    """What became of one row's image."""

    id: str
    reason: Reason
    url: str = ""
    detail: str = ""
    """Which of the reason's cases it was, in a few words."""
    status: int | None = None
    """Of the last answer."""
    path: str = ""
    """Of the downloaded image; as a row's, to be opened from the working folder."""
    sha256: str = ""
    bytes: int = 0

    def to_json(self) -> str:
        """One line of JSON; fields that are empty are left out."""
        return json.dumps({name: value for name, value in vars(self).items() if value}, ensure_ascii=False)


def iter_fetched(path: Path) -> Iterator[Fetched]:
    """Read what became of all rows, in the rows' order.

    Raises:
        DataError: naming file and line, when a line is not one of ours.
    """
    for number, document in iter_documents(path):
        try:
            yield Fetched(**document | {"reason": Reason(document["reason"])})
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"{path}:{number}: not a line of `fetch`. Run `tfpipe fetch --force` to write it anew."
            ) from error
