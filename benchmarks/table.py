"""A benchmark's result: a baseline, and others beside it."""

import os
import platform
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from tfpipe.core.machine import processor

MARK = "\n## "


@dataclass(frozen=True)
class Table:
    """Named figures in one unit; the first is the baseline."""

    title: str
    how: str
    unit: str
    figures: dict[str, float]

    def to_markdown(self) -> str:
        """A section with a table, which says when it was made, and on what."""
        baseline = next(iter(self.figures.values()))
        rows = [f"| {name} | {figure:,.4g} | {figure / baseline:.2f} |" for name, figure in self.figures.items()]
        head = f"| | {self.unit} | ratio |\n|---|---:|---:|\n"
        where = f"{processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
        opening = f"{MARK}{self.title}\n\n{self.how} {date.today().isoformat()}, {where}.\n\n"
        return opening + head + "\n".join(rows) + "\n"


def read_sections(path: Path) -> dict[str, str]:
    """Title → section, of a file that has such tables."""
    parts = path.read_text(encoding="utf-8").split(MARK)[1:]
    return {part.partition("\n")[0]: MARK + part for part in parts}
