"""Leaks: any splits file is judged by all it says and all the audit knows, and what is found is named."""

import csv
import json
import random
from collections import defaultdict
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tfpipe.core.errors import DataError
from tfpipe.core.files import sha256_bytes
from tfpipe.data.clusters import key_of
from tfpipe.data.facts import Facts
from tfpipe.data.leaks import (
    Known,
    Leak,
    describe,
    find_leaks,
    iter_claims,
    num_also_in_train,
    read_claims,
    shared_by_claims,
    shared_by_rows,
)
from tfpipe.data.rows import Row
from tfpipe.data.splitting import gather

TRAIN, VALIDATION, TEST = 0, 1, 2


def keys(words: str) -> np.ndarray:
    """A letter a row; a blank for none."""
    return np.array([key_of(word.strip()) for word in words], np.uint64)


def found(path: Path, known: Known | None = None) -> list[tuple[str, str, str]]:
    """The leaks of a file, by ids."""
    claims = read_claims(path, {})
    ids = [claim.id for claim in iter_claims(path, {})]
    return [(ids[a], ids[b], shared) for a, b, shared in find_leaks(shared_by_claims(claims, known), claims.splits)]


def write_jsonl(path: Path, *rows: dict[str, Any]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def test_the_first_rows_of_each_two_splits_are_named() -> None:
    splits = np.array([TRAIN, TRAIN, TEST, TEST, VALIDATION, TRAIN], np.int8)
    assert find_leaks({"same letter": keys("aaaaab")}, splits) == [Leak(0, 4, "same letter"), Leak(2, 4, "same letter")]
    assert find_leaks({"same letter": keys("aabb c")}, splits) == []
    assert find_leaks({"same letter": keys("      ")}, splits) == []


def test_a_pair_that_shares_twice_is_one_pair() -> None:
    splits = np.array([TRAIN, TEST], np.int8)
    assert find_leaks({"one": keys("aa"), "two": keys("bb")}, splits) == [Leak(0, 1, "one")]


@pytest.mark.parametrize("seed", range(10))
def test_there_are_leaks_exactly_where_a_walk_from_row_to_row_crosses_splits(seed: int) -> None:
    draw = random.Random(seed)
    words = ["".join(draw.choice(" abcdefghijklmnopqrstuvwxyz") for _ in range(12)) for _ in range(2)]
    linked = defaultdict(set)
    for word in words:
        for one, other in combinations(range(12), 2):
            if word[one] == word[other] != " ":
                linked[one].add(other)
                linked[other].add(one)
    cluster_of: dict[int, int] = {}
    for row in range(12):
        waiting = [row]
        while waiting:
            reached = waiting.pop()
            if reached not in cluster_of:
                cluster_of[reached] = row
                waiting += linked[reached]
    shared = {"first": keys(words[0]), "second": keys(words[1])}
    whole = np.array([cluster_of[row] % 3 for row in range(12)], np.int8)
    assert find_leaks(shared, whole) == []
    torn = whole.copy()
    moved = draw.choice([row for row in range(12) if linked[row]])
    torn[moved] = (torn[moved] + 1) % 3
    assert moved in {row for leak in find_leaks(shared, torn) for row in leak[:2]}


def test_rows_with_one_in_train_are_counted_once() -> None:
    splits = np.array([TRAIN, TRAIN, TEST, TEST, TEST, VALIDATION, VALIDATION], np.int8)
    shared = {"one": keys("aba  bc"), "two": keys("xyxz zy")}
    assert num_also_in_train(shared, splits) == {"validation": 2, "test": 1}


def test_a_leak_is_described_by_ids_and_splits_and_many_by_their_number() -> None:
    splits = np.array([TRAIN, TEST] * 13, np.int8)
    leaks = [Leak(2 * n, 2 * n + 1, "same group") for n in range(13)]
    lines = describe(leaks, splits, (f"id {n}" for n in range(26))).splitlines()
    assert lines[0] == "13 pairs of rows cross splits:"
    assert lines[1] == "  id 0 (train) and id 1 (test): same group"
    assert lines[11:] == ["  and 3 more"]
    assert describe(leaks[:1], splits, ["a", "b"]).splitlines()[1:] == ["  a (train) and b (test): same group"]


# Files


@pytest.mark.parametrize(
    ("one", "other", "shared"),
    [
        ({"group": "p"}, {"group": "p"}, "same group"),
        ({"group": 7}, {"group": "7"}, "same group"),
        ({"sha256": "ab"}, {"sha256": "ab"}, "same content"),
        ({"text": "I feel  Ｆine\n"}, {"text": "i feel fine"}, "same content"),
        ({"path": "a.jpg"}, {"path": "a.jpg"}, "same file"),
        ({"id": "1"}, {"id": "1"}, "same id"),
        ({"_id": "1"}, {"_id": "1"}, "same id"),
    ],
)
def test_a_file_is_judged_by_what_it_says_itself(
    tmp_path: Path, one: dict[str, Any], other: dict[str, Any], shared: str
) -> None:
    path = tmp_path / "splits.jsonl"
    write_jsonl(path, one | {"split": "train"}, {"group": "q", "text": "b", "split": "test"}, other | {"split": "val"})
    ((_, _, told),) = found(path)
    assert told == shared
    write_jsonl(path, one | {"split": "val"}, other | {"split": "validation"})
    assert found(path) == []


def test_what_is_not_said_is_not_shared(tmp_path: Path) -> None:
    path = tmp_path / "splits.jsonl"
    write_jsonl(path, {"split": "train", "group": None, "text": " "}, {"split": "test", "group": "", "path": None})
    assert found(path) == []


def test_a_csv_file_is_judged_too_and_rows_without_an_id_are_known_by_their_line(tmp_path: Path) -> None:
    path = tmp_path / "splits.csv"
    path.write_text('text,split\n"i feel,\nfine",train\nother,test\n"I feel, fine",test\n')
    assert found(path) == [("line 2", "line 5", "same content")]


def test_a_random_split_of_the_diaries_leaks_as_the_data_say(shared: Path, tmp_path: Path) -> None:
    """With the plan's random row split, about 26.9 % of the test texts also stand in train."""
    with (shared / "data" / "moodjournal" / "entradas.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    random.Random(42).shuffle(rows)
    names = ["train"] * 4898 + ["val"] * 612 + ["test"] * 612
    path = tmp_path / "splits.jsonl"
    told = [{"id": row["id_entrada"], "text": row["texto_diario"]} for row in rows]
    write_jsonl(path, *(row | {"split": name} for row, name in zip(told, names, strict=True)))
    texts = [" ".join(row["texto_diario"].lower().split()) for row in rows]
    also = sum(text in set(texts[:4898]) for text in texts[-612:])
    claims = read_claims(path, {})
    shared_keys = shared_by_claims(claims, None)
    assert num_also_in_train(shared_keys, claims.splits)["test"] == also
    assert also / 612 == pytest.approx(0.269, abs=0.03)
    assert find_leaks(shared_keys, claims.splits)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('{"id": "b", "split": "dev"}', r"splits\.jsonl:2: split 'dev'; allowed: train, validation, test \(`val`"),
        ('{"id": "b"}', r"splits\.jsonl:2: split ''; allowed"),
        ('{"id": "b", "spl', r"splits\.jsonl:2: not JSON"),
        ("[1]", r"splits\.jsonl:2: expected a JSON object"),
    ],
)
def test_a_line_that_cannot_be_read_is_named(tmp_path: Path, line: str, told: str) -> None:
    path = tmp_path / "splits.jsonl"
    path.write_text(f'{{"id": "a", "split": "train"}}\n{line}\n')
    with pytest.raises(DataError, match=told):
        read_claims(path, {})


