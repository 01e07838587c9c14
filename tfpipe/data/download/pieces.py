"""The crawl as a piece of work: of all hosts here, or of some of them wherever a runner puts it."""

import asyncio
import resource
import shutil
import signal
import threading
from collections.abc import Coroutine, Iterable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tfpipe.core.progress import progress
from tfpipe.core.settings import FetchSettings
from tfpipe.data.download.addresses import Link
from tfpipe.data.download.content import Terms, pixel_limit
from tfpipe.data.download.crawl import Crawl
from tfpipe.data.download.inbox import Inbox
from tfpipe.data.download.journal import Journal
from tfpipe.data.download.watch import Watch
from tfpipe.data.workers import LOCAL, Runner, run_all

SHARES = 16
OPEN_FILES = 65536


@dataclass(frozen=True)
class Piece:
    """A journal whose due URLs are to be asked. All URLs of a host are in one piece, so that its limits hold."""

    journal_path: Path
    settings: FetchSettings
    terms: Terms
    title: str = ""
    """Beside the bar; without one there is none."""

    @property
    def inbox_dir(self) -> Path:
        """Where bodies lie until they are judged."""
        return self.journal_path.with_suffix(".inbox")


def fetch_links(links: Iterable[Link], run: str, whole: Piece, runner: Runner) -> int:
    """Ask for every link, or go on where the same run was interrupted.

    Args:
        links: read only if the run is new.
        run: tells one run from another.
        whole: the journal of all hosts.
        runner: where; anywhere but here, the hosts are shared out.

    Returns:
        How many URLs were asked for; the others were settled before.
    """
    shares_dir = whole.journal_path.parent / "shares"
    _bring_home(whole, shares_dir)
    with Journal(whole.journal_path) as journal:
        journal.begin(run, links, whole.terms, recheck=whole.settings.recheck)
        asked = sum(urls for _, urls in journal.due_hosts())
    if runner.name == LOCAL:
        fetch_piece(whole)
    else:
        run_all(fetch_piece, _share_out(whole, shares_dir), title=whole.title, runner=runner)
        _bring_home(whole, shares_dir)
    return asked


def fetch_piece(piece: Piece) -> None:
    """Ask for all that is due in one journal. Interrupted at any moment, it goes on when called again.

    Raises:
        EnvironmentProblemError: when the disk is full, or this machine is otherwise in trouble.
    """
    _allow_many_files()
    with (
        Journal(piece.journal_path) as journal,
        Inbox(piece.inbox_dir) as inbox,
        pixel_limit(piece.terms.max_pixels),
    ):
        crawl = Crawl(journal, inbox, piece.settings, piece.terms)
        crawl.settle_arrived()
        hosts = journal.due_hosts()
        total = sum(urls for _, urls in hosts)
        with progress(piece.title, total) if piece.title else nullcontext(lambda *_: None) as advance:
            try:
                asyncio.run(_until_sigterm(crawl.run(hosts, Watch(advance, piece.settings.per_host_rate))))
            except ExceptionGroup as group:
                raise _first(group) from None


def _share_out(whole: Piece, shares_dir: Path) -> list[Piece]:
    shares_dir.mkdir()
    paths = [shares_dir.resolve() / f"{number:02d}.sqlite" for number in range(SHARES)]
    with Journal(whole.journal_path) as journal:
        for number, path in enumerate(paths):
            journal.hand_out(path, share=number, shares=SHARES)
    return [replace(whole, journal_path=path, title="") for path in paths]


def _bring_home(whole: Piece, shares_dir: Path) -> None:
    """What the shares of this run, or of one that was interrupted, have settled or received."""
    if not shares_dir.is_dir():
        return
    with Journal(whole.journal_path) as journal, Inbox(whole.inbox_dir) as inbox:
        for path in sorted(shares_dir.glob("*.sqlite")):
            journal.take_back(path)
            inbox.adopt(replace(whole, journal_path=path).inbox_dir)
    shutil.rmtree(shares_dir)


def _allow_many_files() -> None:
    """Some systems allow 256 by default, and idle connections count as files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


async def _until_sigterm(work: Coroutine[Any, Any, None]) -> None:
    """Cancel what is under way, as asyncio does at Ctrl-C.

    Not by a SIGINT of our own: what a shell starts in the background ignores that one.
    """
    if threading.current_thread() is not threading.main_thread():
        return await work
    task, told, before = asyncio.current_task(), [], signal.getsignal(signal.SIGTERM)
    assert task

    def end() -> None:
        told.append(signal.SIGTERM)
        task.cancel()

    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, end)
    try:
        await work
    except asyncio.CancelledError:
        if told:
            raise KeyboardInterrupt from None
        raise
    finally:
        asyncio.get_running_loop().remove_signal_handler(signal.SIGTERM)
        signal.signal(signal.SIGTERM, before)


def _first(error: Exception) -> Exception:
    """All tasks fail of one trouble; the first tells it."""
    return _first(error.exceptions[0]) if isinstance(error, ExceptionGroup) else error
