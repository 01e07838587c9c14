"""Rules: each finds what was spoiled by hand and nothing else; what is sound is left in peace."""

import random
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from garden import audited, photos, spoiled, texts

from tfpipe.core.settings import Task
from tfpipe.data.audit.findings import Found
from tfpipe.data.audit.report import Pair, Report
from tfpipe.data.audit.rules import RULES
from tfpipe.data.duplicates import NearDuplicate


@dataclass(frozen=True)
class Case:
    """Spoiled rows, and what the rule has to say of them."""

    spoil: Callable[[list[Pair]], list[Pair]]
    count: int
    ids: list[set[str]] = field(default_factory=list)
    """Of the examples, in any order."""
    labels: list[tuple[str, ...]] = field(default_factory=list)
    edges: tuple[NearDuplicate, ...] = ()


def fault(*numbers: int, word: str) -> Callable[[list[Pair]], list[Pair]]:
    return lambda pairs: spoiled(pairs, *numbers, facts={"fault": word})


def same_bytes(*numbers: int, **fields: str) -> Callable[[list[Pair]], list[Pair]]:
    return lambda pairs: spoiled(pairs, *numbers, facts={"sha256": "the same"}, **fields)


def with_text(text: str, *numbers: int) -> Callable[[list[Pair]], list[Pair]]:
    return lambda pairs: spoiled(pairs, *numbers, text=text)


def with_splits(pairs: list[Pair], **others: str) -> list[Pair]:
    """All in train but for the rows named, as `photo_3="test"`."""
    pairs = spoiled(pairs, *range(len(pairs)), split="train")
    for name, split in others.items():
        pairs = spoiled(pairs, int(name.removeprefix("photo_")), split=split)
    return pairs


def of_class(label: str, *numbers: int) -> Callable[[list[Pair]], list[Pair]]:
    return lambda pairs: spoiled(pairs, *numbers, label=label)


