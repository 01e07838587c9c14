"""What the audit leaves behind: `report.json`, `report.html`, and the label maps it proposes."""

import csv
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tfpipe.core.files import atomic_open, finite, write_json
from tfpipe.data.audit.findings import Finding
from tfpipe.data.audit.page import build_page
from tfpipe.data.audit.report import Pair, Report
from tfpipe.data.audit.variants import Variant


def write_report(report: Report, folder: Path, *, root: Path, label_map: Mapping[str, str]) -> None:
    """Write `report.json`, `report.html`, `label_map.csv` and `label_map_unsure.csv`.

    Args:
        report: what to tell.
        folder: where to.
        root: what the images' paths are relative to.
        label_map: the one that `snapshot` applied to the rows; the proposed one takes its place.
    """
    write_json(finite(to_json(report)), folder / "report.json")
    variants = report.survey.variants
    _write_label_map(_after(label_map, variants.sure), folder / "label_map.csv")
    _write_label_map(variants.unsure, folder / "label_map_unsure.csv")
    with atomic_open(folder / "report.html") as file:
        file.write(build_page(report, root))


def to_json(report: Report) -> dict[str, Any]:
    """All that was counted and found."""
    variants = report.survey.variants
    return {
        "dataset": report.name,
        "task": report.task,
        "metrics": report.metrics,
        "findings": [_finding_json(finding, report.shown) for finding in report.findings if finding.found.count],
        "label_map": {old: asdict(new) for old, new in variants.sure.items()},
        "label_map_unsure": {old: asdict(new) for old, new in variants.unsure.items()},
        **asdict(report.summary),
    }


def _finding_json(finding: Finding, shown: Mapping[int, Pair]) -> dict[str, Any]:
    found = finding.found
    examples: list[dict[str, Any]] = [
        {"ids": [shown[row][0].id for row in rows], "labels": [shown[row][0].label for row in rows]}
        for rows in found.rows
    ] or [{"labels": list(labels)} for labels in found.labels]
    for example, note in zip(examples, found.notes, strict=False):
        example["note"] = note
    return {
        "rule": finding.rule,
        "severity": finding.severity,
        "title": finding.title,
        "count": found.count,
        "advice": finding.advice,
        "examples": examples,
    }


def _after(label_map: Mapping[str, str], variants: Mapping[str, Variant]) -> dict[str, Variant]:
    """One map that does what the two would do in turn, since `snapshot` looks a label up only once."""
    mapped = {old: variants[new].label if new in variants else new for old, new in label_map.items()}
    kept = {old: Variant(new, "snapshot.label_map") for old, new in mapped.items()}
    return kept | dict(variants)


def _write_label_map(variants: Mapping[str, Variant], path: Path) -> None:
    with atomic_open(path) as file:
        writer = csv.writer(file)
        writer.writerow(("synonym", "label", "kind"))
        writer.writerows((old, new.label, new.kind) for old, new in sorted(variants.items()))
