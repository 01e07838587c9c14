"""How many examples fit into a device's memory at once."""

import ctypes
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import tensorflow as tf

from tfpipe.core.machine import free_bytes

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
