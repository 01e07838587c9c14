"""A process of its own: what it answers, what it raises, and that it never outlives the one that asked."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tfpipe.core.errors import BrokenOffError, EnvironmentProblemError, MismatchError
from tfpipe.stages.own_process import run_in_own_process

PARENT = """
import signal, sys
from pathlib import Path
from tfpipe.stages.own_process import run_in_own_process
# Of SIGINT, too: what a shell starts in the background ignores it, and so do the tests that were started so.
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, signal.default_int_handler)
try:
    run_in_own_process("errands", "wait", Path(sys.argv[1]))
except KeyboardInterrupt:
    sys.exit(130)
"""


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()


def wait_for(pid_path: Path) -> int:
    while not (pid_path.is_file() and pid_path.read_text()):
        time.sleep(0.02)
    return int(pid_path.read_text())


def test_it_returns_what_run_returns_whatever_is_printed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    found = run_in_own_process("errands", "answer", tmp_path)
    assert found == {"folder": tmp_path.name, "legacy": None, "numbers": [1, 2.5]}
    told = capfd.readouterr()
    assert told.out == ""
    assert told.err == "chatter that is no answer\nprogress\n"
    assert int((tmp_path / "pid").read_text()) != os.getpid()


def test_errors_are_raised_here_as_they_were_there(tmp_path: Path) -> None:
    with pytest.raises(MismatchError, match=rf"^{tmp_path.name}: does not fit\.$"):
        run_in_own_process("errands", "refuse", tmp_path)
    with pytest.raises(EnvironmentProblemError, match="no space left on the disk"):
        run_in_own_process("errands", "fill_the_disk", tmp_path)


def test_a_process_that_ends_without_an_answer_is_told(tmp_path: Path) -> None:
    with pytest.raises(BrokenOffError, match="the process of errands ended with code 3"):
        run_in_own_process("errands", "leave", tmp_path)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_it_ends_with_the_one_that_asked(tmp_path: Path, number: signal.Signals) -> None:
    paths = os.pathsep.join(sys.path)
    parent = subprocess.Popen([sys.executable, "-c", PARENT, tmp_path], env=os.environ | {"PYTHONPATH": paths})
    child = wait_for(tmp_path / "pid")
    assert is_alive(child)
    parent.send_signal(number)
    assert parent.wait(10) == (-9 if number == signal.SIGKILL else 130)
    deadline = time.monotonic() + 5
    while is_alive(child) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not is_alive(child)


def test_a_killed_process_is_told(tmp_path: Path) -> None:
    killer = subprocess.Popen([sys.executable, "-c", KILLER, tmp_path / "pid"])
    with pytest.raises(BrokenOffError, match=r"was killed \(signal 9\).*goes on where it stood"):
        run_in_own_process("errands", "wait", tmp_path)
    assert killer.wait(10) == 0


KILLER = """
import os, sys, time
from pathlib import Path
path = Path(sys.argv[1])
while not (path.is_file() and path.read_text()):
    time.sleep(0.02)
os.kill(int(path.read_text()), 9)
"""
