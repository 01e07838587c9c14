"""Requests a second of `tfpipe serve` under load, against a bare loop over the same model with its best batch size.

    python -m benchmarks.serving --config configs/emotions_teacher.yaml --minutes 10

The server is a process of its own, and this one its clients: first as many at a time as `--clients`, each asking as
soon as it is answered; then, for `--minutes`, at four fifths of the rate that this reached, whether answered or not.
"""

import argparse
import asyncio
import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from itertools import cycle
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import aiohttp
import numpy as np

from tfpipe.core.config import load_config
from tfpipe.core.workspace import Workspace
from tfpipe.data.rows import iter_rows
from tfpipe.stages.runner import run_step
from tfpipe.stages.serve import load

BATCH_SIZES = (1, 4, 8, 16, 32, 64)
LOAD = 0.8
"""Share of what the server reached that it is held at for minutes."""


@dataclass
class Run:
    """What clients saw."""

    seconds: float = 0.0
    latencies_s: list[float] = field(default_factory=list)
    """Of what was answered; from when it should have been asked, so that a server cannot hide that it is late."""
    errors: Counter[str] = field(default_factory=Counter)

    @property
    def rate(self) -> float:
        """Answers a second."""
        return len(self.latencies_s) / self.seconds

    def percentile_ms(self, percent: float) -> float:
        """Of the latencies."""
        return 1000 * float(np.percentile(self.latencies_s, percent))


def main() -> None:
    """Measure, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, default=Path("configs/emotions_teacher.yaml"), help="of a text model")
    parser.add_argument("--seconds", type=float, default=30.0, help="of each batch size, and of the full load")
    parser.add_argument("--minutes", type=float, default=10.0, help="at four fifths of the full load")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--output", type=Path, default=Path(__file__).with_name("SERVING.md"))
    arguments = parser.parse_args()
    run_step("calibrate", arguments.config)
    config = load_config(arguments.config)
    texts = [row.text for row in iter_rows(Workspace().splits_path(config)) if row.split == "test"]
    model = load(config, Workspace())
    bare = {size: _bare(model, texts, size, arguments.seconds) for size in BATCH_SIZES}
    best = max(bare, key=lambda size: bare[size])
    with _server(arguments.config, best) as (pid, address):
        _load(address, texts, arguments.clients, 5)
        memory = [_resident_mib(pid)]
        full = _load(address, texts, arguments.clients, arguments.seconds)
        memory.append(_resident_mib(pid))
        steady = _steady(address, texts, LOAD * full.rate, 60 * arguments.minutes)
        memory.append(_resident_mib(pid))
    table = to_markdown(arguments.config, bare, best, full, steady, memory)
    arguments.output.write_text(table, encoding="utf-8")
    print(table)


def to_markdown(path: Path, bare: dict[int, float], best: int, full: Run, steady: Run, memory: list[float]) -> str:
    """Both runs beside the bare loop."""
    rows = [
        f"| bare loop, batches of {best} | {bare[best]:.1f} | 1.00 | | | | |",
        _row(f"server, {len(full.latencies_s)} requests at full load", full, bare[best], memory[1]),
        _row(f"server, {steady.seconds / 60:.1f} minutes at {LOAD:.0%} of that", steady, bare[best], memory[2]),
    ]
    sizes = ", ".join(f"{size}: {rate:.0f}" for size, rate in bare.items())
    return (
        f"# Serving\n\n{date.today().isoformat()}, `{path}`, {os.cpu_count()} cores, which clients and server share; "
        f"one text a request. Bare loop by batch size, texts/s: {sizes}. Memory of the server when warm: "
        f"{memory[0]:.0f} MiB.\n\n"
        "| | texts/s | ratio | p50, ms | p99, ms | errors | memory, MiB |\n|---|---:|---:|---:|---:|---:|---:|\n"
        + "\n".join(rows)
        + "\n"
    )


def _row(name: str, run: Run, bare: float, memory_mib: float) -> str:
    errors = ", ".join(f"{count} × {what}" for what, count in run.errors.items()) or "0"
    figures = f"{run.rate:.1f} | {run.rate / bare:.2f} | {run.percentile_ms(50):.0f} | {run.percentile_ms(99):.0f}"
    return f"| {name} | {figures} | {errors} | {memory_mib:.0f} |"


def _bare(model: Callable[[list[str]], Any], texts: list[str], batch_size: int, seconds: float) -> float:
    """Texts a second of the predictor alone."""
    waiting, done = cycle(texts), 0
    model([next(waiting) for _ in range(batch_size)])
    start = time.perf_counter()
    while time.perf_counter() - start < seconds:
        model([next(waiting) for _ in range(batch_size)])
        done += batch_size
    return done / (time.perf_counter() - start)


@contextmanager
def _server(path: Path, batch_size: int) -> Iterator[tuple[int, str]]:
    """Its process and address, once it is ready."""
    script = "from tfpipe.cli import main; main()"
    settings = ("--set", "serve.rate=null", "--set", f"serve.batch_size={batch_size}")
    command = [sys.executable, "-c", script, "serve", "--config", str(path), "--port", "0", *settings]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        try:
            address = ""
            for line in process.stderr:
                found = re.search(r"http://\S+", line)
                address = found[0] if found else address
                if line.rstrip().endswith(": ready"):
                    break
            yield process.pid, address
        finally:
            process.terminate()


def _load(address: str, texts: list[str], clients: int, seconds: float) -> Run:
    """Each client asks as soon as it is answered."""

    async def clients_ask(ask: Ask) -> None:
        waiting, end = cycle(texts), time.perf_counter() + seconds

        async def work() -> None:
            while time.perf_counter() < end:
                await ask(next(waiting), time.perf_counter())

        await asyncio.gather(*(work() for _ in range(clients)))

    return asyncio.run(_run(address, clients_ask))


def _steady(address: str, texts: list[str], rate: float, seconds: float) -> Run:
    """Requests come when they come, as those of a Poisson process."""

    async def crowd_asks(ask: Ask) -> None:
        waiting, pauses = cycle(texts), np.random.default_rng(0)
        due = start = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            while due < start + seconds:
                due += pauses.exponential(1 / rate)
                await asyncio.sleep(due - time.perf_counter())
                group.create_task(ask(next(waiting), due))

    return asyncio.run(_run(address, crowd_asks))


Ask = Callable[[str, float], Coroutine[Any, Any, None]]


async def _run(address: str, ask_all: Callable[[Ask], Coroutine[Any, Any, None]]) -> Run:
    """Connections are kept."""
    run, start = Run(), time.perf_counter()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def ask(text: str, due: float) -> None:
            try:
                async with session.post(f"{address}/predict", json={"inputs": [text]}) as response:
                    await response.read()
            except aiohttp.ClientError as error:
                run.errors[type(error).__name__] += 1
                return
            if response.status == 200:
                run.latencies_s.append(time.perf_counter() - due)
            else:
                run.errors[str(response.status)] += 1

        await ask_all(ask)
    run.seconds = time.perf_counter() - start
    return run


def _resident_mib(pid: int) -> float:
    found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1]) / 1024


if __name__ == "__main__":
    main()
