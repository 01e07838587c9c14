"""Near duplicates: clusters as comparing each with each would find them, told by as few pairs as that takes."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components
from test_hamming import random_hashes, turned

from tfpipe.core.errors import DataError
from tfpipe.data import duplicates
from tfpipe.data.duplicates import (
    AreAlike,
    NearDuplicate,
    find_duplicates,
    iter_near_duplicates,
    write_near_duplicates,
)
from tfpipe.data.hamming import Hashes, count_different_bits

Pictures = NDArray[np.int64]
"""(num_rows,): which picture a row shows."""


def showing(pictures: Pictures) -> AreAlike:
    return lambda pairs: pictures[pairs[:, 0]] == pictures[pairs[:, 1]]


def families(rng: np.random.Generator, num_families: int, size: int) -> tuple[Hashes, Pictures]:
    """Pictures with a chain of copies, each a few bits from the one before; shuffled."""
    generations = [random_hashes(rng, num_families)]
    for _ in range(size - 1):
        generations.append(turned(generations[-1], rng.integers(0, 5, num_families), rng))
    order = rng.permutation(num_families * size)
    return np.concatenate(generations)[order], np.tile(np.arange(num_families), size)[order]


def brute_clusters(hashes: Hashes, are_alike: AreAlike, max_bits: int) -> NDArray[np.int32]:
    near = np.bitwise_count(hashes[:, None] ^ hashes) <= max_bits
    pairs = np.argwhere(near)
    near[tuple(pairs[~are_alike(pairs)].T)] = False
    return connected_components(near, directed=False)[1]


def partition(clusters: NDArray[np.int32]) -> set[frozenset[int]]:
    members: dict[int, set[int]] = {}
    for row, cluster in enumerate(clusters.tolist()):
        members.setdefault(cluster, set()).add(row)
    return {frozenset(rows) for rows in members.values()}


def clusters_of(num_rows: int, pairs: NDArray[np.int64]) -> NDArray[np.int32]:
    linked = np.zeros((num_rows, num_rows), bool)
    linked[pairs[:, 0], pairs[:, 1]] = True
    return connected_components(linked, directed=False)[1]


@pytest.mark.parametrize("max_bits", [0, 2, 4, 8])
def test_the_pairs_connect_what_comparing_all_connects_and_are_a_forest(max_bits: int) -> None:
    hashes, pictures = families(np.random.default_rng(max_bits), 300, 5)
    pairs = find_duplicates(hashes, showing(pictures), max_bits=max_bits, title="test")
    expected = partition(brute_clusters(hashes, showing(pictures), max_bits))
    assert partition(clusters_of(len(hashes), pairs)) == expected
    assert len(pairs) == len(hashes) - len(expected) > 0
    assert count_different_bits(hashes, pairs).max() <= max_bits


def test_a_sample_too_large_to_compare_all_is_connected_all_the_same() -> None:
    hashes, pictures = families(np.random.default_rng(0), 6000, 3)
    pairs = find_duplicates(hashes, showing(pictures), max_bits=6, title="test")
    assert (pictures[pairs[:, 0]] == pictures[pairs[:, 1]]).all()
    # 4 bits at most from one generation to the next, so that each family is one cluster.
    assert len(pairs) == len(hashes) - 6000


def test_close_hashes_alone_make_no_duplicates() -> None:
    hashes, _ = families(np.random.default_rng(0), 100, 3)
    assert not len(find_duplicates(hashes, lambda pairs: np.zeros(len(pairs), bool), max_bits=8, title="test"))


def test_different_pictures_of_one_hash_are_told_apart() -> None:
    pictures = np.array([0, 1, 2, 0, 1, 2, 0, 3])
    pairs = find_duplicates(np.zeros(8, np.uint64), showing(pictures), max_bits=4, title="test")
    assert partition(clusters_of(8, pairs)) == {
        frozenset({0, 3, 6}),
        frozenset({1, 4}),
        frozenset({2, 5}),
        frozenset({7}),
    }


def test_a_hundred_thousand_equals_take_no_time() -> None:
    rng = np.random.default_rng(0)
    asked = Counter()

    def alike(pairs: NDArray[np.int64]) -> NDArray[np.bool_]:
        asked["pairs"] += len(pairs)
        return np.ones(len(pairs), bool)

    hashes = np.concatenate([np.full(100_000, 7, np.uint64), random_hashes(rng, 5000)])
    pairs = find_duplicates(hashes, alike, max_bits=4, title="test")
    assert len(pairs) == 99_999
    assert asked["pairs"] < 110_000


def test_no_pair_is_judged_twice_nor_when_it_is_settled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duplicates, "BATCH", 1)
    monkeypatch.setattr(duplicates, "SAMPLE", 1)
    rng = np.random.default_rng(0)
    hashes, pictures = families(rng, 5000, 4)
    # Two pictures each whose hashes are close: what is rejected comes again in many a sorting.
    pictures = 2 * pictures + rng.integers(0, 2, len(pictures))
    asked: Counter[tuple[int, int]] = Counter()

    def alike(pairs: NDArray[np.int64]) -> NDArray[np.bool_]:
        asked.update((min(pair), max(pair)) for pair in pairs.tolist())
        return showing(pictures)(pairs)

    pairs = find_duplicates(hashes, alike, max_bits=4, title="test")
    assert len(pairs) > 5000
    # Equals are asked about before the search, and once more if they stand for two pictures.
    assert max(asked.values()) <= 2
    assert sum(asked.values()) < 3 * len(hashes)


def test_where_candidates_are_too_many_the_search_narrows_and_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(duplicates, "MOST_CANDIDATES", 1000)
    rng = np.random.default_rng(0)
    crowd = turned(np.repeat(random_hashes(rng, 1), 500), rng.integers(3, 6, 500), rng)
    hashes, pictures = np.concatenate([crowd, crowd[:10]]), np.append(np.arange(500), np.arange(10))
    pairs = find_duplicates(hashes, showing(pictures), max_bits=14, title="test")
    assert sorted(pairs.tolist()) == [[row, row + 500] for row in range(10)]
    assert "pairs of images that differ have hashes within 14 bits; looking at those within" in capsys.readouterr().err


@pytest.mark.parametrize("count", [0, 1])
def test_nothing_has_no_duplicates(count: int) -> None:
    hashes = np.zeros(count, np.uint64)
    assert find_duplicates(hashes, showing(np.zeros(count, int)), max_bits=4, title="test").shape == (0, 2)


def test_pairs_are_read_as_they_were_written(tmp_path: Path) -> None:
    edges = [NearDuplicate("a", "b/ü", 3), NearDuplicate("b/ü", "c", 0)]
    assert write_near_duplicates(iter(edges), tmp_path / "near.jsonl") == 2
    assert list(iter_near_duplicates(tmp_path / "near.jsonl")) == edges


@pytest.mark.parametrize("line", ['{"one": "a"}', '{"one": "a", "other": "b", "distance": 1, "more": 2}', "[]", "x"])
def test_a_line_that_is_no_pair_is_told(tmp_path: Path, line: str) -> None:
    path = tmp_path / "near.jsonl"
    path.write_text('{"one": "a", "other": "b", "distance": 1}\n' + line + "\n")
    with pytest.raises(DataError, match=r"near\.jsonl:2: "):
        list(iter_near_duplicates(path))
