"""The survey: one reading of all rows, and what follows from it."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from tfpipe.core.errors import DataError
from tfpipe.core.settings import AuditSettings
from tfpipe.data.audit.columns import NONE, Bools, Columns, Ints
from tfpipe.data.audit.findings import MAX_EXAMPLES, Found
from tfpipe.data.audit.sets import numbered
from tfpipe.data.audit.variants import Variants, find_variants
from tfpipe.data.clusters import Keys, find_rows, join_pairs, key_of
from tfpipe.data.duplicates import NearDuplicate
from tfpipe.data.facts import Facts
from tfpipe.data.rows import Row

RowTest = Callable[[Row, Facts], bool]
REDO = "They are of another snapshot: run `tfpipe audit --force`."


@dataclass(frozen=True)
class Survey:
    """All rows as columns, and what the rules need to know of them. Arrays are (num_rows,)."""

    settings: AuditSettings
    columns: Columns
    edges: Ints
    """(num_edges, 3): near duplicates, two row numbers and the distance of their hashes."""
    synonyms: Mapping[str, str]
    seen: dict[str, Found]
    """What the rules that look at single rows found on the way."""

    @property
    def num_rows(self) -> int:
        """Of the source, usable or not."""
        return len(self.columns.labels.codes)

    @cached_property
    def usable(self) -> Bools:
        """Rows without a fault: classes and duplicates are counted among these."""
        return self.columns.faults.is_word("")

    @cached_property
    def class_sizes(self) -> dict[str, int]:
        """Usable rows of every label, the most frequent first; 0 where all have faults."""
        return self.columns.labels.counts(self.usable)

    @cached_property
    def label_sizes(self) -> dict[str, int]:
        """Rows of every label, usable or not: a name is a name on a broken photo, too."""
        return self.columns.labels.counts(np.ones(self.num_rows, np.bool_))

    @cached_property
    def variants(self) -> Variants:
        """Labels that are likely one class."""
        return find_variants(self.label_sizes, self.synonyms, rare_below=self.settings.few_below)

    @cached_property
    def classes(self) -> Ints:
        """Codes of labels such that likely variants of one name are equal."""
        names = self.columns.labels.names
        code_of = {name: code for code, name in enumerate(names)}
        # A name proposed by the synonym table may stand on no row.
        codes = [code_of.setdefault(self.variants.accepted(name), len(code_of)) for name in names]
        return np.array(codes, np.int64)[self.columns.labels.codes]

    @cached_property
    def groups(self) -> Ints:
        """Codes of usable rows' groups; `NONE` for the other rows."""
        return numbered(self.columns.groups.keys, self.usable & (self.columns.groups.keys != 0))

    @cached_property
    def contents(self) -> Ints:
        """Codes of usable images or texts: equal for exact duplicates."""
        return numbered(self.columns.contents.keys, self.usable & (self.columns.contents.keys != 0))

    @cached_property
    def clusters(self) -> Ints:
        """Codes of usable images or texts: equal for exact and near duplicates, joined transitively."""
        pairs = self.contents[self.edges[:, :2]]
        joined = join_pairs(int(self.contents.max(initial=NONE)) + 1, pairs[(pairs != NONE).all(axis=1)])
        return np.where(self.contents == NONE, NONE, np.append(joined, NONE)[self.contents])

    @cached_property
    def splits(self) -> Ints:
        """Codes of the splits that the rows came with."""
        return np.where(self.columns.splits.is_word(""), NONE, self.columns.splits.codes)


@dataclass
class _Tally:
    """How often a test held so far, and where first."""

    test: RowTest
    count: int = 0
    rows: list[tuple[int, ...]] = field(default_factory=list)

    def look(self, number: int, row: Row, facts: Facts) -> None:
        if self.test(row, facts):
            self.count += 1
            if len(self.rows) < MAX_EXAMPLES:
                self.rows.append((number,))


def take_survey(
    pairs: Iterable[tuple[Row, Facts]],
    edges: Iterable[NearDuplicate],
    *,
    tests: Mapping[str, RowTest],
    settings: AuditSettings,
    synonyms: Mapping[str, str],
    count_subwords: Callable[[str], int] | None = None,
) -> Survey:
    """Read all rows once.

    Raises:
        DataError: when a row and its facts, or a near duplicate and the rows, do not belong together.
    """
    columns = Columns(count_subwords)
    tallies = {name: _Tally(test) for name, test in tests.items()}
    for number, (row, facts) in enumerate(pairs):
        if row.id != facts.id:
            raise DataError(f"row {number + 1} is {row.id!r}, its facts are of {facts.id!r}. {REDO}")
        columns.append(row, facts)
        for tally in tallies.values():
            tally.look(number, row, facts)
    seen = {name: Found(tally.count, tuple(tally.rows)) for name, tally in tallies.items()}
    return Survey(settings, columns, _numbered(edges, columns.ids.keys), synonyms, seen)


def _numbered(edges: Iterable[NearDuplicate], ids: Keys) -> Ints:
    """(num_edges, 3): row numbers in place of ids."""
    fields = (number for edge in edges for number in (key_of(edge.one), key_of(edge.other), edge.distance))
    keys = np.fromiter(fields, np.uint64).reshape(-1, 3)
    rows = find_rows(ids, keys[:, :2])
    if (rows < 0).any():
        line = int((rows < 0).any(axis=1).argmax()) + 1
        raise DataError(f"near duplicate {line} names an id that no row has. {REDO}")
    return np.column_stack([rows, keys[:, 2].astype(np.int64)])
