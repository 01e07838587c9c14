"""`tfpipe serve`, where it cannot: one sentence, before anything is trained. That it can is in test_text_chain.py."""

import errno
import os
import signal
import socket
import sys
from collections.abc import Iterator

import pytest
from click.testing import CliRunner
from diary import make_workspace

from tfpipe.cli import main
from tfpipe.core.workspace import Workspace
from tfpipe.stages.serve import explain_refusal


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return make_workspace(tmp_path_factory.mktemp("served"))


def refused(*options: str) -> str:
    """The one line that a person gets."""
    result = CliRunner().invoke(main, ["serve", "--config", "teacher.yaml", "--port", "0", *options])
    assert result.exit_code == 1
    assert "Traceback" not in result.output
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("error:")]
    return line


@pytest.fixture
def there(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The current folder, and the process as it was before: the command line is made for one of its own."""
    monkeypatch.chdir(workspace.root)
    handler, variables = signal.getsignal(signal.SIGTERM), dict(os.environ)
    yield
    signal.signal(signal.SIGTERM, handler)
    os.environ.clear()
    os.environ.update(variables)


def test_a_port_that_is_taken_is_told_before_anything_is_trained(there: None) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        line = refused("--port", str(holder.getsockname()[1]))
    assert "the port is in use. Stop what holds it, or take another: --port 8001." in line


@pytest.mark.parametrize(
    ("number", "told"),
    [(errno.EACCES, "no permission. Take a port from 1024 on"), (errno.EADDRNOTAVAIL, "no address of this machine")],
)
def test_what_the_machine_refuses_is_told(number: int, told: str) -> None:
    assert told in explain_refusal("192.0.2.1", 80, OSError(number, os.strerror(number)))


def test_an_address_of_another_machine_is_told(there: None) -> None:
    assert "192.0.2.1:0: no address of this machine" in refused("--host", "192.0.2.1")


def test_a_missing_extra_is_told(there: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert "pip install 'tfpipe[serve]'" in refused()


def test_a_token_that_is_not_set_is_told(there: None) -> None:
    assert "serve.token_env: NOWHERE is not set in the environment." in refused("--set", "serve.token_env=NOWHERE")


def test_a_request_must_fit_into_the_queue(there: None) -> None:
    assert "a whole request must fit" in refused("--set", "serve.queue_size=8")
