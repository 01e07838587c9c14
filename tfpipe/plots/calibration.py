"""What `calibrate` found, as PNG: reliability before and after, and what the threshold leaves unsaid."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tfpipe.plots.evaluation import draw_reliability
from tfpipe.plots.figures import GREEN, INK, QUIET, RUST, add_legend, dress, in_percent, new_figure, save_png

Numbers = Mapping[str, Any]
"""Part of `metrics.json`."""

COLORS = {"validation": QUIET, "test": GREEN}


def plot_calibration(before: Numbers, after: Numbers, temperature: float, path: Path) -> None:
    """Reliability of the same photos at temperature 1 and at another."""
    figure = new_figure(10.5, 6.4)
    panels = figure.subplots(2, 2, sharex=True, sharey="row", height_ratios=(3, 1))
    titles = ("as trained", f"at temperature {temperature:.3f}")
    for column, (title, found) in enumerate(zip(titles, (before, after), strict=True)):
        above, below = panels[:, column]
        draw_reliability(above, below, found["bins"], f"{title}: expected calibration error {found['ece']:.3f}")
    save_png(figure, path)


def plot_risk_coverage(by_split: Mapping[str, Numbers], path: Path, *, precision: float, coverage: float) -> None:
    """How many answers are wrong, of how many are given, the surest first; the threshold as a point on each curve.

    Args:
        by_split: split → `curve`, `aurc` and `threshold`, as `check_calibration` has them.
        path: of the PNG.
        precision: wanted; the hatched line is what it leaves to be wrong.
        coverage: wanted.
    """
    figure = new_figure(8, 5)
    axes = figure.subplots()
    dress(axes, "wrong answers, as less sure ones are given", x="photos answered", y="answers that are wrong")
    for split, found in by_split.items():
        curve, at = found["curve"], found["threshold"]
        label = f"{split} (mean {100 * found['aurc']:.2f} %)"
        axes.plot(curve["coverage"], curve["risk"], color=COLORS[split], linewidth=1.6, label=label)
        if at["num_answers"]:
            low, high = (1 - at["precision_interval"][end] for end in ("high", "low"))
            risk = 1 - at["precision"]
            axes.errorbar(
                *(at["coverage"], risk, [[risk - low], [high - risk]]),
                fmt="o",
                color=COLORS[split],
                ecolor=COLORS[split],
                capsize=3,
                label=f"at the threshold, {split}",
            )
    dashes: dict[str, Any] = {"linewidth": 0.9, "linestyle": (0, (4, 3))}
    axes.axhline(1 - precision, color=RUST, label="wanted: below and to the right", **dashes)
    axes.axvline(coverage, color=RUST, **dashes)
    axes.set_xlim(0, 1)
    axes.set_ylim(bottom=0)
    axes.tick_params(labelcolor=INK)
    in_percent(axes, "x")
    in_percent(axes, "y")
    add_legend(axes, loc="upper left")
    save_png(figure, path)
