"""Leak-free splits: what belongs together stays together, and what had a split keeps it."""

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tfpipe.core.errors import DataError
from tfpipe.core.settings import SplitSettings
from tfpipe.data.assignment import (
    NO_SPLIT,
    NOT_LEARNED,
    SPLITS,
    TRAIN,
    VALIDATION,
    Clusters,
    SplitNumbers,
    deal,
    summarise,
)
from tfpipe.data.clusters import Keys, Pairs, key_of, pairs_of_rows
from tfpipe.data.facts import Facts
from tfpipe.data.ledger import BRIDGES_SPLITS, settle
from tfpipe.data.rows import Row


@dataclass(frozen=True)
class Columns:
    """What splitting must know of the rows, a column each: (num_rows,)."""

    ids: Keys
    groups: Keys
    contents: Keys
    labels: NDArray[np.int64]
    """Places in `classes`."""
    given: SplitNumbers
    """The splits that the rows come with."""
    classes: list[str]
    """Sorted."""
    near: Pairs
    """Rows whose images are nearly the same."""

    def unjoined(self) -> "Columns":
        """The same rows, as if none had to do with another."""
        none = np.zeros_like(self.groups)
        return replace(self, groups=none, contents=none, near=self.near[:0])


def gather(rows: Iterable[tuple[Row, Facts]], near_duplicates: Iterable[tuple[str, str]]) -> Columns:
    """Read rows into columns, some forty bytes a row.

    Args:
        rows: each with its facts.
        near_duplicates: pairs of ids; those of which a row is not there are passed over.

    Raises:
        DataError: when a row comes with an unknown split.
    """
    ids, groups, contents, labels, given = (array(kind) for kind in "QQQqb")
    numbers: dict[str, int] = {}
    for row, facts in rows:
        ids.append(key_of(row.id))
        groups.append(key_of(row.group))
        contents.append(key_of(facts.sha256))
        labels.append(numbers.setdefault(row.label, len(numbers)))
        given.append(split_number(row.split, f"row {row.id}") if row.split else NO_SPLIT)
    classes, labels_in_order = in_alphabetical_order(numbers, labels)
    return Columns(
        ids=np.array(ids),
        groups=np.array(groups),
        contents=np.array(contents),
        labels=labels_in_order,
        given=np.array(given),
        classes=classes,
        near=pairs_of_rows(np.array(ids), near_duplicates),
    )


def in_alphabetical_order(numbers: dict[str, int], labels: Sequence[int]) -> tuple[list[str], NDArray[np.int64]]:
    """The classes, sorted, and each row's label as a place among them.

    Args:
        numbers: class → number, in the order of appearance.
        labels: (num_rows,) such numbers.
    """
    classes = sorted(numbers)
    place = np.argsort(np.array([numbers[label] for label in classes], np.int64))
    return classes, place[np.array(labels, np.int64)]


def split_number(name: str, where: str) -> int:
    """The place of a split's name in `SPLITS`; `val` is accepted.

    Raises:
        DataError: when it is none.
    """
    if name == "val":
        return VALIDATION
    if name not in SPLITS:
        raise DataError(f"{where}: split {name!r}; allowed: {', '.join(SPLITS)} (`val` is accepted).")
    return SPLITS.index(name)


LEFT_OUT = {NO_SPLIT: BRIDGES_SPLITS, NOT_LEARNED: "class_not_in_train"}
"""Faults of rows that get no split: they join what was split before, or nothing of their class may go to train."""


@dataclass(frozen=True)
class Split:
    """The splits of the rows."""

    numbers: SplitNumbers
    """(num_rows,); a key of `LEFT_OUT` where there is none."""
    num_clusters: int


def split_rows(
    columns: Columns, settings: SplitSettings, *, seed: int, remembered: SplitNumbers | None = None
) -> Split:
    """Give every row a split.

    Rows of one group, of one content, and near duplicates are joined,
    transitively. Such a cluster counts for the class of most of its rows, and has
    a draw: a hash of the seed and its group, else its content. Neither the order
    of the rows nor other rows have a part in it.

    A class's clusters, in the order of their draws, go to test while they fit
    into what test lacks of its share, then the smallest that is left if that
    brings it nearer; then the same for validation; the rest is train's. So a class
    of one cluster is train's alone; one of two gives its smaller to test; one of
    three or more gives at least one each to test and validation. Whether a share
    is rounded up or down is decided by what the split lacks over the smaller
    classes. Last, a class that only has rows in clusters of other classes, none of
    them in train, gets the smallest of these into train; if all of them had other
    splits before, its rows are left out.

    Args:
        columns: the rows.
        settings: the shares.
        seed: of the draws.
        remembered: (num_rows,) the splits that rows had before; they keep them, and their clusters follow.
    """
    known = np.full(len(columns.ids), NO_SPLIT, np.int8) if remembered is None else remembered
    left_out, joined = settle(columns.groups, columns.contents, columns.near, known, columns.ids)
    kept = np.flatnonzero(~left_out)
    numbers = np.full(len(known), NO_SPLIT, np.int8)
    clusters_of_kept = np.unique(joined[kept], return_inverse=True)[1]
    labels = columns.labels[kept]
    clusters = summarise(clusters_of_kept, labels, _stable_keys(columns)[kept], known[kept], seed)
    dealt = deal(clusters, np.array([getattr(settings, name) for name in SPLITS]))
    _give_train_every_class(dealt, clusters, clusters_of_kept, labels)
    numbers[kept] = dealt[clusters_of_kept]
    numbers[kept[np.isin(labels, not_in_train(labels, numbers[kept]))]] = NOT_LEARNED
    return Split(numbers, len(dealt))


def not_in_train(labels: NDArray[np.int64], splits: SplitNumbers) -> NDArray[np.int64]:
    """The classes that have rows, but none in train: they could not be learned."""
    return np.setdiff1d(labels, labels[splits == TRAIN])


def _stable_keys(columns: Columns) -> Keys:
    return np.where(columns.groups != 0, columns.groups, np.where(columns.contents != 0, columns.contents, columns.ids))


def _give_train_every_class(
    dealt: SplitNumbers, clusters: Clusters, cluster_of_row: NDArray[np.int64], labels: NDArray[np.int64]
) -> None:
    """Move a cluster into train for each class that has rows, but none there."""
    for label in not_in_train(labels, dealt[cluster_of_row]):
        holders = np.unique(cluster_of_row[labels == label])
        free = holders[clusters.known[holders] == NO_SPLIT]
        if len(free):
            dealt[free[np.lexsort((clusters.drawn[free], clusters.sizes[free]))[0]]] = TRAIN
