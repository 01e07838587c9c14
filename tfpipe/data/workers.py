"""Many pieces of work that each write files of their own: on the cores of this machine, or on an Apache Beam runner."""

import logging
import os
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from typing import Any, TypeVar

from tfpipe.core import errors
from tfpipe.core.config import Config
from tfpipe.core.errors import EnvironmentProblemError, TfpipeError
from tfpipe.core.progress import Advance, progress, say

T = TypeVar("T")
LOCAL = "local"


@dataclass(frozen=True)
class Runner:
    """Where the pieces are done."""

    name: str = LOCAL
    """`local`, or the name of a Beam runner."""
    options: tuple[str, ...] = ()
    """Of the Beam runner."""


def runner_of(config: Config) -> Runner:
    """The one that the settings name."""
    return Runner(config.runner, config.runner_options)


def run_all(work: Callable[[T], None], pieces: Sequence[T], *, title: str, runner: Runner) -> None:
    """Do `work` on every piece, in any order.

    Args:
        work: a function at the top of a module; what it finds it writes to a file that its piece names,
            whole or not at all, so that an interrupted run goes on with the pieces that are left.
        pieces: picklable. For another machine's runner, the paths in them must be on a disk that all share.
        title: beside the bar.
        runner: where.

    Raises:
        TfpipeError: the first that `work` raises.
        EnvironmentProblemError: when Beam, or the runner, is not to be had, or a worker process is ended.
    """
    if runner.name != LOCAL:
        say(f"{title}: {len(pieces)} pieces on {runner.name}")
        _on_beam(work, pieces, runner)
        return
    with progress(title, len(pieces)) as advance:
        _on_this_machine(work, pieces, advance)


def _on_this_machine(work: Callable[[T], None], pieces: Sequence[T], advance: Advance) -> None:
    workers = min(os.cpu_count() or 1, len(pieces))
    if workers < 2:
        for piece in pieces:
            work(piece)
            advance()
        return
    with worker_processes(workers) as pool:
        for done in as_completed([pool.submit(work, piece) for piece in pieces]):
            done.result()
            advance()


@contextmanager
def worker_processes(count: int) -> Iterator[ProcessPoolExecutor]:
    """Processes of this machine; whoever leaves early leaves what no process has begun.

    Raises:
        EnvironmentProblemError: when one of them was ended from outside, or never began.
    """
    # Spawned, not forked: the parent may hold the threads of TensorFlow.
    pool = ProcessPoolExecutor(count, mp_context=get_context("spawn"))
    try:
        yield pool
    except BrokenProcessPool as error:
        raise EnvironmentProblemError(
            "A worker process has ended before its work did, as the kernel ends one when memory runs out. Run it again "
            'with more memory: what is done stays. (A script of your own asks below `if __name__ == "__main__":`, or '
            "its workers begin it anew.)"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _on_beam(work: Callable[[T], None], pieces: Sequence[T], runner: Runner) -> None:
    beam, pipeline_options = _import_beam()
    # Beam logs every failure's traceback, three times; the one that counts is raised.
    logging.getLogger("apache_beam").setLevel(logging.CRITICAL)
    arguments = [f"--runner={runner.name}", "--default_sdk_harness_log_level=ERROR", *runner.options]
    try:
        with beam.Pipeline(options=pipeline_options(arguments)) as pipeline:
            # Without the shuffle a runner would fuse the two and do all pieces in one place.
            pipeline | beam.Create(pieces) | beam.Reshuffle() | beam.Map(partial(_do, work))
    except Exception as error:
        raise _of_ours(error) or EnvironmentProblemError(
            f"runner {runner.name}: {str(error).strip().splitlines()[-1]}"
        ) from error


def _do(work: Callable[[Any], None], piece: Any) -> None:
    work(piece)


def _of_ours(error: Exception) -> TfpipeError | None:
    """A runner passes on what a worker raised as text alone."""
    match = re.search(r"tfpipe\.core\.errors\.(\w+): (.*?)(?: \[while running .*)?$", str(error), re.MULTILINE)
    return getattr(errors, match[1])(match[2]) if match else None


def _import_beam() -> tuple[Any, Any]:
    try:
        import apache_beam as beam
        from apache_beam.options.pipeline_options import PipelineOptions
    except ImportError as error:
        raise EnvironmentProblemError(
            "a runner other than `local` needs Apache Beam. Install it with `pip install 'tfpipe[beam]'`."
        ) from error
    return beam, PipelineOptions
