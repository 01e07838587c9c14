"""Rows that mean no good: JSON Lines and CSV go through snapshot, fetch, audit and split, or end in a sentence."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from refusals import hostile, say_no

FIELDS = ("id", "label", "region", "group", "path", "url", "text", "split", "latin_name", "_id", "extra", "")
TEXTS = (
    *(
        "",
        " ",
        "\0",
        "\ud800",
        "\udfff\ud800",
        "\ufeff",
        "\u202e",
        "a\nb",
        "a\rb",
        "a\u2028b",
        "\x1b[2J",
        "x" * 100_000,
    ),
    *(
        "../../etc/passwd",
        "/dev/zero",
        "/etc/passwd",
        "a" * 300,
        "a/" * 3000,
        "file:///etc/passwd",
        "http://[::1",
        "//",
    ),
    *(
        "<script>window.__pwned=1</script>",
        '"><img src=x onerror=alert(1)>',
        "=cmd|' /C calc'!A0",
        "${HOME}",
        "$\\frac$",
    ),
    *("train", "val", "TEST", "e\u0301", "é", "ﬃ", "\U0001f600", "nan", "1e400", "١"),
)
VALUES = st.one_of(
    st.sampled_from(TEXTS),
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.just(10**400),
    st.lists(st.text(max_size=3), max_size=2),
    st.dictionaries(st.text(max_size=3), st.text(max_size=3), max_size=2),
)
ROW = st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=5)
RAW = st.sampled_from(
    [
        *(
            b"[" * 100_000,
            b'{"a":' * 100_000,
            b"{",
            b"null",
            b"[]",
            b'"x"',
            b"\xff",
            b"\0",
            b"\xef\xbb\xbf{}",
            b"1" * 5000,
        ),
        *(
            b'{"id":"1","label":"a"}\xe2\x80\xa8',
            b'{"id":NaN,"label":Infinity}',
            b'{"id":1,"id":2,"label":3}',
            b"\r",
            b"\x85",
        ),
    ]
)
GOOD = [{"id": f"g{number}", "label": "ab"[number % 2], "text": f"a good text, number {number}"} for number in range(8)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("rows"))
        yield Path()


def split(folder: Path, kind: str, content: bytes, task: str = "text") -> str | None:
    """What is said on the way from a file to its splits."""
    (folder / f"rows.{kind}").write_bytes(content)
    (folder / "x.yaml").write_text(
        f"dataset: x\ntask: {task}\nsnapshot: {{source: {kind}, path: rows.{kind}}}\n"
        "criteria: {fetch: {failure_rate: '<= 1'}}"
    )
    said = say_no("split", "--config", "x.yaml", "--force")
    if said is None:
        for path in [folder / "data" / "x" / "splits.jsonl", folder / "data" / "x" / "raw.jsonl"]:
            for line in path.read_text(encoding="utf-8").split("\n")[:-1]:
                assert json.loads(line)["id"]
        page = (folder / "runs" / "x" / "audit" / "report.html").read_text(encoding="utf-8")
        assert "<script" not in page
        assert "<img src=x" not in page
    return said


@given(st.lists(ROW, min_size=1, max_size=4), st.booleans())
@hostile(25)
def test_json_lines_become_splits_or_a_sentence(folder: Path, rows: list[dict[str, Any]], ascii: bool) -> None:
    named = [{"id": f"h{number}", "label": "ab"[number % 2]} | row for number, row in enumerate(rows)]
    lines = [json.dumps(row, ensure_ascii=ascii).encode("utf-8", "surrogatepass") for row in (*GOOD, *named)]
    split(folder, "jsonl", b"\n".join(lines))


@given(st.lists(st.one_of(RAW, ROW.map(lambda row: json.dumps(row).encode())), min_size=1, max_size=3))
@hostile(15)
def test_lines_that_are_no_rows_end_in_a_sentence(folder: Path, lines: list[bytes]) -> None:
    split(folder, "jsonl", b"\n".join([*(json.dumps(row).encode() for row in GOOD), *lines]))


CELL = st.one_of(st.sampled_from(TEXTS), st.text(max_size=5)).map(lambda text: text.encode("utf-8", "surrogatepass"))
GOOD_CELLS = [[row["id"].encode(), row["label"].encode(), row["text"].encode(), b""] for row in GOOD]


@given(
    st.lists(st.lists(CELL, min_size=3, max_size=5), max_size=3),
    st.sampled_from([b",", b";", b"\t"]),
    st.sampled_from([b"\n", b"\r\n", b"\r", b"\0\n"]),
    st.sampled_from([b"", b"\xef\xbb\xbf", b"\xff\xfe", b'"']),
)
@hostile(25)
def test_csv_becomes_splits_or_a_sentence(
    folder: Path, records: list[list[bytes]], separator: bytes, end: bytes, mark: bytes
) -> None:
    lines = [separator.join(cells) for cells in ([b"id", b"label", b"text", b"region"], *GOOD_CELLS, *records)]
    split(folder, "csv", mark + end.join(lines) + end)


@given(
    st.lists(st.fixed_dictionaries({"path": st.sampled_from(TEXTS)}, optional={"url": VALUES}), min_size=1, max_size=3)
)
@hostile(15)
def test_paths_of_photos_lead_to_faults_or_a_sentence(folder: Path, rows: list[dict[str, Any]]) -> None:
    named = [{"id": f"h{number}", "label": "ab"[number % 2]} | row for number, row in enumerate(rows)]
    split(folder, "jsonl", b"\n".join(json.dumps(row).encode() for row in (*GOOD, *named)), task="image")


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b"[" * 100_000, "rows.jsonl:9: not JSON (nested too deep)"),
        (b'{"id": "1", "label": ["a"]}', "rows.jsonl:9: `label` is a list"),
        (b"\xff", "rows.jsonl:9: not JSON"),
        (b'{"id": 1}', "rows.jsonl:9: no `label`"),
        (b'{"id": 1, "label": "%s"}' % (b"x" * 100_000), "rows.jsonl:9: a label of 100,000 characters"),
    ],
    ids=["deep", "list", "not UTF-8", "no label", "a text for a label"],
)
def test_a_line_that_is_no_row_is_named(folder: Path, line: bytes, why: str) -> None:
    good = [json.dumps(row).encode() for row in GOOD]
    assert why in (split(folder, "jsonl", b"\n".join([*good, line])) or "")


def test_what_utf_8_cannot_hold_is_replaced_and_labels_are_one_line(folder: Path) -> None:
    rows = [
        {"id": "\ud800", "label": "a\r\nb", "text": "\udfff"},
        {"id": "2", "label": "\ud800", "text": "u", "region": "\ud800"},
    ]
    assert split(folder, "jsonl", b"\n".join(json.dumps(row).encode() for row in (*GOOD, *rows))) is None
    raw = [json.loads(line) for line in (folder / "data" / "x" / "raw.jsonl").read_text("utf-8").splitlines()][-2:]
    assert [(row["id"], row["label"], row.get("region")) for row in raw] == [("?", "a b", None), ("2", "?", "?")]


def test_a_folder_whose_name_is_no_text_is_named(folder: Path) -> None:
    for name in (b"plain", b"\xff"):
        photo = folder / "photos" / name.decode("utf-8", "surrogateescape") / "1.jpg"
        photo.parent.mkdir(parents=True)
        photo.write_bytes(b"")
    (folder / "f.yaml").write_text("dataset: f\nsnapshot: {source: folder, path: photos}")
    assert "name is no UTF-8" in (say_no("snapshot", "--config", "f.yaml") or "")
