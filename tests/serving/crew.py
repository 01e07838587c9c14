"""Workers whose answers tell whose they are: `python crew.py COUNT` prints the port, and `number pid` of each."""

import multiprocessing
import os
import socket
import sys
import tempfile
import time
from collections.abc import Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
from oracle import Said

from tfpipe.core.settings import ServeSettings
from tfpipe.serving.app import build_app
from tfpipe.serving.batching import Content, Model
from tfpipe.serving.drift import Answers, Drift
from tfpipe.serving.server import run_server
from tfpipe.serving.service import Service
from tfpipe.serving.workers import Board, keep_workers

LOADING_S = 0.5
CLASSES = ("worker 0", "worker 1")


def work(number: int, listener: socket.socket, folder: Path) -> None:
    def load() -> Model:
        print(number, os.getpid(), flush=True)
        time.sleep(LOADING_S)
        return answer

    def answer(contents: Sequence[Content]) -> list[Said]:
        if "slow" in contents:
            time.sleep(1)
        return [Said({CLASSES[number]: 1.0}) for _ in contents]

    drift = Drift(CLASSES, Answers(np.array([0, 1]), np.array([0.9, 1.0])), threshold=None, window=10)
    service = Service(load, "text", ServeSettings(rate=None), drift, board=Board(folder, number))
    run_server(build_app(service, name="crew"), service, listener)


def main() -> None:
    context = multiprocessing.get_context("spawn")
    with socket.create_server(("127.0.0.1", 0)) as listener, tempfile.TemporaryDirectory() as folder:
        print(listener.getsockname()[1], flush=True)

        def start(number: int) -> BaseProcess:
            worker = context.Process(target=work, args=(number, listener, Path(folder)), daemon=True)
            worker.start()
            return worker

        keep_workers(int(sys.argv[1]), start)


if __name__ == "__main__":
    main()
