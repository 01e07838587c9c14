"""Bytes a second from photos to records, against plain copies of the same files.

Each run is a process of its own, started in the photos' folder: `python -m benchmarks.pack_records pack`.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.memory import peak_mib
from benchmarks.table import Table

NUM_PHOTOS, NUM_DIFFERENT, SIDE, NUM_SHARDS, RUNS = 12_000, 300, 400, 8, 3
DATASET = Path("data/photos")


def measure(folder: Path) -> Table:
    """The best of some runs."""
    num_bytes = make_photos(folder)
    figures, peaks = {}, []
    for name, what in (("plain copies", "copy"), ("pack", "pack")):
        seconds, peak_mib = min(_run(folder, what) for _ in range(RUNS))
        figures[name] = num_bytes / seconds / 2**20
        peaks.append(f"{name} {peak_mib:,.0f} MiB")
    how = (
        f"{NUM_PHOTOS:,} photos of {SIDE} px, {num_bytes / NUM_PHOTOS / 1000:.0f} kB each, into {NUM_SHARDS} shards a "
        f"split, from warm files, both synced to the disk, the best of {RUNS} runs. Peak memory: {', '.join(peaks)}."
    )
    return Table("Pack", how, "MiB/s", figures)


def make_photos(folder: Path) -> int:
    """What `split` would leave, and how many bytes the photos have."""
    draw = np.random.default_rng(0)
    (folder / DATASET / "images").mkdir(parents=True)
    (folder / "x.yaml").write_text(f"dataset: photos\npack: {{num_shards: {NUM_SHARDS}}}\n")
    jpegs = [_jpeg(draw) for _ in range(NUM_DIFFERENT)]
    with (folder / DATASET / "splits.jsonl").open("w") as rows:
        for number in range(NUM_PHOTOS):
            jpeg = jpegs[number % NUM_DIFFERENT]
            path = DATASET / "images" / f"{number}.jpg"
            (folder / path).write_bytes(jpeg)
            split = ("train", "train", "train", "validation", "test")[number % 5]
            row = {"id": f"{number}", "label": f"Species {number % 90}", "region": "EU", "group": f"p{number // 3}"}
            rows.write(json.dumps(row | {"path": path.as_posix(), "split": split, "num_bytes": len(jpeg)}) + "\n")
    return sum(path.stat().st_size for path in (folder / DATASET / "images").iterdir())


def _jpeg(draw: np.random.Generator) -> bytes:
    pixels = np.repeat(np.repeat(draw.integers(0, 256, (SIDE // 4, SIDE // 4, 3), np.uint8), 4, 0), 4, 1)
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def _run(folder: Path, what: str) -> tuple[float, float]:
    """Seconds and peak memory in MiB."""
    command = [sys.executable, "-m", "benchmarks.pack_records", what]
    environment = {"PYTHONPATH": str(Path.cwd()), "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True)
    seconds, peak_mib = done.stdout.split()
    return float(seconds), float(peak_mib)


def _copy() -> float:
    shutil.rmtree("copies", ignore_errors=True)
    Path("copies").mkdir()
    start = time.perf_counter()
    for path in (DATASET / "images").iterdir():
        shutil.copyfile(path, Path("copies") / path.name)
    os.sync()
    return time.perf_counter() - start


def _pack() -> float:
    from tfpipe.core.config import load_config
    from tfpipe.core.workspace import Workspace
    from tfpipe.stages import pack

    start = time.perf_counter()
    pack.run(load_config(Path("x.yaml")), Workspace())
    return time.perf_counter() - start


if __name__ == "__main__":
    taken = {"copy": _copy, "pack": _pack}[sys.argv[1]]()
    print(taken, peak_mib())
