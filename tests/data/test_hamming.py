"""The search for hashes that differ in a few bits, against comparing each with each."""

import numpy as np
import pytest
from numpy.typing import NDArray

from tfpipe.data import hamming
from tfpipe.data.clusters import join_pairs
from tfpipe.data.hamming import Hashes, Wanted, count_different_bits, iter_close_pairs

Rng = np.random.Generator


def all_of(pairs: NDArray[np.int64]) -> NDArray[np.bool_]:
    return np.ones(len(pairs), bool)


def search(hashes: Hashes, max_bits: int, wanted: Wanted = all_of) -> set[tuple[int, int]]:
    batches = iter_close_pairs(hashes, wanted, max_bits=max_bits, title="test")
    unique = [np.unique(pairs.min(axis=1) * 2**32 + pairs.max(axis=1)) for pairs in batches]
    return {divmod(code, 2**32) for code in set().union(*(codes.tolist() for codes in unique))}


def compare_all(hashes: Hashes, max_bits: int) -> set[tuple[int, int]]:
    found = set()
    for number, one in enumerate(hashes[:-1]):
        near = np.flatnonzero(np.bitwise_count(hashes[number + 1 :] ^ one) <= max_bits)
        found |= {(number, number + 1 + other) for other in near.tolist()}
    return found


def random_hashes(rng: Rng, count: int) -> Hashes:
    return rng.integers(0, 2**64, count, dtype=np.uint64)


def turned(hashes: Hashes, num_bits: NDArray[np.int64], rng: Rng) -> Hashes:
    """The hashes with so many bits turned."""
    chosen = np.argsort(rng.random((len(hashes), 64)), axis=1) < num_bits[:, None]
    return hashes ^ (chosen.astype(np.uint64) << np.arange(64, dtype=np.uint64)).sum(axis=1, dtype=np.uint64)


def with_neighbours(rng: Rng, count: int, max_bits: int) -> Hashes:
    """Random hashes, and for a quarter of them one that differs in 0 to `max_bits` + 2 bits; shuffled."""
    hashes = random_hashes(rng, count)
    beside = turned(hashes[: count // 4], rng.integers(0, max_bits + 3, count // 4), rng)
    return rng.permutation(np.concatenate([hashes, beside]))


@pytest.fixture
def sorted_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a few thousand hashes be too many to compare each with each."""
    monkeypatch.setattr(hamming, "MOST_COMPARED", 2**18)


@pytest.mark.parametrize("max_bits", [0, 3, 14])
@pytest.mark.parametrize("count", [0, 1, 2, 5, 700])
def test_few_hashes_are_compared_each_with_each(count: int, max_bits: int) -> None:
    hashes = with_neighbours(np.random.default_rng(count), count, max_bits)
    assert search(hashes, max_bits) == compare_all(hashes, max_bits)


@pytest.mark.usefixtures("sorted_often")
@pytest.mark.parametrize("max_bits", [0, 1, 6, 10, 14, 16])
def test_many_hashes_are_found_nearly_all_and_none_too_much(max_bits: int) -> None:
    hashes = with_neighbours(np.random.default_rng(max_bits), 4000, max_bits)
    expected, found = compare_all(hashes, max_bits), search(hashes, max_bits)
    assert found <= expected
    assert len(found) >= 0.99 * len(expected) > 300


@pytest.mark.usefixtures("sorted_often")
def test_hashes_that_share_most_bits_are_searched_too() -> None:
    # As of photos that all show a thing in the middle of a dark background.
    rng = np.random.default_rng(0)
    hashes = with_neighbours(rng, 3000, 3) & np.uint64(0xFFFF_FFFF)
    expected, found = compare_all(hashes, 3), search(hashes, 3)
    assert found <= expected
    assert len(found) >= 0.99 * len(expected) > 300


@pytest.mark.usefixtures("sorted_often")
def test_a_crowd_is_found_as_one_and_hides_nobody() -> None:
    rng = np.random.default_rng(0)
    crowd = turned(np.repeat(random_hashes(rng, 1), 1000), rng.integers(0, 4, 1000), rng)
    others = with_neighbours(rng, 1000, 4)
    found = np.array(list(search(np.concatenate([crowd, others]), 4)))
    clusters = join_pairs(len(crowd) + len(others), found)
    assert len(set(clusters[: len(crowd)].tolist())) == 1
    expected = compare_all(others, 4)
    assert len(expected & {(one - len(crowd), other - len(crowd)) for one, other in found.tolist()}) == len(expected)


def test_only_wanted_pairs_are_told() -> None:
    hashes = with_neighbours(np.random.default_rng(0), 500, 4)
    expected = {(one, other) for one, other in compare_all(hashes, 4) if (one + other) % 2}
    assert search(hashes, 4, lambda pairs: pairs.sum(axis=1) % 2 == 1) == expected


def test_the_search_is_the_same_each_time() -> None:
    hashes = random_hashes(np.random.default_rng(0), 15_000)
    batches = [list(iter_close_pairs(hashes, all_of, max_bits=10, title="test")) for _ in range(2)]
    for once, again in zip(*batches, strict=True):
        np.testing.assert_array_equal(once, again)


def test_a_hash_is_compared_with_few_others(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = 0
    count_bits = np.bitwise_count

    def counted(words: Hashes) -> NDArray[np.uint8]:
        nonlocal compared
        compared += words.size
        return count_bits(words)

    monkeypatch.setattr(np, "bitwise_count", counted)
    search(random_hashes(np.random.default_rng(0), 100_000), 6)
    assert compared < 100_000**2 / 2 / 20


def test_bits_are_counted() -> None:
    hashes = np.array([0b1010, 0b0110, 2**64 - 1], np.uint64)
    assert count_different_bits(hashes, np.array([[0, 1], [0, 2], [2, 2]])).tolist() == [2, 62, 0]
