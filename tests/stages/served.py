"""`tfpipe serve` as a process of its own, on a port of its own, and what a client says to it."""

import http.client
import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

from tfpipe.core.workspace import Workspace

TOKEN = "let me in"
SECONDS = 120
"""Before a test counts as stuck."""


@contextmanager
def served(workspace: Workspace, *options: str) -> Iterator[tuple[subprocess.Popen[str], int, list[str]]]:
    """The process, its port, and what it has told so far."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "SERVE_TOKEN": TOKEN}
    script = [sys.executable, "-c", "from tfpipe.cli import main; main()", "serve", *options]
    with subprocess.Popen(script, cwd=workspace.root, env=environment, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr
            told: list[str] = []
            while not (told and re.match(r"\w+: http://127\.0\.0\.1:\d+$", told[-1])):
                line = process.stderr.readline()
                assert line, told
                told.append(line.strip())
            yield process, int(told[-1].rpartition(":")[2]), told
        finally:
            process.kill()


def get(port: int, path: str) -> tuple[int, str]:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)) as connection:
        connection.request("GET", path, headers={"authorization": f"Bearer {TOKEN}"})
        response = connection.getresponse()
        return response.status, response.read().decode()


def post(port: int, *inputs: str) -> tuple[int, Any]:
    headers = {"content-type": "application/json", "authorization": f"Bearer {TOKEN}"}
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)) as connection:
        connection.request("POST", "/predict", json.dumps({"inputs": inputs}), headers)
        response = connection.getresponse()
        return response.status, json.loads(response.read())


def wait_for(port: int, path: str, wanted: Any) -> None:
    deadline = time.monotonic() + SECONDS
    while not wanted(*get(port, path)):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def begin_request(port: int, body: bytes) -> socket.socket:
    """Half of it."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=SECONDS)
    head = (
        "POST /predict HTTP/1.1\r\nHost: here\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {TOKEN}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    connection.sendall(head.encode() + body[:10])
    return connection
