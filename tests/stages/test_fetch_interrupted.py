"""`fetch` killed, ended, out of disk, or shared out among workers: nothing is lost, nothing asked for twice."""

import hashlib
import os
import random
import signal
import sqlite3
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fetch_place import Place
from photo_server import HOSTS, Entry, PhotoServer, photo

from tfpipe.core.errors import EnvironmentProblemError
from tfpipe.data.download import inbox, pieces


def settled(journal: Path) -> set[str]:
    """URLs that the journal of a killed process has an answer for, read from a copy."""
    for suffix in ("", "-wal"):
        source = journal.with_name(journal.name + suffix)
        target = journal.with_name("copy.sqlite" + suffix)
        target.unlink(missing_ok=True)
        if source.is_file():
            target.write_bytes(source.read_bytes())
    db = sqlite3.connect(journal.with_name("copy.sqlite"))
    try:
        return {url for (url,) in db.execute("SELECT url FROM urls WHERE reason IS NOT NULL AND NOT due")}
    finally:
        db.close()


def arrived(journal: Path) -> set[str]:
    """URLs of bodies that had come whole."""
    found = [inbox.Tray(path).read() for path in journal.with_suffix(".inbox").iterdir()]
    return {tray[0] for tray in found if tray}


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 30
    while not condition() and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.005)


def asked_since(place: Place, moment: float) -> set[str]:
    return {
        f"http://{entry.host}:{place.server.port}/{entry.path}" for entry in place.server.log if entry.at_s > moment
    }


URLS_PER_HOST = 30


def mixed_urls(server: PhotoServer) -> list[str]:
    """Of each host mostly photos, and one of each misbehaviour that ends at once."""
    kinds = ["status/404", "html", "cut", "tiny", "redirect", "empty"]
    paths = [f"slow/30/{number}" for number in range(URLS_PER_HOST - len(kinds))]
    paths += [f"{kind}/x" + ("?to=/ok/9" if kind == "redirect" else "") for kind in kinds]
    return [server.url(path, host) for path in paths for host in HOSTS[:4]]


