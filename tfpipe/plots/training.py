"""The plan's `plot_training_metrics.png`: how loss, accuracies and learning rate went, from `history.csv`."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import TYPE_CHECKING

from tfpipe.plots.figures import GREEN, LINE, QUIET, RUST, add_legend, dress, in_percent, new_figure, save_png

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PANELS = (
    ("loss", "loss", "val_loss", min),
    ("top-1", "top1", "val_top1", max),
    ("top-5", "top5", "val_top5", max),
    ("learning rate", "learning_rate", "", max),
)
"""Title, column of training, column of validation, and which of its values is the best."""

History = dict[str, list[float]]


def plot_history(history_path: Path, png_path: Path) -> None:
    """Draw every epoch that `history.csv` has, its phases one behind the other.

    A column that is missing, or empty in a phase, leaves a gap.
    """
    with history_path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    phases = [row["phase"] for row in rows]
    figure = new_figure(10, 6.4)
    for axes, (title, train, validation, best) in zip(figure.subplots(2, 2).flat, PANELS, strict=True):
        dress(axes, title, x="epoch" if len(set(phases)) == 1 else "epoch, of all phases")
        _draw(axes, _column(rows, train), color=QUIET, label="training")
        values = _column(rows, validation)
        _draw(axes, values, color=GREEN, label="validation")
        if _known(values):
            place = best(_known(values), key=lambda number: values[number])
            axes.plot(place + 1, values[place], "o", color=RUST, markersize=6, label=f"best: epoch {place + 1}")
            add_legend(axes)
        _mark_phases(axes, phases)
        if title.startswith("top"):
            in_percent(axes, "y")
            low, high = axes.get_ylim()
            axes.set_yticks([tick for tick in axes.get_yticks() if max(low, 0) <= tick <= min(high, 1)])
    save_png(figure, png_path)


def _column(rows: list[dict[str, str]], name: str) -> list[float]:
    return [float(row.get(name) or "nan") for row in rows]


def _known(values: list[float]) -> list[int]:
    return [number for number, value in enumerate(values) if math.isfinite(value)]


def _draw(axes: Axes, values: list[float], *, color: str, label: str) -> None:
    if _known(values):
        # A dot for each epoch, while they are few: a single one draws no line.
        marker = "." if len(values) <= 40 else ""
        axes.plot(range(1, len(values) + 1), values, color=color, label=label, linewidth=1.6, marker=marker)


def _mark_phases(axes: Axes, phases: list[str]) -> None:
    """A line where a phase begins, and whole numbers below."""
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=10, min_n_ticks=1))
    axes.set_xlim(0.5, len(phases) + 0.5)
    starts = [number for number, phase in enumerate(phases) if number == 0 or phases[number - 1] != phase]
    if len(starts) == 1:
        return
    low, high = axes.get_ylim()
    axes.set_ylim(low, high + 0.18 * (high - low))
    for number, start in enumerate(starts):
        axes.axvline(start + 0.5, color=LINE if start == 0 else QUIET, linewidth=0.8, linestyle=(0, (4, 3)))
        axes.annotate(
            *(phases[start], (start + 0.5, 1)),
            xycoords=("data", "axes fraction"),
            # Below each other in turn: a short phase has no room beside its name.
            xytext=(4, -10 - 11 * (number % 2)),
            textcoords="offset points",
            fontsize=8,
            color=QUIET,
            parse_math=False,
        )
