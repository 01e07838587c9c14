"""A web server of photos that misbehaves on purpose, on several loopback addresses, and keeps a log."""

import asyncio
import functools
import gzip
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from io import BytesIO
from math import inf
from struct import pack
from zlib import crc32

import numpy as np
from aiohttp import web
from PIL import Image

SIDE = 120
HOSTS = tuple(f"127.0.0.{number}" for number in range(1, 9))
LAST_MODIFIED = "Mon, 02 Nov 2026 10:00:00 GMT"


@dataclass
class Entry:
    """One request; its status is 0 until it is answered."""

    at_s: float
    host: str
    path: str
    headers: dict[str, str]
    status: int = 0
    answered_at_s: float = inf


@dataclass
class PhotoServer:
    """What a test asks of its server."""

    port: int = 0
    log: list[Entry] = field(default_factory=list)
    under_way: Counter[str] = field(default_factory=Counter)
    most_under_way: Counter[str] = field(default_factory=Counter)
    most_at_a_time: int = 0
    version: str = "1"
    """Part of every photo and its ETag."""
    files: dict[str, bytes] = field(default_factory=dict)
    """What `file/<name>` answers."""

    def url(self, path: str, host: str = HOSTS[0]) -> str:
        return f"http://{host}:{self.port}/{path}"

    def paths(self, status: int | None = None) -> Counter[str]:
        """How often each path was asked for, or answered with a status."""
        return Counter(entry.path for entry in self.log if status in (None, entry.status))

    def paths_by_host(self, status: int | None = None) -> Counter[tuple[str, str]]:
        return Counter((entry.host, entry.path) for entry in self.log if status in (None, entry.status))

    def times(self, host: str) -> list[float]:
        return sorted(entry.at_s for entry in self.log if entry.host == host)


@functools.cache
def photo(name: str, side: int = SIDE, quality: int = 90) -> bytes:
    """A JPEG whose pixels depend on its name."""
    noise = np.random.default_rng(crc32(name.encode())).integers(0, 255, (side // 8, side // 8, 3), np.uint8)
    buffer = BytesIO()
    Image.fromarray(noise).resize((side + 10, side)).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def animation() -> bytes:
    frames = [Image.new("RGB", (SIDE, SIDE), color) for color in ("red", "green", "blue")]
    buffer = BytesIO()
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:])
    return buffer.getvalue()


