"""Requests a second of `tfpipe serve` under load, against a bare loop over the same model with its best batch size.

    python -m benchmarks.serving --config configs/emotions_teacher.yaml --minutes 10

The server is a process of its own, and this one its clients: first as many at a time as `--clients`, each asking as
soon as it is answered; then, for `--minutes`, at four fifths of the rate that this reached, whether answered or not.
What other processes took of the cores meanwhile is told beside the results: they are no better than it is small.
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
MINUTE_S = 60
LOAD = 0.8
"""Share of what the server reached that it is held at for minutes."""


@dataclass
class Run:
    """What clients saw."""

    seconds: float = 0.0
    latencies_s: list[float] = field(default_factory=list)
    """Of what was answered; from when it should have been asked, so that a server cannot hide that it is late."""
    errors: Counter[str] = field(default_factory=Counter)
    memory_mib: list[float] = field(default_factory=list)
    """Of the server, every minute and at the end."""
    others: float = 0.0
    """Share of the cores' time that neither the server nor its clients took."""

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
        ready_mib = _resident_mib(pid)
        _load(pid, address, texts, arguments.clients, 5)
        full = _load(pid, address, texts, arguments.clients, arguments.seconds)
        steady = _steady(pid, address, texts, LOAD * full.rate, MINUTE_S * arguments.minutes)
    table = to_markdown(arguments.config, bare, best, full, steady, ready_mib)
    arguments.output.write_text(table, encoding="utf-8")
    print(table)


def to_markdown(path: Path, bare: dict[int, float], best: int, full: Run, steady: Run, ready_mib: float) -> str:
    """Both runs beside the bare loop."""
    rows = [
        f"| bare loop, batches of {best} | {bare[best]:.1f} | 1.00 | | | | | | |",
        _row(f"server, {len(full.latencies_s)} requests at full load", full, bare[best]),
        _row(f"server, {steady.seconds / MINUTE_S:.1f} minutes at {LOAD:.0%} of that", steady, bare[best]),
    ]
    sizes = ", ".join(f"{size}: {rate:.0f}" for size, rate in bare.items())
    return (
        f"# Serving\n\n{date.today().isoformat()}, `{path}`, {os.cpu_count()} cores, which clients and server share; "
        f"one text a request. Bare loop by batch size, texts/s: {sizes}. Others: the share of the cores that other "
        "processes took.\n\n"
        "| | texts/s | ratio | p50, ms | p99, ms | longest, ms | errors | memory, MiB | others |\n"
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|\n"
        + "\n".join(rows)
        + f"\n\nMemory of the server, MiB: {ready_mib:.0f} when ready, {full.memory_mib[-1]:.0f} after the full load, "
        f"then by the minute {', '.join(f'{mib:.0f}' for mib in steady.memory_mib)}.\n"
    )


def _row(name: str, run: Run, bare: float) -> str:
    errors = ", ".join(f"{count} × {what}" for what, count in run.errors.items()) or "0"
    latencies = " | ".join(f"{run.percentile_ms(percent):.0f}" for percent in (50, 99, 100))
    figures = f"{run.rate:.1f} | {run.rate / bare:.2f} | {latencies} | {errors} | {run.memory_mib[-1]:.0f}"
    return f"| {name} | {figures} | {run.others:.0%} |"


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


def _load(pid: int, address: str, texts: list[str], clients: int, seconds: float) -> Run:
    """Each client asks as soon as it is answered."""

    async def clients_ask(ask: Ask) -> None:
        waiting, end = cycle(texts), time.perf_counter() + seconds

        async def work() -> None:
            while time.perf_counter() < end:
                await ask(next(waiting), time.perf_counter())

        await asyncio.gather(*(work() for _ in range(clients)))

    return asyncio.run(_run(pid, address, clients_ask))


def _steady(pid: int, address: str, texts: list[str], rate: float, seconds: float) -> Run:
    """Requests come when they come, as those of a Poisson process."""

    async def crowd_asks(ask: Ask) -> None:
        waiting, pauses = cycle(texts), np.random.default_rng(0)
        due = start = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            while due < start + seconds:
                due += pauses.exponential(1 / rate)
                await asyncio.sleep(due - time.perf_counter())
                group.create_task(ask(next(waiting), due))

    return asyncio.run(_run(pid, address, crowd_asks))


Ask = Callable[[str, float], Coroutine[Any, Any, None]]


async def _run(pid: int, address: str, ask_all: Callable[[Ask], Coroutine[Any, Any, None]]) -> Run:
    """Connections are kept."""
    run, start, busy_s = Run(), time.perf_counter(), _foreign_s(pid)

    async def watch_memory() -> None:
        while True:
            await asyncio.sleep(MINUTE_S)
            run.memory_mib.append(_resident_mib(pid))

    watching = asyncio.create_task(watch_memory())
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
    watching.cancel()
    run.seconds = time.perf_counter() - start
    run.others = (_foreign_s(pid) - busy_s) / run.seconds / (os.cpu_count() or 1)
    run.memory_mib.append(_resident_mib(pid))
    return run


def _foreign_s(pid: int) -> float:
    """Seconds that the cores have worked, but for the server and for us."""
    user, nice, system, _, _, *interrupts = map(int, Path("/proc/stat").read_text().split("\n")[0].split()[1:9])
    server = sum(map(int, Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]))
    ticks = user + nice + system + sum(interrupts) - server
    return ticks / os.sysconf("SC_CLK_TCK") - time.process_time()


def _resident_mib(pid: int) -> float:
    found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1]) / 1024


if __name__ == "__main__":
    main()
