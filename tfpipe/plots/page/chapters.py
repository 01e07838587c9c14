"""The chapters of the page: other models beside this one, regions, class frequency, classes, reliability."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfpipe.core.page.markup import Html, prose, tag, together
from tfpipe.core.settings import THINGS, Task

MOST_REGIONS = 40
MOST_CLASSES = 40
"""That have a bar each."""
MOST_LETTERS = 300
"""Of a text."""

Numbers = Mapping[str, Any]
"""Part of `metrics.json`."""


@dataclass(frozen=True)
class Evaluation:
    """What the page tells."""

    name: str
    metrics: Numbers
    """As in `metrics.json`."""
    resamples: int
    min_recall: float
    matrix: np.ndarray
    """(classes, classes + 1): what photos of each class were said to be; in the last column, another class."""
    matrix_classes: Sequence[str]
    num_classes: int
    class_sizes: Mapping[str, int]
    """Photos of each class that was tested."""
    photos: Mapping[str, bytes]
    """Id → JPEG bytes, of those that `confusions` names."""
    task: Task = "image"

    @property
    def things(self) -> str:
        """What was judged."""
        return THINGS[self.task]


def percent(share: float | None) -> str:
    """93.4 %; a dash for what is no number, which JSON has as None."""
    return "—" if share is None or np.isnan(share) else f"{100 * share:.1f} %"


def signed(share: float) -> str:
    """+1.2, of a difference, in percentage points."""
    return f"{100 * share:+.1f}".replace("-", "−")


def span(interval: Mapping[str, float | None]) -> str:
    """91.2–95.4 %."""
    low, high = interval["low"], interval["high"]
    return "" if low is None or high is None or np.isnan(low) else f"{100 * low:.1f}–{100 * high:.1f} %"


def section(title: str, lead: str, *content: Html) -> Html:
    """A chapter; what stands between backticks in its lead is code."""
    return tag("section", tag("h2", title), tag("p", prose(lead), class_="lead"), *content)


def bar(share: float, interval: Mapping[str, float] | None = None, kind: str | None = None) -> Html:
    """A cell with a bar, and the line of its interval."""
    line = together()
    if interval and not np.isnan(interval["low"]):
        line = tag("s", style=f"--low:{interval['low']:.4f};--high:{interval['high']:.4f}")
    return tag(
        "td", tag("span", tag("i", class_=kind, style=f"--share:{share:.4f}"), line, class_="track"), class_="bar"
    )


def table(head: Iterable[str], rows: Iterable[Html], class_: str | None = None) -> Html:
    """A table that scrolls by itself where the page is narrow."""
    titles = [tag("th", title, scope="col") for title in head]
    return tag("div", tag("table", tag("thead", tag("tr", titles)), tag("tbody", rows), class_=class_), class_="wide")


def _against(evaluation: Evaluation) -> Html:
    return together(
        [
            _compared(evaluation.name, other, found, evaluation.things)
            for other, found in evaluation.metrics.get("against", {}).items()
        ]
    )


def _compared(name: str, other: str, found: Numbers, things: str) -> Html:
    whole = {
        "top1_accuracy": "top-1",
        "top5_accuracy": "top-5",
        "macro_accuracy": "mean recall",
        "macro_f1": "macro F1",
    }
    lines = [(title, found[measured]) for measured, title in whole.items()]
    for region, numbers in _by_size(found["by_region"])[:MOST_REGIONS]:
        sized = f"{region} ({numbers['num_examples']:,})"
        lines += [(f"{sized} top-1", numbers["top1"]), (f"{sized} top-5", numbers["top5"])]
    reach = max([0.01, *(max(abs(row["low"]), abs(row["high"])) for _, row in lines if not np.isnan(row["low"]))])
    rows = [_difference(title, row, reach, name, other) for title, row in lines]
    alone = found["mcnemar"]
    lead = (
        f"Differences in percentage points, on the same {things} and the same resamples. "
        f"{alone['only_this']:,} {things} are right here and wrong there, {alone['only_that']:,} the other way round; "
        "McNemar's exact test: "
        f"p = {alone['p_value']:.2g}."
    )
    head = ("", name, other, f"−{100 * reach:.0f} to +{100 * reach:.0f} points", "difference", "95 %", "")
    return section(f"Against {other}", lead, table(head, rows))


def _difference(title: str, row: Numbers, reach: float, name: str, other: str) -> Html:
    verdict = "wins" if row["low"] > 0 else "loses" if row["high"] < 0 else None
    who = {"wins": f"{name} is better", "loses": f"{other} is better", None: ""}[verdict]
    low, high, at = (0.5 + row[key] / reach / 2 for key in ("low", "high", "difference"))
    line, dot = tag("s", style=f"--low:{low:.4f};--high:{high:.4f}"), tag("u", style=f"--at:{at:.4f}")
    bar = tag("span", line, dot, class_="track middle")
    known = not np.isnan(low)
    return tag(
        "tr",
        tag("th", title, scope="row"),
        [tag("td", percent(row[key]), class_="number") for key in ("this", "that")],
        tag("td", bar if known else "", class_="bar"),
        tag("td", signed(row["difference"]) if known else "—", class_="number"),
        tag("td", f"{signed(row['low'])} to {signed(row['high'])}" if known else "", class_="range"),
        tag("td", who, class_="who"),
        class_=verdict,
    )


def _regions(evaluation: Evaluation) -> Html:
    by_region = evaluation.metrics["by_region"]
    if not by_region:
        return together()
    shown = _by_size(by_region)[:MOST_REGIONS]
    rows = [
        tag(
            "tr",
            tag("th", region, scope="row"),
            tag("td", f"{numbers['num_examples']:,}", class_="number"),
            [
                together(
                    bar(numbers[name], numbers[f"{name}_interval"], kind),
                    tag("td", percent(numbers[name]), class_="number"),
                    tag("td", span(numbers[f"{name}_interval"]), class_="range"),
                )
                for name, kind in (("top1", None), ("top5", "second"))
            ],
        )
        for region, numbers in shown
    ]
    lead = "The largest first; lines are 95 % intervals."
    more = "" if len(shown) == len(by_region) else f" {len(shown)} of {len(by_region):,} are shown."
    return section("Regions", lead + more, table(("region", evaluation.things, "top-1", "", "", "top-5", "", ""), rows))


def _buckets(evaluation: Evaluation) -> Html:
    rows = [
        tag(
            "tr",
            tag("th", name, scope="row"),
            [tag("td", f"{numbers[key]:,}", class_="number") for key in ("num_classes", "num_examples")],
            bar(numbers["top1_accuracy"]),
            tag("td", percent(numbers["top1_accuracy"]), class_="number"),
            bar(numbers["macro_accuracy"], None, "second"),
            tag("td", percent(numbers["macro_accuracy"]), class_="number"),
            tag("td", f"{numbers['num_classes_below']:,}", class_="number"),
        )
        for name, numbers in evaluation.metrics["per_bucket"].items()
        if numbers["num_examples"]
    ]
    lead = f"Classes by how many training {evaluation.things} they have."
    below = f"below {100 * evaluation.min_recall:.0f} %"
    sets = (f"training {evaluation.things}", "classes", f"test {evaluation.things}")
    head = (*sets, "top-1", "", "mean recall", "", below)
    return section("Class frequency", lead, table(head, rows))


def _classes(evaluation: Evaluation) -> Html:
    per_class, sizes = evaluation.metrics["per_class"], evaluation.class_sizes
    shown = sorted(per_class.items(), key=lambda pair: (pair[1], -sizes[pair[0]], pair[0]))[:MOST_CLASSES]
    bars = [
        tag(
            "li",
            tag("span", name, class_="name", title=name),
            tag("i", class_="single" if recall < evaluation.min_recall else "head", style=f"--share:{recall:.4f}"),
            tag("span", f"{percent(recall)} of {sizes[name]:,}", class_="number"),
        )
        for name, recall in shown
    ]
    below = evaluation.metrics["num_classes_below"]
    lead = f"Recall, the lowest first. {below:,} of {len(per_class):,} are below {100 * evaluation.min_recall:.0f} %"
    more = "." if len(shown) == len(per_class) else f"; the lowest {len(shown)} are shown."
    overview = together() if len(shown) == len(per_class) else _spread(list(per_class.values()), evaluation.min_recall)
    return section("Classes", lead + more, overview, tag("ul", bars, class_="bars recalls"))


def _spread(recalls: Sequence[float], min_recall: float) -> Html:
    """How many classes have how much recall, by tenths."""
    counts, edges = np.histogram(recalls, np.linspace(0, 1, 11))
    bars = [
        tag(
            "li",
            tag("span", f"{100 * low:.0f}–{100 * low + 10:.0f} %", class_="name"),
            tag("i", class_="single" if low < min_recall else "head", style=f"--share:{count / max(counts):.4f}"),
            tag("span", f"{count:,} classes", class_="number"),
        )
        for low, count in zip(edges[:-1].tolist(), counts.tolist(), strict=True)
    ]
    return tag("ul", bars, class_="bars recalls spread")


def _reliability(evaluation: Evaluation) -> Html:
    found = evaluation.metrics["reliability"]
    rows = [
        tag(
            "tr",
            tag("th", f"{100 * each['low']:.0f}–{100 * each['high']:.0f} %", scope="row"),
            tag("td", f"{each['count']:,}", class_="number"),
            tag(
                "td",
                tag(
                    "span",
                    tag("i", style=f"--share:{each['accuracy']:.4f}"),
                    tag("u", style=f"--at:{each['confidence']:.4f}"),
                    class_="track",
                ),
                class_="bar",
            ),
            tag("td", percent(each["accuracy"]), class_="number"),
            tag("td", percent(each["confidence"]), class_="number"),
        )
        for each in found["bins"]
        if each["count"]
    ]
    lead = (
        f"How often answers of a confidence are right (bars), and the mean confidence (marks): they should meet. "
        f"Expected calibration error {found['ece']:.3f}, the worst bin's {found['mce']:.3f}."
    )
    return section("Reliability", lead, table(("confidence", evaluation.things, "", "right", "confidence"), rows))


def _matrix(evaluation: Evaluation) -> Html:
    """Of each class's photos, the per cents that were said to be each."""
    names, others = evaluation.matrix_classes, len(evaluation.matrix_classes) < evaluation.num_classes
    if len(names) < 2:
        return together()
    columns = [*names, "others"] if others else list(names)
    shares = evaluation.matrix / np.maximum(evaluation.matrix.sum(axis=-1, keepdims=True), 1)
    rows = [
        tag(
            "tr",
            tag("th", name, scope="row", title=name),
            [_cell(float(shares[row, column]), own=row == column) for column in range(len(columns))],
        )
        for row, name in enumerate(names)
    ]
    head = [tag("th", tag("span", name), scope="col", title=name) for name in columns]
    grid = tag("table", tag("thead", tag("tr", tag("td"), head)), tag("tbody", rows), class_="matrix")
    which = f"The {len(names)} most confused of {evaluation.num_classes:,} classes. " if others else ""
    lead = f"{which}Per cents of a row's {evaluation.things} that were said to be the column's class."
    return section("What is taken for what", lead, tag("div", grid, class_="wide"))


