"""Leak-free splits: what belongs together stays together."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace

from tfpipe.core.errors import DataError
from tfpipe.core.files import sha256_bytes
from tfpipe.core.settings import SplitSettings
from tfpipe.data.rows import Row

SPLITS = ("train", "validation", "test")


def split_rows(rows: Sequence[Row], content_hashes: Sequence[str], settings: SplitSettings, seed: int) -> list[Row]:
    """Give every row its split.

    Rows of one `group`, and rows whose images are the same bytes, are joined,
    transitively. Class by class, the joined sets go, in an order drawn from the
    seed, to the split that is furthest below its share of that class.

    If the rows come with splits, those are kept.

    Raises:
        DataError: when given splits are unknown, incomplete or leak, or a class has no row in train.
    """
    if any(row.split for row in rows):
        _check_given(rows)
        _check_train_has_every_class(rows)
        _check_nothing_crosses(_joined(rows, content_hashes), rows)
        return list(rows)
    shares = {name: getattr(settings, name) for name in SPLITS}
    split_of = _assign(_joined(rows, content_hashes), rows, shares, seed)
    split = [replace(row, split=split_of[index]) for index, row in enumerate(rows)]
    _check_train_has_every_class(split)
    return split


def _joined(rows: Sequence[Row], content_hashes: Sequence[str]) -> list[list[int]]:
    """Indices of rows that belong together, by union-find over groups and contents."""
    parents = list(range(len(rows)))

    def root(index: int) -> int:
        while parents[index] != index:
            parents[index] = parents[parents[index]]
            index = parents[index]
        return index

    first_with: dict[tuple[str, str], int] = {}
    for index, (row, content_hash) in enumerate(zip(rows, content_hashes, strict=True)):
        for key in (("group", row.group), ("content", content_hash)):
            if key[1]:
                parents[root(index)] = root(first_with.setdefault(key, index))
    sets = defaultdict(list)
    for index in range(len(rows)):
        sets[root(index)].append(index)
    return list(sets.values())


def _assign(sets: list[list[int]], rows: Sequence[Row], shares: dict[str, float], seed: int) -> dict[int, str]:
    def drawn(members: list[int]) -> str:
        return sha256_bytes(f"{seed}:{min(rows[i].id for i in members)}".encode())

    counts: dict[str, Counter[str]] = defaultdict(Counter)
    split_of: dict[int, str] = {}
    for members in sorted(sets, key=drawn):
        label = Counter(rows[i].label for i in members).most_common(1)[0][0]
        count = counts[label]
        total = sum(count.values()) + len(members)
        # The largest shortfall takes the set; on a tie the first of SPLITS, so a lone set goes to train.
        split = max(SPLITS, key=lambda name: (shares[name] * total - count[name], shares[name]))
        count[split] += len(members)
        split_of |= dict.fromkeys(members, split)
    return split_of


def _check_given(rows: Sequence[Row]) -> None:
    for row in rows:
        if row.split not in SPLITS:
            found = f"split {row.split!r}" if row.split else "no split, though others have one"
            raise DataError(f"row {row.id}: {found}; allowed: {', '.join(SPLITS)} (`val` is accepted).")


def _check_nothing_crosses(sets: list[list[int]], rows: Sequence[Row]) -> None:
    for members in sets:
        other = next((i for i in members if rows[i].split != rows[members[0]].split), None)
        if other is not None:
            one, two = rows[members[0]], rows[other]
            raise DataError(
                f"the given splits leak: {one.id} ({one.split}) and {two.id} ({two.split}) share a group or the same "
                "bytes. Mend them, or drop the `split` field to have the rows split anew."
            )


def _check_train_has_every_class(rows: Sequence[Row]) -> None:
    missing = {row.label for row in rows} - {row.label for row in rows if row.split == "train"}
    if missing:
        raise DataError(
            f"no train image for {', '.join(sorted(missing))}: every class needs one. "
            "Add photos of other plants, or give the class another label with `snapshot.label_map`."
        )