def test_a_file_that_is_not_there_or_empty_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"splits\.jsonl: no such file"):
        read_claims(tmp_path / "splits.jsonl", {})
    (tmp_path / "splits.jsonl").write_text("\n")
    with pytest.raises(DataError, match=r"splits\.jsonl: no rows"):
        read_claims(tmp_path / "splits.jsonl", {})


# What the audit knows


def audit(*rows: tuple[str, str, str], near: tuple[tuple[str, str], ...] = (), left_out: tuple[str, ...] = ()) -> Known:
    """Of rows: id, group and content."""
    pairs = [(Row(id=i, label="x", group=group), Facts(i, sha256=content)) for i, group, content in rows]
    columns = gather(pairs, near)
    return Known(columns.ids, shared_by_rows(columns, np.array([i in left_out for i, _, _ in rows])))


def test_a_file_of_ids_alone_is_judged_by_what_the_audit_knows(tmp_path: Path) -> None:
    known = audit(
        ("a", "p", "A"), ("b", "p", "B"), ("c", "", "C"), ("d", "", "C"), ("e", "", "E"), ("f", "", "F"),
        near=(("f", "e"),),
    )  # fmt: skip
    path = tmp_path / "splits.jsonl"
    splits = {"a": "train", "b": "test", "c": "train", "d": "test", "e": "train", "f": "test", "unknown": "test"}
    write_jsonl(path, *({"id": i, "split": split} for i, split in splits.items()))
    assert found(path, None) == []
    assert found(path, known) == [("a", "b", "same group"), ("c", "d", "same content"), ("e", "f", "near duplicates")]


def test_near_duplicates_count_also_through_rows_that_the_file_leaves_out(tmp_path: Path) -> None:
    rows, near = (("a", "", "A"), ("b", "", "B"), ("c", "", "C")), (("a", "b"), ("b", "c"))
    path = tmp_path / "splits.jsonl"
    write_jsonl(path, {"id": "a", "split": "train"}, {"id": "c", "split": "test"})
    assert found(path, audit(*rows, near=near)) == [("a", "c", "near duplicates")]
    # But not through a row that `split` left out for that very reason.
    assert found(path, audit(*rows, near=near, left_out=("b",))) == []


def test_a_copy_is_a_near_duplicate_of_what_the_first_is(tmp_path: Path) -> None:
    known = audit(("a", "", "A"), ("copy", "", "A"), ("b", "", "B"), near=(("a", "b"),), left_out=("a",))
    path = tmp_path / "splits.jsonl"
    write_jsonl(path, {"id": "copy", "split": "train"}, {"id": "b", "split": "test"})
    assert found(path, known) == [("copy", "b", "near duplicates")]


def test_texts_of_the_file_and_of_the_audit_are_compared(tmp_path: Path) -> None:
    path = tmp_path / "splits.jsonl"
    write_jsonl(path, {"id": "a", "split": "train"}, {"id": "new", "text": "I  feel fine", "split": "test"})
    assert found(path, audit(("a", "", sha256_bytes(b"i feel blue")))) == []
    assert found(path, audit(("a", "", sha256_bytes(b"i feel fine")))) == [("a", "new", "same content")]
