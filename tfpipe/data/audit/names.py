"""Names as a botanist compares them: without the differences in writing that mean nothing."""

import re
import unicodedata
from collections.abc import Callable

RANKS = {
    "subsp.": "subsp.",
    "subsp": "subsp.",
    "ssp.": "subsp.",
    "ssp": "subsp.",
    "var.": "var.",
    "var": "var.",
    "f.": "f.",
    "fo.": "f.",
    "forma": "f.",
}
"""Marks of a rank below the species; the word that follows belongs to the name."""

JOINS = frozenset({"&", "et", "ex", "in", "f.", "fil."})
"""Between and after authors."""

MISAPPLIED = frozenset({"auct.", "auct", "sensu", "non", "nec"})
"""After these stands who used the name for another plant, so the author is part of what it means."""

SHORTEST_FOLDED = 3
"""Characters; shorter labels keep their case: `A` and `a` may be two letters to tell apart."""

_SPACES = re.compile(r"\s+")
_JOINED_WORDS = re.compile(r"(?<=[^\W\d_])-(?=[^\W\d_])|\s*_[\s_]*")
_HYBRID_SIGN = re.compile(r"(?:^|(?<=\s))×\s*|(?<=\s)[xX]\s+(?=[^\W\d_])")
_ACCENTED_LATIN = re.compile(r"([A-Za-z])[\u0300-\u036f]+")
_YEAR = re.compile(r"\(?\d{4}\)?,?")


def folded(label: str, *, leaving_out: str = "") -> str:
    """The label after all `STEPS` but the one named; labels that become equal are likely one name."""
    for name, step in STEPS.items():
        if name != leaving_out:
            label = step(label)
    return label


def difference(one: str, other: str) -> str:
    """What tells two labels apart that fold to the same: `letter case`, `accents and author name` and so on."""
    needed = [name for name in STEPS if folded(one, leaving_out=name) != folded(other, leaving_out=name)]
    return " and ".join(needed) or "spelling"


def split_author(name: str) -> tuple[str, str]:
    """The name alone, and the authors that stood in it.

    Only a name that begins like a species', `Bellis perennis`, can have any; from
    its third word on, what begins with a capital or a bracket and a capital is an author.
    """
    words = name.split(" ")
    if not _begins_like_a_species(words) or MISAPPLIED & set(words):
        return name, ""
    kept = words[:2]
    authors: list[str] = []
    rest = iter(zip(words[2:], [*words[3:], ""], strict=True))
    for word, following in rest:
        if word in RANKS and following[:1].islower():
            kept += [RANKS[word], following]
            next(rest)
        elif word.removeprefix("(")[:1].isupper() or (authors and (word in JOINS or _YEAR.fullmatch(word))):
            authors.append(word)
        else:
            kept.append(word)
    return " ".join(kept), " ".join(authors)


def is_well_formed(label: str) -> bool:
    """Whether it reads like `Bellis perennis`: one capital, at its beginning, and no underscores."""
    return label[:1].isupper() and not any(letter.isupper() or letter == "_" for letter in label[1:])


def without_spare_space(label: str) -> str:
    """Compatible characters made one, and single spaces."""
    return _SPACES.sub(" ", unicodedata.normalize("NFKC", label)).strip()


def _begins_like_a_species(words: list[str]) -> bool:
    """`Bellis perennis` and more; a genus in small letters only before an abbreviation, the mark of an author."""
    if len(words) < 3:
        return False
    genus, epithet, *others = words
    is_genus = genus.istitle() or (genus.islower() and any("." in word for word in others))
    return is_genus and genus.isalpha() and epithet.isalpha() and epithet.islower() and len(epithet) > 1


def _without_accents(label: str) -> str:
    # Only from Latin letters: in other scripts such a mark makes another letter.
    bare = _ACCENTED_LATIN.sub(r"\1", unicodedata.normalize("NFKD", label))
    return unicodedata.normalize("NFKC", bare)


STEPS: dict[str, Callable[[str], str]] = {
    "underscores or hyphens": lambda label: _JOINED_WORDS.sub(" ", label),
    "white space": without_spare_space,
    "hybrid sign": lambda label: _HYBRID_SIGN.sub("", label),
    "author name": lambda label: split_author(label)[0],
    "accents": _without_accents,
    "letter case": lambda label: label if len(label) < SHORTEST_FOLDED else label.casefold(),
}
"""What is taken from a label, in this order: the author stands behind what the first three tidy up."""