CASES: dict[str, list[Case]] = {
    "empty_ids": [Case(lambda p: spoiled(p, 4, id=" "), 1, [{" "}])],
    "duplicate_ids": [Case(lambda p: spoiled(p, 3, 7, 9, id="photo 1"), 3, [{"photo 1"}] * 3)],
    "empty_labels": [Case(of_class("  ", 2), 1, [{"photo 2"}])],
    "leaks_between_splits": [
        Case(lambda p: spoiled(with_splits(p, photo_5="test"), 4, 5, group="oak"), 1, [{"photo 4", "photo 5"}]),
        Case(lambda p: same_bytes(4, 5)(with_splits(p, photo_5="test")), 1, [{"photo 4", "photo 5"}]),
        Case(
            lambda p: with_splits(p, photo_8="validation"),
            1,
            [{"photo 2", "photo 8"}],
            edges=(NearDuplicate("photo 8", "photo 2", 3),),
        ),
        # Joined, but within one split, or left out of all.
        Case(lambda p: same_bytes(4, 5)(with_splits(p, photo_3="test")), 0),
        Case(lambda p: fault(5, word="broken")(same_bytes(4, 5)(with_splits(p, photo_5="test"))), 0),
    ],
    "unknown_splits": [Case(lambda p: with_splits(p, photo_6="holdout"), 1, [{"photo 6"}])],
    "missing_splits": [Case(lambda p: with_splits(p, photo_6="", photo_9=""), 2, [{"photo 6"}, {"photo 9"}])],
    "lost_classes": [
        Case(lambda p: fault(1, 2, word="broken")(of_class("Poa annua", 1, 2)(p)), 1, labels=[("Poa annua",)])
    ],
    "label_conflicts": [
        Case(same_bytes(0, 1), 1, [{"photo 0", "photo 1"}]),
        Case(same_bytes(0, 3), 0),
        Case(lambda p: p, 1, [{"photo 0", "photo 4"}], edges=(NearDuplicate("photo 0", "photo 4", 5),)),
        # Transitively: 0 and 3 are of one class, 3 has the bytes of 6, and 6 is nearly 7.
        Case(
            same_bytes(3, 6),
            1,
            [{"photo 0", "photo 7"}],
            edges=(NearDuplicate("photo 0", "photo 3", 5), NearDuplicate("photo 6", "photo 7", 5)),
        ),
        # One name written in two ways is no conflict, nor is a photo that cannot be used.
        Case(lambda p: same_bytes(0, 3)(of_class("bellis perennis L.", 3)(p)), 0),
        Case(lambda p: fault(1, word="too_small")(same_bytes(0, 1)(p)), 0),
    ],
    "groups_across_labels": [
        Case(lambda p: spoiled(spoiled(p, 0, 3, 6, 7, group="oak"), 9, 12, group="elm"), 1, [{"photo 0", "photo 7"}]),
        Case(lambda p: spoiled(p, 0, 3, 6, group="oak"), 0),
    ],
    "placeholders": [
        Case(
            lambda p: same_bytes(0, 1, 2, 3)(of_class("Poa annua", 3)(p)),
            1,
            [{"photo 0", "photo 1", "photo 2", "photo 3"}],
        ),
        Case(same_bytes(0, 1, 2), 0),
    ],
    "label_variants": [
        Case(of_class("bellis_perennis", 0, 3), 1, labels=[("bellis_perennis", "Bellis perennis")]),
        Case(of_class("Bellis minor", 0, 3), 0),
    ],
    "unusable": [
        Case(
            lambda p: fault(11, word="http_error")(fault(4, 5, word="too_small")(p)),
            3,
            [{"photo 4"}, {"photo 5"}, {"photo 11"}],
        )
    ],
    "exact_duplicates": [
        Case(same_bytes(0, 3, 9), 2, [{"photo 0", "photo 3", "photo 9"}]),
        Case(lambda p: fault(3, word="too_small")(same_bytes(0, 3)(p)), 0),
        Case(lambda p: spoiled(p, 0, 3, facts={"sha256": ""}), 0),
    ],
    "repeated_texts": [Case(same_bytes(0, 2, 4), 2, [{"text 0", "text 2", "text 4"}])],
    "near_duplicates": [
        Case(
            lambda p: p,
            2,
            [{"photo 0", "photo 3"}, {"photo 3", "photo 6"}],
            edges=(NearDuplicate("photo 0", "photo 3", 2), NearDuplicate("photo 3", "photo 6", 1)),
        ),
        # The bytes of 3 and 6 are one image, which is nearly that of 0: two images, one of them too many.
        Case(same_bytes(3, 6), 1, [{"photo 0", "photo 3"}], edges=(NearDuplicate("photo 0", "photo 3", 2),)),
    ],
    "single_photo_classes": [Case(of_class("Poa annua", 5), 1, labels=[("Poa annua",)])],
    "unnamed_labels": [
        Case(
            lambda p: of_class("Bellis sp.", 5, 6)(of_class("UNKNOWN", 4)(p)),
            3,
            [{"photo 4"}, {"photo 5"}, {"photo 6"}],
        ),
        Case(of_class("Nonea", 5, 6), 0),
        Case(of_class("Bellis spinosa", 5, 6), 0),
    ],
    "untidy_labels": [
        Case(of_class("Bellis  perennis", 3), 1, [{"photo 3"}]),
        Case(of_class("Isoëtes lacustris".encode().decode("latin-1"), 3), 1, [{"photo 3"}]),
        Case(of_class("Bellis&nbsp;perennis", 3), 1, [{"photo 3"}]),
        Case(of_class("Isoëtes × lacustris (L.) O'Hara & Söhne", 3), 0),
    ],
    "malformed_urls": [
        Case(lambda p, url=url: spoiled(p, 3, url=url), count, [{"photo 3"}] * count)  # type: ignore[misc]
        for url, count in (
            ("example.org/1.jpg", 1),
            ("ftp://example.org/1.jpg", 1),
            ("https:///1.jpg", 1),
            ("https://example.org/a b.jpg", 1),
            ("https://example.org:port/1.jpg", 1),
            ("http://[::1/1.jpg", 1),
            ("null", 1),
            ("", 0),
            ("http://example.org:8080/Größe.jpg?a=1&b=%20", 0),
        )
    ],
    "misread_texts": [
        Case(with_text("we met at the café and it’s fine".encode().decode("cp1252"), 3), 1, [{"text 3"}]),
        Case(with_text("what \ufffd was that", 3), 1, [{"text 3"}]),
        Case(with_text("we met at the café in São Paulo, it’s fine", 3), 0),
    ],
    "label_typos": [
        Case(
            lambda p: of_class("Bellis perenis", 14)([*p, *spoiled(photos(30), *range(30), label="Bellis perennis")]),
            1,
            labels=[("Bellis perenis", "Bellis perennis")],
        ),
    ],
    "few_classes": [Case(of_class("Poa annua", 5, 7), 1, labels=[("Poa annua",)])],
    "duplicates_across_groups": [
        Case(same_bytes(0, 3), 1, [{"photo 0", "photo 3"}]),
        Case(same_bytes(0, 3, group="oak"), 0),
        Case(same_bytes(0, 3, group=""), 0),
    ],
    "missing_regions": [
        Case(lambda p: spoiled(p, 2, 3, region=""), 2, [{"photo 2"}, {"photo 3"}]),
        Case(lambda p: spoiled(p, *range(15), region=""), 0),
    ],
    "missing_groups": [
        Case(lambda p: spoiled(p, 2, 3, group=""), 2, [{"photo 2"}, {"photo 3"}]),
        Case(lambda p: spoiled(p, *range(15), group=""), 0),
    ],
    "turned_by_exif": [Case(lambda p: spoiled(p, 2, facts={"orientation": 6}), 1, [{"photo 2"}])],
    "other_modes": [
        Case(lambda p: spoiled(p, 2, facts={"mode": "CMYK"}), 1, [{"photo 2"}]),
        Case(lambda p: spoiled(p, 2, facts={"mode": "L"}), 0),
    ],
    "long_strips": [
        Case(lambda p: spoiled(p, 2, facts={"width": 1000, "height": 300}), 1, [{"photo 2"}]),
        Case(lambda p: spoiled(p, 2, facts={"width": 900, "height": 300}), 0),
        Case(lambda p: spoiled(p, 2, facts={"width": 300, "height": 1000}), 1, [{"photo 2"}]),
    ],
    "urls_in_texts": [
        Case(with_text("look at HTTPS://example.org today", 3), 1, [{"text 3"}]),
        Case(with_text("look at www.example.org today", 3), 1, [{"text 3"}]),
        Case(with_text("the http of it, and the www", 3), 0),
    ],
    "markup_in_texts": [
        Case(with_text("a <b>bold</b> move today", 3), 1, [{"text 3"}]),
        Case(with_text("salt &amp; pepper all day", 3), 1, [{"text 3"}]),
        Case(with_text("3 < 4 and 5 > 4, salt & pepper; i <3 you", 3), 0),
    ],
    "control_characters": [
        Case(with_text("a bell \x07 rings here", 3), 1, [{"text 3"}]),
        Case(with_text("zero\u200bwidth in the middle", 3), 1, [{"text 3"}]),
        Case(with_text("two\nlines and\ta tab", 3), 0),
    ],
    "other_script_texts": [
        Case(with_text("сегодня был хороший день", 3), 1, [{"text 3"}]),
        Case(lambda p: with_text("today was good", 3)(with_text("сегодня был день", *range(12))(p)), 1, [{"text 3"}]),
        Case(with_text("señor Ærøskøbing, Łódź, Hồ Chí Minh", 3), 0),
        Case(with_text("12 3 45 678", 3), 0),
    ],
    "short_texts": [Case(with_text("so tired", 3), 1, [{"text 3"}])],
    "long_texts": [Case(with_text("word " * 351, 3), 1, [{"text 3"}]), Case(with_text("word " * 350, 3), 0)],
}
"""Rule → cases. A rule that is not here fails a test."""


