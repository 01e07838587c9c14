"""The chapters of the page that describe the data: classes, names, regions, images or texts, faults."""

import math
from collections.abc import Callable, Iterable, Mapping

from tfpipe.core.page.markup import Html, prose, tag, together
from tfpipe.core.settings import Task
from tfpipe.data.audit.page.faults import meaning_of
from tfpipe.data.audit.page.plots import Mark, density, histogram, long_tail
from tfpipe.data.audit.report import Report
from tfpipe.data.audit.summary import QUANTILES, Counts, bucket_of, measures
from tfpipe.data.audit.variants import Variant

MOST_BARS = 40
"""Classes that have a bar each; more are drawn as one curve."""
MOST_ENDS = 8
"""Classes that are named at either end of a curve."""
LOG_FROM = 100
"""Imbalance from which on bars are logarithmic."""
MOST_NAMES = 40
"""Proposals of either kind in the page; the CSV files have all."""
MOST_CLASSES, MOST_REGIONS = 25, 10
"""In the table of regions."""

BUCKETS = {"head": "head", "medium": "medium", "few": "few", "single": "one row", "none": "none usable"}


def chapters(report: Report) -> list[Html]:
    """Those of the task, without what these data do not have."""
    return [chapter(report) for chapter in CHAPTERS[report.task]]


def _classes(report: Report) -> Html:
    settings = report.survey.settings
    sizes = {label: size for label, size in report.summary.classes.items() if size}
    lead = f"By usable rows. Head: {settings.head_from:,} or more; few: under {settings.few_below:,}."
    plot = _bars(sizes, report) if len(sizes) <= MOST_BARS else _curve(sizes, report)
    return _chapter("Classes", lead, _buckets(report), plot)


def _buckets(report: Report) -> Html:
    """How the classes, and how their rows, share into buckets."""
    buckets = report.summary.buckets
    numbers = {
        "classes": {name: bucket.num_classes for name, bucket in buckets.items()},
        "rows": {name: bucket.num_rows for name, bucket in buckets.items()},
    }
    strips = []
    for what, counts in numbers.items():
        parts = [
            tag("i", class_=name, style=f"flex-grow:{count}", title=f"{BUCKETS[name]}: {count:,}")
            for name, count in counts.items()
            if count
        ]
        strips.append(tag("div", tag("span", what), tag("div", parts, class_="strip"), class_="strip-row"))
    key = [
        tag("li", tag("i", class_=name), f"{BUCKETS[name]}: {bucket.num_classes:,} classes, {bucket.num_rows:,} rows")
        for name, bucket in buckets.items()
        if bucket.num_classes
    ]
    return tag("div", strips, tag("ul", key, class_="key"), class_="buckets") if len(key) > 1 else together()


def _bars(sizes: Counts, report: Report) -> Html:
    """A named bar for each class, logarithmic where linear ones would vanish."""
    highest, is_log = max(report.summary.classes.values(), default=0), report.summary.imbalance_ratio > LOG_FROM
    settings = report.survey.settings

    def bar(label: str, size: int) -> Html:
        share = math.log1p(size) / math.log1p(highest) if is_log else size / highest
        bucket = bucket_of(size, few_below=settings.few_below, head_from=settings.head_from)
        return tag(
            "li",
            tag("span", label, class_="name", title=label),
            tag("i", class_=bucket, style=f"--share:{share:.4f}"),
            tag("span", f"{size:,}", class_="number"),
        )

    note = tag("p", "Bars are logarithmic.", class_="fact") if is_log else together()
    return together(note, tag("ul", [bar(label, size) for label, size in sizes.items()], class_="bars"))


def _curve(sizes: Counts, report: Report) -> Html:
    """One shape for all classes, and the names at its ends."""
    settings = report.survey.settings
    marks = [
        Mark(settings.head_from, f"head from {settings.head_from:,}"),
        Mark(settings.few_below, f"few below {settings.few_below:,}"),
    ]
    first, last = list(sizes.items())[:MOST_ENDS], list(sizes.items())[-MOST_ENDS:]
    ends = [
        tag("div", tag("h3", title), _bars(dict(part), report))
        for title, part in (("The largest", first), ("The smallest", last))
    ]
    return together(long_tail(list(sizes.values()), marks), tag("div", ends, class_="columns"))


def _names(report: Report) -> Html:
    variants, sizes = report.survey.variants, report.survey.label_sizes
    parts = [
        *_proposals(variants.sure, sizes, "ready to be applied, in `label_map.csv`"),
        *_proposals(variants.unsure, sizes, "to be looked at first, in `label_map_unsure.csv`"),
    ]
    lead = "Labels that are likely one class under several names."
    return _chapter("Names", lead, *parts) if parts else together()


