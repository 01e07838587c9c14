"""When a host may be asked once more: evenly spaced, few at a time, not while it is down."""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext, suppress

from tfpipe.core.settings import FetchSettings

CATCH_UP_S = 0.05
"""A request that leaves so little late does not put off the next, so that the mean rate is the wanted one."""

Clock = Callable[[], float]


class GivenUpError(Exception):
    """The host is not asked any more; the message says why."""


class Slots:
    """Room for requests under way, over all hosts.

    Hosts that did not answer last time, or never yet, share half of it: the dead must not hold up the living.
    """

    def __init__(self, concurrency: int):
        self._all = asyncio.Semaphore(concurrency)
        self._doubtful = asyncio.Semaphore(max(1, concurrency // 2))

    @asynccontextmanager
    async def one(self, *, doubtful: bool) -> AsyncIterator[None]:
        """Hold a place while a request is under way."""
        async with self._doubtful if doubtful else nullcontext(), self._all:
            yield


class Host:
    """One host's pace and health.

    Requests leave in even steps of 1 / `per_host_rate`. How many may be under way begins at one, grows by one
    with each answer to `per_host_concurrency`, and falls back to one with each failure, so that a host that hangs
    ties up little. After `breaker_failures` URLs that failed in a row it is left alone for a while, then asked once
    (there is room for one only); if it still fails after `breaker_pauses` such pauses, it is given up.
    """

    def __init__(self, settings: FetchSettings, slots: Slots, *, clock: Clock = time.monotonic):
        self._settings = settings
        self._slots = slots
        self._clock = clock
        self._interval_s = 1 / settings.per_host_rate
        self._next_at = self._paused_until = -math.inf
        self._under_way = 0
        self._room = 1
        self._has_answered = False
        self._failures = 0
        self._pauses = 0
        self._given_up = ""
        self._door = asyncio.Lock()
        self._changed = asyncio.Event()

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait until one more request may leave, and count it as under way until the block ends.

        Raises:
            GivenUpError: when the host has been given up.
        """
        async with AsyncExitStack() as place:
            # One at a time stands at the door; the others queue behind it, first come, first served.
            async with self._door:
                while True:
                    await self._wait()
                    await place.enter_async_context(self._slots.one(doubtful=self._is_doubtful))
                    if self.seconds_to_wait() <= 0 and not self._given_up:
                        break
                    # The host was paused while we waited for a place; others can use it meanwhile.
                    await place.aclose()
                self.leave()
            try:
                yield
            finally:
                self.end()

    def seconds_to_wait(self) -> float:
        """Until the next request may leave; infinite while all places of the host are taken."""
        if self._under_way >= self._room:
            return math.inf
        return max(self._next_at, self._paused_until) - self._clock()

    def leave(self) -> None:
        """A request leaves now."""
        self._under_way += 1
        now = self._clock()
        on_time = now - self._next_at <= CATCH_UP_S
        self._next_at = (self._next_at if on_time else now) + self._interval_s

    def end(self) -> None:
        """A request has ended, one way or another."""
        self._under_way -= 1
        self._changed.set()

    def succeed(self) -> None:
        """The host gave an answer, be it "not found"."""
        self._has_answered = True
        self._failures = self._pauses = 0
        self._room = min(self._room + 1, self._settings.per_host_concurrency)

    def fail(self, *, again: bool) -> None:
        """The host gave no answer, or one that says it is in trouble.

        Args:
            again: whether this URL failed before. A few URLs that always fail say nothing of their host.
        """
        self._room = 1
        limit = self._settings.breaker_failures
        if self._clock() < self._paused_until:
            return  # Left before the pause began, and says nothing new.
        if again and self._failures < limit:
            return
        self._failures += 1
        if self._failures < limit:
            return
        if self._pauses == self._settings.breaker_pauses:
            self.give_up(f"given up after {self._failures} failures in a row")
        self._pauses += 1
        self.pause(self._settings.breaker_pause_s)

    def pause(self, seconds: float) -> None:
        """Leave the host alone for so long."""
        self._paused_until = max(self._paused_until, self._clock() + seconds)

    def give_up(self, why: str) -> None:
        """Never ask again."""
        self._given_up = why
        self._changed.set()

    @property
    def _is_doubtful(self) -> bool:
        return self._failures > 0 or not self._has_answered

    async def _wait(self) -> None:
        while True:
            if self._given_up:
                raise GivenUpError(self._given_up)
            seconds = self.seconds_to_wait()
            if seconds <= 0:
                return
            self._changed.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(None if seconds == math.inf else seconds):
                    await self._changed.wait()
