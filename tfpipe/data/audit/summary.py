"""The summary: counts and quantiles that describe a data set, whether or not anything is wrong with it."""

import math
from dataclasses import dataclass

import numpy as np

from tfpipe.core.settings import Task
from tfpipe.data.audit.columns import NONE, Bools, Ints
from tfpipe.data.audit.survey import Survey

QUANTILES = {
    "smallest": 0.0,
    "1 %": 0.01,
    "5 %": 0.05,
    "25 %": 0.25,
    "median": 0.5,
    "75 %": 0.75,
    "95 %": 0.95,
    "99 %": 0.99,
    "largest": 1.0,
}

Counts = dict[str, int]
"""Word → rows, the most frequent first."""


@dataclass(frozen=True)
class Bucket:
    """Classes of about one size."""

    num_classes: int
    num_rows: int


@dataclass(frozen=True)
class Summary:
    """Of the usable rows, where nothing else is said."""

    num_rows: int
    """All of them."""
    num_usable: int
    num_groups: int
    classes: Counts
    """Those without a usable row count 0."""
    buckets: dict[str, Bucket]
    """head, medium, few, single, none."""
    imbalance_ratio: float
    """The largest class's rows for each of the smallest's; not a number where there are none."""
    regions: Counts
    region_by_class: dict[str, Counts]
    splits: Counts
    faults: Counts
    """Of the other rows."""
    modes: Counts
    formats: Counts
    quantiles: dict[str, dict[str, int]]
    """Measure → its `QUANTILES`."""
    non_latin_share: float
    """Of all letters; 0 where there are none."""


def summarise(survey: Survey, task: Task) -> Summary:
    """Count."""
    columns, usable = survey.columns, survey.usable
    sizes = survey.class_sizes
    present = [size for size in sizes.values() if size]
    return Summary(
        num_rows=survey.num_rows,
        num_usable=int(usable.sum()),
        num_groups=int(survey.groups.max(initial=NONE)) + 1,
        classes=sizes,
        buckets=_buckets(present, len(sizes), survey),
        imbalance_ratio=max(present) / min(present) if present else math.nan,
        regions=_named(columns.regions.counts(usable)),
        region_by_class=_region_by_class(survey),
        splits=_named(columns.splits.counts(usable)),
        faults=_named(columns.faults.counts(~usable)),
        modes=_named(columns.modes.counts(usable)),
        formats=_named(columns.formats.counts(usable)),
        quantiles={name: _quantiles(values[usable]) for name, values in measures(survey, task).items()},
        non_latin_share=_share(columns.num_letters.values, columns.num_latin_letters.values, usable),
    )


def measures(survey: Survey, task: Task) -> dict[str, Ints]:
    """What is measured of each row, (num_rows,) each."""
    columns = survey.columns
    if task == "text":
        found = {"characters": columns.num_chars.values, "words": columns.num_words.values}
        return found | ({"sub-words": columns.num_subwords.values} if columns.count_subwords else {})
    width, height = columns.widths.values, columns.heights.values
    return {
        "width": width,
        "height": height,
        "short side": np.minimum(width, height),
        "bytes": columns.num_bytes.values,
    }


def bucket_of(size: int, *, few_below: int, head_from: int) -> str:
    """The key in `Summary.buckets` of a class of so many rows."""
    if size == 0:
        return "none"
    if size == 1:
        return "single"
    if size >= head_from:
        return "head"
    return "few" if size < few_below else "medium"


def _buckets(present: list[int], num_classes: int, survey: Survey) -> dict[str, Bucket]:
    sizes: dict[str, list[int]] = {"head": [], "medium": [], "few": [], "single": []}
    for size in present:
        name = bucket_of(size, few_below=survey.settings.few_below, head_from=survey.settings.head_from)
        sizes[name].append(size)
    buckets = {name: Bucket(len(of), sum(of)) for name, of in sizes.items()}
    return buckets | {"none": Bucket(num_classes - len(present), 0)}


def _region_by_class(survey: Survey) -> dict[str, Counts]:
    labels, regions = survey.columns.labels, survey.columns.regions
    pairs = labels.codes[survey.usable] * len(regions.names) + regions.codes[survey.usable]
    table: dict[str, Counts] = {}
    for pair, count in zip(*(part.tolist() for part in np.unique(pairs, return_counts=True)), strict=True):
        label, region = divmod(pair, len(regions.names))
        table.setdefault(labels.names[label], {})[regions.names[region]] = count
    return table


def _quantiles(values: Ints) -> dict[str, int]:
    if not len(values):
        return {}
    found = np.quantile(values, list(QUANTILES.values()), method="nearest").tolist()
    return dict(zip(QUANTILES, found, strict=True))


def _named(counts: Counts) -> Counts:
    return {name: count for name, count in counts.items() if count and name}


def _share(letters: Ints, latin: Ints, usable: Bools) -> float:
    total = int(letters[usable].sum())
    return 1 - int(latin[usable].sum()) / total if total else 0.0