def _proposals(variants: Mapping[str, Variant], sizes: Counts, what: str) -> list[Html]:
    """Those with most rows, if there are any."""
    order = sorted(variants.items(), key=lambda pair: -sizes[pair[0]])[:MOST_NAMES]
    rows = [
        tag("tr", tag("th", old, scope="row"), _number(sizes[old]), tag("td", new.label), tag("td", new.kind))
        for old, new in order
    ]
    title = prose(f"{len(rows)} of {len(variants):,} {what}.")
    return [tag("p", title), _table(("label", "rows", "should be", "told apart by"), rows)] if rows else []


def _regions(report: Report) -> Html:
    summary = report.summary
    shown = list(summary.regions)[:MOST_REGIONS]
    labels = [label for label, size in summary.classes.items() if size][:MOST_CLASSES]
    if not shown or not labels:
        return together()
    table = {label: [summary.region_by_class[label].get(region, 0) for region in shown] for label in labels}
    highest = max(max(counts) for counts in table.values())
    rows = [
        tag("tr", tag("th", label, scope="row"), [_heat(count, highest) for count in counts])
        for label, counts in table.items()
    ]
    total = tag("tr", tag("th", "all classes", scope="row"), [_number(summary.regions[name]) for name in shown])
    lead = f"Usable rows of the {len(labels)} largest of {len(summary.classes):,} classes"
    more = (
        f", in the {len(shown)} largest of {len(summary.regions)} regions."
        if len(summary.regions) > len(shown)
        else "."
    )
    return _chapter("Regions", lead + more, _table(("class", *shown), [total, *rows], class_="heat"))


def _heat(count: int, highest: int) -> Html:
    """Darker by the square root of the count, so that small ones show."""
    share = math.sqrt(count / highest)
    return tag(
        "td", f"{count:,}" if count else "", style=f"--share:{share:.2f}", class_="cell" if count else "cell none"
    )


def _images(report: Report) -> Html:
    values = measures(report.survey, "image")
    known = values["short side"] > 0
    if not known.any():
        return together()
    mark = Mark(report.survey.settings.min_side, "min_side")
    plots = (
        tag("div", tag("h3", "Width and height"), density(values["width"][known], values["height"][known])),
        tag("div", tag("h3", "Short side"), histogram(values["short side"][known], [mark], title="pixels")),
    )
    counted = {"Formats": report.summary.formats, "Colour modes": report.summary.modes}
    kinds = [
        tag("p", f"{title}: {', '.join(f'{name} {count:,}' for name, count in counts.items())}.", class_="fact")
        for title, counts in counted.items()
    ]
    lead = "Sizes of all that could be decoded."
    return _chapter("Images", lead, tag("div", plots, class_="columns"), _quantiles(report), *kinds)


def _texts(report: Report) -> Html:
    words = measures(report.survey, "text")["words"]
    known = words > 0
    if not known.any():
        return together()
    script = f"{report.summary.non_latin_share:.1%} of the letters are not Latin."
    return _chapter("Texts", script, histogram(words[known], [], title="words"), _quantiles(report))


def _quantiles(report: Report) -> Html:
    rows = [
        tag("tr", tag("th", name, scope="row"), [_number(found[quantile]) for quantile in QUANTILES])
        for name, found in report.summary.quantiles.items()
        if found
    ]
    return _table(("", *QUANTILES), rows)


def _faults(report: Report) -> Html:
    rows = [
        tag("tr", tag("th", fault, scope="row"), _number(count), tag("td", prose(meaning_of(fault))))
        for fault, count in report.summary.faults.items()
    ]
    lead = f"{sum(report.summary.faults.values()):,} of {report.summary.num_rows:,} rows cannot be used."
    return _chapter("Faults", lead, _table(("fault", "rows", "what would save them"), rows)) if rows else together()


def _chapter(title: str, lead: str, *content: Html) -> Html:
    return tag("section", tag("h2", title), tag("p", lead, class_="lead"), *content)


def _table(head: Iterable[str], rows: Iterable[Html], class_: str | None = None) -> Html:
    titles = [tag("th", title, scope="col") for title in head]
    return tag("div", tag("table", tag("thead", tag("tr", titles)), tag("tbody", rows), class_=class_), class_="wide")


def _number(value: int) -> Html:
    return tag("td", f"{value:,}", class_="number")


CHAPTERS: dict[Task, tuple[Callable[[Report], Html], ...]] = {
    "image": (_classes, _names, _regions, _images, _faults),
    "text": (_classes, _names, _regions, _texts, _faults),
}
"""In their order on the page."""
