"""`tfpipe serve` as a process: it makes what it needs, answers as `predict` does, and ends in order."""

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest
from click.testing import CliRunner
from diary import OWN, make_workspace

from tfpipe.cli import main
from tfpipe.core.workspace import Workspace

GLAD, LONELY = f"today i feel {OWN['joy']}", f"because {OWN['sadness']} so"
COMMAND = (sys.executable, "-m", "tfpipe", "serve", "--config", "teacher.yaml", "--port", "0")
SECONDS = 120


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return make_workspace(tmp_path_factory.mktemp("served"))


@contextmanager
def served(workspace: Workspace, *options: str) -> Iterator[tuple[subprocess.Popen[str], int, list[str]]]:
    """The process, its port, and what it has told so far."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "DIARY_TOKEN": "let me in"}
    script = [sys.executable, "-c", "from tfpipe.cli import main; main()", *COMMAND[3:], *options]
    with subprocess.Popen(script, cwd=workspace.root, env=environment, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr
            told: list[str] = []
            while not (told and re.match(r"teacher: http://127\.0\.0\.1:\d+$", told[-1])):
                line = process.stderr.readline()
                assert line, told
                told.append(line.strip())
            yield process, int(told[-1].rpartition(":")[2]), told
        finally:
            process.kill()


def get(port: int, path: str) -> tuple[int, str]:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)) as connection:
        connection.request("GET", path, headers={"authorization": "Bearer let me in"})
        response = connection.getresponse()
        return response.status, response.read().decode()


def post(port: int, *inputs: str) -> tuple[int, Any]:
    headers = {"content-type": "application/json", "authorization": "Bearer let me in"}
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
        f"Authorization: Bearer let me in\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    connection.sendall(head.encode() + body[:10])
    return connection


def test_it_trains_answers_as_predict_does_and_ends_when_all_is_answered(workspace: Workspace) -> None:
    body = json.dumps({"inputs": [GLAD, LONELY]}).encode()
    options = ("--set", "serve.token_env=DIARY_TOKEN", "--set", f"serve.timeout_s={SECONDS}")
    with served(workspace, *options) as (process, port, told):
        assert any(line.startswith("calibrate teacher: done") for line in told)
        assert get(port, "/health")[0] == 200
        wait_for(port, "/ready", lambda status, _: status == 200)
        status, answers = post(port, GLAD, LONELY)
        assert status == 200
        with begin_request(port, body) as connection:
            wait_for(port, "/metrics", lambda _, text: "tfpipe_requests_under_way 1.0" in text)
            process.send_signal(signal.SIGTERM)
            wait_for(port, "/ready", lambda status, _: status == 503)
            assert post(port, GLAD) == (503, {"detail": "the server is stopping"})
            assert process.poll() is None
            connection.sendall(body[10:])
            response = http.client.HTTPResponse(connection)
            response.begin()
            assert response.status == 200
            assert json.loads(response.read()) == answers
        assert process.wait(SECONDS) == 0
        assert process.stderr
        rest = process.stderr.read()
        assert "Traceback" not in rest
        assert rest.splitlines()[-1] == "teacher: stopped."
        assert GLAD not in rest
    check_against_predict(workspace, answers)


def check_against_predict(workspace: Workspace, answers: list[dict[str, Any]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(workspace.root)
        asked = ["predict", "--config", "teacher.yaml", "--json", GLAD, LONELY]
        expected = [json.loads(line) for line in CliRunner().invoke(main, asked).stdout.splitlines()]
    for found, wanted in zip(answers, expected, strict=True):
        assert (found["label"], found["conclusive"]) == (wanted["label"], wanted["conclusive"])
        assert found["confidence"] == pytest.approx(wanted["confidence"], abs=1e-5)
        assert found["probs"] == pytest.approx(wanted["probs"], abs=1e-5)
    assert [answer["label"] for answer in answers] == ["joy", "sadness"]
