"""A model whose answers anybody can compute, and a server of it."""

import asyncio
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any
from zlib import crc32

import httpx2
import numpy as np
from fastapi import FastAPI

from tfpipe.core.errors import DataError
from tfpipe.core.settings import ServeSettings, Task
from tfpipe.serving.app import build_app
from tfpipe.serving.batching import Content, Model
from tfpipe.serving.drift import Answers, Drift
from tfpipe.serving.server import Server, build_server
from tfpipe.serving.service import Service

CLASSES = ("joy", "sadness", "anger")
THRESHOLD = 0.6
VALIDATION = Answers(np.array([0, 0, 0, 0, 0, 1, 1, 1, 2, 2]), np.linspace(0.45, 0.99, 10))
TOKEN = "a long secret"


@dataclass(frozen=True)
class Said:
    """What the model says of an input."""

    probs: dict[str, float]

    @property
    def label(self) -> str:
        return next(iter(self.probs))

    @property
    def confidence(self) -> float:
        return self.probs[self.label]

    @property
    def is_conclusive(self) -> bool:
        return self.confidence >= THRESHOLD


def judge(content: Content) -> Said:
    """From the input's checksum: no two inputs have the same answer but by chance."""
    number = crc32(content.encode() if isinstance(content, str) else content)
    confidence = 0.4 + number % 100_003 / 100_003 * 0.6
    names = CLASSES[number % 3 :] + CLASSES[: number % 3]
    return Said(dict(zip(names, (confidence, (1 - confidence) * 0.7, (1 - confidence) * 0.3), strict=True)))


def as_json(content: Content) -> dict[str, Any]:
    said = judge(content)
    return {
        "label": said.label,
        "confidence": said.confidence,
        "conclusive": said.is_conclusive,
        "probs": said.probs,
    }


@dataclass
class Oracle:
    """Answers when the gate is open, and remembers what it was asked, call by call, and on which threads."""

    calls: list[list[Content]] = field(default_factory=list)
    threads: set[str] = field(default_factory=set)
    gate: threading.Event = field(default_factory=threading.Event)
    started: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.gate.set()

    def __call__(self, contents: Sequence[Content]) -> list[Said]:
        self.calls.append(list(contents))
        self.threads.add(threading.current_thread().name)
        self.started.set()
        assert self.gate.wait(20)
        if "unreadable" in contents:
            raise DataError("unreadable")
        if "secret that breaks the model" in contents:
            raise RuntimeError(f"cannot compute {contents}")
        if "no number" in contents:
            return [Said(dict.fromkeys(CLASSES, float("nan"))) for _ in contents]
        return [judge(content) for content in contents]

    def load(self) -> "Oracle":
        self.threads.add(threading.current_thread().name)
        return self

    @property
    def asked(self) -> list[Content]:
        return [content for call in self.calls for content in call]


def build_drift(window: int = 100) -> Drift:
    return Drift(CLASSES, VALIDATION, threshold=THRESHOLD, window=window)


def build_service(
    oracle: Oracle, task: Task = "text", *, load: Callable[[], Model] | None = None, **settings: Any
) -> Service:
    limits = ServeSettings(**{"rate": None, "max_delay_ms": 0, "timeout_s": 20} | settings)
    return Service(load or oracle.load, task, limits, build_drift(limits.drift_window))


@asynccontextmanager
async def serving(service: Service, token: str | None = None) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of the running server, whose model is loaded."""
    app = build_app(service, name="oracle", token=token)
    async with app.router.lifespan_context(app), client_of(app) as client:
        await until(lambda: service.why_not_ready is None)
        yield client


def client_of(app: FastAPI, address: str = "192.0.2.1") -> httpx2.AsyncClient:
    transport = httpx2.ASGITransport(app=app, client=(address, 1234), raise_app_exceptions=False)
    return httpx2.AsyncClient(transport=transport, base_url="http://oracle")


async def until(condition: Any) -> None:
    """Waits as long as it takes; a test that hangs has failed."""
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.001)


async def predict(client: httpx2.AsyncClient, *inputs: str) -> httpx2.Response:
    return await client.post("/predict", json={"inputs": inputs})


@contextmanager
def listening(service: Service) -> Iterator[tuple[Server, str]]:
    """A real server on a port of its own, and its address; stopped in the end."""
    server = build_server(build_app(service, name="oracle"), service)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            while service.why_not_ready:
                time.sleep(0.005)
            yield server, f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(20)
            assert not thread.is_alive()
