"""Clusters: joined by keys and pairs as a walk from row to row would, and keys that are the same everywhere."""

import random
import subprocess
import sys

import numpy as np
import pytest

from tfpipe.data.clusters import find_rows, join_keys, join_pairs, key_of, pairs_alike, pairs_of_rows

NUM_ROWS = 60


def walked(neighbours: list[set[int]]) -> set[frozenset[int]]:
    """The clusters, by walking from row to row."""
    found = set()
    for row in range(len(neighbours)):
        cluster, waiting = set(), [row]
        while waiting:
            reached = waiting.pop()
            if reached not in cluster:
                cluster.add(reached)
                waiting += neighbours[reached]
        found.add(frozenset(cluster))
    return found


def clusters(numbers: np.ndarray) -> set[frozenset[int]]:
    return {frozenset(np.flatnonzero(numbers == number).tolist()) for number in numbers}


@pytest.mark.parametrize("seed", range(10))
def test_rows_are_joined_by_keys_and_by_pairs_as_a_walk_reaches_them(seed: int) -> None:
    draw = random.Random(seed)
    columns = [np.array([draw.choice([0, draw.randrange(1, 50)]) for _ in range(NUM_ROWS)], np.uint64) for _ in "ab"]
    pairs = np.array([[draw.randrange(NUM_ROWS), draw.randrange(NUM_ROWS)] for _ in range(25)])
    by_key = [
        {o for o in range(NUM_ROWS) if any(keys[o] == keys[row] != 0 for keys in columns)} for row in range(NUM_ROWS)
    ]
    by_pair = [{int(o) for pair in pairs if row in pair for o in pair} for row in range(NUM_ROWS)]
    assert clusters(join_keys(columns)) == walked(by_key)
    assert clusters(join_pairs(NUM_ROWS, pairs)) == walked(by_pair)
    assert len(walked(by_key)) < NUM_ROWS


def test_no_rows_and_no_pairs_are_no_clusters_and_single_ones() -> None:
    nothing = np.empty((0, 2), np.int64)
    assert join_pairs(3, nothing).tolist() == [0, 1, 2]
    assert join_keys([np.zeros(3, np.uint64)]).tolist() == [0, 1, 2]


@pytest.mark.parametrize("seed", range(10))
def test_one_row_speaks_for_its_content_and_the_last_only_where_there_is_no_other(seed: int) -> None:
    draw = random.Random(seed)
    contents = np.array([draw.randrange(20) for _ in range(NUM_ROWS)], np.uint64)
    last = np.array([draw.random() < 0.5 for _ in range(NUM_ROWS)])
    near = np.array([[draw.randrange(NUM_ROWS), draw.randrange(NUM_ROWS)] for _ in range(10)])
    pairs = pairs_alike(contents, near, last=last)
    for (one, other), said in zip(near, pairs[: len(near)], strict=True):
        assert all(contents[a] == contents[b] for a, b in zip((one, other), said, strict=True))
        assert not any(last[b] and contents[b] and not last[contents == contents[b]].all() for b in said)
    linked = [{b for b in range(NUM_ROWS) if contents[b] == contents[row] != 0} for row in range(NUM_ROWS)]
    for one, other in near:
        linked[one].add(int(other))
        linked[other].add(int(one))
    assert clusters(join_pairs(NUM_ROWS, pairs)) == walked(linked)


def test_rows_are_found_by_their_keys() -> None:
    ids = np.array([7, 3, 9, 5], np.uint64)
    assert find_rows(ids, np.array([[9, 4], [7, 10]], np.uint64)).tolist() == [[2, -1], [0, -1]]
    assert find_rows(ids[:0], ids).tolist() == [-1, -1, -1, -1]
    assert find_rows(ids, ids[:0]).tolist() == []


def test_pairs_of_ids_are_pairs_of_rows_where_both_are_there() -> None:
    ids = np.array([key_of(name) for name in "abc"], np.uint64)
    assert pairs_of_rows(ids, [("c", "a"), ("a", "x"), ("b", "c")]).tolist() == [[2, 0], [1, 2]]
    assert pairs_of_rows(ids, []).shape == (0, 2)


def test_a_key_is_the_same_in_every_process_and_none_for_nothing() -> None:
    script = "from tfpipe.data.clusters import key_of; print(key_of('Viola × alba'))"
    other = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert key_of("Viola × alba") == int(other)
    assert key_of("") == 0
    assert key_of("\ud800") not in (0, key_of("?"))
    assert len({key_of(str(number)) for number in range(1000)}) == 1000
