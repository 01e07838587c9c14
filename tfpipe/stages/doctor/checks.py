"""One thing that was looked at."""

from dataclasses import dataclass, field
from typing import Any, Literal

State = Literal["ok", "note", "fail"]
"""`note`: worth knowing, and nothing that is needed; `fail`: something is needed and missing."""


@dataclass(frozen=True)
class Check:
    """What was looked at, what was found, and what mends it."""

    name: str
    state: State
    found: str
    fix: str = ""
    """A command."""
    details: dict[str, str] = field(default_factory=dict)
    """For `--json`."""

    def to_json(self) -> dict[str, Any]:
        """Without what is empty."""
        values = {"name": self.name, "state": self.state, "found": self.found, "fix": self.fix, "details": self.details}
        return {key: value for key, value in values.items() if value}


Look = Check | list[Check]
