"""Real servers on loopback, in processes of their own, and a proxy that breaks connections on purpose."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pymongo.database import Database

HOST = "127.0.0.1"
START_SECONDS = 60


@contextmanager
def mongodb(folder: Path, *options: str) -> Iterator[str]:
    """A server that speaks MongoDB's protocol; its address, without a database."""
    program = Path(sys.executable).with_name("secantusd-py")
    if not program.is_file():
        pytest.skip("no secantusd-py: pip install 'tfpipe[test]'")
    port = free_port()
    command = [program, "--host", HOST, "--port", port, "--storage-path", folder, "--log-level", "ERROR", *options]
    with _process(command, port):
        yield f"mongodb://{HOST}:{port}"


@contextmanager
def postgresql(password: str) -> Iterator[str]:
    """Debian's PostgreSQL with a user `tfpipe`; its address, without the password and with an empty database."""
    programs = max(Path("/usr/lib/postgresql").glob("*/bin"), default=None)
    if programs is None:
        pytest.skip("no PostgreSQL server: apt-get install postgresql")
    # It refuses to run as root, and its user must reach its folder.
    user = "postgres" if os.geteuid() == 0 else None
    folder = Path(tempfile.mkdtemp(prefix="tfpipe-postgresql-"))
    if user:
        shutil.chown(folder, user)
    (folder / "password").write_text(password)
    shutil.chown(folder / "password", user) if user else None
    init = [programs / "initdb", "--username", "tfpipe", "--auth", "scram-sha-256", "--encoding", "UTF8"]
    init += ["--pwfile", folder / "password", "--no-sync", folder / "data"]
    subprocess.run(init, user=user, cwd=folder, check=True, capture_output=True)
    port = free_port()
    command = [programs / "postgres", "-D", folder / "data", "-h", HOST, "-p", port, "-k", folder, "-c", "fsync=off"]
    try:
        with _process(command, port, user):
            yield f"postgresql://tfpipe@{HOST}:{port}/postgres"
    finally:
        shutil.rmtree(folder)


@dataclass(frozen=True)
class MongoDB:
    """A database that is empty at first."""

    server: str
    database: Database[dict[str, Any]]

    @property
    def address(self) -> str:
        scheme, user, hosts, options = self._parts()
        return f"{scheme}://{user}{hosts}/{self.database.name}?{'&'.join(options)}"

    @property
    def host_and_port(self) -> tuple[str, int]:
        address = self.database.client.address
        assert address
        return address

    def through(self, proxy: "Proxy") -> str:
        """The address, by way of a proxy."""
        _, user, _, options = self._parts()
        kept = [option for option in options if not option.startswith(("directConnection", "replicaSet"))]
        return (
            f"mongodb://{user}127.0.0.1:{proxy.port}/{self.database.name}?{'&'.join(['directConnection=true', *kept])}"
        )

    def fill(self, *documents: dict[str, Any]) -> None:
        self.database.plants.insert_many(list(documents))

    def _parts(self) -> tuple[str, str, str, list[str]]:
        base, _, options = self.server.partition("?")
        scheme, _, rest = base.partition("://")
        user, at, hosts = rest.rpartition("@")
        # A database in the address would else be where the user is looked for.
        source = ["authSource=admin"] if user and "authSource" not in options else []
        return scheme, user + at, hosts.split("/")[0], [*filter(None, options.split("&")), *source]


class Proxy:
    """Passes bytes between a client and a server, and counts those that come back.

    Args:
        target: the server's host and port.
        cut_after: bytes from the server after which the connection is broken, once.
        stay_down: refuse all connections after that, until `down` is unset.
    """

    def __init__(self, target: tuple[str, int], *, cut_after: int = 0, stay_down: bool = False) -> None:
        self.num_bytes = 0
        self.cuts = 0
        self.down = False
        self._target, self._cut_after, self._stay_down = target, cut_after, stay_down
        self._listener = socket.create_server((HOST, 0))
        self._sockets: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    def close(self) -> None:
        self._listener.close()
        for each in self._sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self.down:
                client.close()
                continue
            server = socket.create_connection(self._target)
            self._sockets += [client, server]
            threading.Thread(target=self._pass, args=(client, server, False), daemon=True).start()
            threading.Thread(target=self._pass, args=(server, client, True), daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket, answers: bool) -> None:
        with suppress(OSError):
            while content := source.recv(65536):
                if answers:
                    self.num_bytes += len(content)
                    if self._cut_after and self.num_bytes > self._cut_after and not self.cuts:
                        self.cuts, self.down = 1, self._stay_down
                        break
                sink.sendall(content)
        for each in (source, sink):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)


def free_port() -> int:
    with socket.create_server((HOST, 0)) as listener:
        return int(listener.getsockname()[1])


@contextmanager
def _process(command: list[object], port: int, user: str | None = None) -> Iterator[None]:
    process = subprocess.Popen(
        [str(part) for part in command], user=user, cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + START_SECONDS
        while not _answers(port):
            assert process.poll() is None, f"{command[0]} ended"
            assert time.monotonic() < deadline, f"{command[0]} does not answer"
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait(START_SECONDS)


def _answers(port: int) -> bool:
    with suppress(OSError), socket.create_connection((HOST, port), timeout=1):
        return True
    return False
