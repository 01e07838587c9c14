"""Files that appear whole or not at all, and the hashes by which steps know them."""

import errno
import fcntl
import hashlib
import json
import math
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any
from uuid import uuid4

from tfpipe.core.errors import EnvironmentProblemError

FULL = (errno.ENOSPC, errno.EDQUOT)
SHOWN = 500
"""Letters of a file's name that are told."""


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary sibling to write to, file or folder; it becomes `path` only if the block ends well.

    Raises:
        EnvironmentProblemError: when the disk is full or refuses; what stood at `path` stays.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    sibling = path.with_name(f".{path.name}.{uuid4().hex[:8]}")
    try:
        yield sibling
        _sync(sibling)
        _take_place(sibling, path)
    except OSError as error:
        raise EnvironmentProblemError(f"writing {path}: {explain(error)}") from error
    finally:
        if sibling.is_dir():
            shutil.rmtree(sibling)
        else:
            sibling.unlink(missing_ok=True)


@contextmanager
def atomic_open(path: Path, mode: str = "w") -> Iterator[IO[Any]]:
    """`open` for writing, through `atomic_path`."""
    encoding = None if "b" in mode else "utf-8"
    with atomic_path(path) as sibling, sibling.open(mode, encoding=encoding) as file:
        yield file


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock that all processes with this disk see, and that ends with its holder, however that ends.

    Raises:
        EnvironmentProblemError: when the disk knows no locks.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        file = _locked_file(path)
    except OSError as error:
        raise EnvironmentProblemError(f"locking {path}: {explain(error)}") from error
    with file:
        yield
        path.unlink(missing_ok=True)


def finite(value: Any) -> Any:
    """The value with None for each number that JSON cannot write."""
    if isinstance(value, dict):
        return {name: finite(part) for name, part in value.items()}
    if isinstance(value, list):
        return [finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_json(value: object, path: Path) -> None:
    """Write JSON with sorted keys, so that equal values are equal bytes."""
    with atomic_open(path) as file:
        json.dump(value, file, indent=2, sort_keys=True, ensure_ascii=False)
        file.write("\n")


def read_json(path: Path) -> Any:
    """Read a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


def sha256_bytes(content: bytes) -> str:
    """Hex sha256."""
    return hashlib.sha256(content).hexdigest()


def sha256_file(path: Path) -> str:
    """Hex sha256 of a file, streamed."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_path(path: Path) -> str:
    """Hex sha256 of a file, or of a folder's relative names and contents."""
    if path.is_file():
        return sha256_file(path)
    digest = hashlib.sha256()
    for file in sorted(p for p in path.rglob("*") if p.is_file()):
        digest.update(f"{file.relative_to(path).as_posix()}\0{sha256_file(file)}\n".encode())
    return digest.hexdigest()


def sha256_json(value: object) -> str:
    """Hex sha256 of a JSON value, whatever the order of its keys."""
    return sha256_bytes(json.dumps(value, sort_keys=True, default=str).encode())


def _take_place(sibling: Path, path: Path) -> None:
    """Put one in place of the other; a folder cannot replace a folder, so the old one steps aside first."""
    if not path.is_dir():
        sibling.replace(path)
        return
    old = path.with_name(f"{sibling.name}.old")
    path.replace(old)
    sibling.replace(path)
    shutil.rmtree(old)


def _locked_file(path: Path) -> IO[Any]:
    while True:
        file = path.open("w")
        fcntl.flock(file, fcntl.LOCK_EX)
        # The one who held it before has removed it: whoever comes next would lock another file of that name.
        with suppress(FileNotFoundError):
            if path.stat().st_ino == os.fstat(file.fileno()).st_ino:
                return file
        file.close()


def _sync(path: Path) -> None:
    for file in path.rglob("*") if path.is_dir() else [path]:
        if file.is_file():
            with file.open("rb") as handle:
                os.fsync(handle.fileno())


def explain(error: BaseException) -> str | None:
    """What the machine refused, in a sentence; None for any other error.

    TensorFlow and HDF5 tell of a full disk in errors of their own.
    """
    if getattr(error, "errno", None) in FULL or "No space left on device" in str(error):
        return (
            "no space left on the disk. What stood there before stands; free some space and run the same command again."
        )
    if not isinstance(error, OSError):
        return None
    # A name may be refused for being too long.
    return f"{str(error.filename)[:SHOWN]}: {error.strerror}." if error.filename else f"{error}."