def bomb(side: int = 60_000) -> bytes:
    """A PNG whose header promises side² pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return pack(">I", len(content)) + kind + content + pack(">I", crc32(kind + content))

    header = pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"\x78\x9c\x03\x00\x00\x00\x00\x01")


@contextmanager
def serving() -> Iterator[PhotoServer]:
    """The server, in a thread of its own."""
    server = PhotoServer()
    loop = asyncio.new_event_loop()
    runner = web.AppRunner(_application(server), access_log=None, shutdown_timeout=0.1)
    server.port = loop.run_until_complete(_start(runner))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield server
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _start(runner: web.AppRunner) -> int:
    await runner.setup()
    port = 0
    for host in HOSTS:
        site = web.TCPSite(runner, host, port)
        await site.start()
        port = port or runner.addresses[0][1]
    return port


def _application(server: PhotoServer) -> web.Application:
    @web.middleware
    async def logging(
        request: web.Request, handler: Callable[..., Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        host = request.url.host or ""
        entry = Entry(time.monotonic(), host, request.path.lstrip("/"), dict(request.headers))
        server.log.append(entry)
        server.under_way[host] += 1
        server.most_under_way[host] = max(server.most_under_way[host], server.under_way[host])
        server.most_at_a_time = max(server.most_at_a_time, server.under_way.total())
        try:
            response = await handler(request)
            entry.status, entry.answered_at_s = response.status, time.monotonic()
            return response
        finally:
            server.under_way[host] -= 1

    async def answer(request: web.Request) -> web.StreamResponse:
        kind, _, rest = request.path.lstrip("/").partition("/")
        return await ANSWERS[kind](server, request, rest)

    application = web.Application(middlewares=[logging])
    application.router.add_get("/{path:.*}", answer)
    return application


async def _photo(server: PhotoServer, request: web.Request, rest: str) -> web.StreamResponse:
    etag = f'"{rest}-{server.version}"'
    validators = {"ETag": etag, "Last-Modified": LAST_MODIFIED}
    if request.headers.get("If-None-Match") == etag:
        return web.Response(status=304, headers=validators)
    return web.Response(body=photo(rest + server.version), content_type="image/jpeg", headers=validators)


async def _file(server: PhotoServer, request: web.Request, rest: str) -> web.StreamResponse:
    return web.Response(body=server.files[rest], content_type="image/jpeg")


async def _slow(server: PhotoServer, request: web.Request, rest: str) -> web.StreamResponse:
    milliseconds, _, name = rest.partition("/")
    await asyncio.sleep(int(milliseconds) / 1000)
    return await _photo(server, request, name)


async def _status(server: PhotoServer, request: web.Request, rest: str) -> web.StreamResponse:
    return web.Response(status=int(rest.partition("/")[0]), body=photo(rest))


async def _at_last(server: PhotoServer, request: web.Request, rest: str) -> web.StreamResponse:
    """500 twice, then the photo."""
    if server.paths()[request.path.lstrip("/")] < 3:
        return web.Response(status=500)
    return await _photo(server, request, rest)


async def _busy(server: PhotoServer, request: web.Request, rest: str) -> web.StreamResponse:
    """429 with `Retry-After` (`s`: in seconds, `d`: as a date), then the photo."""
    if server.paths()[request.path.lstrip("/")] > 1:
        return await _photo(server, request, rest)
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=2), usegmt=True)
    return web.Response(status=429, headers={"Retry-After": date if rest.startswith("d") else "1"})


async def _once(server: PhotoServer, request: web.Request, rest: str) -> web.StreamResponse:
    """The photo, and from then on 410."""
    if server.paths()[request.path.lstrip("/")] > 1:
        return web.Response(status=410)
    return await _photo(server, request, rest)


async def _outage(server: PhotoServer, request: web.Request, rest: str) -> web.StreamResponse:
    """503 for the first half a second after the first request."""
    if time.monotonic() - server.log[0].at_s < 0.5:
        return web.Response(status=503)
    return await _photo(server, request, rest)


async def _huge(server: PhotoServer, request: web.Request, rest: str) -> web.StreamResponse:
    """Ten gigabytes, by its Content-Length."""
    return await _stream(request, [photo(rest)], content_length=10**10)


async def _reset(server: PhotoServer, request: web.Request, rest: str) -> web.StreamResponse:
    assert request.transport
    request.transport.abort()
    return web.Response(status=200)


async def _redirect(server: PhotoServer, request: web.Request, rest: str) -> web.StreamResponse:
    return web.Response(status=302, headers={"Location": request.query["to"]})


async def _loop(server: PhotoServer, request: web.Request, rest: str) -> web.StreamResponse:
    return web.Response(status=301, headers={"Location": "/loop/b" if rest == "a" else "/loop/a"})


async def _on_and_on(server: PhotoServer, request: web.Request, rest: str) -> web.StreamResponse:
    return web.Response(status=301, headers={"Location": f"/on/{int(rest) + 1}"})


async def _short(server: PhotoServer, request: web.Request, rest: str) -> web.StreamResponse:
    """Less than its Content-Length says, and hangs up."""
    return await _stream(request, [photo(rest)[:900]], content_length=len(photo(rest)))


async def _endless(server: PhotoServer, request: web.Request, rest: str) -> web.StreamResponse:
    return await _stream(request, [b"\xff\xd8" + b"x" * 65534] * 1000)


async def _drip(server: PhotoServer, request: web.Request, rest: str) -> web.StreamResponse:
    """A byte now and then."""
    return await _stream(request, [b"\xff"] * 100, pause_s=0.1)


async def _stream(
    request: web.Request, chunks: list[bytes], *, content_length: int | None = None, pause_s: float = 0.0
) -> web.StreamResponse:
    response = web.StreamResponse()
    response.content_length = content_length
    with suppress(ConnectionError):  # The client may have heard enough.
        await response.prepare(request)
        for chunk in chunks:
            await response.write(chunk)
            await asyncio.sleep(pause_s)
    if content_length:
        assert request.transport
        request.transport.close()
    return response


def _fixed(body: Callable[[], bytes], **headers: str) -> Callable[..., Awaitable[web.StreamResponse]]:
    async def answer(server: PhotoServer, request: web.Request, rest: str) -> web.StreamResponse:
        return web.Response(body=body(), headers={"Content-Type": "image/jpeg"} | headers)

    return answer


ANSWERS: dict[str, Callable[[PhotoServer, web.Request, str], Awaitable[web.StreamResponse]]] = {
    "ok": _photo,
    "file": _file,
    "slow": _slow,
    "status": _status,
    "at-last": _at_last,
    "busy": _busy,
    "once": _once,
    "outage": _outage,
    "huge": _huge,
    "reset": _reset,
    "redirect": _redirect,
    "loop": _loop,
    "on": _on_and_on,
    "short": _short,
    "endless": _endless,
    "drip": _drip,
    "html": _fixed(lambda: b"\n<!DOCTYPE html><html><body>Log in to see this photo</body></html>"),
    "empty": _fixed(lambda: b""),
    "cut": _fixed(lambda: photo("cut")[:1500]),
    "stub": _fixed(lambda: photo("cut")[:20]),
    "animation": _fixed(animation),
    "bomb": _fixed(bomb),
    "tiny": _fixed(lambda: photo("tiny", 48)),
    "zipped-bomb": _fixed(lambda: gzip.compress(bytes(50_000_000)), **{"Content-Encoding": "gzip"}),
}
