"""Rows: what is written is what is read, and a line that is none is told by file and number."""

import json
from pathlib import Path

import pytest

from tfpipe.core.errors import DataError
from tfpipe.data.rows import Row, iter_documents, iter_rows, read_label_map, write_rows

ROWS = [
    Row(id="1", label="Bellis perennis"),
    Row(id="2", label="ß ☘ \u2028 \"'", region="EU_SW", group="g", path="a b/c.jpg", url="http://x/?a=1&b=2"),
    Row(id="3", label="joy", text="line one\nline two", split="validation", extra={"lat": 1.5, "tags": ["a", None]}),
]


def test_rows_come_back_as_they_were(tmp_path: Path) -> None:
    path = tmp_path / "new" / "rows.jsonl"
    assert write_rows(ROWS, path) == 3
    assert list(iter_rows(path)) == ROWS


def test_a_row_is_one_line_of_json_without_its_empty_fields(tmp_path: Path) -> None:
    write_rows(ROWS, tmp_path / "rows.jsonl")
    lines = (tmp_path / "rows.jsonl").read_bytes().decode("utf-8").split("\n")
    assert lines.pop() == ""
    assert [json.loads(line)["id"] for line in lines] == ["1", "2", "3"]
    assert json.loads(lines[0]) == {"id": "1", "label": "Bellis perennis"}
    assert json.loads(lines[2])["lat"] == 1.5
    assert "☘" in lines[1]


def test_rows_that_break_off_leave_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    write_rows(ROWS, path)

    def broken() -> object:
        yield ROWS[0]
        raise DataError("the source ended")

    with pytest.raises(DataError):
        write_rows(broken(), path)  # type: ignore[arg-type]
    assert list(iter_rows(path)) == ROWS


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (b'{"id": "2", "label"', "not JSON"),
        (b"[1, 2]", "expected a JSON object, found list"),
        (b'"text"', "expected a JSON object, found str"),
        (b'{"id": "2", "label": "caf\xe9"}', "not JSON"),
    ],
)
def test_a_line_that_is_no_object_is_told_by_file_and_number(tmp_path: Path, line: bytes, told: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"id": "1", "label": "a"}\n\n' + line + b"\n")
    with pytest.raises(DataError, match=told) as caught:
        list(iter_rows(path))
    assert f"{path}:3: " in str(caught.value)


def test_a_row_without_a_label_is_told_by_file_and_number(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"id": "1", "label": "a"}\n{"id": "2"}\n')
    with pytest.raises(DataError, match="`id` and `label`") as caught:
        list(iter_rows(path))
    assert f"{path}:2: " in str(caught.value)


def test_documents_are_numbered_by_line_from_one_and_blank_lines_are_none(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(b'\n{"a": 1}\r\n   \n{"a": 2}')
    assert list(iter_documents(path)) == [(2, {"a": 1}), (4, {"a": 2})]


def test_a_label_map_as_a_spreadsheet_saves_it(tmp_path: Path) -> None:
    # With a byte order mark, Windows line ends and a column of its own.
    path = tmp_path / "map.csv"
    path.write_bytes('synonym,label,note\r\n"Rosa, alba",Rosa × alba,x\r\nB,C,\r\n'.encode("utf-8-sig"))
    assert read_label_map(path) == {"Rosa, alba": "Rosa × alba", "B": "C"}


def test_a_label_map_that_is_missing_or_has_other_columns_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"snapshot\.label_map"):
        read_label_map(tmp_path / "map.csv")
    (tmp_path / "map.csv").write_text("old,new\na,b\n")
    with pytest.raises(DataError, match=r"`synonym` and `label`.*'old', 'new'"):
        read_label_map(tmp_path / "map.csv")
