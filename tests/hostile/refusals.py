"""How the tests of hostile inputs ask: the real command line, and what it says."""

import atexit
import contextlib
import io
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings

from tfpipe.cli import main
from tfpipe.core.errors import TfpipeError
from tfpipe.core.files import explain

LONGEST = 1500
"""Characters of a refusal: a sentence or two, and a list of what is allowed."""

LONG = os.environ.get("TFPIPE_HOSTILE_EXAMPLES")
"""For a long look: so many inputs of each kind, others each time; what came of them is counted at the end."""
COUNTS = Counter[tuple[str, str]]()


def hostile(examples: int) -> settings:
    """How many inputs to try; in tests the same ones each time."""
    return settings(
        derandomize=not LONG,
        database=None,
        deadline=None,
        max_examples=int(LONG or examples),
        suppress_health_check=list(HealthCheck),
    )


def refusal(call: Callable[[], Any], *names: str) -> str | None:
    """What a loader says of its input; None if it takes it. Anything else than our errors comes through."""
    try:
        call()
    except TfpipeError as error:
        said = str(error)
    except OSError as error:
        said = explain(error) or ""
    else:
        _count("accepted")
        return None
    _check_is_told(said, names)
    _count("refused in a sentence")
    return said


def say_no(*arguments: str | Path) -> str | None:
    """The same of the command line; None where it ends well."""
    errors = io.StringIO()
    code: object = 0
    with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(io.StringIO()):
        try:
            main([str(argument) for argument in arguments])
        except SystemExit as ended:
            code = ended.code
    if not code:
        _count("accepted")
        return None
    assert code in (1, 2, 3)
    said = errors.getvalue()
    assert "Traceback" not in said
    _check_is_told(said, ())
    _count("refused in a sentence")
    return said


def _count(outcome: str) -> None:
    if LONG:
        COUNTS[os.environ["PYTEST_CURRENT_TEST"].partition("::")[2].partition(" ")[0], outcome] += 1


@atexit.register
def _tell() -> None:
    for (test, outcome), count in sorted(COUNTS.items()):
        print(f"{count:8,} {outcome}: {test}")


def _check_is_told(said: str, names: tuple[str, ...]) -> None:
    assert said.strip()
    assert len(said) < LONGEST, said[:300]
    assert "Traceback" not in said
    for name in names:
        assert name in said
