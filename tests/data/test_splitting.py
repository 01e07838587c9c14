"""Splits: nothing that belongs together is torn apart, shares are kept class by class, and the seed decides."""

import random
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace

import pytest

from tfpipe.core.errors import DataError
from tfpipe.core.settings import SplitSettings
from tfpipe.data.rows import Row
from tfpipe.data.splitting import SPLITS, split_rows

SHARES = SplitSettings()


def herd(draw: random.Random, num_rows: int, num_classes: int) -> tuple[list[Row], list[str]]:
    """Rows of plants (`group`), some photographed often, some photos uploaded twice, even under other plants."""
    rows, hashes = [], []
    for index in range(num_rows):
        label = f"class {draw.randrange(num_classes)}"
        group = f"{label} plant {draw.randrange(num_rows // 4)}" if draw.random() < 0.7 else ""
        twin = draw.choice([i for i, row in enumerate(rows) if row.label == label] or [-1])
        is_copy = twin >= 0 and draw.random() < 0.1
        rows.append(Row(id=f"row {index}", label=label, group=group))
        hashes.append(hashes[twin] if is_copy else f"content {index}")
    return rows, hashes


def clusters(rows: Sequence[Row], hashes: Sequence[str]) -> list[set[int]]:
    """What belongs together, by walking from row to row: slow, and nothing like the union-find under test."""
    neighbours = defaultdict(set)
    for index, (row, content) in enumerate(zip(rows, hashes, strict=True)):
        for key in (("content", content), *([("group", row.group)] if row.group else [])):
            neighbours[key].add(index)
    found, seen = [], set()
    for start in range(len(rows)):
        if start in seen:
            continue
        cluster, waiting = set(), [start]
        while waiting:
            index = waiting.pop()
            if index in cluster:
                continue
            cluster.add(index)
            waiting += neighbours["content", hashes[index]]
            waiting += neighbours["group", rows[index].group] if rows[index].group else []
        found.append(cluster)
        seen |= cluster
    return found


@pytest.mark.parametrize("seed", range(20))
def test_nothing_that_is_joined_crosses_a_split(seed: int) -> None:
    rows, hashes = herd(random.Random(seed), 300, 3)
    split = split_rows(rows, hashes, SHARES, seed)
    assert [replace(row, split="") for row in split] == rows
    together = clusters(rows, hashes)
    assert max(len(cluster) for cluster in together) > 2
    for cluster in together:
        assert len({split[index].split for index in cluster}) == 1


def test_joins_are_transitive_through_groups_and_contents() -> None:
    # a and b share a plant, b and c a photo, c and d a plant: all four are one.
    chain = [
        Row(id="a", label="x", group="p"),
        Row(id="b", label="x", group="p"),
        Row(id="c", label="x", group="q"),
        Row(id="d", label="x", group="q"),
    ]
    others = [Row(id=f"o{i}", label="x") for i in range(40)]
    hashes = ["1", "2", "2", "3", *(f"o{i}" for i in range(40))]
    seen = set()
    for seed in range(60):
        split = split_rows([*chain, *others], hashes, SplitSettings(train=0.4, validation=0.3, test=0.3), seed)
        where = {row.split for row in split[:4]}
        assert len(where) == 1
        seen |= where
    assert seen == set(SPLITS)


def test_rows_without_a_group_are_not_one_group() -> None:
    rows = [Row(id=str(i), label="x") for i in range(50)]
    split = split_rows(rows, [str(i) for i in range(50)], SHARES, 0)
    assert len({row.split for row in split}) == 3


@pytest.mark.parametrize("shares", [(0.8, 0.1, 0.1), (0.6, 0.2, 0.2), (0.5, 0.0, 0.5)])
def test_every_class_is_shared_out_as_asked(shares: tuple[float, float, float]) -> None:
    settings = SplitSettings(train=shares[0], validation=shares[1], test=shares[2])
    sizes = {"common": 400, "usual": 100, "rare": 20}
    rows = [Row(id=f"{label} {i}", label=label) for label, size in sizes.items() for i in range(size)]
    split = split_rows(rows, [row.id for row in rows], settings, 1)
    counts = Counter((row.label, row.split) for row in split)
    for label, size in sizes.items():
        for name, share in zip(SPLITS, shares, strict=True):
            # Single rows can always be placed within one of the share.
            assert abs(counts[label, name] - share * size) <= 1


