"""Rows and facts made by hand, sound until a test spoils them."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from tfpipe.core.settings import AuditSettings, Task
from tfpipe.data.audit.report import Pair, Report, audit_rows
from tfpipe.data.duplicates import NearDuplicate
from tfpipe.data.facts import Facts
from tfpipe.data.rows import Row

LABELS = ("Bellis perennis", "Rosa canina", "Viola odorata")
SETTINGS = AuditSettings(few_below=3, head_from=6)


def photos(number: int = 15) -> list[Pair]:
    """Sound photos, each of its own plant, in three classes and two regions: `photo 0`, `photo 1`, …"""
    return [
        (
            Row(
                id=f"photo {i}",
                label=LABELS[i % 3],
                region=("EU", "EU_SW")[i % 2],
                group=f"plant {i}",
                url=f"https://example.org/{i}.jpg",
            ),
            Facts(
                id=f"photo {i}",
                path=f"{i}.jpg",
                sha256=f"sha of {i}",
                width=400 + i % 100,
                height=300,
                mode="RGB",
                format="JPEG",
                num_bytes=1000 + i,
            ),
        )
        for i in range(number)
    ]


def texts(number: int = 12) -> list[Pair]:
    """Sound texts, each of its own author."""
    return [
        (
            Row(id=f"text {i}", label=("joy", "fear")[i % 2], group=f"author {i}", text=f"today was day {i} of all"),
            Facts(id=f"text {i}", sha256=f"sha of {i}", num_chars=20),
        )
        for i in range(number)
    ]


def spoiled(pairs: list[Pair], *numbers: int, facts: dict[str, Any] | None = None, **fields: Any) -> list[Pair]:
    """The pairs, with other fields in some of them; an id changes in row and facts alike."""
    changed = list(pairs)
    for number in numbers:
        row, known = changed[number]
        row = replace(row, **fields)
        changed[number] = (row, replace(known, **(facts or {}), id=row.id))
    return changed


def audited(
    pairs: list[Pair],
    edges: Iterable[NearDuplicate] = (),
    *,
    task: Task = "image",
    settings: AuditSettings = SETTINGS,
    synonyms: dict[str, str] | None = None,
    count_subwords: Callable[[str], int] | None = None,
) -> Report:
    return audit_rows(
        lambda: iter(pairs),
        edges,
        name="garden",
        task=task,
        settings=settings,
        synonyms=synonyms or {},
        count_subwords=count_subwords,
    )
