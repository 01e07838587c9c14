"""CSV: what spreadsheets and databases write, and what is wrong with a file told by its line."""

import csv
import os
from pathlib import Path
from typing import Any

import pytest

from tfpipe.core.config import Config
from tfpipe.core.errors import DataError
from tfpipe.core.settings import SnapshotSettings
from tfpipe.core.workspace import Workspace
from tfpipe.data.rows import Row
from tfpipe.data.sources import SOURCES
from tfpipe.stages import snapshot

DIARY = {"id": "id_entrada", "text": "texto_diario", "label": "emocion_principal"}


def table(folder: Path, content: bytes | str) -> Path:
    path = folder / "rows.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def rows_of(path: Path, **settings: Any) -> list[Row]:
    read = SOURCES["csv"].iter_rows
    return list(read(SnapshotSettings(source="csv", path=path, **settings), images_dir=Path("unused"), seed=0))


def test_columns_become_fields_and_the_rest_rides_along(tmp_path: Path) -> None:
    path = table(tmp_path, "id,latin_name,image_url,region,note\n7, Rosa canina ,http://x/1.jpg,EU,\n")
    (row,) = rows_of(path)
    assert (row.id, row.label, row.url, row.region) == ("7", "Rosa canina", "http://x/1.jpg", "EU")
    assert row.extra == {"note": "", "latin_name": "Rosa canina"}


def test_own_names_may_hold_dots_and_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    path = table(tmp_path, "key,taxon.name,file,split\n1,Bellis,img/1.jpg,val\n2,Rosa,/abs/2.jpg,test\n")
    rows = rows_of(path, fields={"id": "key", "label": "taxon.name", "path": "file"}, extra_fields=[])
    assert [row.path for row in rows] == [(tmp_path / "img" / "1.jpg").as_posix(), "/abs/2.jpg"]
    assert [(row.label, row.split) for row in rows] == [("Bellis", "validation"), ("Rosa", "test")]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize(
    "dialect", [{"delimiter": ","}, {"delimiter": ";"}, {"delimiter": "\t", "lineterminator": "\n"}]
)
def test_what_pythons_own_writer_writes_is_read(tmp_path: Path, encoding: str, dialect: dict[str, Any]) -> None:
    texts = ['she said "no", twice', "two\nlines", "two\r\nlines", "ünïcode ☘", "a;b,c\td", " x ", "y" * 300_000]
    path = tmp_path / "rows.csv"
    with path.open("w", newline="", encoding=encoding) as file:
        writer = csv.writer(file, **dialect)
        writer.writerow(["id", "label", "text"])
        writer.writerows([number, "joy", text] for number, text in enumerate(texts))
    rows = rows_of(path)
    assert [row.text for row in rows] == [text.strip() for text in texts]
    assert [row.id for row in rows] == [str(number) for number in range(len(texts))]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (
            "id,label\n1,a\n2,caf\xe9\n".encode("latin-1"),
            r":3: not UTF-8 \(b'\\xe9' at byte 6.*-f WINDOWS-1252 -t UTF-8",
        ),
        ("id,label\n1,a\n".encode("utf-16"), r":1: not UTF-8.*iconv -f UTF-16 -t UTF-8"),
        ("id,label\n1,a\n\n2,b,c\n", ":4: 3 values for 2 columns.*quotes"),
        ('id,label\n1,"two\nlines"\n2\n', ":4: 1 values for 2 columns"),
        ('id,label\n1,a\n2,"b\n3,c\n', ":3: not CSV.*quote left open"),
        ('id,label\n1,"a"b\n', ":2: not CSV"),
        ("id,label,id\n1,a,2\n", "two columns are named 'id'"),
        ("id,label\n1,a\n2,\n", ":3: no `label`.*The fields are `id`, `label`"),
        ("id,name\n1,a\n", r":2: no `label`.*The fields are `id`, `name`; `snapshot\.fields`"),
    ],
)
def test_what_is_wrong_is_told_with_file_and_line(tmp_path: Path, content: bytes | str, told: str) -> None:
    path = table(tmp_path, content)
    with pytest.raises(DataError, match=told) as caught:
        rows_of(path)
    assert str(caught.value).startswith(f"{path}:")
    assert "\n" not in str(caught.value)


def test_a_file_without_records_is_told(tmp_path: Path) -> None:
    for content in ("", "id,label\n"):
        settings = SnapshotSettings(source="csv", path=table(tmp_path, content))
        with pytest.raises(DataError, match="the source has 0 classes"):
            snapshot.run(Config(path=Path("x.yaml"), name="x", snapshot=settings), Workspace(tmp_path))


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.csv: no such file"):
        rows_of(tmp_path / "gone.csv")


def test_the_fingerprint_changes_with_the_file_and_its_images(tmp_path: Path) -> None:
    path = table(tmp_path, "id,label,path\n1,a,1.jpg\n")
    (tmp_path / "1.jpg").write_bytes(b"-")
    settings = SnapshotSettings(source="csv", path=path)
    prints = [SOURCES["csv"].fingerprint(settings)]
    os.utime(tmp_path / "1.jpg", (1, 1))
    prints.append(SOURCES["csv"].fingerprint(settings))
    path.write_text("id,label,path\n1,b,1.jpg\n")
    prints.append(SOURCES["csv"].fingerprint(settings))
    assert len(set(prints)) == 3
    assert SOURCES["csv"].fingerprint(settings) == prints[-1]


def test_the_diary_is_read_whole(shared: Path) -> None:
    path = shared / "data" / "moodjournal" / "entradas.csv"
    rows = rows_of(path, fields=DIARY)
    with path.open(encoding="utf-8", newline="") as file:
        records = list(csv.DictReader(file))
    assert len(rows) == 6122
    assert [(row.id, row.label, row.text) for row in rows] == [
        (record["id_entrada"], record["emocion_principal"], record["texto_diario"].strip()) for record in records
    ]
