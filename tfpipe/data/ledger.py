"""A data set that grows: the ledger of splits that were given, and the new rows that would tear them apart."""

import json
import shutil
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfpipe.core.errors import DataError
from tfpipe.core.files import atomic_open
from tfpipe.core.settings import SplitSettings
from tfpipe.data.assignment import NO_SPLIT, SPLITS, TEST, TRAIN, VALIDATION, SplitNumbers
from tfpipe.data.clusters import Keys, Pairs, find_rows, join_keys, join_pairs, key_of, pairs_alike
from tfpipe.data.rows import iter_documents

BRIDGES_SPLITS = "bridges_splits"
"""The fault of a row that is left out because it joins what was split before."""

ARRIVAL = np.argsort((TEST, VALIDATION, TRAIN, len(SPLITS)))
"""Rank of a row's split, new rows last: of rows that belong together and differ, the later is left out."""


@dataclass(frozen=True)
class Ledger:
    """Which split every row was given, also rows that are gone by now: a line each, after one that tells how."""

    path: Path
    settings: SplitSettings
    seed: int

    def read(self, ids: Keys) -> SplitNumbers:
        """The splits that rows have: (num_rows,), `NO_SPLIT` for new ones, or if they were split by other settings.

        Raises:
            DataError: naming file and line, when a line is not one of ours.
        """
        known_ids, splits = array("Q"), array("b", [NO_SPLIT])
        for number, document in self._lines():
            if document.keys() != {"id", "split"} or document["split"] not in SPLITS:
                raise DataError(f"{self.path}:{number}: no line of a ledger. Remove the file to split all rows anew.")
            known_ids.append(key_of(document["id"]))
            splits.append(SPLITS.index(document["split"]))
        return np.array(splits, np.int8)[find_rows(np.array(known_ids, np.uint64), ids) + 1]

    def append(self, rows: Iterable[tuple[str, str]]) -> None:
        """Add new rows, id and split; a ledger of other settings is begun anew."""
        stands = self._stands()
        with atomic_open(self.path) as file:
            if stands:
                with self.path.open(encoding="utf-8") as old:
                    shutil.copyfileobj(old, file)
            else:
                file.write(json.dumps(self._header) + "\n")
            for row_id, split in rows:
                file.write(json.dumps({"id": row_id, "split": split}, ensure_ascii=False) + "\n")

    @property
    def _header(self) -> dict[str, Any]:
        return {"seed": self.seed} | self.settings.model_dump()

    def _stands(self) -> bool:
        first = next(iter_documents(self.path), None) if self.path.is_file() else None
        return first is not None and first[1] == self._header

    def _lines(self) -> Iterator[tuple[int, dict[str, Any]]]:
        return islice(iter_documents(self.path), 1, None) if self._stands() else iter(())


def settle(
    groups: Keys, contents: Keys, near: Pairs, remembered: SplitNumbers, ids: Keys
) -> tuple[NDArray[np.bool_], NDArray[np.int32]]:
    """Join what belongs together, but for the rows that would join two splits.

    Args:
        groups: (num_rows,) keys.
        contents: (num_rows,) keys.
        near: near duplicates; no more than connect such rows, so that new ones which are alike through a row
            that is left out are left out with it.
        remembered: (num_rows,) the splits that rows have, `NO_SPLIT` for new ones.
        ids: (num_rows,) keys, which decide between new rows.

    Returns:
        The rows to leave out, (num_rows,), and the clusters of the others: (num_rows,), at most one
        remembered split in each. A row that is left out is a cluster of its own.
    """
    num_rows, old = len(ids), remembered != NO_SPLIT
    pairs = pairs_alike(contents, near, last=~old)
    alike = join_pairs(num_rows, pairs)
    torn = _torn(alike, remembered)
    left_out = torn & ~old
    # Old rows were told apart before; what joins them now must be among themselves.
    alike_before = join_pairs(num_rows, pairs[old[pairs].all(axis=1)])
    columns = [groups, (np.where(torn, num_rows + alike_before, alike) + 1).astype(np.uint64)]
    left_out[_bridges(_without(columns, left_out), remembered, ids)] = True
    return left_out, join_keys(_without(columns, left_out))


def _bridges(columns: Sequence[Keys], remembered: SplitNumbers, ids: Keys) -> list[int]:
    """Rows to leave out so that no cluster has two splits: one row after the other is let in, if it fits."""
    torn = np.flatnonzero(_torn(join_keys(columns), remembered))
    rank = ARRIVAL[remembered[torn]]
    clusters = _Growing()
    return [
        row
        for row in torn[np.lexsort((ids[torn], rank))].tolist()
        if not clusters.take_in([(n, int(keys[row])) for n, keys in enumerate(columns) if keys[row]], remembered[row])
    ]


class _Growing:
    """Keys joined by the rows taken in so far, each cluster with its split."""

    def __init__(self) -> None:
        self._parents: dict[tuple[int, int], tuple[int, int]] = {}
        self._splits: dict[tuple[int, int], int] = {}

    def take_in(self, keys: list[tuple[int, int]], split: int) -> bool:
        """Join the keys, unless they, or the row's own split, have different splits."""
        roots = {self._root(key) for key in keys}
        splits = {self._splits.get(root, NO_SPLIT) for root in roots} | {int(split)}
        splits.discard(NO_SPLIT)
        if len(splits) > 1:
            return False
        first = min(roots)
        self._parents |= dict.fromkeys(roots, first)
        self._splits[first] = max(splits, default=NO_SPLIT)
        return True

    def _root(self, key: tuple[int, int]) -> tuple[int, int]:
        while (parent := self._parents.setdefault(key, key)) != key:
            self._parents[key] = self._parents[parent]
            key = parent
        return key


def _torn(clusters: NDArray[np.int32], remembered: SplitNumbers) -> NDArray[np.bool_]:
    """(num_rows,): whether the row's cluster has rows of different splits."""
    present = [np.bincount(clusters, remembered == split) > 0 for split in range(len(SPLITS))]
    torn: NDArray[np.bool_] = (np.sum(present, axis=0) > 1)[clusters]
    return torn


def _without(columns: Sequence[Keys], left_out: NDArray[np.bool_]) -> list[Keys]:
    return [np.where(left_out, np.uint64(0), keys) for keys in columns]
