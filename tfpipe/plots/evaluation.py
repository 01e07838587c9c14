"""What `evaluate` measured, as PNG: regions, class frequency, classes, confusion, reliability, models side by side."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tfpipe.plots.figures import (
    GREEN,
    INK,
    LEAF,
    LINE,
    PAPER,
    QUIET,
    RUST,
    STRAW,
    add_legend,
    dress,
    in_percent,
    name_rows,
    new_figure,
    save_png,
    shorten,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_BARS = 40
"""Classes that have a bar each."""
MOST_REGIONS = 25
Array = np.ndarray
Numbers = Mapping[str, Any]
"""Part of `metrics.json`."""


def plot_regions(by_region: Mapping[str, Numbers], path: Path) -> None:
    """Top-1 and top-5 of each region, the largest first, with their intervals."""
    shown = sorted(by_region.items(), key=lambda pair: (-pair[1]["num_examples"], pair[0]))[:MOST_REGIONS]
    figure = new_figure(8, 1.6 + 0.5 * len(shown))
    axes = figure.subplots()
    dress(axes, _told("regions", len(shown), len(by_region)), grid="x")
    for offset, name, color in ((-0.18, "top1", GREEN), (0.18, "top5", LEAF)):
        values = np.array([numbers[name] for _, numbers in shown])
        ends = np.array([[numbers[f"{name}_interval"][end] for end in ("low", "high")] for _, numbers in shown])
        errors = np.nan_to_num(np.maximum(0, np.stack([values - ends[:, 0], ends[:, 1] - values])))
        style = {"ecolor": INK, "elinewidth": 0.9, "capsize": 2.5}
        places = np.arange(len(shown)) + offset
        axes.barh(places, values, 0.34, color=color, xerr=errors, error_kw=style, label=f"{name[:3]}-{name[3]}")
    name_rows(axes, [f"{region} ({numbers['num_examples']:,})" for region, numbers in shown])
    _from_nothing_to_all(axes)
    add_legend(axes, columns=2, loc="lower right", bbox_to_anchor=(1, 1))
    save_png(figure, path)


def plot_buckets(per_bucket: Mapping[str, Numbers], path: Path) -> None:
    """Classes with many, medium and few training photos."""
    shown = [(name, numbers) for name, numbers in per_bucket.items() if numbers["num_examples"]]
    figure = new_figure(8, 1.6 + 0.55 * len(shown))
    axes = figure.subplots()
    dress(axes, "by training photos of the class", grid="x")
    kinds = (("top1_accuracy", "top-1", GREEN), ("macro_accuracy", "mean recall of the classes", STRAW))
    for offset, (name, label, color) in zip((-0.18, 0.18), kinds, strict=True):
        values = [numbers[name] for _, numbers in shown]
        axes.barh(np.arange(len(shown)) + offset, values, 0.34, color=color, label=label)
    name_rows(axes, [f"{name} ({numbers['num_classes']:,} classes)" for name, numbers in shown])
    _from_nothing_to_all(axes)
    add_legend(axes, columns=2, loc="lower right", bbox_to_anchor=(1, 1))
    save_png(figure, path)


def plot_classes(per_class: Mapping[str, float], min_recall: float, path: Path) -> None:
    """Recall of each class; of very many, how many have how much."""
    if len(per_class) > MOST_BARS:
        _plot_many_classes(np.sort(list(per_class.values())), min_recall, path)
        return
    shown = sorted(per_class.items(), key=lambda pair: (pair[1], pair[0]))
    figure = new_figure(8, 1.2 + 0.2 * len(shown))
    axes = figure.subplots()
    dress(axes, "classes by recall, the lowest first", grid="x")
    colors = [RUST if recall < min_recall else GREEN for _, recall in shown]
    axes.barh(range(len(shown)), [recall for _, recall in shown], 0.7, color=colors)
    axes.axvline(min_recall, color=QUIET, linewidth=0.9, linestyle=(0, (4, 3)))
    name_rows(axes, [name for name, _ in shown])
    _from_nothing_to_all(axes)
    save_png(figure, path)


def _plot_many_classes(recalls: Array, min_recall: float, path: Path) -> None:
    """Recall of all classes as one curve; `recalls` (num_classes,) rise."""
    below = int((recalls < min_recall).sum())
    figure = new_figure(8, 4)
    axes = figure.subplots()
    dress(
        axes, f"{below:,} of {len(recalls):,} classes are below {100 * min_recall:.0f} % recall", x="classes, in order"
    )
    places = np.arange(len(recalls) + 1)
    axes.fill_between(places, np.append(recalls, recalls[-1]), step="post", color=LEAF)
    axes.fill_between(places[: below + 1], recalls[: below + 1], step="post", color=RUST)
    axes.axhline(min_recall, color=QUIET, linewidth=0.9, linestyle=(0, (4, 3)))
    axes.set_xlim(0, len(recalls))
    axes.set_ylim(0, 1)
    in_percent(axes, "y")
    save_png(figure, path)


def plot_confusion(matrix: Array, names: Sequence[str], num_classes: int, path: Path) -> None:
    """Of each class's photos, the share that was said to be each.

    Args:
        matrix: (len(names), len(names) + 1) counts; the last column is all other classes.
        names: of the classes that are shown.
        num_classes: how many there are.
        path: of the PNG.
    """
    others = len(names) < num_classes
    shares = matrix[:, : len(names) + others] / np.maximum(matrix.sum(axis=-1, keepdims=True), 1)
    side = 2.6 + 0.3 * len(names)
    figure = new_figure(side + 1.2, side)
    axes = figure.subplots()
    dress(axes, f"{_told('classes', len(names), num_classes)}, per cent of each row", x="said", y="is", grid="")
    axes.imshow(shares, cmap=_from_paper_to_green(), vmin=0, vmax=1, aspect="auto")
    shown = [shorten(name) for name in names]
    axes.set_yticks(range(len(names)), shown, parse_math=False)
    axes.set_xticks(range(shares.shape[1]), [*shown, "others"][: shares.shape[1]], rotation=90, parse_math=False)
    for (row, column), share in np.ndenumerate(shares):
        if share >= 0.005:
            color = PAPER if share > 0.65 else INK
            axes.text(column, row, f"{100 * share:.0f}", ha="center", va="center", fontsize=7, color=color)
    save_png(figure, path)


def plot_reliability(reliability: Numbers, path: Path) -> None:
    """Accuracy against confidence, and how many photos have how much of it."""
    figure = new_figure(6, 6.4)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    draw_reliability(
        above, below, reliability["bins"], f"reliability: expected calibration error {reliability['ece']:.3f}"
    )
    save_png(figure, path)


def draw_reliability(above: Axes, below: Axes, all_bins: Sequence[Numbers], title: str) -> None:
    """The bins' accuracies, and below them their sizes."""
    bins = [each for each in all_bins if each["count"]]
    lows, widths = [each["low"] for each in bins], [each["high"] - each["low"] for each in bins]
    dress(above, title, y="share that is right")
    above.bar(lows, [each["accuracy"] for each in bins], widths, align="edge", color=LEAF, edgecolor=PAPER)
    above.plot([0, 1], [0, 1], color=QUIET, linewidth=0.9, linestyle=(0, (4, 3)), label="as sure as right")
    confidences, accuracies = ([each[name] for each in bins] for name in ("confidence", "accuracy"))
    above.plot(
        confidences, accuracies, "o", color=RUST, markersize=4, clip_on=False, label="mean confidence of the bin"
    )
    above.set_ylim(0, 1)
    in_percent(above, "y")
    add_legend(above, loc="upper left")
    dress(below, "", x="confidence", y="photos")
    below.bar(lows, [each["count"] for each in bins], widths, align="edge", color=GREEN, edgecolor=PAPER)
    below.set_xlim(0, 1)
    in_percent(below, "x")


