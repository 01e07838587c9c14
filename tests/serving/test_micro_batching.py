"""What is asked at the same time is answered by one call, and everybody gets the answer to what he asked."""

import asyncio
from collections.abc import Sequence

import pytest
from oracle import Oracle, Said, as_json, build_service, judge, predict, serving, until

from tfpipe.serving.batching import Batcher, Content


def build_batcher(**settings: float) -> Batcher:
    return Batcher(**{"batch_size": 8, "max_delay_s": 0, "queue_size": 100, "watch": lambda *_: None} | settings)


def test_requests_that_come_while_the_model_works_share_its_next_calls() -> None:
    oracle = Oracle()

    async def ask() -> None:
        service = build_service(oracle, batch_size=8)
        async with serving(service) as client:
            oracle.gate.clear()
            first = asyncio.create_task(predict(client, "first"))
            await until(oracle.started.is_set)
            others = [asyncio.create_task(predict(client, f"a{n}", f"b{n}", f"c{n}")) for n in range(5)]
            # All are in the queue: their inputs, and the one that is being computed.
            await until(lambda: b"tfpipe_queue_inputs 16.0" in service.metrics.to_text())
            oracle.gate.set()
            assert (await first).json() == [as_json("first")]
            for number, other in enumerate(others):
                assert (await other).json() == [as_json(f"{letter}{number}") for letter in "abc"]

    asyncio.run(ask())
    assert [len(call) for call in oracle.calls] == [1, 8, 4, 2, 1]
    assert len(oracle.threads) == 1
    assert oracle.threads != {"MainThread"}


def test_a_batch_that_is_full_goes_at_once_and_one_that_is_not_after_the_delay() -> None:
    oracle = Oracle()

    async def ask() -> None:
        batcher = build_batcher(batch_size=4, max_delay_s=3600)
        running = asyncio.create_task(batcher.run(oracle.load))
        four = await asyncio.gather(*(batcher.ask([f"{number}"]) for number in range(4)))
        assert [answers[0] for answers in four] == [judge(f"{number}") for number in range(4)]
        lonely = asyncio.create_task(batcher.ask(["lonely"]))
        await asyncio.sleep(0.05)
        assert not lonely.done()
        await asyncio.gather(batcher.ask(["x", "y"]), batcher.ask(["z"]))
        assert await lonely == [judge("lonely")]
        running.cancel()

    asyncio.run(ask())
    assert [sorted(call) for call in oracle.calls] == [["0", "1", "2", "3"], ["lonely", "x", "y", "z"]]


def test_calls_have_few_sizes() -> None:
    """All sizes that requests may have are computed in full batches and powers of two, and nothing is padded."""
    oracle = Oracle()

    async def ask() -> None:
        batcher = build_batcher(batch_size=12)
        running = asyncio.create_task(batcher.run(oracle.load))
        for count in range(1, 31):
            names = [f"{count}.{number}" for number in range(count)]
            assert await batcher.ask(names) == [judge(name) for name in names]
        running.cancel()

    asyncio.run(ask())
    assert {len(call) for call in oracle.calls} == {1, 2, 4, 8, 12}
    assert len(oracle.asked) == sum(range(1, 31))


def test_a_lonely_input_waits_no_longer_than_the_delay() -> None:
    async def ask() -> None:
        batcher = build_batcher(max_delay_s=0.02)
        running = asyncio.create_task(batcher.run(Oracle().load))
        assert await asyncio.wait_for(batcher.ask(["lonely"]), 20) == [judge("lonely")]
        running.cancel()

    asyncio.run(ask())


def test_one_bad_input_spoils_no_others_answer() -> None:
    oracle = Oracle()

    async def ask() -> None:
        batcher = build_batcher(batch_size=8, max_delay_s=3600)
        running = asyncio.create_task(batcher.run(oracle.load))
        names = ["a", "b", "unreadable", "c", "d", "e", "f", "g"]
        answers = await asyncio.gather(*(batcher.ask([name]) for name in names), return_exceptions=True)
        for name, answer in zip(names, answers, strict=True):
            assert str(answer) == name if name == "unreadable" else answer == [judge(name)]
        running.cancel()

    asyncio.run(ask())


def test_what_nobody_waits_for_is_not_computed_and_leaves_the_queue() -> None:
    oracle = Oracle()

    async def ask() -> None:
        batcher = build_batcher(batch_size=2)
        running = asyncio.create_task(batcher.run(oracle.load))
        await until(lambda: batcher.is_loaded)
        oracle.gate.clear()
        first = asyncio.create_task(batcher.ask(["first"]))
        await until(oracle.started.is_set)
        gone = [asyncio.create_task(batcher.ask([f"gone {number}", "too"])) for number in range(3)]
        kept = asyncio.create_task(batcher.ask(["kept"]))
        await asyncio.sleep(0)
        for one in gone:
            one.cancel()
        await asyncio.wait(gone)
        oracle.gate.set()
        assert await asyncio.gather(first, kept) == [[judge("first")], [judge("kept")]]
        running.cancel()

    asyncio.run(ask())
    assert oracle.calls == [["first"], ["kept"]]


def test_a_model_that_answers_too_little_fails_and_the_next_is_answered() -> None:
    def short_of_odd(contents: Sequence[Content]) -> list[Said]:
        return [] if "odd" in contents else [judge(content) for content in contents]

    async def ask() -> None:
        batcher = build_batcher()
        running = asyncio.create_task(batcher.run(lambda: short_of_odd))
        with pytest.raises(ValueError, match="shorter"):
            await batcher.ask(["odd"])
        assert await batcher.ask(["even"]) == [judge("even")]
        running.cancel()

    asyncio.run(ask())
