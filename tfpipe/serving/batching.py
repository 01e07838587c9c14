"""Micro-batching: what is asked at the same time is answered by one call of the model, on a thread of its own."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

Content = str | bytes
"""A text, or a photo's file."""


class Judgement(Protocol):
    """What a model says of one input."""

    @property
    def label(self) -> str:
        """The likeliest class."""

    @property
    def confidence(self) -> float:
        """Its probability, calibrated."""

    @property
    def is_conclusive(self) -> bool:
        """Whether the confidence is above the threshold."""

    @property
    def probs(self) -> Mapping[str, float]:
        """Class → probability, the likeliest first."""


Model = Callable[[Sequence[Content]], Sequence[Judgement]]
"""Answers in the order of the questions."""
Watch = Callable[[int, float], None]
"""Told of each call: inputs, and seconds."""


@dataclass(eq=False, slots=True)
class _Waiting:
    content: Content
    answer: "asyncio.Future[Judgement]"
    since_s: float


class Batcher:
    """Joins inputs to batches.

    A batch goes to the model when it is full, or when its first input has waited for `max_delay_s`. While the model is
    at work the next batch gathers, so that under load nothing waits for the delay. What does not fill a batch goes by
    powers of two, 13 as 8, 4 and 1: TensorFlow keeps memory for each shape that it meets. Lives on one event loop.

    Args:
        batch_size: inputs of one call.
        max_delay_s: how long the first input waits for others.
        queue_size: inputs admitted and not yet answered.
        watch: told of each call.
    """

    def __init__(self, *, batch_size: int, max_delay_s: float, queue_size: int, watch: Watch) -> None:
        self._batch_size = batch_size
        self._max_delay_s = max_delay_s
        self._queue_size = queue_size
        self._watch = watch
        self._waiting: deque[_Waiting] = deque()
        self._num_admitted = 0
        self._arrived, self._filled = asyncio.Event(), asyncio.Event()
        self.is_loaded = False

    @property
    def num_admitted(self) -> int:
        """Inputs that are not yet answered."""
        return self._num_admitted

    @property
    def is_full(self) -> bool:
        """Whether another input would be refused."""
        return self._num_admitted >= self._queue_size

    def admit(self, count: int) -> None:
        """Take places in the queue, to be given back by `release`.

        Raises:
            asyncio.QueueFull: when there are fewer.
        """
        if self._num_admitted + count > self._queue_size:
            raise asyncio.QueueFull
        self._num_admitted += count

    def release(self, count: int) -> None:
        """Give places back."""
        self._num_admitted -= count

    async def ask(self, contents: Sequence[Content]) -> list[Judgement]:
        """The answers, in order. Inputs whose asker is cancelled are not computed, unless they are already.

        Raises:
            Exception: that the model raises of one of these inputs, asked by itself.
        """
        loop, now = asyncio.get_running_loop(), time.monotonic()
        asked = [_Waiting(content, loop.create_future(), now) for content in contents]
        self._waiting.extend(asked)
        self._arrived.set()
        if len(self._waiting) >= self._batch_size:
            self._filled.set()
        try:
            return await asyncio.gather(*(one.answer for one in asked))
        except BaseException:
            for one in asked:
                one.answer.cancel()
            self._waiting = deque(one for one in self._waiting if not one.answer.done())
            raise

    async def run(self, load: Callable[[], Model]) -> None:
        """Load the model, then answer until cancelled. The model is loaded and called on one thread, always the same.

        Raises:
            Exception: that `load` raises.
        """
        worker = ThreadPoolExecutor(1, thread_name_prefix="model")
        try:
            model = await asyncio.get_running_loop().run_in_executor(worker, load)
            self.is_loaded = True
            while True:
                await self._compute(await self._next_batch(), model, worker)
        finally:
            self.is_loaded = False
            worker.shutdown(cancel_futures=True)

    async def _next_batch(self) -> list[_Waiting]:
        while not self._waiting:
            self._arrived.clear()
            await self._arrived.wait()
        patience_s = self._waiting[0].since_s + self._max_delay_s - time.monotonic()
        if len(self._waiting) < self._batch_size and patience_s > 0:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._filled.wait(), patience_s)
        batch = [self._waiting.popleft() for _ in range(self._next_size())]
        if len(self._waiting) < self._batch_size:
            self._filled.clear()
        return batch

    def _next_size(self) -> int:
        waiting = len(self._waiting)
        return self._batch_size if waiting >= self._batch_size else 1 << waiting.bit_length() >> 1

    async def _compute(self, batch: list[_Waiting], model: Model, worker: ThreadPoolExecutor) -> None:
        """A batch that fails is asked by halves, so that one bad input spoils no other's answer."""
        if not batch:
            return
        start = time.perf_counter()
        try:
            contents = [one.content for one in batch]
            answers = await asyncio.get_running_loop().run_in_executor(worker, model, contents)
            answered = list(zip(batch, answers, strict=True))
        except Exception as error:  # noqa: BLE001 - it belongs to the one who asked
            if len(batch) == 1:
                _fail(batch[0], error)
                return
            half = len(batch) // 2
            await self._compute(batch[:half], model, worker)
            await self._compute(batch[half:], model, worker)
            return
        self._watch(len(batch), time.perf_counter() - start)
        for one, answer in answered:
            if not one.answer.done():
                one.answer.set_result(answer)


def _fail(one: _Waiting, error: Exception) -> None:
    if not one.answer.done():
        one.answer.set_exception(error)
