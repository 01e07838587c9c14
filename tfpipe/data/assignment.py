"""Which split gets which cluster: class by class, as near to the shares as the clusters' sizes allow."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tfpipe.data.clusters import Keys, key_of

SPLITS = ("train", "validation", "test")
TRAIN, VALIDATION, TEST = range(3)
NO_SPLIT = -1
NOT_LEARNED = -2
SplitNumbers = NDArray[np.int8]
"""Places in `SPLITS`; negative where there is none."""

ROUNDING = 0.49
"""Clusters by which a class may round its share up or down, to make up for other classes."""


@dataclass(frozen=True)
class Clusters:
    """What is joined, (num_clusters,) each."""

    sizes: NDArray[np.int64]
    """Rows."""
    labels: NDArray[np.int64]
    """The label that most of the rows have; of equals, the first."""
    drawn: Keys
    """A draw that depends on the seed and the cluster's own keys alone."""
    known: SplitNumbers
    """The splits that some have already."""


def summarise(
    clusters: NDArray[np.int32], labels: NDArray[np.int64], keys: Keys, known: SplitNumbers, seed: int
) -> Clusters:
    """Tell of each cluster what dealing asks.

    Args:
        clusters: (num_rows,) each row's cluster, numbered from 0 without gaps.
        labels: (num_rows,) class numbers.
        keys: (num_rows,) hashes of what stays the same when rows are added, such as the group.
        known: (num_rows,) splits that rows have already; one at most in a cluster.
        seed: of the draws.
    """
    num_clusters = int(clusters.max()) + 1
    drawn = np.full(num_clusters, np.iinfo(np.uint64).max, np.uint64)
    np.minimum.at(drawn, clusters, _mixed(keys, seed))
    splits = np.full(num_clusters, NO_SPLIT, np.int8)
    np.maximum.at(splits, clusters, known)
    return Clusters(np.bincount(clusters), _majority(clusters, labels), drawn, splits)


def deal(clusters: Clusters, shares: NDArray[np.float64]) -> SplitNumbers:
    """Give every cluster a split, (num_clusters,); those that have one keep it.

    Args:
        clusters: of all classes.
        shares: (3,) in the order of `SPLITS`.
    """
    dealt = clusters.known.copy()
    order = np.lexsort((clusters.drawn, clusters.labels))
    starts = np.flatnonzero(np.diff(clusters.labels[order], prepend=-1))
    classes = np.split(order, starts[1:])
    lacking = np.zeros(len(SPLITS))
    # The small classes first: those that follow can make up for them.
    for members in sorted(classes, key=len):
        sizes = clusters.sizes[members]
        dealt[members] = _deal_class(sizes.tolist(), dealt[members].tolist(), shares, lacking)
        lacking += shares * sizes.sum() - np.bincount(dealt[members], sizes, len(SPLITS))
    return dealt


def _deal_class(
    sizes: list[int], splits: list[int], shares: NDArray[np.float64], lacking: NDArray[np.float64]
) -> list[int]:
    """Deal the clusters of one class, which come in the order of their draws."""
    splits = list(splits)
    rounding = ROUNDING * sum(sizes) / len(sizes)
    for split in (TEST, VALIDATION):
        held = sum(size for size, of in zip(sizes, splits, strict=True) if of == split)
        wanted = shares[split] * sum(sizes) + min(max(lacking[split], -rounding), rounding)
        if shares[split] > 0:
            _fill(split, wanted - held, sizes, splits)
    return [TRAIN if split == NO_SPLIT else split for split in splits]


def _fill(split: int, shortfall: float, sizes: list[int], splits: list[int]) -> None:
    """Give a split the free clusters that bring it nearest to its share; one at least, but never train's last."""
    spare = splits.count(NO_SPLIT) + splits.count(TRAIN) - 1
    for index, size in enumerate(sizes):
        if spare and splits[index] == NO_SPLIT and size <= shortfall:
            splits[index] = split
            shortfall -= size
            spare -= 1
    free = [index for index, of in enumerate(splits) if of == NO_SPLIT]
    if spare and free:
        smallest = min(free, key=sizes.__getitem__)
        if sizes[smallest] < 2 * shortfall or split not in splits:
            splits[smallest] = split


def _majority(clusters: NDArray[np.int32], labels: NDArray[np.int64]) -> NDArray[np.int64]:
    num_classes = int(labels.max()) + 1
    pairs, counts = np.unique(clusters * np.int64(num_classes) + labels, return_counts=True)
    owners, candidates = np.divmod(pairs, num_classes)
    order = np.lexsort((candidates, -counts, owners))
    return candidates[order][np.unique(owners[order], return_index=True)[1]]


def _mixed(keys: Keys, seed: int) -> Keys:
    """Another draw for every seed; the mixing is that of SplitMix64 (Steele, Lea and Flood 2014)."""
    mixed = keys + np.uint64(key_of(f"seed {seed}"))
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))
