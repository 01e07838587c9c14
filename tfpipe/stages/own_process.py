"""Work in a process of its own, for what must not share one: TF-MOT turns tf.keras into another Keras.

The process ends with the one that started it, however that ends. Ctrl-C reaches the latter alone.
"""

import importlib
import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable
from typing import IO, Any

from tfpipe.core import errors
from tfpipe.core.errors import BrokenOffError, EnvironmentProblemError, TfpipeError
from tfpipe.core.files import explain
from tfpipe.core.progress import native_silence

COMMAND = (sys.executable, "-m", "tfpipe.stages.own_process")


def run_in_own_process(module: str, *arguments: Any) -> Any:
    """Call a module's `run` there, its progress on standard error, and return what it returns.

    Args:
        module: its full name; `run` returns what JSON can write.
        arguments: picklable.

    Raises:
        TfpipeError: that `run` raises.
        BrokenOffError: when the process ends otherwise.
    """
    paths = os.pathsep.join(path for path in sys.path if path)
    with subprocess.Popen(
        COMMAND,
        bufsize=0,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": paths},
        # So that Ctrl-C in a terminal leaves it to us what becomes of it.
        start_new_session=True,
    ) as child:
        assert child.stdin
        assert child.stdout
        try:
            child.stdin.write(pickle.dumps((module, arguments)))
            told = child.stdout.read()
            code = child.wait()
        finally:
            child.kill()
    return _read(told, code, module)


def _read(told: bytes, code: int, module: str) -> Any:
    """What `_answer` wrote, before the process ended with `code`."""
    if code < 0:
        raise BrokenOffError(
            f"the process of {module} was killed (signal {-code}); memory may have run out. "
            "The same command goes on where it stood."
        )
    if code:
        raise BrokenOffError(f"the process of {module} ended with code {code}; why is told above.")
    answer = json.loads(told.splitlines()[-1])
    if "error" in answer:
        raise getattr(errors, answer["error"])(answer["told"])
    return answer["result"]


def _serve(inbox: IO[bytes], outbox: IO[str]) -> None:
    """Be the process: one call, one line of JSON."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
    with native_silence():
        module, arguments = pickle.load(inbox)  # noqa: S301 - from the process that started this one
        work = importlib.import_module(module).run
    threading.Thread(target=_end_with, args=(inbox,), daemon=True).start()
    print(json.dumps(_answer(work, arguments)), file=outbox, flush=True)


def _answer(work: Callable[..., Any], arguments: tuple[Any, ...]) -> dict[str, Any]:
    try:
        return {"result": work(*arguments)}
    except TfpipeError as error:
        return {"error": type(error).__name__, "told": str(error)}
    except Exception as error:
        told = explain(error)
        if told is None:
            raise
        return {"error": EnvironmentProblemError.__name__, "told": told}


def _end_with(inbox: IO[bytes]) -> None:
    """The other end of this pipe closes when the process that holds it ends."""
    # Past Python's own buffer, whose lock the interpreter wants when it ends before that.
    os.read(inbox.fileno(), 1)
    os._exit(1)


if __name__ == "__main__":
    # What prints in between must not stand in the answer.
    outbox, sys.stdout = sys.stdout, sys.stderr
    _serve(sys.stdin.buffer, outbox)
