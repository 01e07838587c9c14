"""Several processes on one port, so that the end of one is no other's: who starts them again, and what they tell."""

import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from multiprocessing import connection
from multiprocessing.process import BaseProcess
from pathlib import Path

from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from tfpipe.core.errors import EnvironmentProblemError
from tfpipe.core.files import atomic_open
from tfpipe.core.progress import say

POLL_S = 0.2
SECONDS_BETWEEN_PAGES = 1.0
"""How old the metrics of the other workers may be."""

Start = Callable[[int], BaseProcess]
"""Starts the worker of a number."""


def keep_workers(count: int, start: Start) -> None:
    """Until SIGTERM or Ctrl-C, with another in the place of each that is killed; then wait until all have ended.

    Raises:
        EnvironmentProblemError: when one fails, which has said why: another would fail too.
        KeyboardInterrupt: after a second Ctrl-C, which waits for nothing.
    """
    with _signals() as told:
        workers = [start(number) for number in range(count)]
        try:
            while not told:
                connection.wait([worker.sentinel for worker in workers], POLL_S)
                for number, worker in enumerate(workers):
                    if worker.exitcode is not None and not told:
                        _check_was_killed(number, worker.exitcode)
                        workers[number] = start(number)
        finally:
            _end(workers, told)


def _check_was_killed(number: int, exit_code: int) -> None:
    if exit_code > 0:
        raise EnvironmentProblemError(f"worker {number} ended with {exit_code}; what it said stands above.")
    say(f"worker {number}: {signal.Signals(-exit_code).name if exit_code else 'ended'}; another takes its place.")


def _end(workers: Sequence[BaseProcess], told: Sequence[int]) -> None:
    for worker in workers:
        worker.terminate()
    while any(worker.is_alive() for worker in workers):
        connection.wait([worker.sentinel for worker in workers if worker.is_alive()], POLL_S)
        if told.count(signal.SIGINT) > 1:
            for worker in workers:
                worker.kill()
            raise KeyboardInterrupt


@contextmanager
def _signals() -> Iterator[list[int]]:
    """Those that have come. A terminal sends Ctrl-C to the workers too; passed on, it would be their second."""
    told: list[int] = []
    before = {one: signal.signal(one, lambda number, _: told.append(number)) for one in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield told
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


class Board:
    """Where the workers hang their metrics, for whichever of them Prometheus asks.

    Args:
        folder: of all of them.
        number: of this one.
    """

    def __init__(self, folder: Path, number: int) -> None:
        self._folder = folder
        self._number = number

    def hang(self, page: bytes) -> None:
        """What this worker tells."""
        with atomic_open(self._folder / f"{self._number}.prom", "wb") as file:
            file.write(page)

    def read(self) -> bytes:
        """What all of them tell."""
        return join({path.stem: path.read_text(encoding="utf-8") for path in sorted(self._folder.glob("*.prom"))})


def join(pages: Mapping[str, str]) -> bytes:
    """Pages in Prometheus's text format as one, in which the label `worker` says whose each sample is."""
    families: dict[str, Metric] = {}
    for worker, page in pages.items():
        for family in text_string_to_metric_families(page):
            whole = families.setdefault(family.name, Metric(family.name, family.documentation, family.type))
            whole.samples += [one._replace(labels={**one.labels, "worker": worker}) for one in family.samples]
    registry = CollectorRegistry()
    registry.register(_Read(list(families.values())))
    return generate_latest(registry)


class _Read(Collector):
    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> list[Metric]:
        return self._families