def _cell(share: float, *, own: bool) -> Html:
    text = f"{100 * share:.0f}" if share >= 0.005 else ""
    return tag("td", text, style=f"--share:{share:.3f}", class_="own" if own else None)


def _texts(evaluation: Evaluation) -> Html:
    """Only texts have a length and an author."""
    per_length, per_author = (evaluation.metrics.get(name, {}) for name in ("per_length", "per_author"))
    if not per_length:
        return together()
    lead = "Lines are 95 % intervals."
    parts = [section("Length", lead, table(("words", "texts", "top-1", "", ""), _shares(per_length)))]
    if per_author:
        lead = f"The {len(per_author)} with most texts. {lead}"
        parts.append(section("Authors", lead, table(("author", "texts", "top-1", "", ""), _shares(per_author))))
    return together(parts)


def _shares(sets: Mapping[str, Numbers]) -> list[Html]:
    return [
        tag(
            "tr",
            tag("th", name, scope="row", title=name),
            tag("td", f"{numbers['num_examples']:,}", class_="number"),
            bar(numbers["top1_accuracy"], numbers["interval"]),
            tag("td", percent(numbers["top1_accuracy"]), class_="number"),
            tag("td", span(numbers["interval"]), class_="range"),
        )
        for name, numbers in sets.items()
    ]


def _mistakes(evaluation: Evaluation) -> Html:
    mistakes = evaluation.metrics.get("surest_mistakes", [])
    if not mistakes:
        return together()
    rows = [
        tag(
            "tr",
            tag("td", percent(each["confidence"]), class_="number"),
            tag("td", each["answer"]),
            tag("td", each["label"]),
            tag("td", each["text"][:MOST_LETTERS], class_="text"),
        )
        for each in mistakes
    ]
    lead = "The answers that the model was surest of, and that the labels deny. Wrong labels show here."
    return section("Surest mistakes", lead, table(("confidence", "said", "labelled", "text"), rows))


def _by_size(by_region: Mapping[str, Numbers]) -> list[tuple[str, Numbers]]:
    return sorted(by_region.items(), key=lambda pair: (-pair[1]["num_examples"], pair[0]))


CHAPTERS = (_against, _regions, _buckets, _classes, _matrix, _reliability, _texts, _mistakes)
"""In their order on the page."""