def plot_against(name: str, against: Mapping[str, Numbers], path: Path) -> None:
    """By how many points this model's top-1 is above each other's, whole and by region, with intervals."""
    figure = new_figure(8, sum(1.3 + 0.32 * len(_differences(found)) for found in against.values()))
    heights = [2 + len(_differences(found)) for found in against.values()]
    panels = figure.subplots(len(against), 1, squeeze=False, height_ratios=heights)[:, 0]
    for axes, (other, found) in zip(panels, against.items(), strict=True):
        rows = _differences(found)
        dress(axes, f"top-1: {shorten(name)} less {shorten(other)}", x="percentage points", grid="x")
        for place, (_, row) in enumerate(rows):
            color = GREEN if row["low"] > 0 else RUST if row["high"] < 0 else QUIET
            axes.plot([100 * row["low"], 100 * row["high"]], [place, place], color=color, linewidth=2)
            axes.plot(100 * row["difference"], place, "o", color=color, markersize=6)
        axes.axvline(0, color=INK, linewidth=0.8)
        name_rows(axes, [title for title, _ in rows])
    save_png(figure, path)


def _differences(found: Numbers) -> list[tuple[str, Numbers]]:
    regions = sorted(found["by_region"].items(), key=lambda pair: (-pair[1]["num_examples"], pair[0]))
    shown = [(f"{region} ({numbers['num_examples']:,})", numbers["top1"]) for region, numbers in regions]
    whole = [("all regions", found["top1_accuracy"])]
    return [*whole, *((name, row) for name, row in shown[:MOST_REGIONS] if math.isfinite(row["difference"]))]


def _told(what: str, shown: int, there: int) -> str:
    return what if shown == there else f"{shown} of {there:,} {what}"


def _from_nothing_to_all(axes: Axes) -> None:
    axes.set_xlim(0, 1)
    in_percent(axes, "x")
    axes.axvline(0, color=LINE, linewidth=0.8)


def _from_paper_to_green() -> Any:
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("paper to green", [PAPER, LEAF, GREEN])
