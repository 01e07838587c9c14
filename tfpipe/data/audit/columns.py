"""Columns: what is kept of each row, a few numbers, so that millions of rows fit into memory."""

from array import array
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from tfpipe.data.audit.letters import count_letters
from tfpipe.data.clusters import Keys, key_of
from tfpipe.data.facts import Facts
from tfpipe.data.rows import Row

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
NONE = -1
"""The code of what a row does not have."""


class Words:
    """A column of words, each kept once: `names[codes[i]]` is the word of row i."""

    def __init__(self) -> None:
        self._code_of: dict[str, int] = {}
        self._codes = array("i")

    def append(self, word: str) -> None:
        """Add the next row's word."""
        self._codes.append(self._code_of.setdefault(word, len(self._code_of)))

    @cached_property
    def names(self) -> list[str]:
        """Each word once, in order of appearance."""
        return list(self._code_of)

    @cached_property
    def codes(self) -> Ints:
        """(num_rows,) indices into `names`."""
        return np.array(self._codes, np.int64)

    def is_word(self, word: str) -> Bools:
        """(num_rows,) where the rows have this word."""
        return self.codes == self._code_of.get(word, NONE)

    def counts(self, of: Bools) -> dict[str, int]:
        """Rows of each word among some rows, the most frequent first; words of no row count 0."""
        counts = np.bincount(self.codes[of], minlength=len(self.names)).tolist()
        return dict(sorted(zip(self.names, counts, strict=True), key=lambda pair: (-pair[1], pair[0])))


class Numbers:
    """A column of whole numbers."""

    def __init__(self) -> None:
        self._values = array("q")

    def append(self, value: int) -> None:
        """Add the next row's number."""
        self._values.append(value)

    @cached_property
    def values(self) -> Ints:
        """(num_rows,), signed."""
        return np.array(self._values, np.int64)


class Hashes:
    """A column of texts as 64-bit keys; 0 for an empty one.

    Among a million different texts, two have the same key with a chance of 3 in 10⁸.
    """

    def __init__(self) -> None:
        self._keys = array("Q")

    def append(self, text: str) -> None:
        """Add the next row's text."""
        self._keys.append(key_of(text))

    @cached_property
    def keys(self) -> Keys:
        """(num_rows,)."""
        return np.array(self._keys, np.uint64)


@dataclass(frozen=True)
class Columns:
    """What is kept of each row."""

    count_subwords: Callable[[str], int] | None = None
    """Of a text, marks of beginning and end included; None: nobody counts."""
    labels: Words = field(default_factory=Words)
    regions: Words = field(default_factory=Words)
    splits: Words = field(default_factory=Words)
    faults: Words = field(default_factory=Words)
    modes: Words = field(default_factory=Words)
    formats: Words = field(default_factory=Words)
    ids: Hashes = field(default_factory=Hashes)
    groups: Hashes = field(default_factory=Hashes)
    contents: Hashes = field(default_factory=Hashes)
    widths: Numbers = field(default_factory=Numbers)
    heights: Numbers = field(default_factory=Numbers)
    num_bytes: Numbers = field(default_factory=Numbers)
    num_chars: Numbers = field(default_factory=Numbers)
    num_words: Numbers = field(default_factory=Numbers)
    num_subwords: Numbers = field(default_factory=Numbers)
    num_letters: Numbers = field(default_factory=Numbers)
    num_latin_letters: Numbers = field(default_factory=Numbers)

    def append(self, row: Row, facts: Facts) -> None:
        """Add the next row."""
        self.labels.append(row.label)
        self.regions.append(row.region)
        self.splits.append(row.split)
        self.faults.append(facts.fault)
        self.modes.append(facts.mode)
        self.formats.append(facts.format)
        self.ids.append(row.id)
        self.groups.append(row.group)
        self.contents.append(facts.sha256)
        self.widths.append(facts.width)
        self.heights.append(facts.height)
        self.num_bytes.append(facts.num_bytes)
        letters, latin_letters = count_letters(row.text)
        self.num_chars.append(len(row.text))
        self.num_words.append(len(row.text.split()))
        if self.count_subwords:
            self.num_subwords.append(self.count_subwords(row.text))
        self.num_letters.append(letters)
        self.num_latin_letters.append(latin_letters)
