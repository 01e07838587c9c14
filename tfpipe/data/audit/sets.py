"""Sets of rows, as arrays of codes: which are repeated, and which mix what should not mix."""

from collections import defaultdict

import numpy as np

from tfpipe.data.audit.columns import NONE, Bools, Ints
from tfpipe.data.clusters import Keys


def numbered(keys: Keys, known: Bools) -> Ints:
    """(num_rows,) codes from 0 for equal keys; `NONE` where they are not known."""
    codes = np.full(len(keys), NONE, np.int64)
    codes[known] = np.unique(keys[known], return_inverse=True)[1]
    return codes


def repeats(values: Ints | Keys, known: Bools) -> Ints:
    """Numbers of the rows whose value an earlier row has, in order, among the known ones."""
    rows = np.flatnonzero(known)
    first = np.unique(values[rows], return_index=True)[1]
    return np.delete(rows, first)


def mixed(sets: Ints, values: Ints, *, at_least: int = 2) -> Ints:
    """The sets whose rows have at least so many different values, unknown ones aside."""
    known = (sets != NONE) & (values != NONE)
    width = int(values.max(initial=0)) + 1
    pairs = np.unique(sets[known] * width + values[known])
    found, num_values = np.unique(pairs // width, return_counts=True)
    return found[num_values >= at_least]


def first_to_appear(chosen: Ints, sets: Ints) -> Ints:
    """These sets, in the order of their first rows."""
    codes, first = np.unique(sets, return_index=True)
    return chosen[np.argsort(first[np.searchsorted(codes, chosen)])]


def rows_by_value(sets: Ints, values: Ints, chosen: int) -> list[list[int]]:
    """The rows of a set by their value, the commonest value first."""
    rows = defaultdict(list)
    for row in np.flatnonzero((sets == chosen) & (values != NONE)).tolist():
        rows[int(values[row])].append(row)
    return sorted(rows.values(), key=len, reverse=True)
