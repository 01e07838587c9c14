"""`report.html`: one file that needs no network, for a person to look at."""

from pathlib import Path

from tfpipe.core.page import build_document
from tfpipe.core.page.markup import Html, prose, tag, together
from tfpipe.core.page.thumbnails import Album
from tfpipe.data.audit.findings import Finding, Severity
from tfpipe.data.audit.page.chapters import chapters
from tfpipe.data.audit.page.gallery import gallery, shown_findings
from tfpipe.data.audit.report import Report

ALBUM_BYTES = 1_500_000
"""Of all thumbnails; in base64 they become a third more."""


def build_page(report: Report, root: Path) -> str:
    """The page, as text.

    Args:
        report: what to tell.
        root: what the images' paths are relative to.
    """
    album = Album(root, max_bytes=ALBUM_BYTES)
    main = tag("main", _findings(report), chapters(report), gallery(report, album))
    remark = "all numbers are in report.json, beside this page."
    return build_document(f"{report.name} · audit", _header(report), main, remark=remark)


def _header(report: Report) -> Html:
    counts = [(report.num_findings(severity), severity) for severity in Severity]
    verdict = ", ".join(f"{count or 'no'} {severity}{'' if count == 1 else 's'}" for count, severity in counts)
    numbers = [
        tag("div", tag("dt", name), tag("dd", value, tag("small", note))) for name, value, note in _numbers(report)
    ]
    return tag(
        "header",
        tag("p", "Audit", class_="kicker"),
        tag("h1", report.name),
        tag("p", f"{verdict.capitalize()}.", class_="verdict"),
        tag("dl", numbers, class_="numbers"),
    )


def _numbers(report: Report) -> list[tuple[str, str, str]]:
    """Name, number and remark of what stands at the top."""
    summary, metrics = report.summary, report.metrics
    repeated = metrics["num_repeated_texts" if report.task == "text" else "num_exact_duplicates"]
    numbers = [
        ("rows", f"{summary.num_rows:,}", ""),
        ("usable", f"{summary.num_usable:,}", f"{1 - metrics['unusable_share']:.1%}"),
        ("classes", f"{len(summary.classes):,}", ""),
        ("largest to smallest", f"{summary.imbalance_ratio:,.0f} : 1" if summary.num_usable else "0", ""),
        ("regions", f"{len(summary.regions):,}", ""),
        ("groups", f"{summary.num_groups:,}", ""),
        ("repeated", f"{repeated:,}", "exactly"),
    ]
    if report.task == "image":
        numbers.append(("repeated", f"{metrics['num_near_duplicates']:,}", "nearly"))
    return [number for number in numbers if number[1] != "0" or number[0] == "repeated"]


def _findings(report: Report) -> Html:
    pictured = {finding.rule for finding in shown_findings(report)}
    found = [finding for finding in report.findings if finding.found.count]
    items = [_finding(finding, report, has_section=finding.rule in pictured) for finding in found]
    content = tag("ol", items, class_="findings") if items else tag("p", "Nothing found.", class_="lead")
    return tag("section", tag("h2", "Findings"), content)


def _finding(finding: Finding, report: Report, *, has_section: bool) -> Html:
    link = tag("a", "look at them", href=f"#{finding.rule}") if has_section else ""
    return tag(
        "li",
        tag("span", finding.severity, class_="severity"),
        tag("span", f"{finding.found.count:,}", class_="count"),
        tag(
            "div",
            tag("h3", finding.title),
            tag("p", prose(finding.advice), " ", link),
            tag(
                "details",
                tag("summary", "examples · ", tag("code", f"num_{finding.rule}")),
                tag("ul", _examples(finding, report)),
            ),
        ),
        class_=finding.severity,
    )


def _examples(finding: Finding, report: Report) -> list[Html]:
    """The ids, or the labels, of a finding, as one could search for them."""
    found = finding.found
    notes = found.notes or ("",) * max(len(found.rows), len(found.labels))
    sets = [[_named(report, row) for row in rows] for rows in found.rows] or [
        [tag("b", label) for label in labels] for labels in found.labels
    ]
    return [
        tag("li", [together(" · " if place else "", part) for place, part in enumerate(parts)], f" {note}")
        for parts, note in zip(sets, notes, strict=True)
    ]


def _named(report: Report, row_number: int) -> Html:
    row = report.shown[row_number][0]
    return together(tag("code", row.id or "(no id)"), " ", tag("b", row.label))
