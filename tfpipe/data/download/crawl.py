"""All URLs that a journal has due, host by host and side by side, each to its answer."""

import asyncio
import os
import random
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from tfpipe.core.settings import FetchSettings
from tfpipe.data.download.addresses import Link, follow_link, parse_link
from tfpipe.data.download.answers import Answer, Reason
from tfpipe.data.download.client import NO_SUCH_HOST, TOO_MANY_REQUESTS, Client, Reply
from tfpipe.data.download.content import Terms, is_kept, judge
from tfpipe.data.download.hosts import GivenUpError, Host, Slots
from tfpipe.data.download.inbox import Inbox, Tray
from tfpipe.data.download.journal import Journal
from tfpipe.data.download.watch import Watch

HOSTS_AT_A_TIME = 500
"""Hosts whose URLs are being asked for; the others wait, so that memory stays bounded."""


class Crawl:
    """Asks for what is due.

    A URL is asked for once, whether a row names it or redirects lead to it, from any number of places. Each hop
    of a redirect is a request like any other: judged by the guard, and in its own host's turn. A body is on disk
    before anything else is done with it, and its verdict in the journal before the body goes.
    """

    def __init__(self, journal: Journal, inbox: Inbox, settings: FetchSettings, terms: Terms):
        self._journal = journal
        self._inbox = inbox
        self._settings = settings
        self._terms = terms
        self._client = Client(settings, inbox)
        self._slots = Slots(settings.concurrency)
        self._hosts = defaultdict[str, Host](lambda: Host(settings, self._slots))
        self._asking: dict[str, asyncio.Future[Answer]] = {}

    def settle_arrived(self) -> None:
        """Judge what had come whole when an earlier run was interrupted."""
        for url, came, body in self._inbox.empty():
            if link := parse_link(url):
                self._settle(link, judge(body, came, self._terms))

    async def run(self, hosts: list[tuple[str, int]], watch: Watch) -> None:
        """Ask for the due URLs of these hosts, each with how many it has.

        Raises:
            ExceptionGroup: of an EnvironmentProblemError or DataError, where this machine is in trouble.
        """
        room = asyncio.Semaphore(HOSTS_AT_A_TIME)
        # Pillow decodes without the interpreter's lock, so threads are enough.
        with ThreadPoolExecutor(os.cpu_count()) as self._threads:
            async with self._client, asyncio.TaskGroup() as group:
                for host, urls in hosts:
                    await room.acquire()
                    watch.begin(host, urls)
                    serving = group.create_task(self._serve(host, urls, watch))
                    serving.add_done_callback(lambda _: room.release())

    async def _serve(self, host: str, urls: int, watch: Watch) -> None:
        links = self._journal.iter_due(host)

        async def work() -> None:
            for link in links:
                await self._visit(link)
                watch.count(host)
                # A host that was given up answers at once; let the others have their turn between.
                await asyncio.sleep(0)

        async with asyncio.TaskGroup() as group:
            # Twice as many as may ask at a time: those that wait for a retry leave the others room.
            for _ in range(min(urls, 2 * self._settings.per_host_concurrency)):
                group.create_task(work())
        watch.end(host)

    async def _visit(self, link: Link) -> None:
        """Follow a row's URL to its end, and write down what that gave."""
        chain = [link]
        answer = first = await self._answer(link)
        while answer.location:
            target = follow_link(chain[-1], answer.location)
            if target is None or target in chain or len(chain) > self._settings.max_redirects:
                detail = "to nowhere" if target is None else "in a circle" if target in chain else "too many"
                answer = Answer(Reason.REDIRECTS, detail=detail)
                break
            chain.append(target)
            answer = await self._answer(target)
        if first.location:
            # The validators belong to where it led.
            self._settle(link, replace(answer, location=first.location, etag="", last_modified=""))

    async def _answer(self, link: Link) -> Answer:
        """What a URL gives by itself, redirects told but not followed."""
        if under_way := self._asking.get(link.url):
            return await asyncio.shield(under_way)
        if settled := self._journal.settled(link.url):
            return settled
        self._asking[link.url] = future = asyncio.get_running_loop().create_future()
        try:
            answer, body = await self._ask(link)
            if not answer.location:
                answer = self._settle(link, answer)
            if body:
                self._inbox.give_back(body)
            future.set_result(answer)
            return answer
        finally:
            del self._asking[link.url]
            future.cancel()

    async def _ask(self, link: Link) -> tuple[Answer, Tray | None]:
        """Ask, and ask again for what may pass."""
        host = self._hosts[link.host]
        kept = self._kept(link)
        answer = Answer(Reason.UNREACHABLE)
        for attempt in range(self._settings.retries + 1):
            try:
                async with host.turn():
                    reply = await self._client.ask(link, kept)
                    self._tell(host, reply, attempt)
                    if reply.body:
                        return await self._judge(reply.body), reply.body
            except GivenUpError as error:
                return (answer if attempt else replace(answer, detail=str(error))), None
            answer = reply.answer
            if not reply.may_pass:
                break
            if reply.retry_after_s is None and attempt < self._settings.retries:
                await asyncio.sleep(self._backoff_s(attempt))
        return answer, None

    def _tell(self, host: Host, reply: Reply, attempt: int) -> None:
        """Let the host's pace and health know how it went."""
        if reply.answer.detail == NO_SUCH_HOST:
            host.give_up(NO_SUCH_HOST)
            return
        if not reply.may_pass:
            host.succeed()
            return
        host.fail(again=attempt > 0)
        if reply.retry_after_s is not None:
            host.pause(min(reply.retry_after_s, self._settings.max_retry_after_s))
        elif reply.answer.status == TOO_MANY_REQUESTS:
            host.pause(self._backoff_s(attempt))

    def _backoff_s(self, attempt: int) -> float:
        """Full jitter (Brooker 2015): anything up to the bound, so that retries do not come in waves."""
        bound = min(self._settings.backoff_s * 2**attempt, self._settings.max_backoff_s)
        return random.uniform(0, bound)  # noqa: S311 - no secret

    async def _judge(self, tray: Tray) -> Answer:
        return await asyncio.get_running_loop().run_in_executor(self._threads, _judge, tray, self._terms)

    def _kept(self, link: Link) -> Answer | None:
        """An earlier answer whose image stands."""
        known = self._journal.known(link.url)
        return known if known and is_kept(known, self._terms) else None

    def _settle(self, link: Link, answer: Answer) -> Answer:
        """Write an answer down; an image that is already there outlives the failure of a later question."""
        kept = None if answer.is_ok else self._kept(link)
        if kept:
            answer = replace(kept, detail=f"kept; asked again: {answer.reason}")
        self._journal.settle(link, answer)
        return answer


def _judge(tray: Tray, terms: Terms) -> Answer:
    found = tray.read()
    assert found, "a tray is judged when it is whole"
    _, came, body = found
    return judge(body, came, terms)
