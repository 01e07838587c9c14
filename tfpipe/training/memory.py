"""How many examples fit into a device's memory at once."""

import ctypes
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import tensorflow as tf

SHARE = 0.8
"""Of the main memory that is free: the rest is for input pipelines and for what a step does not show."""

TryStep = Callable[[int], None]
"""Trains one step on so many examples."""


def largest_that_fits(step: TryStep, sizes: Sequence[int]) -> int | None:
    """The largest of some numbers of examples on which a step can train; None if there is none.

    A GPU says when its memory is full. A processor's machine would end the process instead: there the
    peaks of two small steps tell what a larger one takes, which grows by the same for each example.

    Args:
        step: as in training.
        sizes: rising, at least two.
    """
    if tf.config.list_logical_devices("GPU"):
        return next((size for size in reversed(sizes) if _fits(step, size)), None)
    _forget_peak()
    free, resident = free_bytes(), _status("VmRSS")
    small, less_small = (_peak_bytes(step, size) - resident for size in sizes[:2])
    each = (less_small - small) / (sizes[1] - sizes[0])
    fitting = [size for size in sizes if small + each * (size - sizes[0]) <= SHARE * free]
    return fitting[-1] if fitting else None


def free_bytes(root: Path = Path("/")) -> int:
    """Of main memory, for this process: of the machine, or of its container or job if that has less (cgroup v2).

    Pages of files that were read count as free there, too: the kernel gives them up when somebody needs them.

    Args:
        root: where `proc` and `sys` are.
    """
    told = re.search(r"MemAvailable:\s+(\d+) kB", (root / "proc/meminfo").read_text())
    assert told
    return min([int(told[1]) * 1024, *_iter_left(root)])


def _iter_left(root: Path) -> Iterator[int]:
    """What each group that has a limit, from the process's own up, leaves it."""
    top = root / "sys/fs/cgroup"
    told = re.search(r"^0::/(.*)$", (root / "proc/self/cgroup").read_text(), re.MULTILINE)
    own = top / (told[1] if told else "")
    for group in [folder for folder in (own, *own.parents) if folder.is_relative_to(top)]:
        if (group / "memory.max").is_file() and (most := (group / "memory.max").read_text().strip()) != "max":
            of_files = re.search(r"^inactive_file (\d+)$", (group / "memory.stat").read_text(), re.MULTILINE)
            assert of_files
            yield int(most) - int((group / "memory.current").read_text()) + int(of_files[1])


def _fits(step: TryStep, size: int) -> bool:
    try:
        step(size)
    except tf.errors.ResourceExhaustedError:
        return False
    return True


def _peak_bytes(step: TryStep, size: int) -> int:
    step(size)
    return _status("VmHWM")


def _forget_peak() -> None:
    """Give back what earlier steps freed, which would hide what comes; the highest mark begins anew (proc(5))."""
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")


def _status(name: str) -> int:
    told = re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert told
    return int(told[1]) * 1024
