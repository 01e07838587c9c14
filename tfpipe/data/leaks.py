"""Leaks: rows of different splits that belong together. Any splits file can be judged, whoever made it."""

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tfpipe.core.errors import DataError
from tfpipe.core.files import sha256_bytes
from tfpipe.data.assignment import NO_SPLIT, SPLITS, TEST, TRAIN, VALIDATION, SplitNumbers
from tfpipe.data.clusters import Keys, find_rows, join_pairs, key_of, pairs_alike
from tfpipe.data.facts import normalised_text
from tfpipe.data.rows import iter_documents
from tfpipe.data.splitting import Columns, split_number
from tfpipe.data.tables import iter_records

NUM_NAMED = 10
SAME_ID = "same id"

Shared = Mapping[str, Keys]
"""What rows may share, in words → (num_rows,) keys, 0 for rows without."""


class Leak(NamedTuple):
    """Two rows, by their numbers, that share something and stand in different splits."""

    one: int
    other: int
    shared: str


class Claim(NamedTuple):
    """A row of a splits file, as far as leaks go."""

    id: str
    split: int
    group: str
    content: str
    """The sha256 of its image or text, where the file tells."""
    path: str


class Claims(NamedTuple):
    """A splits file as columns, (num_rows,) each."""

    splits: SplitNumbers
    ids: Keys
    groups: Keys
    contents: Keys
    paths: Keys


class Known(NamedTuple):
    """What the audit knows, (num_rows,) each."""

    ids: Keys
    shared: Shared


def find_leaks(shared: Shared, splits: SplitNumbers) -> list[Leak]:
    """For everything shared, the first rows of each two splits that it stands in.

    There are none if and only if no cluster, however joined, crosses splits.
    """
    leaks: dict[tuple[int, int], Leak] = {}
    for name, keys in shared.items():
        rows = np.flatnonzero((keys != 0) & (splits != NO_SPLIT))
        owners = np.unique(keys[rows], return_inverse=True)[1]
        places, first = np.unique(owners * len(SPLITS) + splits[rows], return_index=True)
        again = np.flatnonzero(np.diff(places // len(SPLITS)) == 0)
        for pair in zip(rows[first[again]].tolist(), rows[first[again + 1]].tolist(), strict=True):
            leaks.setdefault((min(pair), max(pair)), Leak(min(pair), max(pair), name))
    return sorted(leaks.values())


def num_also_in_train(shared: Shared, splits: SplitNumbers) -> dict[str, int]:
    """Rows of the other splits that share something with a row in train."""
    also = np.zeros(len(splits), np.bool_)
    for keys in shared.values():
        also |= (keys != 0) & np.isin(keys, keys[splits == TRAIN])
    return {SPLITS[split]: int((also & (splits == split)).sum()) for split in (VALIDATION, TEST)}


def describe(leaks: Sequence[Leak], splits: SplitNumbers, ids: Iterable[str]) -> str:
    """How many there are, and a line for each of the first few, by their ids, which are those of all rows in order."""
    named = leaks[:NUM_NAMED]
    wanted = {row for leak in named for row in (leak.one, leak.other)}
    names = {row: f"{name} ({SPLITS[splits[row]]})" for row, name in enumerate(ids) if row in wanted}
    pairs = [f"{names[leak.one]} and {names[leak.other]}: {leak.shared}" for leak in named]
    more = f"and {len(leaks) - NUM_NAMED:,} more" if len(leaks) > NUM_NAMED else ""
    return "\n  ".join([f"{len(leaks):,} pairs of rows cross splits:", *pairs, *filter(None, [more])])


def shared_by_rows(columns: Columns, left_out: NDArray[np.bool_]) -> dict[str, Keys]:
    """What the audit knows rows to share.

    Args:
        columns: the rows.
        left_out: (num_rows,) rows that make no others near duplicates.
    """
    pairs = pairs_alike(columns.contents, columns.near, last=left_out)
    alike = join_pairs(len(columns.ids), pairs[~left_out[pairs].any(axis=1)]) + 1
    return {"same group": columns.groups, "same content": columns.contents, "near duplicates": alike.astype(np.uint64)}


def shared_by_claims(claims: Claims, known: Known | None) -> dict[str, Keys]:
    """What the rows of a splits file share, by what it says itself and by what the audit knows."""
    own = {"same group": claims.groups, "same content": claims.contents}
    alone = {SAME_ID: claims.ids, "same file": claims.paths}
    if known is None:
        return own | alone
    place = find_rows(known.ids, claims.ids)
    audited = {name: np.append(keys, np.uint64(0))[place] for name, keys in known.shared.items()}
    # What the audit saw is surer than what a file says, but for groups, which someone may have mended.
    contents = np.where(audited["same content"] != 0, audited["same content"], own["same content"])
    groups = np.where(own["same group"] != 0, own["same group"], audited["same group"])
    return audited | {"same group": groups, "same content": contents} | alone


def read_claims(path: Path, fields: Mapping[str, str]) -> Claims:
    """Read a splits file, JSON Lines or CSV, into columns.

    Args:
        path: each row has `split`, and any of `id`, `group`, `sha256`, `text`, `path`.
        fields: other names that these may have.

    Raises:
        DataError: naming file and line, when a line cannot be read or has no known split.
    """
    splits, *columns = array("b"), *(array("Q") for _ in range(4))
    for row_id, split, *texts in iter_claims(path, fields):
        splits.append(split)
        for column, text in zip(columns, (row_id, *texts), strict=True):
            column.append(key_of(text))
    if not splits:
        raise DataError(f"{path}: no rows.")
    return Claims(np.asarray(splits, np.int8), *(np.asarray(column, np.uint64) for column in columns))


def iter_claims(path: Path, fields: Mapping[str, str]) -> Iterator[Claim]:
    """The rows of a splits file; those without an id are known by their line."""
    if not path.is_file():
        raise DataError(f"{path}: no such file.")
    documents = iter_records(path) if path.suffix.lower() == ".csv" else iter_documents(path)
    for number, document in documents:
        yield _claim(document, fields, f"{path}:{number}", f"line {number}")


def _claim(document: Mapping[str, Any], fields: Mapping[str, str], where: str, line: str) -> Claim:
    def value(field: str) -> str:
        found = document.get(fields.get(field, field), document.get(field))
        return "" if found is None else str(found).strip()

    text = normalised_text(value("text"))
    return Claim(
        id=value("id") or value("_id") or line,
        split=split_number(value("split"), where),
        group=value("group"),
        content=value("sha256") or (sha256_bytes(text.encode(errors="surrogatepass")) if text else ""),
        path=value("path"),
    )
