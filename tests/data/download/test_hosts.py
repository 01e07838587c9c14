"""The pace and health of a host, by a clock that the tests turn."""

import asyncio
import math
import time

import numpy as np
import pytest

from tfpipe.core.settings import FetchSettings
from tfpipe.data.download.hosts import CATCH_UP_S, GivenUpError, Host, Slots


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def make(clock: Clock | None = None, **settings: float) -> Host:
    slots = Slots(64)
    return Host(FetchSettings(**settings), slots, clock=clock or Clock())  # type: ignore[arg-type]


@pytest.mark.parametrize("rate", [0.5, 10.0, 300.0])
def test_requests_leave_at_the_limits_rate_though_each_is_a_little_late(rate: float) -> None:
    clock = Clock()
    host = make(clock, per_host_rate=rate)
    late_s = np.random.default_rng(0).exponential(min(0.2 / rate, 0.005), 1000)
    times = []
    for lateness in late_s:
        clock.now += max(0.0, host.seconds_to_wait()) + lateness
        host.leave()
        host.end()
        times.append(clock.now)
    assert (len(times) - 1) / (times[-1] - times[0]) == pytest.approx(rate, rel=0.01)
    # In no second, or ten requests' time, more than the limit and what one may make good.
    window_s = max(1.0, 10 / rate)
    most = max(np.searchsorted(times, at + window_s) - index for index, at in enumerate(times))
    assert most <= rate * (window_s + CATCH_UP_S) + 1


def test_a_pause_is_not_made_good() -> None:
    clock = Clock()
    host = make(clock, per_host_rate=10)
    host.leave()
    host.end()
    clock.now += 60
    assert host.seconds_to_wait() <= 0
    host.leave()
    host.end()
    assert host.seconds_to_wait() == pytest.approx(0.1)


def test_room_grows_with_answers_and_falls_with_a_failure() -> None:
    clock = Clock()
    host = make(clock, per_host_rate=1e6, per_host_concurrency=3)

    def room() -> int:
        count = 0
        while host.seconds_to_wait() < math.inf:
            host.leave()
            count += 1
        for _ in range(count):
            host.end()
        return count

    assert room() == 1
    host.succeed()
    assert room() == 2
    host.succeed()
    host.succeed()
    assert room() == 3
    host.fail(again=False)
    assert room() == 1


def test_a_host_that_fails_is_left_alone_then_asked_once_then_given_up() -> None:
    clock = Clock()
    host = make(clock, breaker_failures=3, breaker_pause_s=30, breaker_pauses=2)
    for _ in range(2):
        host.fail(again=False)
    host.fail(again=True)
    assert host.seconds_to_wait() <= 0, "the same URL again says nothing new"
    host.fail(again=False)
    assert host.seconds_to_wait() == 30
    host.fail(again=False)
    assert host.seconds_to_wait() == 30, "left before the pause began"
    clock.now += 31
    host.fail(again=True)
    assert host.seconds_to_wait() == 30, "the one that was let through failed"
    clock.now += 31
    host.fail(again=True)
    with pytest.raises(GivenUpError, match="given up after 5 failures in a row"):
        asyncio.run(host.turn().__aenter__())


def test_an_answer_makes_a_host_well() -> None:
    host = make(breaker_failures=2, breaker_pauses=1)
    for _ in range(20):
        host.fail(again=False)
        host.succeed()
    assert host.seconds_to_wait() <= 0


def test_a_pause_that_is_asked_for_holds_and_is_never_shortened() -> None:
    clock = Clock()
    host = make(clock)
    host.pause(20)
    host.pause(5)
    assert host.seconds_to_wait() == 20


def test_turns_keep_rate_and_room_and_come_in_order() -> None:
    async def run() -> tuple[list[int], list[float], int]:
        host = Host(FetchSettings(per_host_rate=100, per_host_concurrency=2), Slots(8))
        order: list[int] = []
        times: list[float] = []
        under_way = most = 0

        async def ask(number: int) -> None:
            nonlocal under_way, most
            async with host.turn():
                order.append(number)
                times.append(time.monotonic())
                under_way += 1
                most = max(most, under_way)
                await asyncio.sleep(0.015)
                under_way -= 1
                host.succeed()

        await asyncio.gather(*(ask(number) for number in range(40)))
        return order, times, most

    order, times, most = asyncio.run(run())
    assert order == list(range(40))
    assert most == 2
    assert (times[-1] - times[0]) >= 39 / 100 - CATCH_UP_S


def test_a_turn_that_is_cancelled_leaves_its_place() -> None:
    async def run() -> None:
        host = Host(FetchSettings(per_host_concurrency=1), Slots(1))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02), host.turn():
                await asyncio.sleep(1)
        async with asyncio.timeout(1), host.turn():
            pass

    asyncio.run(run())


def test_hosts_that_hang_leave_the_others_half_of_the_places() -> None:
    async def run() -> int:
        settings, slots = FetchSettings(per_host_rate=1000), Slots(4)
        answered = 0

        async def hang(host: Host) -> None:
            async with host.turn():
                await asyncio.sleep(60)

        async def answer(host: Host) -> None:
            nonlocal answered
            for _ in range(20):
                async with host.turn():
                    host.succeed()
                    answered += 1

        well = Host(settings, slots)
        async with well.turn():
            well.succeed()
        hanging = [asyncio.create_task(hang(Host(settings, slots))) for _ in range(10)]
        await asyncio.sleep(0.01)
        await asyncio.wait_for(answer(well), 5)
        for task in hanging:
            task.cancel()
        return answered

    assert asyncio.run(run()) == 20
