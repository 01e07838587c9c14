"""A benchmark's result: a baseline, and others beside it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    """Named figures in one unit; the first is the baseline."""

    title: str
    how: str
    unit: str
    figures: dict[str, float]

    def to_markdown(self) -> str:
        """A section with a table."""
        baseline = next(iter(self.figures.values()))
        rows = [f"| {name} | {figure:,.4g} | {figure / baseline:.2f} |" for name, figure in self.figures.items()]
        head = f"| | {self.unit} | ratio |\n|---|---:|---:|\n"
        return f"\n## {self.title}\n\n{self.how}\n\n{head}" + "\n".join(rows) + "\n"
