"""Several workers on one port: what becomes of one is no matter to the others."""

import http.client
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tfpipe.core.errors import EnvironmentProblemError
from tfpipe.serving.workers import join, keep_workers

SECONDS = 60
"""Before a test counts as stuck."""
Connection = http.client.HTTPConnection


class Crew:
    """The process that starts two workers, and their process ids."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        assert process.stdout
        self.process = process
        self.lines = process.stdout
        self.port = int(self.lines.readline())
        self.pids: dict[int, int] = {}
        self.meet(), self.meet()

    def meet(self) -> int:
        """The next worker that has started."""
        number, pid = map(int, self.lines.readline().split())
        self.pids[number] = pid
        return number

    def connect(self) -> Connection:
        return Connection("127.0.0.1", self.port, timeout=SECONDS)

    def connect_to(self, number: int) -> Connection:
        """A connection is a worker's as long as it is kept."""
        others: list[Connection] = []
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            connection = self.connect()
            send(connection, "who")
            if receive(connection) == f"worker {number}":
                for other in others:
                    other.close()
                return connection
            others.append(connection)
        raise AssertionError(f"worker {number} takes no connection")


def send(connection: Connection, text: str) -> None:
    connection.request("POST", "/predict", json.dumps({"inputs": [text]}), {"content-type": "application/json"})


def receive(connection: Connection) -> str:
    (answer,) = json.loads(connection.getresponse().read())
    return str(answer["label"])


def readiness(crew: Crew) -> set[tuple[str, float]]:
    """By worker, as the metrics tell."""
    with closing(crew.connect()) as connection:
        connection.request("GET", "/metrics")
        page = connection.getresponse().read().decode()
    samples = (sample for family in text_string_to_metric_families(page) for sample in family.samples)
    return {(one.labels["worker"], one.value) for one in samples if one.name == "tfpipe_ready"}


@pytest.fixture
def crew() -> Iterator[Crew]:
    script = Path(__file__).with_name("crew.py")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, str(script), "2"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            yield Crew(process)
        finally:
            process.kill()


def test_a_worker_that_is_killed_takes_only_its_own_requests_along(crew: Crew) -> None:
    with closing(crew.connect_to(0)) as doomed, closing(crew.connect_to(1)) as other:
        for connection in (doomed, other):
            send(connection, "slow")
        os.kill(crew.pids[0], signal.SIGKILL)
        with pytest.raises(ConnectionError):
            receive(doomed)
        assert receive(other) == "worker 1"
        killed = crew.pids[0]
        assert crew.meet() == 0
        assert crew.pids[0] != killed
        # Whoever comes now is answered, and not refused by one whose model is being loaded.
        for _ in range(20):
            with closing(crew.connect()) as connection:
                send(connection, "who")
                assert receive(connection).startswith("worker ")
    crew.connect_to(0).close()
    assert readiness(crew) == {("0", 1.0), ("1", 1.0)}
    with closing(crew.connect_to(1)) as connection:
        send(connection, "slow")
        # The worker has read it before it is told to end.
        time.sleep(0.3)
        crew.process.send_signal(signal.SIGTERM)
        assert receive(connection) == "worker 1"
    assert crew.process.wait(SECONDS) == 0
    for pid in crew.pids.values():
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_workers_end_with_the_process_that_started_them(crew: Crew) -> None:
    crew.process.kill()
    # They hold the other end of standard output.
    assert crew.lines.read() == ""


def test_workers_that_fail_are_not_started_again() -> None:
    context = multiprocessing.get_context("spawn")
    started: list[int] = []

    def start(number: int) -> multiprocessing.process.BaseProcess:
        started.append(number)
        worker = context.Process(target=sys.exit, args=(3 * number,))
        worker.start()
        return worker

    handlers = [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(EnvironmentProblemError, match="worker 1 ended with 3"):
        keep_workers(2, start)
    assert started[:2] == [0, 1]
    assert 1 not in started[2:]
    assert [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)] == handlers


def test_metrics_say_whose_they_are() -> None:
    page = '# HELP a_total Of a.\n# TYPE a_total counter\na_total{path="/x"} %s\n'
    *head, mine, other = join({"0": page % "1.0", "1": page % "2.0"}).decode().splitlines()
    assert head == ["# HELP a_total Of a.", "# TYPE a_total counter"]
    assert mine == 'a_total{path="/x",worker="0"} 1.0'
    assert other == 'a_total{path="/x",worker="1"} 2.0'
