"""One model at work: from a request's inputs to its answers, in bounded time and memory."""

import asyncio
import hashlib
import json
import logging
import traceback
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager, suppress

from fastapi import HTTPException

from tfpipe.core.errors import DataError
from tfpipe.core.settings import ServeSettings, Task
from tfpipe.serving.batching import Batcher, Content, Judgement, Model
from tfpipe.serving.drift import Drift
from tfpipe.serving.metrics import Metrics
from tfpipe.serving.photos import read_photo
from tfpipe.serving.workers import SECONDS_BETWEEN_PAGES, Board

LOG = logging.getLogger("tfpipe.serving")
NUM_READERS = 2
"""Photos that are decoded at a time, beside the model."""
RETRY = {"Retry-After": "1"}
POLL_S = 0.02


class Service:
    """A model behind a queue.

    Args:
        load: gives the model; called on the model's own thread.
        task: whether inputs are texts or photos.
        settings: its limits.
        drift: of this model's answers.
        board: for its metrics, if it is one of several workers.
    """

    def __init__(
        self,
        load: Callable[[], Model],
        task: Task,
        settings: ServeSettings,
        drift: Drift,
        *,
        board: Board | None = None,
    ) -> None:
        self.task = task
        self.settings = settings
        self.failure: BaseException | None = None
        """Why the model could not be loaded."""
        self._load = load
        self._board = board
        self._is_closing = False
        self._under_way = 0
        self._readers = ThreadPoolExecutor(NUM_READERS, thread_name_prefix="reader")
        self.metrics = Metrics(
            drift,
            num_under_way=lambda: self._under_way,
            num_admitted=lambda: self._batcher.num_admitted,
            is_ready=lambda: self.why_not_ready is None,
        )
        self._batcher = Batcher(
            batch_size=settings.batch_size,
            max_delay_s=settings.max_delay_ms / 1000,
            queue_size=settings.queue_size,
            watch=self.metrics.count_call,
        )

    @property
    def why_not_ready(self) -> str | None:
        """Why a request would be refused now; None if it would not."""
        if self._is_closing:
            return "the server is stopping"
        if not self._batcher.is_loaded:
            return "the model is being loaded"
        if self._batcher.is_full or self._under_way >= self.settings.max_requests:
            return "the queue is full"
        return None

    @property
    def num_under_way(self) -> int:
        """Requests that are being answered."""
        return self._under_way

    def close(self) -> None:
        """Refuse requests from now on."""
        self._is_closing = True

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Load the model in the background, and answer; one of several workers is loaded before it begins."""
        work = asyncio.create_task(self._batcher.run(self._load))
        work.add_done_callback(self._note_failure)
        tasks = [work]
        if self._board:
            while not (self._batcher.is_loaded or work.done()):
                await asyncio.sleep(POLL_S)
            tasks.append(asyncio.create_task(self._hang_metrics()))
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
                with suppress(asyncio.CancelledError, Exception):
                    await task
            self._readers.shutdown(cancel_futures=True)

    @contextmanager
    def under_way(self) -> Iterator[None]:
        """A request's time here.

        Raises:
            HTTPException: 503, when the server is not ready.
        """
        reason = self.why_not_ready
        if reason:
            raise HTTPException(503, reason, RETRY)
        self._under_way += 1
        try:
            yield
        finally:
            self._under_way -= 1

    def tell_metrics(self) -> bytes:
        """For Prometheus, with those of the other workers."""
        page = self.metrics.to_text()
        if self._board is None:
            return page
        self._board.hang(page)
        return self._board.read()

    async def _hang_metrics(self) -> None:
        assert self._board
        while True:
            self._board.hang(self.metrics.to_text())
            await asyncio.sleep(SECONDS_BETWEEN_PAGES)

    async def answer(self, inputs: Sequence[str]) -> list[Judgement]:
        """Answers in order; if cancelled, what the model has not begun is not computed.

        Raises:
            HTTPException: 422, naming the input that is no photo; 503, when the queue is full; 500, when the model
                fails.
        """
        try:
            self._batcher.admit(len(inputs))
        except asyncio.QueueFull:
            raise HTTPException(503, "the queue is full", RETRY) from None
        try:
            answers = await self._ask(await self._read(inputs))
        finally:
            self._batcher.release(len(inputs))
        self.metrics.count_answers(answers)
        if self.settings.log_inputs:
            for one, said in zip(inputs, answers, strict=True):
                LOG.info(_logged(one, said, self.task))
        return answers

    async def _read(self, inputs: Sequence[str]) -> Sequence[Content]:
        if self.task == "text":
            return inputs
        loop, photos = asyncio.get_running_loop(), []
        for number, one in enumerate(inputs):
            try:
                photos.append(await loop.run_in_executor(self._readers, read_photo, one, self.settings.max_pixels))
            except DataError as error:
                fault = {"loc": ["body", "inputs", number], "msg": str(error), "type": "photo"}
                raise HTTPException(422, [fault]) from None
        return photos

    async def _ask(self, contents: Sequence[Content]) -> list[Judgement]:
        try:
            return await self._batcher.ask(contents)
        except DataError:
            fault = {"loc": ["body", "inputs"], "msg": "an input that cannot be read", "type": "unreadable"}
            raise HTTPException(422, [fault]) from None
        except Exception as error:  # noqa: BLE001 - a model may raise anything
            # Not its message, which may quote an input.
            where = "".join(traceback.format_tb(error.__traceback__))
            LOG.error("the model failed: %s\n%s", type(error).__name__, where)
            raise HTTPException(500, "the model failed") from None

    def _note_failure(self, work: "asyncio.Task[None]") -> None:
        if not work.cancelled():
            self.failure = work.exception()


def _logged(one: str, said: Judgement, task: Task) -> str:
    shown = one if task == "text" else hashlib.sha256(one.encode()).hexdigest()
    told = {"input": shown, "label": said.label, "confidence": said.confidence, "conclusive": said.is_conclusive}
    return json.dumps(told, ensure_ascii=False)
