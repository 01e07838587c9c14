"""The report: counts are right, rows stream by, files say what was found, and what does not fit together is told."""

import csv
import json
import weakref
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from garden import SETTINGS, audited, photos, spoiled, texts

from tfpipe.core.errors import DataError
from tfpipe.core.files import sha256_bytes
from tfpipe.core.settings import AuditSettings
from tfpipe.data.audit.findings import MAX_EXAMPLES
from tfpipe.data.audit.output import write_report
from tfpipe.data.audit.report import Pair, audit_rows, iter_pairs
from tfpipe.data.audit.rules import RULES
from tfpipe.data.audit.summary import QUANTILES, Bucket
from tfpipe.data.duplicates import NearDuplicate
from tfpipe.data.facts import Facts, normalised_text
from tfpipe.data.rows import Row, write_rows


def long_tailed() -> list[Pair]:
    """Classes of 8, 4, 2, 1 and 0 usable rows, and one row that is not."""
    sizes = {"Head": 8, "Medium": 4, "Few": 2, "Single": 1, "Lost": 1}
    labels = [label for label, size in sizes.items() for _ in range(size)]
    pairs = [spoiled([pair], 0, label=label)[0] for pair, label in zip(photos(16), labels, strict=True)]
    return spoiled(pairs, 15, facts={"fault": "timeout"})


def test_classes_are_counted_by_their_usable_rows() -> None:
    report = audited(long_tailed())
    summary = report.summary
    assert summary.classes == {"Head": 8, "Medium": 4, "Few": 2, "Single": 1, "Lost": 0}
    assert summary.buckets == {
        "head": Bucket(1, 8),
        "medium": Bucket(1, 4),
        "few": Bucket(1, 2),
        "single": Bucket(1, 1),
        "none": Bucket(1, 0),
    }
    assert (summary.num_rows, summary.num_usable, summary.faults) == (16, 15, {"timeout": 1})
    assert summary.imbalance_ratio == 8
    assert summary.region_by_class["Head"] == {"EU": 4, "EU_SW": 4}
    assert summary.region_by_class["Single"] == {"EU": 1}
    assert summary.regions == {"EU": 8, "EU_SW": 7}
    assert sum(bucket.num_rows for bucket in summary.buckets.values()) == summary.num_usable


def test_sizes_are_those_of_the_usable_images() -> None:
    report = audited(long_tailed())
    widths = [facts.width for _, facts in long_tailed() if not facts.fault]
    expected = np.quantile(widths, list(QUANTILES.values()), method="nearest").tolist()
    assert list(report.summary.quantiles["width"].values()) == expected
    assert report.summary.quantiles["short side"]["median"] == 300
    assert report.summary.modes == {"RGB": 15}
    assert report.summary.formats == {"JPEG": 15}


def test_texts_are_measured_in_sub_words_where_somebody_counts_them() -> None:
    quantiles = audited(texts(3), task="text", count_subwords=len).summary.quantiles
    assert quantiles["sub-words"]["largest"] == len(texts(1)[0][0].text)
    assert "sub-words" not in audited(texts(3), task="text").summary.quantiles


def test_texts_are_measured_in_characters_and_words() -> None:
    pairs = spoiled(spoiled(texts(2), 0, text="one two  three"), 1, text="año раз")
    summary = audited(pairs, task="text").summary
    assert summary.quantiles["characters"]["largest"] == 14
    assert summary.quantiles["words"]["largest"] == 3
    assert summary.quantiles["words"]["smallest"] == 2
    assert summary.non_latin_share == pytest.approx(3 / 17)


def test_every_rule_of_the_task_is_a_number_that_criteria_can_name() -> None:
    for task, pairs in (("image", photos()), ("text", texts())):
        metrics = audited(pairs, task=task).metrics  # type: ignore[arg-type]
        assert {f"num_{name}" for name, rule in RULES.items() if rule.task in (None, task)} <= metrics.keys()
        assert all(isinstance(value, int | float) for value in metrics.values())
    metrics = audited(long_tailed()).metrics
    assert metrics["num_rows"] == 16
    assert metrics["num_classes"] == 5
    assert metrics["num_unusable"] == 1
    assert metrics["unusable_share"] == 1 / 16
    assert metrics["imbalance_ratio"] == 8
    assert (metrics["num_head_classes"], metrics["num_medium_classes"], metrics["num_few_classes"]) == (1, 1, 1)
    assert (metrics["num_single_photo_classes"], metrics["num_lost_classes"]) == (1, 1)
    assert (metrics["num_errors"], metrics["num_warnings"], metrics["num_notes"]) == (1, 2, 1)


def test_nothing_usable_is_a_report_and_no_accident(tmp_path: Path) -> None:
    report = audited(spoiled(photos(), *range(15), facts={"fault": "http_error"}))
    write_report(report, tmp_path, root=tmp_path, label_map={})
    assert report.metrics["num_usable"] == 0
    assert json.loads((tmp_path / "report.json").read_text())["imbalance_ratio"] is None
    assert "nan" not in (tmp_path / "report.html").read_text().lower()


