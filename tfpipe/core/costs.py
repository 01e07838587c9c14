"""What a step costs: memory at its peak, bytes on disk."""

import resource
import sys
from pathlib import Path

UNIT = 1 if sys.platform == "darwin" else 1024
"""Bytes of a unit of `ru_maxrss`."""


class PeakMemory:
    """The most memory that this process, or the largest process it has started and awaited, held since now.

    Linux can begin its record anew (proc(5), clear_refs); elsewhere it is the process's whole life.
    """

    def __init__(self) -> None:
        self._of_children = _of_children()
        try:
            Path("/proc/self/clear_refs").write_text("5")
        except OSError:
            return

    def read(self) -> int:
        """In bytes; children count where they have set a new record."""
        children = _of_children()
        return max(_own(), children if children > self._of_children else 0)


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def _own() -> int:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * UNIT
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


def _of_children() -> int:
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * UNIT
