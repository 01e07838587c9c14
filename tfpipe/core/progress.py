"""Progress with an ETA, always on standard error."""

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

T = TypeVar("T")
Advance = Callable[..., None]
"""`advance(steps=1, note="")`: so many done, and what to show beside the bar."""

QUIET_SECONDS = 15.0
"""Between lines where standard error is no terminal."""


def say(message: str) -> None:
    """One line to the person watching."""
    print(message, file=sys.stderr, flush=True)


@contextmanager
def progress(title: str, total: int | None) -> Iterator[Advance]:
    """A bar on a terminal; elsewhere a line now and then."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _lines(title, total)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(title, total=total, note="")

        def advance(steps: int = 1, note: str = "") -> None:
            bar.update(task, advance=steps, note=note)

        yield advance


def track(items: Iterable[T], title: str, total: int | None) -> Iterator[T]:
    """Pass items through, showing how many have gone by."""
    with progress(title, total) as advance:
        for item in items:
            yield item
            advance()


@contextmanager
def native_silence() -> Iterator[None]:
    """Keep from standard error what TensorFlow's native code greets with, past Python's own streams."""
    sys.stderr.flush()
    shown = os.dup(2)
    with Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(shown, 2)
        os.close(shown)


def duration(seconds: float) -> str:
    """`45 s`, `4 min`, `2 h 10 min`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def _lines(title: str, total: int | None) -> Advance:
    start = last = time.monotonic()
    done = 0

    def advance(steps: int = 1, note: str = "") -> None:
        nonlocal done, last
        done += steps
        now = time.monotonic()
        if now - last < QUIET_SECONDS:
            return
        last = now
        left = f", {duration((now - start) / done * (total - done))} left" if total and done else ""
        say(f"  {title}: {done}{f' of {total}' if total else ''}{left}{f' · {note}' if note else ''}")

    return advance