def test_rows_stream_by(tmp_path: Path) -> None:
    seen: list[weakref.ref[Row]] = []
    most = 0

    def read() -> Iterator[Pair]:
        nonlocal most
        for number in range(3000):
            pair = (
                Row(id=f"photo {number}", label=f"class {number % 7}", group=f"plant {number % 50}"),
                Facts(id=f"photo {number}", sha256=f"sha of {number % 2000}", path="x.jpg", width=200, height=200),
            )
            seen.append(weakref.ref(pair[0]))
            most = max(most, sum(ref() is not None for ref in seen[-200:]))
            yield pair

    report = audit_rows(read, [], name="garden", task="image", settings=SETTINGS, synonyms={}, num_rows=3000)
    assert report.metrics["num_exact_duplicates"] == 1000
    # The row in hand, and those that examples show.
    assert most <= MAX_EXAMPLES * 4 * len(RULES)
    assert sum(ref() is not None for ref in seen) == len(report.shown) < 200


def test_the_second_reading_ends_where_nothing_more_is_wanted() -> None:
    read_rows = []

    def read() -> Iterator[Pair]:
        for pair in spoiled(photos(1000), 3, label=" "):
            read_rows.append(pair[0].id)
            yield pair

    audit_rows(read, [], name="garden", task="image", settings=AuditSettings(few_below=1), synonyms={})
    assert 1000 < len(read_rows) < 1010


def test_the_json_file_has_the_findings_with_their_examples(tmp_path: Path) -> None:
    pairs = spoiled(spoiled(photos(), 0, 3, facts={"sha256": "the same"}), 5, label="rosa Canina")
    report = audited(pairs, [NearDuplicate("photo 6", "photo 9", 4)])
    write_report(report, tmp_path, root=tmp_path, label_map={})
    document = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert document["metrics"] == report.metrics
    findings = {finding.pop("rule"): finding for finding in document["findings"]}
    assert findings["exact_duplicates"] == {
        "severity": "warning",
        "title": RULES["exact_duplicates"].title,
        "advice": RULES["exact_duplicates"].advice,
        "count": 1,
        "examples": [{"ids": ["photo 0", "photo 3"], "labels": ["Bellis perennis"] * 2, "note": ""}],
    }
    assert findings["near_duplicates"]["examples"] == [
        {"ids": ["photo 6", "photo 9"], "labels": ["Bellis perennis"] * 2, "note": "4 of 64 bits differ"}
    ]
    assert findings["label_variants"]["examples"] == [{"labels": ["rosa Canina", "Rosa canina"], "note": "letter case"}]
    assert document["label_map"] == {"rosa Canina": {"label": "Rosa canina", "kind": "letter case"}}
    assert document["classes"]["Bellis perennis"] == 5


def written(pairs: list[Pair], folder: Path, *, num_facts: int | None = None) -> tuple[Path, Path]:
    write_rows((row for row, _ in pairs), folder / "raw.jsonl")
    lines = [facts.to_json() + "\n" for _, facts in pairs[:num_facts]]
    (folder / "facts.jsonl").write_text("".join(lines), encoding="utf-8")
    return folder / "raw.jsonl", folder / "facts.jsonl"


def test_rows_and_facts_are_read_side_by_side(tmp_path: Path) -> None:
    assert list(iter_pairs(*written(photos(), tmp_path))) == photos()


def test_files_of_different_lengths_are_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"raw\.jsonl and .*facts\.jsonl have not the same number of lines"):
        list(iter_pairs(*written(photos(), tmp_path, num_facts=14)))


def test_facts_of_other_rows_are_told() -> None:
    row, facts = photos(2)[0][0], photos(2)[1][1]
    with pytest.raises(DataError, match=r"row 1 is 'photo 0', its facts are of 'photo 1'\. .*`tfpipe audit --force`"):
        audited([(row, facts)])


def test_near_duplicates_of_other_rows_are_told() -> None:
    edges = [NearDuplicate("photo 0", "photo 3", 1), NearDuplicate("photo 0", "photo 99", 1)]
    with pytest.raises(DataError, match="near duplicate 2 names an id that no row has"):
        audited(photos(), edges)


def test_the_diary_has_its_repeated_texts_and_its_texts_of_two_labels(shared: Path) -> None:
    with (shared / "data" / "moodjournal" / "entradas.csv").open(encoding="utf-8", newline="") as file:
        entries = [
            (entry["id_entrada"], entry["emocion_principal"], entry["texto_diario"]) for entry in csv.DictReader(file)
        ]
    pairs = [
        (
            Row(id=entry, label=label, text=text),
            Facts(id=entry, sha256=sha256_bytes(normalised_text(text).encode()), num_chars=len(text)),
        )
        for entry, label, text in entries
    ]
    report = audited(pairs, task="text", settings=AuditSettings())
    assert report.metrics["num_rows"] == 6122
    assert report.metrics["num_repeated_texts"] == 1022
    assert report.metrics["num_label_conflicts"] == 5
    assert report.summary.classes == dict(Counter(label for _, label, _ in entries).most_common())
    assert report.summary.quantiles["words"]["largest"] == max(len(text.split()) for _, _, text in entries)
    named = {report.shown[row][0].text for rows in _rows_of(report, "label_conflicts") for row in rows}
    assert named == {
        t for t in {t for _, _, t in entries} if len({label for _, label, text in entries if text == t}) > 1
    }


def _rows_of(report: object, rule: str) -> tuple[tuple[int, ...], ...]:
    return next(finding.found.rows for finding in report.findings if finding.rule == rule)  # type: ignore[attr-defined]
