"""Which soft loss, from which labels, makes the best student: a table over losses and views, on one budget.

    python -m benchmarks.soft_losses configs/flowers --seeds 1 2 3

Of each seed a teacher, and a student for each loss and each kind of views: 24, each of the settings' epochs, without
fine-tuning, so that only the distillation differs. On the flowers and two cores some 5 minutes a student (estimated),
with `benchmarks/flowers_small` one to two, with `benchmarks/herbarium_small` some two; `--losses` and `--views` pick a
part. What is trained stays trained: the same command goes on after an interruption, and more seeds add to the table,
which is written to benchmarks/SOFT_LOSSES_<FOLDER>.md after every seed. Differences are paired: the data, the split,
the teacher and the first weights of a seed are the same for all losses and views.
"""

import argparse
from datetime import date
from pathlib import Path

from benchmarks.recipe import Comparison, spread
from benchmarks.seeded import Document, seeded_copies, variant
from tfpipe.stages.runner import run_step

REFERENCE = "cross-entropy alone"
BOTH: Document = {"kl_divergence": 0.7, "cross_entropy": 0.3}
LOSSES: dict[str, Document] = {
    REFERENCE: {"temperature": 1.0, "loss_weights": {"kl_divergence": 0.0, "cross_entropy": 1.0}},
    "KL T = 1": {"temperature": 1.0, "loss_weights": BOTH},
    "KL T = 3": {"temperature": 3.0, "loss_weights": BOTH},
    "DIST": {"loss": "dist", "temperature": 1.0, "loss_weights": BOTH},
    "DKD": {"loss": "dkd", "temperature": 1.0, "loss_weights": BOTH},
    "standardized KL": {"loss": "standardized_kl", "temperature": 2.0, "loss_weights": BOTH},
}
"""What stands in `distillation`. Temperatures are those that the papers, or their authors' settings, have for
ImageNet; all share the weights of the plan. On the same views, cross-entropy sees the same pixels."""

VIEWS = {"unaugmented": "unaugmented", "1": 1, "4": 4, "live": "live"}
"""As the command line names them → `label.views`."""

EVERY_CLASS = 10**6
"""For `label.top_k`: more than there are classes, of which all are kept then."""


def main() -> None:
    """Train and evaluate, seed by seed, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=Path("configs/flowers"))
    parser.add_argument("--teacher", default="teacher", help="settings file by stem, whose score is told")
    parser.add_argument("--student", default="student", help="settings file by stem")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--losses", nargs="+", choices=[name for name in LOSSES if name != REFERENCE])
    parser.add_argument("--views", nargs="+", choices=VIEWS, default=list(VIEWS))
    parser.add_argument("--epochs", type=int, help="other than the settings have")
    parser.add_argument("--output", type=Path, help="other than benchmarks/SOFT_LOSSES_<FOLDER>.md")
    arguments = parser.parse_args()
    losses = [REFERENCE, *(arguments.losses or list(LOSSES)[1:])]
    comparison = Comparison("Losses and views", "A column for each kind of `label.views`.")
    of_teachers: list[float] = []
    for number, seed in enumerate(arguments.seeds, start=1):
        paths = {path.stem: path for path in seeded_copies(arguments.folder, seed)}
        of_teachers.append(_top1(paths[arguments.teacher]))
        for loss in losses:
            paths_of_views = {
                name: _settings(paths[arguments.student], loss, name, arguments) for name in arguments.views
            }
            comparison.add(loss, {f"views {name}": _top1(path) for name, path in paths_of_views.items()})
        _report(comparison, of_teachers, arguments, arguments.seeds[:number])


def _settings(path: Path, loss: str, views: str, arguments: argparse.Namespace) -> Path:
    """A settings file for one place of the table."""
    changes: Document = {
        "distillation": LOSSES[loss],
        "label": {"views": VIEWS[views], "top_k": EVERY_CLASS},
        "finetune": {"epochs": 0},
    }
    name = f"{loss}-views-{views}".lower().replace(" = ", "").replace(" ", "-")
    if arguments.epochs:
        changes["training"] = {"epochs": arguments.epochs}
        name += f"-{arguments.epochs}-epochs"
    return variant(path, name, changes)


def _top1(path: Path) -> float:
    """On the test split; trains what is missing."""
    accuracy: float = run_step("evaluate", path)["top1_accuracy"]
    return accuracy


def _report(comparison: Comparison, of_teachers: list[float], arguments: argparse.Namespace, seeds: list[int]) -> None:
    """Write the table so far, and show it."""
    losses = "".join(f' "{name}"' for name in arguments.losses or ())
    views = "" if arguments.views == list(VIEWS) else f" --views {' '.join(arguments.views)}"
    command = (
        f"python -m benchmarks.soft_losses {arguments.folder} --seeds {' '.join(map(str, seeds))}"
        f"{f' --losses{losses}' if losses else ''}"
        f"{views}"
        f"{f' --epochs {arguments.epochs}' if arguments.epochs else ''}"
    )
    heading = (
        f"# Soft losses, {arguments.folder.name}\n\n`{command}`, {date.today().isoformat()}. Top-1 in percent on the "
        f"test split: mean ± standard deviation over seeds; differences are to {REFERENCE} on the same views, seed by "
        "seed. With so few seeds, a difference smaller than its spread is none. The teacher has "
        f"{spread(of_teachers)}.\n"
    )
    output = arguments.output or Path(__file__).with_name(f"SOFT_LOSSES_{arguments.folder.name.upper()}.md")
    output.write_text(heading + comparison.to_markdown(), encoding="utf-8")
    print(output.read_text(encoding="utf-8"), flush=True)


if __name__ == "__main__":
    main()
