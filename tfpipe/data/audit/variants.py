"""Labels that are likely one class under several names, and the name that all of them should have."""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations

from tfpipe.core.errors import DataError
from tfpipe.data.audit.names import difference, folded, is_well_formed, split_author, without_spare_space

SYNONYM_TABLE = "synonym table"
ONE_LETTER = "one letter"
OTHER_AUTHOR = "another author"
SHORTEST_TYPO = 8
"""Characters; in shorter names one letter often makes another name."""
RARE_SHARE = 0.1
"""A typo has at most so many rows for each row of the name it is taken for."""

AUTHOR = "author name"
"""The step of `folded` that takes authors away."""

_LINNAEUS = {"l": "linnaeus"}


@dataclass(frozen=True)
class Variant:
    """What a label should rather be."""

    label: str
    kind: str
    """What tells the two apart, such as `letter case`."""


@dataclass(frozen=True)
class Variants:
    """Label → what it should rather be. No name that is proposed is itself to be replaced."""

    sure: dict[str, Variant]
    unsure: dict[str, Variant]
    """To be looked at first: one letter, or another author, may well make another taxon."""

    def accepted(self, label: str) -> str:
        """The name a label goes by if all proposals are taken."""
        variant = self.unsure.get(label) or self.sure.get(label)
        return variant.label if variant else label


@dataclass(frozen=True)
class _Name:
    """One class: the labels it goes by, and the one it should have."""

    label: str
    members: tuple[str, ...]
    size: int


def find_variants(sizes: Mapping[str, int], synonyms: Mapping[str, str], *, rare_below: int) -> Variants:
    """Compare all labels.

    Args:
        sizes: rows of each label.
        synonyms: names known to be one taxon: synonym → label.
        rare_below: rows below which a label may be a typo.

    Raises:
        DataError: when `synonyms` go in a circle.
    """
    # By exact author, so that a table may tell `Rosa alba Mill.` from `Rosa alba L.`.
    table = {folded(synonym, leaving_out=AUTHOR): label for synonym, label in synonyms.items()}
    target_of = {label: _look_up(label, table) for label in sizes if label.strip()}
    homonyms = [list(_names(labels, target_of, sizes)) for labels in _grouped(target_of)]
    names = [name for group in homonyms for name in group]
    sure = {
        member: Variant(name.label, _kind(member, name.label, target_of))
        for name in names
        for member in name.members
        if member != name.label
    }
    return Variants(sure, _chosen([*_other_authors(homonyms), *_typos(names, rare_below)]))


def one_edit_apart(one: str, other: str) -> bool:
    """Whether one letter added, dropped or changed, or two neighbours swapped, make one the other."""
    short, long = sorted((one, other), key=len)
    start = next((i for i, (a, b) in enumerate(zip(short, long, strict=False)) if a != b), len(short))
    rest, long_rest = short[start:], long[start:]
    if len(short) != len(long):
        return rest == long_rest[1:]
    changed = rest[1:] == long_rest[1:]
    swapped = rest[:2] == long_rest[1::-1] and rest[2:] == long_rest[2:]
    return rest != long_rest and (changed or swapped)


def _look_up(label: str, table: Mapping[str, str]) -> str:
    """The accepted name by the synonym table, followed to its end; the label itself if it is not there.

    Raises:
        DataError: when the table goes in a circle.
    """
    seen = [label]
    while True:
        target = table.get(folded(label, leaving_out=AUTHOR), table.get(folded(label)))
        if target is None or target == label:
            return label
        if target in seen:
            raise DataError(
                f"`audit.synonyms` goes in a circle: {' → '.join([*seen, target])}. Decide for one of them."
            )
        seen.append(target)
        label = target


def _grouped(target_of: Mapping[str, str]) -> Iterable[list[str]]:
    """Labels whose names are the same but for their writing and authors."""
    groups = defaultdict(list)
    for label, target in target_of.items():
        groups[folded(target)].append(label)
    return groups.values()


