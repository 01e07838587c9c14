"""Plots as inline SVG: shapes stretch with the page; letters stand beside them in HTML and keep their size."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tfpipe.core.page.markup import Html, tag, together
from tfpipe.data.audit.columns import Ints

HISTOGRAM_BINS = 60
DENSITY_BINS = 40
LINEAR_TO = 12
"""Times the median, up to which a linear scale shows all values well."""


@dataclass(frozen=True)
class Scale:
    """From values to 0…100, linear or logarithmic."""

    low: float
    high: float
    is_log: bool = False

    def place(self, value: float) -> float:
        """Where a value stands."""
        if self.is_log:
            return 100 * math.log(value / self.low) / math.log(self.high / self.low)
        return 100 * (value - self.low) / (self.high - self.low)

    def ticks(self) -> list[int]:
        """Round values, six at most, with their ends inside."""
        ends = math.floor(math.log10(max(self.low, 1))), math.ceil(math.log10(self.high))
        for digits in ((1, 2, 5), (1, 3), (1,)):
            ticks = [digit * 10**power for power in range(ends[0], ends[1] + 1) for digit in digits]
            inside = [tick for tick in ticks if self.low <= tick <= self.high]
            if self.is_log and len(inside) <= 6:
                return inside
        if self.is_log:
            return inside[:: -(-len(inside) // 6)]
        step = next(tick for tick in [1, *_round_steps(self.high)] if (self.high - self.low) / tick <= 5)
        return list(range(math.ceil(self.low / step) * step, math.floor(self.high) + 1, step))


@dataclass(frozen=True)
class Mark:
    """A line across the plot, with what it means."""

    value: float
    text: str


def long_tail(sizes: Sequence[int], marks: Sequence[Mark]) -> Html:
    """Classes from the largest to the smallest, their rows on a logarithmic scale.

    Args:
        sizes: rows of each class, at least 1.
        marks: sizes to draw a line at.
    """
    highest = max(10, *sizes, *(mark.value for mark in marks))
    x, y = Scale(0, len(sizes)), Scale(0.8, 1.25 * highest, is_log=True)
    steps, num_classes = ["M0 100"], 0
    # One step for each different size: nine thousand classes have a few hundred of them.
    for size, count in sorted(Counter(sizes).items(), reverse=True):
        num_classes += count
        steps.append(f"V{100 - y.place(size):.2f}H{x.place(num_classes):.3f}")
    area = tag("path", d="".join(steps) + "V100Z", class_="area")
    return _plot(area, x, y, across=marks, titles=("classes, the largest first", "rows"))


def histogram(values: Ints, marks: Sequence[Mark], *, title: str) -> Html:
    """How many rows have how large a value; on a logarithmic scale if some are far from the median.

    Args:
        values: (n,), at least one, all at least 1.
        marks: values to draw a line at.
        title: of the values.
    """
    x = _around(values, [mark.value for mark in marks])
    if x.high < LINEAR_TO * float(np.median(values)):
        # Bins of whole numbers: others would hold now one of them, now two.
        width = math.ceil(x.high / HISTOGRAM_BINS)
        x = Scale(0.5, math.ceil(x.high / width) * width + 0.5)
        edges = np.arange(x.low, x.high + width / 2, width)
    else:
        edges = np.geomspace(x.low, x.high, HISTOGRAM_BINS + 1)
    counts = np.histogram(values, edges)[0]
    y = Scale(0, float(counts.max()) * 1.1)
    bars = [
        f"M{x.place(low):.2f} 100V{100 - y.place(count):.2f}H{x.place(high):.2f}V100Z"
        for low, high, count in zip(edges[:-1].tolist(), edges[1:].tolist(), counts.tolist(), strict=True)
        if count
    ]
    return _plot(tag("path", d="".join(bars), class_="area"), x, y, up=marks, titles=(title, "rows"))


def density(widths: Ints, heights: Ints) -> Html:
    """How many images are how wide and how high, both on one logarithmic scale.

    Args:
        widths: (n,), at least one, all at least 1.
        heights: (n,).
    """
    scale = _around(np.concatenate([widths, heights]), [])
    edges = np.geomspace(scale.low, scale.high, DENSITY_BINS + 1)
    counts = np.histogram2d(widths, heights, (edges, edges))[0]
    highest, side = float(counts.max()), 100 / DENSITY_BINS
    cells = [
        tag("rect", x=column * side, y=100 - (row + 1) * side, width=side, height=side, opacity=_shade(count, highest))
        for (column, row), count in zip(np.ndindex(counts.shape), counts.ravel().tolist(), strict=True)
        if count
    ]
    diagonal = tag("path", d="M0 100L100 0", class_="grid")
    return _plot(together(diagonal, tag("g", cells, class_="cells")), scale, scale, titles=("width", "height"))


def _around(values: Ints, also: Sequence[float]) -> Scale:
    """A logarithmic scale with all of them well inside."""
    low, high = min(float(values.min()), *also, math.inf), max(float(values.max()), *also, 0.0)
    return Scale(low / 1.2, high * 1.2, is_log=True)


def _shade(count: float, highest: float) -> float:
    return 0.2 + 0.8 * math.log1p(count) / math.log1p(highest)


def _round_steps(high: float) -> list[int]:
    return [digit * 10**power for power in range(math.ceil(math.log10(max(high, 10))) + 1) for digit in (1, 2, 5)]


def _plot(
    shapes: Html,
    x: Scale,
    y: Scale,
    *,
    titles: tuple[str, str],
    across: Sequence[Mark] = (),
    up: Sequence[Mark] = (),
) -> Html:
    """Axes and letters around the shapes, which lie in 100 × 100 with the origin at the top left."""
    levels, places = [100 - y.place(tick) for tick in y.ticks()], [x.place(tick) for tick in x.ticks()]
    grid = [tag("path", d=f"M0 {level:.2f}H100", class_="grid") for level in levels]
    lines = [tag("path", d=f"M0 {100 - y.place(mark.value):.2f}H100", class_="mark") for mark in across]
    lines += [tag("path", d=f"M{x.place(mark.value):.2f} 0V100", class_="mark") for mark in up]
    svg = tag("svg", grid, shapes, lines, viewBox="0 0 100 100", preserveAspectRatio="none", aria_hidden="true")
    letters = [
        *(_letter("tick y", f"{tick:,}", top=level) for tick, level in zip(y.ticks(), levels, strict=True)),
        *(_letter("tick x", f"{tick:,}", left=place) for tick, place in zip(x.ticks(), places, strict=True)),
        *(_letter("mark across", mark.text, top=100 - y.place(mark.value)) for mark in across),
        *(_letter("mark up", mark.text, left=x.place(mark.value)) for mark in up),
    ]
    y_title, x_title = tag("span", titles[1], class_="y-title"), tag("span", titles[0], class_="x-title")
    return tag("div", y_title, tag("div", svg, letters, class_="canvas"), x_title, class_="plot")


def _letter(kind: str, text: str, **place: float) -> Html:
    return tag("span", text, class_=kind, style=";".join(f"{side}:{percent:.2f}%" for side, percent in place.items()))
