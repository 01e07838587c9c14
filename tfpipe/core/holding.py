"""One process at a time works in a run's folder; a second one is told who does."""

import fcntl
import json
import os
import platform
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import IO

from tfpipe.core.errors import EnvironmentProblemError
from tfpipe.core.files import explain
from tfpipe.core.secrets import redact


@dataclass(frozen=True)
class Holder:
    """The process that works in a run's folder."""

    pid: int
    host: str
    command: str
    since: str
    """Local time, to the second."""

    def told(self) -> str:
        """In words."""
        return f"process {self.pid} on {self.host} (`{self.command}`, since {self.since})"


@contextmanager
def held(run_dir: Path, *, shared: bool = False) -> Iterator[None]:
    """Work in a run's folder alone, or beside others that share it; it ends with the process, however that ends.

    Raises:
        EnvironmentProblemError: naming who works there now, or what the disk refuses.
    """
    with _taken(run_dir, shared=shared):
        yield


def holder_of(run_dir: Path) -> str | None:
    """Who works in a run's folder now, in words; None if nobody does."""
    try:
        with _path(run_dir).open("r") as file:
            return None if _take(file, shared=False) else _read(file)
    except OSError:
        return None


def _taken(run_dir: Path, *, shared: bool) -> IO[str]:
    path = _path(run_dir)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a+")
        if _take(file, shared=shared):
            _write(file)
            return file
    except OSError as error:
        raise EnvironmentProblemError(f"locking {path}: {explain(error)}") from error
    with file:
        raise EnvironmentProblemError(
            f"{run_dir} is in use by {_read(file)}. Wait until it is done, or end it: it loses nothing."
        )


def _path(run_dir: Path) -> Path:
    return run_dir / ".held.json"


def _take(file: IO[str], *, shared: bool) -> bool:
    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _write(file: IO[str]) -> None:
    command = redact(" ".join(["tfpipe", *map(shlex.quote, sys.argv[1:])]))
    now = datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
    file.seek(0)
    file.truncate()
    json.dump(asdict(Holder(os.getpid(), platform.node(), command, now)), file)
    file.flush()


def _read(file: IO[str]) -> str:
    file.seek(0)
    try:
        return Holder(**json.load(file)).told()
    except (ValueError, TypeError):
        return "another process, which has just begun"
