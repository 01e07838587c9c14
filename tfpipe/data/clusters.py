"""What belongs together: rows that share a key or a pair, joined transitively, in arrays alone."""

from collections.abc import Iterable, Sequence
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

Keys = NDArray[np.uint64]
"""(num_rows,) 64-bit hashes; 0 where a row has none."""
Pairs = NDArray[np.int64]
"""(num_pairs, 2) row numbers."""


def key_of(text: str) -> int:
    """64 bits that stand for a text, the same in every process; 0 for none."""
    return int.from_bytes(blake2b(text.encode(errors="surrogatepass"), digest_size=8).digest(), "little") if text else 0


def join_pairs(num_rows: int, pairs: Pairs) -> NDArray[np.int32]:
    """Number the clusters: (num_rows,), equal where a path of pairs leads from row to row."""
    links = coo_array((np.ones(len(pairs), np.bool_), (pairs[:, 0], pairs[:, 1])), shape=(num_rows, num_rows))
    clusters: NDArray[np.int32] = connected_components(links, directed=False)[1]
    return clusters


def join_keys(columns: Sequence[Keys]) -> NDArray[np.int32]:
    """Number the clusters: (num_rows,), equal where rows share a key of a column, or rows between them do."""
    pairs = np.concatenate([_pairs_by_key(keys) for keys in columns])
    return join_pairs(len(columns[0]), pairs)


def pairs_alike(contents: Keys, near: Pairs, *, last: NDArray[np.bool_]) -> Pairs:
    """Pairs that connect rows of one content, and near duplicates.

    Args:
        contents: (num_rows,).
        near: near duplicates, each content spoken for by any of its rows.
        last: (num_rows,) rows that in the result do so only where there is no other.
    """
    order = np.argsort(last, kind="stable")
    _, first, inverse = np.unique(contents[order], return_index=True, return_inverse=True)
    speaker = np.empty(len(contents), np.int64)
    speaker[order] = order[first[inverse]]
    speaker = np.where(contents != 0, speaker, np.arange(len(contents)))
    return np.concatenate([speaker[near], np.stack([np.arange(len(contents)), speaker], axis=1)])


def find_rows(ids: Keys, wanted: Keys) -> NDArray[np.int64]:
    """Where each wanted key stands in `ids`, in the shape of `wanted`; -1 if nowhere."""
    if not len(ids):
        return np.full(wanted.shape, -1, np.int64)
    order = np.argsort(ids, kind="stable")
    place = order[np.minimum(np.searchsorted(ids, wanted, sorter=order), len(ids) - 1)]
    return np.where(ids[place] == wanted, place, -1)


def pairs_of_rows(ids: Keys, pairs: Iterable[tuple[str, str]]) -> Pairs:
    """Pairs of ids as row numbers, without those of which a row is not there."""
    wanted = np.fromiter((key_of(name) for pair in pairs for name in pair), np.uint64).reshape(-1, 2)
    found = find_rows(ids, wanted)
    return found[(found >= 0).all(axis=1)]


def _pairs_by_key(keys: Keys) -> Pairs:
    """Each row with the first of its key."""
    rows = np.flatnonzero(keys)
    _, first, inverse = np.unique(keys[rows], return_index=True, return_inverse=True)
    return np.stack([rows, rows[first][inverse]], axis=1)