def task_of(rule: str) -> Task:
    return RULES[rule].task or "image"


def found(report: Report, rule: str) -> Found:
    return next(finding.found for finding in report.findings if finding.rule == rule)


def ids(report: Report, of: Found) -> list[set[str]]:
    return [{report.shown[number][0].id for number in numbers} for numbers in of.rows]


def in_order(sets: list[set[str]]) -> list[list[str]]:
    return sorted(sorted(members) for members in sets)


def test_every_rule_has_a_case() -> None:
    assert CASES.keys() == RULES.keys()


@pytest.mark.parametrize(("rule", "case"), [(rule, case) for rule, cases in CASES.items() for case in cases])
def test_a_rule_finds_what_was_spoiled(rule: str, case: Case) -> None:
    task = task_of(rule)
    report = audited(case.spoil(photos() if task == "image" else texts()), case.edges, task=task)
    of = found(report, rule)
    assert of.count == case.count
    assert in_order(ids(report, of)) == in_order(case.ids)
    assert list(of.labels) == case.labels
    assert len(of.notes) in (0, len(of.rows) + len(of.labels))


@pytest.mark.parametrize(("task", "pairs"), [("image", photos()), ("text", texts())])
def test_nothing_is_found_in_sound_rows(task: Task, pairs: list[Pair]) -> None:
    report = audited(pairs, task=task)
    assert [finding.rule for finding in report.findings if finding.found.count] == []


