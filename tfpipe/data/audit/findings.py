"""What rules are, and what they find."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from tfpipe.core.settings import Task
from tfpipe.data.audit.columns import Ints
from tfpipe.data.facts import Facts
from tfpipe.data.rows import Row

if TYPE_CHECKING:
    from tfpipe.data.audit.survey import Survey

MAX_EXAMPLES = 12
"""Of one finding; the count is of all."""


class Severity(StrEnum):
    """How much a finding matters, the worst first."""

    ERROR = "error"
    """Later steps stop, or their numbers are wrong, until it is mended."""
    WARNING = "warning"
    """It costs accuracy, or trust in it: look."""
    NOTE = "note"
    """Worth knowing; the later steps deal with it."""


@dataclass(frozen=True)
class Found:
    """What a rule found: how much, and where to look first."""

    count: int = 0
    rows: tuple[tuple[int, ...], ...] = ()
    """Numbers of rows, from 0; those that belong together stand together."""
    labels: tuple[tuple[str, ...], ...] = ()
    """Where a name is at fault, and not a row."""
    notes: tuple[str, ...] = ()
    """To each entry of `rows` or `labels`, or none at all."""
    is_expected: bool = False
    """The data are evidently meant so: worth a note only."""


def found_rows(numbers: Ints) -> Found:
    """All these rows, each for itself."""
    return Found(len(numbers), tuple((number,) for number in numbers[:MAX_EXAMPLES].tolist()))


@dataclass(frozen=True)
class RowRule:
    """Looks at one row at a time, as it goes by; the count is of rows."""

    severity: Severity
    title: str
    """What is counted."""
    advice: str
    """What to do, in one sentence."""
    test: Callable[[Row, Facts], bool]
    task: Task | None = None
    """Where the rule applies; None, to both."""


@dataclass(frozen=True)
class SurveyRule:
    """Looks at all rows at once, in the survey's columns."""

    severity: Severity
    title: str
    advice: str
    find: "Callable[[Survey], Found]"
    task: Task | None = None


Rule = RowRule | SurveyRule


@dataclass(frozen=True)
class Finding:
    """A rule, and what it found."""

    rule: str
    """Its key in `RULES`."""
    severity: Severity
    title: str
    advice: str
    found: Found
