"""Pieces of work: all done, here or on Beam, and what goes wrong is told in our words."""

import os
import signal
from pathlib import Path

import pytest

from tfpipe.core.errors import DataError, EnvironmentProblemError
from tfpipe.data.workers import Runner, run_all

TWO_WORKERS = ("--direct_num_workers=2", "--direct_running_mode=multi_processing")
RUNNERS = [Runner(), Runner("DirectRunner", TWO_WORKERS)]


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beam's workers are fresh processes, which must find the functions below."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))


def square(piece: tuple[Path, int]) -> None:
    folder, number = piece
    (folder / f"{number}.txt").write_text(f"{number * number} {os.getpid()}")


def fail(piece: int) -> None:
    raise DataError(f"piece {piece}: no good. Mend it.")


@pytest.mark.parametrize("runner", RUNNERS, ids=lambda runner: runner.name)
def test_every_piece_is_done_in_processes_of_its_own(tmp_path: Path, runner: Runner) -> None:
    run_all(square, [(tmp_path, number) for number in range(9)], title="squares", runner=runner)
    squares, processes = zip(*[(tmp_path / f"{n}.txt").read_text().split() for n in range(9)], strict=True)
    assert [int(s) for s in squares] == [n * n for n in range(9)]
    assert str(os.getpid()) not in processes


@pytest.mark.parametrize("runner", RUNNERS, ids=lambda runner: runner.name)
def test_what_a_piece_raises_arrives(runner: Runner) -> None:
    with pytest.raises(DataError, match=r"^piece 7: no good\. Mend it\.$"):
        run_all(fail, [7], title="failures", runner=runner)


def be_killed(piece: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_worker_that_is_ended_from_outside_is_told() -> None:
    with pytest.raises(EnvironmentProblemError, match="memory runs out"):
        run_all(be_killed, [7, 8], title="failures", runner=Runner())


def test_an_unknown_runner_is_told() -> None:
    with pytest.raises(EnvironmentProblemError, match="NoSuchRunner"):
        run_all(fail, [7], title="failures", runner=Runner("NoSuchRunner"))
