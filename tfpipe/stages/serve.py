"""`serve`: a fitted model's calibrated answers over HTTP."""

import errno
import gc
import logging
import multiprocessing
import os
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np

from tfpipe.core.config import Config, load_config
from tfpipe.core.errors import ConfigError, EnvironmentProblemError, TfpipeError
from tfpipe.core.files import read_json
from tfpipe.core.progress import native_silence, say
from tfpipe.core.workspace import Workspace
from tfpipe.stages.runner import run_step

if TYPE_CHECKING:
    from tfpipe.serving.batching import Content, Judgement, Model
    from tfpipe.serving.drift import Drift
    from tfpipe.serving.workers import Board

INTERRUPTED = 130
BACKLOG = 2048
"""Connections that may wait to be accepted; uvicorn's own."""


def serve(path: Path, overrides: tuple[str, ...], host: str, port: int) -> None:
    """Train what is missing, then answer until told to end.

    Args:
        path: the settings file.
        overrides: `key.path=value` each.
        host: an address or name of this machine.
        port: 0 takes a free one.

    Raises:
        ConfigError: when the token's variable is not set.
        EnvironmentProblemError: when the port cannot be had, or the extra is missing.
    """
    _check_extra()
    config, workspace = load_config(path, overrides), Workspace()
    token = _read_token(config)
    # Hours of training are a long way to an answer that the port is taken.
    with _bound(host, port) as listener:
        run_step("calibrate", path, overrides)
        _listen(listener)
        host, port = listener.getsockname()[:2]
        say(f"{config.name}: http://{f'[{host}]' if ':' in host else host}:{port}")
        if config.serve.workers == 1:
            _serve(config, workspace, token, listener)
        else:
            _serve_by_many(config, overrides, listener)
        say(f"{config.name}: stopped.")


def _serve_by_many(config: Config, overrides: tuple[str, ...], listener: socket.socket) -> None:
    from tfpipe.serving.workers import keep_workers

    # Else each would take all the cores, and the first all of a GPU's memory.
    cores = (os.cpu_count() or 1) // config.serve.workers
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", str(max(1, cores)))
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    spawn = multiprocessing.get_context("spawn")
    with TemporaryDirectory(prefix="tfpipe-serve-") as folder:

        def start(number: int) -> BaseProcess:
            worker = spawn.Process(
                target=work, args=(number, config.path, overrides, listener, Path(folder)), daemon=True
            )
            worker.start()
            return worker

        keep_workers(config.serve.workers, start)


def work(number: int, path: Path, overrides: tuple[str, ...], listener: socket.socket, folder: Path) -> None:
    """One worker's life.

    Args:
        number: from 0.
        path: the settings file.
        overrides: `key.path=value` each.
        listener: that all of them share.
        folder: for their metrics.
    """
    from tfpipe.serving.workers import Board

    try:
        config = load_config(path, overrides)
        _serve(config, Workspace(), _read_token(config), listener, Board(folder, number))
    except TfpipeError as error:
        say(f"error: {error}")
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def _serve(
    config: Config, workspace: Workspace, token: str | None, listener: socket.socket, board: "Board | None" = None
) -> None:
    with native_silence():
        import tensorflow  # noqa: F401

    from tfpipe.serving.app import build_app
    from tfpipe.serving.server import run_server
    from tfpipe.serving.service import Service

    if config.serve.log_inputs:
        logging.basicConfig(level=logging.WARNING, format="%(message)s")
        logging.getLogger("tfpipe.serving").setLevel(logging.INFO)
    drift = load_drift(config, workspace)
    task = config.dataset_config.task
    service = Service(lambda: load_for_good(config, workspace), task, config.serve, drift, board=board)
    run_server(build_app(service, name=config.name, token=token), service, listener)


def load_for_good(config: Config, workspace: Workspace) -> "Model":
    """The same, in a process that does nothing else.

    Its 700,000 objects would stop every request for half a second whenever Python's collector looks through them all.
    """
    model = load(config, workspace)
    gc.collect()
    gc.freeze()
    return model


def load(config: Config, workspace: Workspace) -> "Model":
    """The predictor as a function of contents, asked once already, so that the first client need not wait."""
    from tfpipe.stages.predict import Asked, load_predictor
    from tfpipe.training.reproducible import make_reproducible

    make_reproducible(config.seed, deterministic=config.deterministic)
    predictor = load_predictor(config, workspace)

    def model(contents: "Sequence[Content]") -> "Sequence[Judgement]":
        return predictor([Asked("", content, {}) for content in contents])

    warm_up(model, config)
    say(f"{config.name}: ready")
    return model


def warm_up(model: Callable[["Sequence[Content]"], object], config: Config) -> None:
    """Of two shapes: at the second TensorFlow traces a graph that all shapes fit.

    The second is the largest, so that a machine that is too small for it is told before a client asks.
    """
    if config.dataset_config.task == "text":
        one: Content = "a"
        other: Content = "a " * config.data.max_length
    else:
        one = other = _grey_photo()
    model([one])
    model([other] * max(2, config.serve.batch_size))


def _grey_photo() -> bytes:
    from PIL import Image

    from tfpipe.data.photos import to_jpeg

    return to_jpeg(Image.new("RGB", (64, 64), "grey"))


def load_drift(config: Config, workspace: Workspace) -> "Drift":
    """What the model said of the validation split, to compare its answers with."""
    from tfpipe.models.saving import load_card
    from tfpipe.serving.drift import Answers, Drift

    found = read_json(workspace.calibration_path(config))
    validation = Answers(np.array(found["predicted_labels"]), np.array(found["calibrated_probs"]))
    threshold = read_json(workspace.page_calibration_path(config))["threshold"]
    classes = load_card(workspace.best_path(config)).classes
    return Drift(classes, validation, threshold=threshold, window=config.serve.drift_window)


def _check_extra() -> None:
    try:
        import fastapi  # noqa: F401
        import prometheus_client  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError:
        raise EnvironmentProblemError("`serve` needs an extra: pip install 'tfpipe[serve]'.") from None


def _read_token(config: Config) -> str | None:
    name = config.serve.token_env
    if name is None:
        return None
    token = os.environ.get(name, "")
    if not token:
        raise ConfigError(f"{config.path}: serve.token_env: {name} is not set in the environment.")
    return token


@contextmanager
def _bound(host: str, port: int) -> Iterator[socket.socket]:
    """A socket that nobody can connect to yet.

    Raises:
        EnvironmentProblemError: when the machine refuses.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
    except (OSError, UnicodeError) as error:
        told = getattr(error, "strerror", None) or "no name of a machine"
        raise EnvironmentProblemError(f"--host {host}: no address of this machine ({told}).") from None
    with listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(address)
        except OSError as error:
            raise EnvironmentProblemError(explain_refusal(host, port, error)) from None
        yield listener


def _listen(listener: socket.socket) -> None:
    try:
        listener.listen(BACKLOG)
    except OSError as error:
        # Two may be bound to a port as long as neither listens.
        host, port = listener.getsockname()[:2]
        raise EnvironmentProblemError(explain_refusal(host, port, error)) from None


def explain_refusal(host: str, port: int, error: OSError) -> str:
    """What the machine says of an address, and what to do."""
    reasons = {
        errno.EADDRINUSE: "the port is in use. Stop what holds it, or take another: --port 8001",
        errno.EACCES: "no permission. Take a port from 1024 on: --port 8000",
        errno.EADDRNOTAVAIL: "no address of this machine. 0.0.0.0 stands for all that it has",
    }
    return f"{host}:{port}: {reasons.get(error.errno or 0, error.strerror)}."
