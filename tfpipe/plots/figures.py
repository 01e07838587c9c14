"""Figures of one look, drawn without a display and without Matplotlib's global state."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tfpipe.core.files import atomic_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PAPER, INK, QUIET, LINE = "#fffdf7", "#23302a", "#5f6b62", "#d8d5c7"
GREEN, LEAF, STRAW, RUST = "#3c6b4a", "#9dbf9f", "#d9c48b", "#b5643c"
"""The colours of the pages; a PNG brings its own paper, and so reads alike on light and on dark."""

DPI = 140
MOST_CHARS = 30
"""Of a name beside a bar."""


def new_figure(width: float, height: float) -> Figure:
    """An empty figure, in inches."""
    from matplotlib.figure import Figure

    return Figure((width, height), dpi=DPI, facecolor=PAPER, layout="constrained")


def dress(axes: Axes, title: str, *, x: str = "", y: str = "", grid: Literal["x", "y", ""] = "y") -> None:
    """Hairlines, quiet letters, a title at the left."""
    axes.set_facecolor(PAPER)
    axes.set_title(title, loc="left", fontsize=11, color=INK, parse_math=False)
    axes.set_xlabel(x, fontsize=9, color=QUIET)
    axes.set_ylabel(y, fontsize=9, color=QUIET)
    axes.tick_params(labelsize=8, color=LINE, labelcolor=INK)
    axes.set_axisbelow(True)
    if grid:
        axes.grid(axis=grid, color=LINE, linewidth=0.6)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(LINE)


def add_legend(axes: Axes, *, columns: int = 1, **place: Any) -> None:
    """What the colours mean."""
    axes.legend(fontsize=8, frameon=False, labelcolor=INK, ncols=columns, **place)


def name_rows(axes: Axes, names: Sequence[str]) -> None:
    """Names beside horizontal bars, the first at the top."""
    axes.set_yticks(range(len(names)), [shorten(name) for name in names], parse_math=False)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)


def in_percent(axes: Axes, axis: str) -> None:
    """Shares from 0 to 1 as per cents, with as many digits as tell the ticks apart."""
    from matplotlib.ticker import PercentFormatter

    (axes.xaxis if axis == "x" else axes.yaxis).set_major_formatter(PercentFormatter(1.0, symbol=" %"))


def shorten(name: str) -> str:
    """A name that leaves room for the plot."""
    return name if len(name) <= MOST_CHARS else f"{name[: MOST_CHARS - 1]}…"


def save_png(figure: Figure, path: Path) -> None:
    """Write it whole or not at all; equal figures are equal bytes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    with atomic_path(path) as sibling:
        FigureCanvasAgg(figure).print_png(sibling)