def _names(labels: list[str], target_of: Mapping[str, str], sizes: Mapping[str, int]) -> Iterator[_Name]:
    """One name, or several where the authors contradict each other: then each may be a taxon of its own."""
    groups = {"": labels}
    if not _authors_agree(target_of[label] for label in labels):
        groups = defaultdict(list)
        for label in labels:
            groups[folded(target_of[label], leaving_out=AUTHOR)].append(label)
    for members in groups.values():
        # A name of the table is right even where no row has it yet.
        known = {target_of[label] for label in members if target_of[label] != label}
        best = max(sorted(known or members), key=lambda label: (sizes.get(label, 0), is_well_formed(label)))
        yield _Name(best, tuple(members), sum(sizes[label] for label in members))


def _authors_agree(names: Iterable[str]) -> bool:
    found = {_surnames(split_author(without_spare_space(name))[1]) for name in names}
    return all(_same_people(one, other) for one, other in combinations(sorted(filter(None, found)), 2))


def _surnames(authors: str) -> tuple[str, ...]:
    words = re.findall(r"[^\W\d_]+", authors.casefold())
    return tuple(_LINNAEUS.get(word, word) for word in words if word not in ("et", "ex", "in", "f", "fil"))


def _same_people(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    """Whether each of the fewer authors stands, perhaps abbreviated, among the others."""
    fewer, more = sorted((one, other), key=len)
    return all(any(a.startswith(b) or b.startswith(a) for b in more) for a in fewer)


def _kind(member: str, label: str, target_of: Mapping[str, str]) -> str:
    return difference(member, label) if folded(member) == folded(label) else SYNONYM_TABLE


def _other_authors(homonyms: list[list[_Name]]) -> Iterator[tuple[_Name, _Name, str]]:
    for names in homonyms:
        largest = max(names, key=lambda name: name.size)
        yield from ((name, largest, OTHER_AUTHOR) for name in names if name is not largest)


def _chosen(proposals: list[tuple[_Name, _Name, str]]) -> dict[str, Variant]:
    """The first proposal for each name, and none of, or for, a name that another proposal needs or replaces."""
    unsure: dict[str, Variant] = {}
    models = set()
    for name, model, kind in proposals:
        if model.label not in unsure and name.label not in models:
            models.add(model.label)
            unsure |= {member: Variant(model.label, kind) for member in {*name.members, name.label}}
    return unsure


def _typos(names: list[_Name], rare_below: int) -> Iterator[tuple[_Name, _Name, str]]:
    """Rare names one letter from a frequent one, the most frequent first."""
    by_shorter = defaultdict(list)
    for name in names:
        key = folded(name.label)
        # Rarer names are nobody's model: this bounds the table where every row has a label of its own.
        if name.size >= 1 / RARE_SHARE and len(key) >= SHORTEST_TYPO - 1:
            for shorter in _shortened(key):
                by_shorter[shorter].append((name, key))
    for name in sorted(names, key=lambda name: -name.size):
        key = folded(name.label)
        if name.size < rare_below and len(key) >= SHORTEST_TYPO:
            near = {other.label: other for s in _shortened(key) for other, k in by_shorter[s] if _is_slip(key, k)}
            models = [other for other in near.values() if name.size <= RARE_SHARE * other.size]
            if models:
                yield name, max(models, key=lambda other: (other.size, other.label)), ONE_LETTER


def _shortened(key: str) -> set[str]:
    """The key, and the key without each of its letters: two keys one edit apart share one of these."""
    return {key, *(key[:i] + key[i + 1 :] for i in range(len(key)))}


def _is_slip(one: str, other: str) -> bool:
    """One edit apart, and not in a number: `plot 11` is no slip for `plot 12`."""
    return one_edit_apart(one, other) and re.sub(r"\D", "", one) == re.sub(r"\D", "", other)
