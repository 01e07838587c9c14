"""Near duplicates: which images show one photo, though their bytes differ."""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import minimum_spanning_tree

from tfpipe.core.errors import DataError
from tfpipe.core.files import atomic_open
from tfpipe.core.progress import say
from tfpipe.data.clusters import Pairs, join_pairs
from tfpipe.data.hamming import Hashes, count_different_bits, iter_close_pairs
from tfpipe.data.rows import iter_documents

BATCH = 2**20
"""Candidates judged together."""
MOST_CANDIDATES = 2**24
"""Candidates that are no duplicates; each takes some 10 µs, and 20 bytes. Where more are expected, fewer bits may
differ."""
SAMPLE = 8192
"""Rows that tell how many are to be expected."""
SEED = 8
ROUNDS = 8
"""Different pictures of one hash that are told apart before the search."""

NO_PAIRS: Pairs = np.empty((0, 2), np.int64)
AreAlike = Callable[[Pairs], NDArray[np.bool_]]
"""(num_pairs,): which pairs of rows are duplicates."""


@dataclass(frozen=True)
class NearDuplicate:
    """Two rows, by their ids, whose images are nearly the same."""

    one: str
    other: str
    distance: int
    """Bits in which their perceptual hashes differ."""


def write_near_duplicates(edges: Iterable[NearDuplicate], path: Path) -> int:
    """Write JSON Lines, whole or not at all; returns how many."""
    count = 0
    with atomic_open(path) as file:
        for edge in edges:
            file.write(json.dumps(asdict(edge)) + "\n")
            count += 1
    return count


def iter_near_duplicates(path: Path) -> Iterator[NearDuplicate]:
    """Read pairs that connect every cluster of near duplicates. A row stands for all that have its bytes, too.

    Raises:
        DataError: naming file and line, when a line is not one of ours.
    """
    for number, document in iter_documents(path):
        try:
            yield NearDuplicate(**document)
        except TypeError as error:
            raise DataError(
                f"{path}:{number}: no pair of near duplicates. Run `tfpipe audit --force` to write them anew."
            ) from error


def find_duplicates(hashes: Hashes, are_alike: AreAlike, *, max_bits: int, title: str) -> Pairs:
    """Pairs that connect every cluster of duplicates: as few as that takes, and the closest of those.

    Args:
        hashes: (num_rows,).
        are_alike: asked of pairs whose hashes differ in at most `max_bits`.
        max_bits: of 64.
        title: beside the bar.
    """
    rows, joined = _collapse_equals(hashes, are_alike)
    max_bits = _affordable_bits(hashes, rows, are_alike, max_bits)
    judge = _Judge(hashes, are_alike, joined)
    waiting = [NO_PAIRS]

    def wanted(pairs: Pairs) -> NDArray[np.bool_]:
        return judge.is_open(rows[pairs])

    for pairs in iter_close_pairs(hashes[rows], wanted, max_bits=max_bits, title=title):
        waiting.append(rows[pairs])
        if sum(map(len, waiting)) >= BATCH:
            judge.look_at(np.concatenate(waiting))
            waiting = waiting[:1]
    judge.look_at(np.concatenate(waiting))
    return judge.joined


def _collapse_equals(hashes: Hashes, are_alike: AreAlike) -> tuple[NDArray[np.int64], Pairs]:
    """Let a row stand for those of its hash that are like it: a hundred thousand equals have too many pairs.

    Returns:
        The rows that stand for all, and the pairs that were found to be alike.
    """
    left, standing, joined = np.arange(len(hashes)), [], []
    for _ in range(ROUNDS):
        _, firsts, hash_numbers = np.unique(hashes[left], return_index=True, return_inverse=True)
        standing.append(left[firsts])
        pairs = np.stack([left[firsts][hash_numbers], left], axis=1)
        pairs = pairs[pairs[:, 0] != pairs[:, 1]]
        alike = are_alike(pairs)
        joined.append(pairs[alike])
        left = pairs[~alike, 1]
    # A hash that so many different pictures share, blank ones, say, tells nothing of those that are left.
    return np.sort(np.concatenate(standing)), np.concatenate(joined)


def _affordable_bits(hashes: Hashes, rows: NDArray[np.int64], are_alike: AreAlike, max_bits: int) -> int:
    """`max_bits`, or fewer where there would be too many candidates; a sample of the rows tells."""
    some = np.random.default_rng(SEED).permutation(rows)[:SAMPLE]
    close = iter_close_pairs(hashes[some], _all_of, max_bits=max_bits, title="sampling")
    pairs = some[np.concatenate([NO_PAIRS, *close])]
    stride = len(pairs) // SAMPLE + 1
    pairs = pairs[::stride]
    # Those that are alike are joined early, and their like not looked at again.
    distances = count_different_bits(hashes, pairs[~are_alike(pairs)])
    share = stride * (len(rows) / max(len(some), 1)) ** 2
    expected = share * np.bincount(distances, minlength=max_bits + 1).cumsum()
    affordable = max(0, int((expected <= MOST_CANDIDATES).sum()) - 1)
    if affordable < max_bits:
        crowd = f"{expected[max_bits]:,.0f} pairs of images that differ have hashes within {max_bits} bits"
        say(f"  {crowd}; looking at those within {affordable}")
    return affordable


def _all_of(pairs: Pairs) -> NDArray[np.bool_]:
    return np.ones(len(pairs), np.bool_)


class _Judge:
    """Asks of each candidate once, and not of two rows that are in one cluster already."""

    def __init__(self, hashes: Hashes, are_alike: AreAlike, joined: Pairs) -> None:
        self._hashes, self._are_alike = hashes, are_alike
        self._rejected = np.empty(0, np.int64)
        self._join(joined)

    def is_open(self, pairs: Pairs) -> NDArray[np.bool_]:
        """(num_pairs,): which have rows of two clusters."""
        clusters = self._clusters
        return clusters[pairs[:, 0]] != clusters[pairs[:, 1]]

    def look_at(self, pairs: Pairs) -> None:
        """Judge what is new, in the order of the rows."""
        pairs = pairs[self.is_open(pairs)]
        numbers = np.unique(pairs.min(axis=1) * len(self._hashes) + pairs.max(axis=1))
        numbers = numbers[~_are_in(numbers, self._rejected)]
        pairs = np.stack(np.divmod(numbers, len(self._hashes)), axis=1)
        alike = self._are_alike(pairs)
        self._join(np.concatenate([self.joined, pairs[alike]]))
        self._rejected = np.union1d(self._rejected, numbers[~alike])

    def _join(self, pairs: Pairs) -> None:
        self.joined = _spanning_forest(self._hashes, pairs)
        self._clusters = join_pairs(len(self._hashes), self.joined)


def _are_in(values: NDArray[np.int64], ordered: NDArray[np.int64]) -> NDArray[np.bool_]:
    places = np.searchsorted(ordered, values)
    return np.append(ordered, -1)[places] == values


def _spanning_forest(hashes: Hashes, pairs: Pairs) -> Pairs:
    """The closest pairs that connect as much as all do."""
    pairs = np.unique(np.sort(pairs, axis=1), axis=0)
    # A weight of 0 would mean no pair.
    weights = count_different_bits(hashes, pairs) + 1.0
    graph = coo_array((weights, (pairs[:, 0], pairs[:, 1])), shape=(len(hashes), len(hashes)))
    forest = minimum_spanning_tree(graph.tocsr()).tocoo()
    chosen: Pairs = np.unique(np.stack([forest.row, forest.col], axis=1).astype(np.int64), axis=0)
    return chosen
