"""Documents a second from MongoDB to rows on disk, against a bare `find()` over the same server; and peak memory.

python -m benchmarks.mongo_snapshot 10000 100000 1000000
"""

import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pymongo import MongoClient

from benchmarks.table import Table
from tfpipe.core.config import load_config
from tfpipe.core.workspace import Workspace

SIZES = (10_000, 100_000)
PASSES = 3
BATCH = 5_000
PROGRAMS = Path(sys.executable).parent
SNAPSHOT = """
import sys
from pathlib import Path
from benchmarks.memory import peak_mib
from tfpipe.stages.runner import run_step

run_step("snapshot", Path(sys.argv[1]))
print(peak_mib())
"""
FIELDS = "{label: latin_name, url: image_url, group: plant_id}"


def measure(folder: Path, sizes: tuple[int, ...] = SIZES) -> list[Table]:
    """The best of some passes over the second size, and peak memory for each."""
    with _server(folder / "mongodb") as address, _client(address) as client:
        for size in sizes:
            _fill(client, size)
        speed = _speed(folder, address, sizes[1])
        memory = {f"{size:,} documents": _peak_mib(folder, address, size) for size in sizes}
    how = f"{sizes[1]:,} documents of about 500 bytes, all fields, the best of {PASSES} passes."
    told = "Peak resident memory of `snapshot`, in a process of its own."
    return [Table("MongoDB", how, "documents/s", speed), Table("Memory of a snapshot", told, "MiB", memory)]


def _speed(folder: Path, address: str, size: int) -> dict[str, float]:
    from tfpipe.stages import snapshot

    workspace = Workspace(folder / "speed")
    config = load_config(_settings(folder / "speed", address, size))
    collection = f"plants{size}"

    def bare() -> None:
        with _client(address) as client:
            for _ in client.garden[collection].find():
                pass

    def in_order() -> None:
        with _client(address) as client:
            for _ in client.garden[collection].find().sort("_id", 1):
                pass

    passes: dict[str, Callable[[], Any]] = {
        "bare find()": bare,
        "bare find() in the order of _id": in_order,
        "snapshot, with the rows on disk": lambda: snapshot.run(config, workspace),
    }
    best = dict.fromkeys(passes, 0.0)
    for _ in range(PASSES):
        for name, run in passes.items():
            start = time.perf_counter()
            run()
            best[name] = max(best[name], size / (time.perf_counter() - start))
    return best


def _peak_mib(folder: Path, address: str, size: int) -> float:
    """Of the process itself: what `wait` tells also counts the one that started it."""
    path = _settings(folder / f"memory{size}", address, size)
    command = [sys.executable, "-c", SNAPSHOT, path.name]
    done = subprocess.run(command, cwd=path.parent, check=True, stdout=subprocess.PIPE, text=True)
    return float(done.stdout)


def _settings(folder: Path, address: str, size: int) -> Path:
    folder.mkdir(parents=True)
    path = folder / "dataset.yaml"
    source = f"{address}/garden?directConnection=true"
    path.write_text(f"snapshot: {{source: '{source}', collection: plants{size}, fields: {FIELDS}}}\n")
    return path


def _client(address: str) -> MongoClient[dict[str, Any]]:
    """Which waits for a server that is just starting."""
    return MongoClient(address, serverSelectionTimeoutMS=60_000)


def _fill(client: MongoClient[dict[str, Any]], size: int) -> None:
    for first in range(0, size, BATCH):
        numbers = range(first, min(first + BATCH, size))
        client.garden[f"plants{size}"].insert_many([_document(number) for number in numbers], ordered=False)


def _document(number: int) -> dict[str, Any]:
    """As the plan's database has them."""
    return {
        "latin_name": f"Genus species{number % 900}",
        "taxon": {"genus": "Genus", "author": "L.", "rank": "species"},
        "region": ("EU_SW", "EU", "OTHER")[number % 3],
        "plant_id": f"plant-{number // 3}",
        "image_url": f"https://images{number % 8}.example.org/photos/{number:07d}/large.jpg",
        "observer": f"observer {number % 5000}",
        "observed": datetime(2024, 1, 1, tzinfo=UTC) + timedelta(minutes=number),
        "location": {"type": "Point", "coordinates": [1.5 + number * 1e-6, 42.1]},
        "license": "CC BY 4.0",
        "note": "Seen along the path near the river, in flower.",
    }


@contextmanager
def _server(folder: Path) -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    command = [
        str(PROGRAMS / "secantusd-py"),
        "--port",
        str(port),
        "--storage-path",
        str(folder),
        "--log-level",
        "ERROR",
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        address = f"mongodb://127.0.0.1:{port}"
        with _client(address) as client:
            client.admin.command("ping")
        yield address
    finally:
        process.terminate()
        process.wait()


if __name__ == "__main__":
    with TemporaryDirectory() as scratch:
        for table in measure(Path(scratch), tuple(map(int, sys.argv[1:])) or SIZES):
            print(table.to_markdown())
