"""Whether a file of rows, or an image that one of them names, is still the same."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

from tfpipe.core.files import sha256_file


def stamp_of(path: Path, images: Iterable[str]) -> str:
    """Changes with the file, and when an image changes its size or time.

    Args:
        path: the file of rows.
        images: where they lie, as the file says.
    """
    digest = hashlib.sha256(sha256_file(path).encode())
    for image in images:
        file = locate(path.parent, image)
        if _is_there(file) and file.is_file():
            stat = file.stat()
            digest.update(f"{stat.st_size} {stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def locate(folder: Path, path: str) -> Path:
    """Where an image lies that a file in `folder` names: a relative path is relative to that folder.

    Rows that tfpipe has written may be read again from anywhere; their paths are relative to the workspace.
    """
    below = folder / path
    return below if _is_there(below) or not _is_there(Path(path)) else Path(path)


def _is_there(path: Path) -> bool:
    """What no disk can hold, such as a name that is too long, is not."""
    try:
        return path.exists()
    except OSError:
        return False