def test_killed_at_any_moment_it_goes_on_and_asks_for_nothing_twice(place: Place, tmp_path: Path) -> None:
    urls = mixed_urls(place.server)
    place.write(*urls, per_host_rate=40, per_host_concurrency=4)
    generator = random.Random(1)
    kills = []
    known: set[str] = set()
    for _ in range(6):
        count = len(place.server.log) + generator.randint(1, len(urls) // 6)
        with place.start() as process:
            wait_for(lambda count=count: len(place.server.log) >= count, process)
            kills.append(time.monotonic())
            process.kill()
        # What it asked for, it did not know; what it knows now, the next one must not ask for.
        assert not known & asked_since(place, kills[-2] if len(kills) > 1 else 0)
        known = settled(place.journal) | arrived(place.journal)
    place.run()
    assert not known & asked_since(place, kills[-1])
    answers = [entry for entry in place.server.log if entry.status == 200]
    undisturbed = Place(tmp_path / "undisturbed", place.server)
    undisturbed.root.mkdir()
    undisturbed.write(*urls, per_host_rate=1000)
    undisturbed.run()
    assert place.lines() == undisturbed.lines()
    # An answer on its way when the process died is one that it cannot know of. No other was asked for twice.
    repeated = Counter((entry.host, entry.path) for entry in answers if not is_cut_off(entry, kills))
    assert max(repeated.values()) == 1


def is_cut_off(entry: Entry, kills: list[float]) -> bool:
    """Whether the process that asked died before the answer was sent, or had not a moment to read it."""
    return any(entry.at_s <= kill <= entry.answered_at_s + 0.5 for kill in kills)


@pytest.mark.parametrize("sigint", [signal.default_int_handler, signal.SIG_IGN], ids=["in front", "in the background"])
def test_sigterm_ends_it_cleanly_and_it_goes_on(place: Place, sigint: Any) -> None:
    urls = mixed_urls(place.server)
    place.write(*urls, per_host_rate=20)
    # A process inherits what is ignored, as a shell's background jobs do SIGINT.
    before = signal.signal(signal.SIGINT, sigint)
    with place.start() as process:
        signal.signal(signal.SIGINT, before)
        wait_for(lambda: len(place.server.log) > 20, process)
        process.send_signal(signal.SIGTERM)
        _, told = process.communicate()
    assert process.returncode == 130
    assert told.splitlines()[-1] == "interrupted. The same command goes on where it stood."
    assert "Traceback" not in told
    moment, known = time.monotonic(), settled(place.journal)
    assert len(known) > 5
    place.run()
    assert not known & asked_since(place, moment)
    assert len(place.lines()) == len(urls)


def test_a_body_that_came_whole_is_judged_without_asking_again(place: Place) -> None:
    place.write("ok/1", "ok/2")
    with inbox.Inbox(place.journal.with_suffix(".inbox")) as trays:
        came = inbox.Answer(inbox.Reason.OK, status=200, etag='"1-1"')
        with trays.receive(place.server.url("ok/1"), came) as tray:
            tray.add(photo("11"))
            tray.finish()
    place.run()
    assert place.server.paths() == {"ok/2": 1}
    assert place.lines()[0]["sha256"] == hashlib.sha256(photo("11")).hexdigest()


def test_a_full_disk_is_one_sentence_and_the_same_command_goes_on(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.write(*(f"ok/{number}" for number in range(30)))
    write = os.pwrite
    left = [50]

    def pwrite(file: int, content: bytes, offset: int) -> int:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(28, "No space left on device")
        return write(file, content, offset)

    monkeypatch.setattr(inbox.os, "pwrite", pwrite)
    with pytest.raises(EnvironmentProblemError, match=r"no space left on the disk.*run the same command again"):
        place.run()
    monkeypatch.undo()
    moment, known = time.monotonic(), settled(place.journal)
    assert len(known) >= 5
    place.run()
    assert not known & asked_since(place, moment)
    assert place.told() == [("ok", "")] * 30


def test_two_at_a_time_are_refused(place: Place) -> None:
    place.write(*mixed_urls(place.server), per_host_rate=10)
    with place.start() as process:
        wait_for(lambda: len(place.server.log) > 5, process)
        try:
            with pytest.raises(EnvironmentProblemError, match=r"in use by process \d+ on .*`tfpipe fetch"):
                place.run()
        finally:
            process.kill()


# Elsewhere


def test_shared_out_among_workers_the_lines_are_the_same(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    done = []

    def run_all(work: Callable[[Any], None], shares: list[Any], **_: object) -> None:
        for share in shares:
            work(share)
            done.append(share)

    urls = mixed_urls(place.server)
    place.write(*urls)
    place.run()
    here, asked = place.lines(), place.server.paths_by_host()
    monkeypatch.setattr(pieces, "run_all", run_all)
    elsewhere = Place(place.root / "elsewhere", place.server)
    elsewhere.root.mkdir()
    elsewhere.write(*urls)
    elsewhere.config.write_text(elsewhere.config.read_text().replace("{", '{"runner": "DirectRunner", ', 1))
    elsewhere.run()
    assert len(done) == pieces.SHARES
    assert elsewhere.lines() == here
    assert place.server.paths_by_host() == {path: 2 * count for path, count in asked.items()}
    assert not (elsewhere.journal.parent / "shares").exists()


def test_shares_of_an_interrupted_run_are_brought_home(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def run_some(work: Callable[[Any], None], shares: list[Any], **_: object) -> None:
        for share in shares[:8]:
            work(share)
        raise KeyboardInterrupt

    urls = mixed_urls(place.server)
    place.write(*urls)
    config = place.config.read_text()
    place.config.write_text(config.replace("{", '{"runner": "DirectRunner", ', 1))
    monkeypatch.setattr(pieces, "run_all", run_some)
    with pytest.raises(KeyboardInterrupt):
        place.run()
    assert 0 < len(place.server.log) < len(urls)
    place.config.write_text(config)
    place.run()
    assert max(place.server.paths_by_host(200).values()) == 1
    assert len(place.lines()) == len(urls)