@pytest.mark.parametrize("seed", range(5))
def test_shares_are_near_even_with_plants_of_many_photos(seed: int) -> None:
    draw = random.Random(seed)
    rows = [
        Row(id=f"{label} {plant} {photo}", label=label, group=f"{label} {plant}")
        for label in ("a", "b")
        for plant in range(60)
        for photo in range(draw.randint(1, 6))
    ]
    split = split_rows(rows, [row.id for row in rows], SHARES, seed)
    for label in ("a", "b"):
        counts = Counter(row.split for row in split if row.label == label)
        for name, share in (("train", 0.8), ("validation", 0.1), ("test", 0.1)):
            # A plant has at most six photos, so no split can be further off than one plant.
            assert abs(counts[name] - share * counts.total()) <= 6


def test_the_same_seed_gives_the_same_answer_whatever_the_order_of_rows() -> None:
    rows, hashes = herd(random.Random(0), 200, 3)
    first = {row.id: row.split for row in split_rows(rows, hashes, SHARES, 7)}
    assert {row.id: row.split for row in split_rows(rows, hashes, SHARES, 7)} == first
    order = random.Random(1).sample(range(len(rows)), len(rows))
    shuffled = split_rows([rows[i] for i in order], [hashes[i] for i in order], SHARES, 7)
    assert {row.id: row.split for row in shuffled} == first


def test_another_seed_gives_another_answer() -> None:
    rows = [Row(id=str(i), label="x") for i in range(100)]
    hashes = [row.id for row in rows]
    answers = {tuple(row.split for row in split_rows(rows, hashes, SHARES, seed)) for seed in range(5)}
    assert len(answers) == 5


def test_a_class_of_one_plant_goes_to_train() -> None:
    rows = [Row(id=str(i), label="common") for i in range(50)]
    rows += [Row(id=f"r{i}", label="rare", group="one") for i in range(3)]
    for seed in range(10):
        split = split_rows(rows, [row.id for row in rows], SHARES, seed)
        assert {row.split for row in split if row.label == "rare"} == {"train"}


# Splits that come with the rows


def test_given_splits_are_kept_even_against_the_shares() -> None:
    given = ("train", "train", "validation", "test")
    rows = [Row(id=str(i), label="x", group=f"{name}s", split=name) for i, name in enumerate(given)]
    assert split_rows(rows, ["a", "a", "b", "c"], SHARES, 0) == rows


@pytest.mark.parametrize(("groups", "contents"), [("gg", "ab"), ("gh", "aa")])
def test_given_splits_that_leak_are_refused_by_the_pair(groups: str, contents: str) -> None:
    rows = [Row(id=f"row {g}{s}", label="x", group=g, split=s) for g, s in zip(groups, ("train", "test"), strict=True)]
    with pytest.raises(DataError, match=rf"leak: {rows[0].id} \(train\) and {rows[1].id} \(test\)"):
        split_rows(rows, list(contents), SHARES, 0)


def test_a_row_without_a_split_among_others_is_named() -> None:
    rows = [Row(id="with", label="x", split="train"), Row(id="without", label="x")]
    with pytest.raises(DataError, match="row without: no split, though others have one"):
        split_rows(rows, ["1", "2"], SHARES, 0)


def test_an_unknown_split_is_named_with_those_allowed() -> None:
    rows = [Row(id="a", label="x", split="train"), Row(id="b", label="x", split="dev")]
    with pytest.raises(DataError, match=r"row b: split 'dev'; allowed: train, validation, test \(`val`"):
        split_rows(rows, ["1", "2"], SHARES, 0)


# A class that could not be learned


def test_a_class_that_got_no_row_in_train_is_named() -> None:
    # The lone row of a class goes to the largest share, and that is not train here.
    rows = [Row(id="1", label="common"), Row(id="2", label="common"), Row(id="3", label="lone")]
    settings = SplitSettings(train=0.2, validation=0.8, test=0.0)
    with pytest.raises(DataError, match=r"no train image for .*lone.*label_map"):
        split_rows(rows, ["1", "2", "3"], settings, 0)


def test_a_class_that_was_given_no_row_in_train_is_named() -> None:
    rows = [Row(id="1", label="common", split="train"), Row(id="2", label="lone", split="test")]
    with pytest.raises(DataError, match="no train image for lone"):
        split_rows(rows, ["1", "2"], SHARES, 0)
