"""URLs a second over eight loopback hosts, each photo decoded, hashed and kept, against bare GETs of the same URLs.

The server is a process of its own: `python -m benchmarks.fetch_loopback PORT` is how it is started.
"""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import aiohttp
import numpy as np
from aiohttp import web
from PIL import Image

from benchmarks.table import Table
from tfpipe.core.workspace import Workspace
from tfpipe.stages.runner import run_step

HOSTS = [f"127.0.0.{number}" for number in range(1, 9)]
NUM_URLS, SIDE, CONCURRENCY, RUNS = 4000, 256, 64, 2
RATE, RATED_SECONDS = 40.0, 10.0


def measure(folder: Path) -> Table:
    """The best of some runs, from the URLs to the last line of `fetch.jsonl`."""
    with _server() as port:
        urls = [f"http://{HOSTS[number % 8]}:{port}/{number}.jpg" for number in range(NUM_URLS)]
        seconds = {
            "bare GETs": min(asyncio.run(_bare(urls)) for _ in range(RUNS)),
            "fetch": min(_fetch(folder / f"kept{run}", urls) for run in range(RUNS)),
            "fetch --check-only": min(_fetch(folder / f"seen{run}", urls, check_only=True) for run in range(RUNS)),
        }
    how = f"{NUM_URLS} photos of {SIDE} px, some 20 kB each, {CONCURRENCY} at a time, the best of {RUNS} runs."
    return Table("Fetch over loopback", how, "URLs/s", {name: NUM_URLS / taken for name, taken in seconds.items()})


def measure_pace(folder: Path) -> Table:
    """What the server saw of a limit per host."""
    with _server() as port:
        urls = [f"http://{host}:{port}/{n}.jpg" for n in range(int(RATE * RATED_SECONDS)) for host in HOSTS]
        _fetch(folder / "paced", urls, per_host_rate=RATE)
        arrivals = asyncio.run(_get_json(f"http://{HOSTS[0]}:{port}/arrivals"))
    rates = [(len(times) - 1) / (times[-1] - times[0]) for times in arrivals.values()]
    figures = {"the limit": RATE, "the slowest host": min(rates), "the fastest host": max(rates)}
    how = f"Requests to each of {len(HOSTS)} loopback hosts over {RATED_SECONDS:.0f} s, by the server's clock."
    return Table("Fetch at a limited rate", how, "requests/s", figures)


async def _bare(urls: list[str]) -> float:
    """As many at a time, the bodies read and dropped."""
    start = time.perf_counter()
    waiting = iter(urls)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def work() -> None:
            for url in waiting:
                async with session.get(url) as response:
                    await response.read()

        await asyncio.gather(*(work() for _ in range(CONCURRENCY)))
    return time.perf_counter() - start


def _fetch(root: Path, urls: list[str], *, check_only: bool = False, per_host_rate: float = 1e6) -> float:
    root.mkdir(parents=True)
    rows = ({"id": str(number), "label": "ab"[number % 2], "url": url} for number, url in enumerate(urls))
    (root / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = {
        "snapshot": {"source": "jsonl", "path": str(root / "rows.jsonl")},
        "fetch": {
            "allow_hosts": HOSTS,
            "concurrency": CONCURRENCY,
            "per_host_rate": per_host_rate,
            "check_only": check_only,
        },
    }
    (root / "dataset.yaml").write_text(json.dumps(settings))
    run_step("snapshot", root / "dataset.yaml", workspace=Workspace(root))
    start = time.perf_counter()
    metrics = run_step("fetch", root / "dataset.yaml", workspace=Workspace(root))
    assert metrics["per_reason"] == {"ok": len(urls)}
    return time.perf_counter() - start


async def _get_json(url: str) -> dict[str, list[float]]:
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        answer: dict[str, list[float]] = await response.json()
        return answer


@contextmanager
def _server() -> Iterator[int]:
    command = [sys.executable, "-m", "benchmarks.fetch_loopback"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            yield int(process.stdout.readline())
        finally:
            process.kill()


async def _serve() -> None:
    photo, arrivals = _draw(), {host: list[float]() for host in HOSTS}

    async def answer(request: web.Request) -> web.Response:
        if request.path == "/arrivals":
            return web.json_response(arrivals)
        arrivals[str(request.url.host)].append(time.monotonic())
        # What follows a JPEG's end is not looked at, and makes each one a file of its own.
        return web.Response(body=photo + request.path.encode(), content_type="image/jpeg")

    application = web.Application()
    application.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    port = 0
    for host in HOSTS:
        await web.TCPSite(runner, host, port).start()
        port = port or runner.addresses[0][1]
    print(port, flush=True)
    await asyncio.Event().wait()


def _draw() -> bytes:
    """A JPEG with the detail of a photo."""
    generator = np.random.default_rng(0)
    coarse = Image.fromarray(generator.integers(0, 255, (32, 32, 3), np.uint8)).resize((SIDE, SIDE))
    pixels = np.asarray(coarse, np.int16) + generator.normal(0, 9, (SIDE, SIDE, 1)).astype(np.int16)
    buffer = BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


if __name__ == "__main__":
    asyncio.run(_serve())
