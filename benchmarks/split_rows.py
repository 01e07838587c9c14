"""Seconds and memory to split 900,000 made rows, against reading their two files and doing nothing.

Each run is a process of its own, started in the rows' folder: `python -m benchmarks.split_rows split`.
"""

import json
import random
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.memory import peak_mib
from benchmarks.table import Table
from tfpipe.core.config import load_config
from tfpipe.core.workspace import Workspace

NUM_ROWS, NUM_CLASSES, GROWTH = 900_000, 9_000, 0.01
DATASET = Path("data/made")


def measure(folder: Path) -> Table:
    """One run each: they are long enough."""
    figures, peaks = {}, []
    make_rows(folder, NUM_ROWS)
    for name, what in (("reading both files", "read"), ("split", "split")):
        figures[name], peak_mib = _run(folder, what)
        peaks.append(f"{name} {peak_mib:,.0f} MiB")
    make_rows(folder, round(NUM_ROWS * (1 + GROWTH)))
    figures["split, 1 % new"], peak_mib = _run(folder, "split")
    peaks.append(f"split, 1 % new {peak_mib:,.0f} MiB")
    how = f"{NUM_ROWS:,} rows, {NUM_CLASSES:,} classes with a long tail, plants of 1 to 6 photos, duplicates, faults."
    return Table("Split", f"{how} Peak memory: {', '.join(peaks)}.", "s", figures)


def make_rows(folder: Path, num_rows: int) -> None:
    """What `snapshot` and `audit` would leave; of more rows, the first are the same."""
    draw = random.Random(0)
    (folder / DATASET).mkdir(parents=True, exist_ok=True)
    (folder / "x.yaml").write_text("dataset: made\n")
    names = ("raw.jsonl", "facts.jsonl", "near_duplicates.jsonl")
    raw, facts, near = (folder.joinpath(DATASET, name).open("w") for name in names)
    plant, left, label, last_usable = 0, 0, "", ""
    with raw, facts, near:
        for number in range(num_rows):
            if not left:
                plant, left = plant + 1, draw.randint(1, 6)
                label = f"Species {int(NUM_CLASSES ** draw.random() ** 0.7):04d}"
            left -= 1
            row = {"id": f"{number:024x}", "label": label, "region": draw.choice(["EU", "EU_SW", "OTHER"])}
            raw.write(json.dumps(row | {"group": f"plant{plant}", "url": f"https://example.org/{number}.jpg"}) + "\n")
            content = f"{draw.randrange(number + 1) if draw.random() < 0.01 else number:064x}"
            fact = {"sha256": content, "phash": f"{number:016x}", "width": 500, "height": 400, "mode": "RGB"}
            path = {"path": f"data/made/images/{content[:2]}/{content}.jpg", "format": "JPEG", "num_bytes": 99_000}
            fault = "http_error" if draw.random() < 0.03 else ""
            facts.write(json.dumps({"id": row["id"], "fault": fault} | ({} if fault else fact | path)) + "\n")
            if not fault and last_usable and draw.random() < 0.01:
                near.write(json.dumps({"one": last_usable, "other": row["id"], "distance": 3}) + "\n")
            last_usable = last_usable if fault else row["id"]


def _run(folder: Path, what: str) -> tuple[float, float]:
    """Seconds and peak memory in MiB."""
    command = [sys.executable, "-m", "benchmarks.split_rows", what]
    environment = {"PYTHONPATH": str(Path.cwd())}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True)
    seconds, peak_mib = done.stdout.split()
    return float(seconds), float(peak_mib)


def _read() -> None:
    for name in ("raw.jsonl", "facts.jsonl"):
        with (DATASET / name).open("rb") as file:
            for line in file:
                json.loads(line)


def _split() -> None:
    from tfpipe.stages import split

    metrics = split.run(load_config(Path("x.yaml")), Workspace())
    print(json.dumps({name: metrics[name] for name in ("shares", "kept_from_ledger", "excluded")}), file=sys.stderr)


if __name__ == "__main__":
    start = time.perf_counter()
    {"read": _read, "split": _split}[sys.argv[1]]()
    print(time.perf_counter() - start, peak_mib())
