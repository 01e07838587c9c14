"""What each part of a teacher's recipe does: switched off in turn, and the region's teacher against the global.

    python -m benchmarks.recipe --seeds 1 2 3

Five global teachers from scratch and five regional ones a seed: on the herbarium about 25 minutes on two cores, most
of them for the table `scratch`. What
is trained stays trained: the same command goes on after an interruption, and more seeds add to the tables, which are
written to benchmarks/RECIPE.md after every seed. Differences are paired: the data, the split and the first weights of
a seed are the same for all that it trains.
"""

import argparse
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from statistics import mean, stdev

from benchmarks.seeded import Document, seeded_copies, variant
from tfpipe.core.config import load_config
from tfpipe.stages.runner import run_step

PARTS: dict[str, Document] = {
    "MixUp and CutMix": {"regularization": {"mixup_alpha": 0.2, "cutmix_alpha": 0.2}},
    "EMA": {"training": {"ema_decay": 0.97}},
    "layer-wise rates": {"training": {"layer_decay": 0.8}},
}
"""The full recipe. The average reaches back some 33 steps: half an epoch of the global teacher, three quarters of one
of the regional."""

OFF: Document = {
    "regularization": {"mixup_alpha": 0.0, "cutmix_alpha": 0.0},
    "training": {"ema_decay": 0.0, "layer_decay": 1.0},
}

TABLES = {
    "regional": ("Regional against global", "As the settings files have them."),
    "fine_tuning": (
        "The parts of the recipe, fine-tuning",
        "The regional teacher, from the plain global one's weights.",
    ),
    "scratch": ("The parts of the recipe, from scratch", "The global teacher; every region's photos."),
}
TEACHERS = {"fine_tuning": "teacher_regional", "scratch": "teacher_global"}

Scores = dict[str, float]
"""Top-1 of the whole test split, and of each region."""


@dataclass
class Comparison:
    """Models in a table, the first being what the others are compared with; scores seed by seed."""

    title: str
    how: str
    scores: dict[str, list[Scores]] = field(default_factory=dict)

    def add(self, name: str, scores: Scores) -> None:
        """One more seed of a model."""
        self.scores.setdefault(name, []).append(scores)

    def to_markdown(self) -> str:
        """A section with a table, in percent and percentage points."""
        columns = list(next(iter(self.scores.values()))[0])
        head = "".join(f" {column} | difference |" for column in columns)
        lines = [f"| |{head}", "|---|" + "---:|" * (2 * len(columns))]
        for name, of_seeds in self.scores.items():
            cells = "".join(self._cells(of_seeds, column) for column in columns)
            lines.append(f"| {name} |{cells}")
        return f"\n## {self.title}\n\n{self.how}\n\n" + "\n".join(lines) + "\n"

    def _cells(self, of_seeds: list[Scores], column: str) -> str:
        reference = next(iter(self.scores.values()))
        values = [scores[column] for scores in of_seeds]
        differences = [value - base[column] for value, base in zip(values, reference, strict=True)]
        told = "" if of_seeds is reference else spread(differences, sign="+")
        return f" {spread(values)} | {told} |"


def main() -> None:
    """Train and evaluate, seed by seed, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=Path("configs"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--tables", nargs="+", choices=TABLES, default=list(TABLES))
    parser.add_argument("--output", type=Path, default=Path(__file__).with_name("RECIPE.md"))
    arguments = parser.parse_args()
    tables = {name: Comparison(*told) for name, told in TABLES.items() if name in arguments.tables}
    for number, seed in enumerate(arguments.seeds, start=1):
        paths = {path.stem: path for path in seeded_copies(arguments.folder, seed)}
        for name, comparison in tables.items():
            if name == "regional":
                for teacher in ("global", "regional"):
                    comparison.add(teacher, evaluate(paths[f"teacher_{teacher}"]))
            else:
                switch_off_in_turn(comparison, paths[TEACHERS[name]])
        seeds = " ".join(map(str, arguments.seeds[:number]))
        command = f"python -m benchmarks.recipe {arguments.folder} --seeds {seeds} --tables {' '.join(tables)}"
        report(list(tables.values()), command, arguments.output)


def switch_off_in_turn(comparison: Comparison, path: Path) -> None:
    """Add one seed of the full recipe, of each recipe that lacks a part, and of the one that has none."""
    comparison.add("full", evaluate(variant(path, "full", merged(*PARTS.values()))))
    for part in PARTS:
        others = [changes for name, changes in PARTS.items() if name != part]
        name = f"without_{part.split()[0].lower()}"
        comparison.add(f"without {part}", evaluate(variant(path, name, merged(OFF, *others))))
    comparison.add("none of them", evaluate(path if has_none(path) else variant(path, "plain", OFF)))


def has_none(path: Path) -> bool:
    """Whether settings have no part of the recipe as they are; then they need not be trained twice."""
    config = load_config(path)
    return all(
        getattr(getattr(config, section), key) == value for section, off in OFF.items() for key, value in off.items()
    )


def merged(*changes: Document) -> Document:
    """Changes of several sections together; the later win."""
    sections: Document = {}
    for change in changes:
        for section, settings in change.items():
            sections[section] = sections.get(section, {}) | settings
    return sections


def evaluate(path: Path) -> Scores:
    """Top-1 on the test split, whole and by region; trains what is missing."""
    metrics = run_step("evaluate", path)
    return {"top-1": metrics["top1_accuracy"]} | metrics["per_region"]


def spread(shares: list[float], *, sign: str = "") -> str:
    """Mean and standard deviation over seeds, in percent."""
    percents = [100 * share for share in shares]
    return f"{mean(percents):{sign}.1f} ± {stdev(percents):.1f}" if len(percents) > 1 else f"{percents[0]:{sign}.1f}"


def report(comparisons: list[Comparison], command: str, output: Path) -> None:
    """Write the tables so far, and show them."""
    heading = (
        f"# What the recipe's parts do\n\n`{command}`, {date.today().isoformat()}. Top-1 in percent on the test split: "
        "mean ± standard deviation over seeds; differences are to the first line, seed by seed. With so few seeds, "
        "a difference smaller than its spread is none.\n"
    )
    output.write_text(heading + "".join(comparison.to_markdown() for comparison in comparisons), encoding="utf-8")
    print(output.read_text(encoding="utf-8"), flush=True)


if __name__ == "__main__":
    main()
