"""Examples to judge by eye: photos mounted side by side, texts in quotes, with their labels."""

from tfpipe.core.page.markup import Html, tag, together
from tfpipe.core.page.thumbnails import Album
from tfpipe.core.settings import Task
from tfpipe.data.audit.findings import Finding
from tfpipe.data.audit.report import Pair, Report
from tfpipe.data.rows import Row

MOST_MOUNTS = 8
"""Of one finding."""
MOST_CHARS = 280
"""Of one text."""


def gallery(report: Report, album: Album) -> list[Html]:
    """A section for each finding of `HEADINGS`."""
    return [_section(finding, report, album) for finding in shown_findings(report)]


def shown_findings(report: Report) -> list[Finding]:
    """Those that have a section, in its order."""
    found = {finding.rule: finding for finding in report.findings if _examples(finding, report)}
    return [found[rule] for rule in HEADINGS[report.task] if rule in found]


def _section(finding: Finding, report: Report, album: Album) -> Html:
    examples = _examples(finding, report)
    mounts = [_mount([report.shown[row] for row in rows], note, report.task, album) for rows, note in examples]
    title = finding.title[0].upper() + finding.title[1:]
    lead = f"{title}: {len(examples)} of {finding.found.count:,} shown."
    heading = tag("h2", HEADINGS[report.task][finding.rule])
    return tag("section", heading, tag("p", lead, class_="lead"), tag("div", mounts, class_="mounts"), id=finding.rule)


def _examples(finding: Finding, report: Report) -> list[tuple[tuple[int, ...], str]]:
    """At most `MOST_MOUNTS` sets of rows that can be shown; no note crowds out the others."""
    notes = finding.found.notes or ("",) * len(finding.found.rows)
    num_seen: dict[str, int] = {}
    ranked = []
    for place, (rows, note) in enumerate(zip(finding.found.rows, notes, strict=False)):
        if any(facts.path or row.text for row, facts in (report.shown[number] for number in rows)):
            num_seen[note] = num_seen.get(note, 0) + 1
            ranked.append((num_seen[note], place, rows, note))
    chosen = sorted(sorted(ranked)[:MOST_MOUNTS], key=lambda example: example[1])
    return [(rows, note) for _, _, rows, note in chosen]


def _mount(pairs: list[Pair], note: str, task: Task, album: Album) -> Html:
    """What belongs together, on one sheet."""
    rows = [row for row, _ in pairs]
    class_ = "disputed" if len({row.label for row in rows}) > 1 else None
    if task == "text":
        slips = [tag("figcaption", _slip(row, class_=class_)) for row in rows]
        return tag("figure", tag("blockquote", _excerpt(rows[0].text)), slips, _remark(note), class_="mount")
    shared = {row.group for row in rows} if len(rows) > 1 else set()
    figures = [
        tag(
            "figure",
            tag("div", album.picture(facts.path, alt=row.label), class_="photo"),
            tag("figcaption", _slip(row, class_=class_), tag("code", "" if len(shared) == 1 else row.group)),
        )
        for row, facts in pairs
    ]
    group = f"group {rows[0].group}" if len(shared) == 1 and rows[0].group else ""
    return tag("div", tag("div", figures, class_="photos"), _remark(group, note), class_="mount")


def _slip(row: Row, *, class_: str | None) -> Html:
    """What stands on the sheet below a photo."""
    return together(tag("b", row.label, class_=class_), tag("code", row.id))


def _remark(*parts: str) -> Html:
    return tag("p", " · ".join(filter(None, parts)), class_="remark") if any(parts) else together()


def _excerpt(text: str) -> str:
    return text if len(text) <= MOST_CHARS else f"{text[:MOST_CHARS]} …"


HEADINGS: dict[Task, dict[str, str]] = {
    "image": {
        "label_conflicts": "One photo, different labels",
        "groups_across_labels": "One group, different labels",
        "placeholders": "One picture under many labels",
        "leaks_between_splits": "In two splits at once",
        "exact_duplicates": "The same photo twice",
        "near_duplicates": "Nearly the same photo",
        "unusable": "Not usable",
        "long_strips": "Long strips",
        "other_modes": "Neither RGB nor grey",
        "turned_by_exif": "Turned by EXIF",
    },
    "text": {
        "label_conflicts": "One text, different labels",
        "leaks_between_splits": "In two splits at once",
        "repeated_texts": "The same text twice",
        "misread_texts": "Wrong encoding",
        "markup_in_texts": "With markup",
        "urls_in_texts": "With web addresses",
        "control_characters": "With invisible characters",
        "other_script_texts": "In another script",
        "short_texts": "Very short",
        "long_texts": "Very long",
    },
}
"""Rule → the heading of its section, in their order."""