def test_each_finding_says_what_to_do_in_one_sentence() -> None:
    for rule in RULES.values():
        assert rule.advice.endswith(".")
        assert ". " not in rule.advice
        assert rule.advice.count("`") % 2 == 0
        assert rule.title == rule.title.strip(" .")


def test_groups_that_are_meant_to_span_labels_are_worth_a_note_only() -> None:
    by_author = [spoiled([pair], 0, group=f"author {number // 4}")[0] for number, pair in enumerate(texts(12))]
    report = audited(by_author, task="text")
    finding = next(finding for finding in report.findings if finding.rule == "groups_across_labels")
    assert (finding.found.count, finding.severity) == (3, "note")
    one_plant = audited(spoiled(spoiled(photos(), 0, 1, group="oak"), 3, 6, group="elm"))
    finding = next(finding for finding in one_plant.findings if finding.rule == "groups_across_labels")
    assert (finding.found.count, finding.severity) == (1, "warning")


def test_findings_come_with_the_worst_first() -> None:
    report = audited(spoiled(spoiled(photos(), 1, id="photo 0"), 3, facts={"orientation": 6, "fault": "broken"}))
    severities = [finding.severity for finding in report.findings if finding.found.count]
    assert severities == ["error", "warning", "note"]


def test_the_faults_of_many_rows_do_not_crowd_out_those_of_a_few() -> None:
    pairs = fault(59, word="timeout")(fault(*range(50), word="broken")(photos(60)))
    report = audited(pairs)
    of = found(report, "unusable")
    assert of.count == 51
    assert {"broken", "timeout"} == set(of.notes)
    assert {"photo 59"} in ids(report, of)


def walked(links: dict[str, set[str]]) -> list[set[str]]:
    """Connected sets of more than one, by walking: nothing like what is under test."""
    sets, seen = [], set()
    for start in links:
        reached, waiting = set(), [start]
        while waiting:
            name = waiting.pop()
            if name not in reached:
                reached.add(name)
                waiting += links[name]
        if start not in seen and len(reached) > 1:
            sets.append(reached)
        seen |= reached
    return sets


@pytest.mark.parametrize("seed", range(10))
def test_duplicates_are_joined_transitively(seed: int) -> None:
    draw = random.Random(seed)
    pairs = photos(80)
    for number in range(80):
        pairs = spoiled(
            pairs,
            number,
            label=f"class {draw.randrange(3)}",
            group=f"plant {draw.randrange(40)}",
            split=draw.choice(("train", "test")),
            facts={"sha256": f"content {draw.randrange(60)}", "fault": draw.choice(("", "", "", "broken"))},
        )
    usable = {row.id: (row, facts) for row, facts in pairs if not facts.fault}
    # A forest, as the search gives it.
    edges = [NearDuplicate(*sorted(draw.sample(list(usable), 2)), distance=draw.randrange(7)) for _ in range(15)]
    links: dict[str, set[str]] = {name: set() for name in usable}
    for edge in edges:
        links[edge.one].add(edge.other)
        links[edge.other].add(edge.one)
    by_content, by_group = defaultdict(set), defaultdict(set)
    for name, (row, facts) in usable.items():
        by_content[facts.sha256].add(name)
        by_group[row.group].add(name)
    for members in by_content.values():
        for name in members:
            links[name] |= members
    clusters = walked(links)
    assert any(len(cluster) > 3 for cluster in clusters)

    def values(names: set[str], what: str) -> int:
        return len({getattr(usable[name][0], what) for name in names})

    metrics = audited(pairs, edges).metrics
    assert metrics["num_label_conflicts"] == sum(values(c, "label") > 1 for c in clusters)
    assert metrics["num_duplicates_across_groups"] == sum(values(c, "group") > 1 for c in clusters)
    assert metrics["num_groups_across_labels"] == sum(values(g, "label") > 1 for g in by_group.values())
    assert metrics["num_exact_duplicates"] == len(usable) - len(by_content)
    different = [len({usable[name][1].sha256 for name in cluster}) for cluster in clusters]
    assert metrics["num_near_duplicates"] == sum(number - 1 for number in different)
    leaks = sum(values(s, "split") > 1 for s in [*clusters, *by_group.values()])
    assert metrics["num_leaks_between_splits"] == leaks
