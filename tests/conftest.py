"""What all tests share: a quiet TensorFlow, fixed seeds, real data where it is to be had."""

import gc
import os
import random
import signal
from collections.abc import Iterator
from pathlib import Path

# Before anything imports TensorFlow.
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
# As a run that is deterministic sets it.
os.environ["TF_NUM_INTEROP_THREADS"] = "1"
import tfpipe  # noqa: F401, I001 - sets variables that TensorFlow reads when it is imported

import numpy as np
import pytest


TOGETHER = ("exporters",)
"""Folders whose files share what is costly to make."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Which tests one of several processes does: those of a file, or of a folder."""
    for item in items:
        folder = item.path.parent.name
        item.add_marker(pytest.mark.xdist_group(folder if folder in TOGETHER else item.path.stem))


@pytest.fixture(autouse=True)
def seeded() -> None:
    random.seed(0)
    np.random.seed(0)


@pytest.fixture(scope="module", autouse=True)
def what_stays_is_not_searched_again() -> None:
    """TensorFlow alone is half a million objects, which each `keras.utils.clear_session` would go through."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def shared() -> Path:
    """Real photos and weights, which are not part of the project."""
    folder = Path(os.environ.get("TFPIPE_SHARED", Path(__file__).parents[2] / "shared"))
    if not (folder / "data" / "flowers").is_dir():
        pytest.skip(f"no real data at {folder}; TFPIPE_SHARED names its folder")
    return folder


@pytest.fixture(scope="session")
def chromium() -> Path:
    """The browser, where there is one."""
    from tfpipe.core.errors import EnvironmentProblemError
    from tfpipe.exporters.browser import find_chromium

    try:
        return find_chromium(None)
    except EnvironmentProblemError as error:
        pytest.skip(str(error))


@pytest.fixture
def process_as_before() -> Iterator[None]:
    """The command line is made for a process of its own: it sets variables and a signal handler."""
    handler, variables = signal.getsignal(signal.SIGTERM), dict(os.environ)
    yield
    signal.signal(signal.SIGTERM, handler)
    os.environ.clear()
    os.environ.update(variables)
