"""What a process of its own is asked to do in tests: nothing heavy."""

import os
import sys
import time
from pathlib import Path
from typing import Any

from tfpipe.core.errors import MismatchError
from tfpipe.core.progress import say


def run(errand: str, folder: Path) -> Any:
    (folder / "pid").write_text(str(os.getpid()))
    return ERRANDS[errand](folder)


def answer(folder: Path) -> Any:
    print("chatter that is no answer")
    say("progress")
    return {"folder": folder.name, "legacy": os.environ.get("TF_USE_LEGACY_KERAS"), "numbers": [1, 2.5]}


def refuse(folder: Path) -> Any:
    raise MismatchError(f"{folder.name}: does not fit.")


def fill_the_disk(folder: Path) -> Any:
    raise OSError(28, "No space left on device")


def wait(folder: Path) -> Any:
    time.sleep(60)


ERRANDS = {
    "answer": answer,
    "refuse": refuse,
    "fill_the_disk": fill_the_disk,
    "wait": wait,
    "leave": lambda folder: sys.exit(3),
}
