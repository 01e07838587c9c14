"""Which of a million 64-bit hashes differ in a few bits, without comparing each with each.

Hashes that differ in a few bits agree in many a sample of their bits. So they are sorted by a random sample of bits,
again and again, and compared where they agree in it, until hardly a pair can have been apart every time
(locality-sensitive hashing, Indyk and Motwani 1998).
"""

import math
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from tfpipe.core.progress import track
from tfpipe.data.clusters import Pairs

Hashes = NDArray[np.uint64]
Wanted = Callable[[Pairs], NDArray[np.bool_]]
"""(num_pairs,): which pairs of hashes."""
NUM_BITS = 64

RECALL = 0.998
"""Chance to find a pair that differs in as many bits as allowed; with fewer it is nearer to 1."""
MOST_COMPARED = 2**26
"""Pairs compared in a sorting. If there are no more in all, each hash is compared with each."""
MOST_FOUND = 2**20
"""Close pairs told of in a sorting. Only a crowd of hashes that are close to each other meets these two limits; its
neighbours in the order are compared first, so that it is told of as a chain at least."""
FEW_BITS = 16
"""NumPy sorts keys of so many bits in linear time."""
SORTING, SLOW_SORTING = 13, 50
"""What it takes to sort a hash by few and by many bits, in comparisons of a pair."""
SEED = 64


def iter_close_pairs(hashes: Hashes, wanted: Wanted, *, max_bits: int, title: str) -> Iterator[Pairs]:
    """Pairs of hashes that differ in at most `max_bits`, in batches; a pair may come again, either way round.

    Args:
        hashes: (num_hashes,).
        wanted: asked, from several threads, which of the pairs found to tell of.
        max_bits: of 64, at most 32.
        title: beside the bar.
    """
    if not len(hashes):
        return
    num_sampled, num_sortings = _plan(hashes, max_bits)
    rng = np.random.default_rng(SEED)
    samples = track((_sample(rng, num_sampled) for _ in range(num_sortings)), title, num_sortings)
    compare = partial(_compare_agreeing, hashes, wanted, max_bits)
    workers = os.cpu_count() or 1
    # Threads, since NumPy works without the interpreter's lock; a round at a time, lest results pile up.
    with ThreadPoolExecutor(workers) as pool:
        while some := list(islice(samples, 2 * workers)):
            yield from pool.map(compare, some)


def count_different_bits(hashes: Hashes, pairs: Pairs) -> NDArray[np.uint8]:
    """(num_pairs,)."""
    different: NDArray[np.uint8] = np.bitwise_count(hashes[pairs[:, 0]] ^ hashes[pairs[:, 1]])
    return different


def _plan(hashes: Hashes, max_bits: int) -> tuple[int, int]:
    """How many bits to sample, and how often: the cheapest way to the recall.

    The more bits, the fewer hashes agree in them, but the seldomer do two that are close.
    """
    if len(hashes) * (len(hashes) - 1) // 2 <= MOST_COMPARED:
        return 0, 1
    rng = np.random.default_rng(SEED)
    plans = []
    for num_sampled in range(8, 33):
        chance = math.comb(NUM_BITS - max_bits, num_sampled) / math.comb(NUM_BITS, num_sampled)
        num_sortings = math.ceil(math.log(1 - RECALL) / math.log1p(-chance)) if chance < 1 else 1
        sizes = np.unique_counts(_keys(hashes, _sample(rng, num_sampled))).counts
        sorting = SORTING if num_sampled <= FEW_BITS else SLOW_SORTING
        plans.append((num_sortings * (sorting * len(hashes) + (sizes * sizes // 2).sum()), num_sampled, num_sortings))
    _, num_sampled, num_sortings = min(plans)
    return num_sampled, num_sortings


def _sample(rng: np.random.Generator, num_sampled: int) -> int:
    """A mask of so many bits."""
    return sum(1 << bit for bit in rng.choice(NUM_BITS, num_sampled, replace=False).tolist())


def _keys(hashes: Hashes, mask: int) -> NDArray[np.unsignedinteger]:
    """Equal where the bits of the mask are, and seldom elsewhere (MurmurHash3's last lines)."""
    words = hashes & np.uint64(mask)
    words *= np.uint64(0xFF51AFD7ED558CCD)
    words ^= words >> np.uint64(33)
    words *= np.uint64(0xC4CEB9FE1A85EC53)
    if mask.bit_count() <= FEW_BITS:
        return (words >> np.uint64(48)).astype(np.uint16)
    return (words >> np.uint64(32)).astype(np.uint32)


def _compare_agreeing(hashes: Hashes, wanted: Wanted, max_bits: int, mask: int) -> Pairs:
    """Close pairs among those that agree in the bits of the mask."""
    keys = _keys(hashes, mask)
    order = np.argsort(keys, kind="stable")
    starts = np.flatnonzero(np.diff(keys[order], prepend=~keys[order[:1]]))
    sizes = np.diff(starts, append=len(hashes))
    # Buckets of one size together, each a column: then rows are compared with rows.
    crowds = {size: order[starts[sizes == size] + np.arange(size)[:, None]] for size in np.unique(sizes).tolist()}
    hashes_of = {size: hashes[rows] for size, rows in crowds.items()}
    found, num_found = [np.empty((0, 2), np.int64)], 0
    for apart in range(1, min(max(crowds), 2 * MOST_COMPARED // len(hashes))):
        for size in [size for size in crowds if size > apart]:
            rows, crowd = crowds[size], hashes_of[size]
            close = np.flatnonzero(np.bitwise_count(crowd[apart:] ^ crowd[:-apart]) <= max_bits)
            if len(close):
                pairs = np.stack([rows[:-apart].ravel()[close], rows[apart:].ravel()[close]], axis=1)
                found.append(pairs[wanted(pairs)])
                num_found += len(found[-1])
        if num_found > MOST_FOUND:
            break
    return np.concatenate(found)
