"""The audit's report: rows are read twice, once to count them and once to look up those that findings name."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfpipe.core.errors import DataError
from tfpipe.core.progress import track
from tfpipe.core.settings import AuditSettings, Task
from tfpipe.data.audit.findings import Finding, Severity
from tfpipe.data.audit.rules import judge, row_tests
from tfpipe.data.audit.summary import Summary, summarise
from tfpipe.data.audit.survey import REDO, Survey, take_survey
from tfpipe.data.duplicates import NearDuplicate
from tfpipe.data.facts import Facts, iter_facts
from tfpipe.data.rows import Row, iter_rows

Pair = tuple[Row, Facts]


@dataclass(frozen=True)
class Report:
    """What is known of a data set."""

    name: str
    task: Task
    survey: Survey
    summary: Summary
    findings: list[Finding]
    """Of every rule, also where it found nothing; the worst first."""
    shown: dict[int, Pair]
    """The rows that findings name, by their number."""

    @property
    def metrics(self) -> dict[str, Any]:
        """Numbers that `criteria.audit` may bound."""
        summary = self.summary
        return {
            "num_rows": summary.num_rows,
            "num_usable": summary.num_usable,
            "unusable_share": 1 - summary.num_usable / summary.num_rows if summary.num_rows else 0.0,
            "num_classes": len(summary.classes),
            "num_head_classes": summary.buckets["head"].num_classes,
            "num_medium_classes": summary.buckets["medium"].num_classes,
            "imbalance_ratio": summary.imbalance_ratio,
            "num_regions": len(summary.regions),
            "num_groups": summary.num_groups,
            **{f"num_{finding.rule}": finding.found.count for finding in self.findings},
            **{f"num_{severity}s": self.num_findings(severity) for severity in Severity},
        }

    def num_findings(self, severity: Severity) -> int:
        """Rules of a severity that found something."""
        return sum(finding.severity is severity and finding.found.count > 0 for finding in self.findings)


def iter_pairs(raw_path: Path, facts_path: Path) -> Iterator[Pair]:
    """Rows with their facts, which stand on equal lines.

    Raises:
        DataError: when one file has fewer lines than the other.
    """
    try:
        yield from zip(iter_rows(raw_path), iter_facts(facts_path), strict=True)
    except ValueError as error:
        raise DataError(f"{raw_path} and {facts_path} have not the same number of lines. {REDO}") from error


def audit_rows(
    read: Callable[[], Iterable[Pair]],
    edges: Iterable[NearDuplicate],
    *,
    name: str,
    task: Task,
    settings: AuditSettings,
    synonyms: Mapping[str, str],
    count_subwords: Callable[[str], int] | None = None,
    num_rows: int | None = None,
) -> Report:
    """Count, judge, and look up what is to be shown.

    Args:
        read: gives all rows with their facts from the beginning, each time the same; called twice.
        edges: near duplicates.
        name: of the data set.
        task: which rules apply.
        settings: what counts as few, as a duplicate, …
        synonyms: names known to be one taxon: synonym → label.
        count_subwords: of a text, if its length in them is to be told.
        num_rows: for the estimate of the time left.

    Raises:
        DataError: when rows, facts and near duplicates do not belong together.
    """
    pairs = track(read(), f"audit {name}: counting", num_rows)
    survey = take_survey(
        pairs, edges, tests=row_tests(task), settings=settings, synonyms=synonyms, count_subwords=count_subwords
    )
    findings = judge(survey, task)
    wanted = {row for finding in findings for rows in finding.found.rows for row in rows}
    shown = dict(_chosen(track(read(), f"audit {name}: looking up examples", survey.num_rows), wanted))
    return Report(name, task, survey, summarise(survey, task), findings, shown)


def _chosen(pairs: Iterable[Pair], wanted: set[int]) -> Iterator[tuple[int, Pair]]:
    """Numbers and pairs of the wanted rows; stops at the last of them."""
    left = len(wanted)
    for number, pair in enumerate(pairs):
        if not left:
            return
        if number in wanted:
            left -= 1
            yield number, pair
