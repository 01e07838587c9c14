"""Seconds to find near duplicates among 850,000 made hashes, and images looked at a second.

The search is a process of its own: `python -m benchmarks.near_duplicates`.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.memory import peak_mib
from benchmarks.table import Table
from tfpipe.core.settings import AuditSettings
from tfpipe.data.checks import inspect_image
from tfpipe.data.duplicates import find_duplicates
from tfpipe.data.hamming import iter_close_pairs

NUM_HASHES, NUM_PLANTED, NUM_SAMPLED = 850_000, 40_000, 20_000
MAX_BITS = AuditSettings().near_duplicate_bits
NUM_PHOTOS, RUNS = 300, 3

Codes = np.ndarray
"""Pairs of numbers, each as one number."""


def measure() -> Table:
    """One run, which is long enough."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.near_duplicates"], capture_output=True, text=True, check=True
    )
    found = json.loads(done.stdout)
    how = (
        f"{NUM_HASHES:,} random hashes, {NUM_PLANTED:,} of them 1 to {MAX_BITS} bits from another; pairs within "
        f"{MAX_BITS} bits. Recall of the search {found['recall']:.4f}, against comparing {NUM_SAMPLED:,} of them with "
        f"all. Peak memory {found['peak_mib']:,.0f} MiB."
    )
    return Table("Near duplicates", how, "s", found["seconds"])


def measure_inspection(folder: Path) -> Table:
    """The best of some runs, in one thread."""
    folder.mkdir()
    paths = [folder / f"{number}.jpg" for number in range(NUM_PHOTOS)]
    draw = np.random.default_rng(0)
    for path in paths:
        coarse = Image.fromarray(draw.integers(0, 256, (36, 48, 3), np.uint8))
        coarse.resize((640, 480), Image.Resampling.BICUBIC).save(path, quality=90)
    figures = {
        "bare Pillow decode": _photos_per_second(_decode, paths),
        "looked at: decoded, hashed, made a thumbnail": _photos_per_second(_inspect, paths),
    }
    return Table("Audit", f"Photos of 640 × 480 px, one thread, the best of {RUNS} runs.", "images/s", figures)


def _decode(path: Path) -> None:
    with Image.open(BytesIO(path.read_bytes())) as image:
        image.load()


def _inspect(path: Path) -> None:
    inspect_image(path.stem, str(path), min_side=100)


def _photos_per_second(look: Callable[[Path], None], paths: list[Path]) -> float:
    def look_at_all() -> None:
        for path in paths:
            look(path)

    return len(paths) / min(_seconds(look_at_all)[0] for _ in range(RUNS))


def _seconds(work: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def _make_hashes() -> tuple[np.ndarray, np.ndarray]:
    """Hashes, and which picture each shows."""
    draw = np.random.default_rng(0)
    hashes = draw.integers(0, 2**64, NUM_HASHES, dtype=np.uint64)
    pictures = np.arange(NUM_HASHES)
    sources, copies = draw.permutation(NUM_HASHES)[: 2 * NUM_PLANTED].reshape(2, -1)
    turned = np.argsort(draw.random((NUM_PLANTED, 64)), axis=1) < draw.integers(1, MAX_BITS + 1, NUM_PLANTED)[:, None]
    bits = turned.astype(np.uint64) << np.arange(64, dtype=np.uint64)
    hashes[copies] = hashes[sources] ^ bits.sum(axis=1, dtype=np.uint64)
    pictures[copies] = pictures[sources]
    return hashes, pictures


def _codes(pairs: np.ndarray) -> Codes:
    return np.unique(pairs.min(axis=1) * NUM_HASHES + pairs.max(axis=1))


def _search(hashes: np.ndarray) -> Codes:
    all_of = lambda pairs: np.ones(len(pairs), bool)  # noqa: E731
    batches = iter_close_pairs(hashes, all_of, max_bits=MAX_BITS, title="search")
    return np.unique(np.concatenate([_codes(pairs) for pairs in batches]))


def _compare(hashes: np.ndarray, sampled: np.ndarray) -> Codes:
    near = [np.flatnonzero(np.bitwise_count(hashes ^ hashes[number]) <= MAX_BITS) for number in sampled]
    pairs = np.stack([np.repeat(sampled, [len(rows) for rows in near]), np.concatenate(near)], axis=1)
    return _codes(pairs[pairs[:, 0] != pairs[:, 1]])


def _main() -> None:
    hashes, pictures = _make_hashes()
    alike = lambda pairs: pictures[pairs[:, 0]] == pictures[pairs[:, 1]]  # noqa: E731
    searching, found = _seconds(lambda: _search(hashes))
    finding, _ = _seconds(lambda: find_duplicates(hashes, alike, max_bits=MAX_BITS, title="duplicates"))
    peak = peak_mib()
    sampled = np.random.default_rng(1).permutation(NUM_HASHES)[:NUM_SAMPLED]
    comparing, expected = _seconds(lambda: _compare(hashes, sampled))
    seconds = {
        "each with each (by the sample)": comparing * NUM_HASHES / NUM_SAMPLED / 2,
        "search": searching,
        "search, judge and join": finding,
    }
    recall = float(np.isin(expected, found).mean())
    print(json.dumps({"seconds": seconds, "recall": recall, "peak_mib": peak}))


if __name__ == "__main__":
    _main()
