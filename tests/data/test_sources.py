"""Sources: rows as they stand in folders and files, and what is wrong with one told where it is."""

import json
import os
from pathlib import Path
from typing import Any, get_args

import pytest

from tfpipe.core.config import Config
from tfpipe.core.errors import DataError
from tfpipe.core.settings import SnapshotSettings, SourceName
from tfpipe.core.workspace import Workspace
from tfpipe.data.rows import Row, iter_rows
from tfpipe.data.sources import SOURCES
from tfpipe.stages import snapshot


def rows_of(source: SourceName, tmp_path: Path, **settings: Any) -> list[Row]:
    read = SOURCES[source].iter_rows
    return list(read(SnapshotSettings(source=source, **settings), images_dir=tmp_path / "images", seed=0))


def test_every_source_of_the_settings_is_there_and_no_other() -> None:
    assert set(SOURCES) == set(get_args(SourceName))


# A folder per class


@pytest.fixture
def meadow(tmp_path: Path) -> Path:
    root = tmp_path / "meadow"
    for name in ("Rosa canina/2.JPG", "Rosa canina/1.jpg", "Bellis/deep/er/x.png", "Bellis/notes.txt", ".cache/y.jpg"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"-")
    (root / "readme.md").touch()
    return root


def test_folder_gives_a_row_per_image_in_an_order_of_its_own(meadow: Path, tmp_path: Path) -> None:
    rows = rows_of("folder", tmp_path, path=meadow)
    assert [(row.id, row.label) for row in rows] == [
        ("Bellis/deep/er/x.png", "Bellis"),
        ("Rosa canina/1.jpg", "Rosa canina"),
        ("Rosa canina/2.JPG", "Rosa canina"),
    ]
    assert [Path(row.path) for row in rows] == [meadow / row.id for row in rows]
    assert {row.extra["latin_name"] for row in rows} == {"Bellis", "Rosa canina"}
    assert {(row.region, row.group) for row in rows} == {("", "")}


def test_folder_takes_region_group_and_id_from_a_table(meadow: Path, tmp_path: Path) -> None:
    table = tmp_path / "meta.csv"
    table.write_bytes(
        "path,region,group,id,camera\r\n"
        "Rosa canina/1.jpg,EU_SW,plant 7,obs-1,x\r\n"
        "Bellis/deep/er/x.png,EU,,,y\r\n".encode("utf-8-sig")
    )
    rows = {Path(row.path).name: row for row in rows_of("folder", tmp_path, path=meadow, metadata=table)}
    assert (rows["1.jpg"].id, rows["1.jpg"].region, rows["1.jpg"].group) == ("obs-1", "EU_SW", "plant 7")
    assert (rows["x.png"].id, rows["x.png"].region, rows["x.png"].group) == ("Bellis/deep/er/x.png", "EU", "")
    assert (rows["2.JPG"].id, rows["2.JPG"].region, rows["2.JPG"].group) == ("Rosa canina/2.JPG", "", "")


def test_folder_takes_a_table_that_lacks_some_columns(meadow: Path, tmp_path: Path) -> None:
    (tmp_path / "meta.csv").write_text("path,group\nRosa canina/1.jpg,p\n")
    rows = rows_of("folder", tmp_path, path=meadow, metadata=tmp_path / "meta.csv")
    assert [row.group for row in rows] == ["", "p", ""]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "no such file"),
        (b"file,region\na,b\n", "needs a column `path`"),
        (b"", "needs a column `path`"),
        (b"path,region\nRosa canina/1.jpg,caf\xe9\n", ":2: not UTF-8"),
    ],
)
def test_folder_tells_what_is_wrong_with_the_table(
    meadow: Path, tmp_path: Path, content: bytes | None, told: str
) -> None:
    table = tmp_path / "meta.csv"
    if content is not None:
        table.write_bytes(content)
    with pytest.raises(DataError, match=told) as caught:
        rows_of("folder", tmp_path, path=meadow, metadata=table)
    assert str(table) in str(caught.value)


def test_folder_names_a_class_without_images(meadow: Path, tmp_path: Path) -> None:
    (meadow / "Taraxacum").mkdir()
    (meadow / "Taraxacum" / "list.txt").touch()
    with pytest.raises(DataError, match="class without images") as caught:
        rows_of("folder", tmp_path, path=meadow)
    assert str(meadow / "Taraxacum") in str(caught.value)


def test_folders_of_splits_are_no_classes(tmp_path: Path) -> None:
    for name in ("test", "Train"):
        (tmp_path / "sorted" / name / "rose").mkdir(parents=True)
        (tmp_path / "sorted" / name / "rose" / "x.jpg").touch()
    with pytest.raises(DataError, match="its folders Train, test are splits, not classes"):
        rows_of("folder", tmp_path, path=tmp_path / "sorted")
    (tmp_path / "sorted" / "rose").mkdir()
    (tmp_path / "sorted" / "rose" / "x.jpg").touch()
    assert [row.label for row in rows_of("folder", tmp_path, path=tmp_path / "sorted")] == ["Train", "rose", "test"]


def test_folder_without_subfolders_is_told(tmp_path: Path) -> None:
    (tmp_path / "flat").mkdir()
    (tmp_path / "flat" / "x.jpg").touch()
    with pytest.raises(DataError, match="no subfolders"):
        rows_of("folder", tmp_path, path=tmp_path / "flat")


def test_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone: no such folder.*snapshot\.path"):
        rows_of("folder", tmp_path, path=tmp_path / "gone")


@pytest.mark.parametrize(
    "change",
    [
        lambda root: (root / "Bellis" / "new.jpg").touch(),
        lambda root: (root / "Bellis" / "deep" / "er" / "x.png").unlink(),
        lambda root: (root / "Rosa canina" / "1.jpg").write_bytes(b"--"),
        lambda root: (root / "Rosa canina" / "1.jpg").rename(root / "Rosa canina" / "9.jpg"),
        lambda root: os.utime(root / "Rosa canina" / "1.jpg", (1, 1)),
    ],
    ids=["new", "gone", "grown", "renamed", "touched"],
)
def test_folders_fingerprint_changes_with_its_images(meadow: Path, change: Any) -> None:
    settings = SnapshotSettings(source="folder", path=meadow)
    before = SOURCES["folder"].fingerprint(settings)
    (meadow / "Bellis" / "notes.txt").write_text("not an image")
    assert SOURCES["folder"].fingerprint(settings) == before
    change(meadow)
    assert SOURCES["folder"].fingerprint(settings) != before


def test_folders_fingerprint_changes_with_its_table(meadow: Path, tmp_path: Path) -> None:
    (tmp_path / "meta.csv").write_text("path,region\nRosa canina/1.jpg,EU\n")
    settings = SnapshotSettings(source="folder", path=meadow, metadata=tmp_path / "meta.csv")
    before = SOURCES["folder"].fingerprint(settings)
    (tmp_path / "meta.csv").write_text("path,region\nRosa canina/1.jpg,US\n")
    assert SOURCES["folder"].fingerprint(settings) != before


# JSON Lines


def lines(tmp_path: Path, *documents: Any) -> Path:
    path = tmp_path / "data" / "rows.jsonl"
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(document) + "\n" for document in documents))
    return path


def test_jsonl_reads_our_names(tmp_path: Path) -> None:
    path = lines(tmp_path, {"id": "1", "label": "a", "region": "EU", "group": "g", "url": "http://x", "split": "test"})
    (row,) = rows_of("jsonl", tmp_path, path=path)
    assert (row.id, row.label, row.region, row.group, row.url, row.split) == ("1", "a", "EU", "g", "http://x", "test")


def test_jsonl_reads_a_database_dump_with_its_usual_names(tmp_path: Path) -> None:
    path = lines(tmp_path, {"_id": 7, "latin_name": "Rosa canina", "image_url": "http://x/1.jpg"})
    (row,) = rows_of("jsonl", tmp_path, path=path)
    assert (row.id, row.label, row.url) == ("7", "Rosa canina", "http://x/1.jpg")
    assert row.extra["latin_name"] == "Rosa canina"


def test_jsonl_reads_the_users_own_names_even_where_ours_stand_too(tmp_path: Path) -> None:
    path = lines(tmp_path, {"key": 5, "especie": "Bellis", "zona": "EU_SW", "id": "not this", "label": "nor this"})
    (row,) = rows_of("jsonl", tmp_path, path=path, fields={"id": "key", "label": "especie", "region": "zona"})
    assert (row.id, row.label, row.region) == ("5", "Bellis", "EU_SW")


def test_jsonl_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    path = lines(tmp_path, {"id": 1, "label": "a", "path": "img/1.jpg"}, {"id": 2, "label": "a", "path": "/abs/2.jpg"})
    rows = rows_of("jsonl", tmp_path, path=path)
    assert [row.path for row in rows] == [(tmp_path / "data" / "img" / "1.jpg").as_posix(), "/abs/2.jpg"]


def test_jsonl_takes_the_plans_val_for_validation(tmp_path: Path) -> None:
    splits = ("train", "val", "validation", "test")
    path = lines(tmp_path, *({"id": str(i), "label": "a", "split": split} for i, split in enumerate(splits)))
    assert [row.split for row in rows_of("jsonl", tmp_path, path=path)] == ["train", "validation", "validation", "test"]


def test_jsonl_takes_null_for_nothing(tmp_path: Path) -> None:
    path = lines(tmp_path, {"id": 1, "label": "a", "region": None, "path": None})
    (row,) = rows_of("jsonl", tmp_path, path=path)
    assert (row.region, row.path) == ("", "")


def test_jsonl_other_fields_ride_along_to_the_snapshot_and_back(tmp_path: Path) -> None:
    path = lines(
        tmp_path,
        {"id": "1", "latin_name": "Rosa", "lat": 38.7, "tags": ["a"]},
        {"id": "2", "latin_name": "Bellis", "lat": None},
    )
    settings = SnapshotSettings(source="jsonl", path=path)
    config = Config(path=Path("x.yaml"), name="x", dataset="d", snapshot=settings)
    metrics = snapshot.run(config, Workspace(tmp_path))
    assert metrics["per_class"] == {"Rosa": 1, "Bellis": 1}
    rows = list(iter_rows(tmp_path / "data" / "d" / "raw.jsonl"))
    assert rows[0].extra == {"lat": 38.7, "tags": ["a"], "latin_name": "Rosa"}
    assert rows[1].extra == {"lat": None, "latin_name": "Bellis"}


@pytest.mark.parametrize(
    ("document", "told"),
    [
        ({"id": "2"}, "no `label`"),
        ({"id": "2", "label": ""}, "no `label`"),
        ({"id": "2", "label": None}, "no `label`"),
        ({"id": "2", "latin_name": ""}, "no `latin_name`"),
        ({"label": "a"}, "no `id`"),
        ({"id": "", "label": "a"}, "no `id`"),
    ],
)
def test_jsonl_names_file_and_line_of_a_row_without_label_or_id(
    tmp_path: Path, document: dict[str, Any], told: str
) -> None:
    path = lines(tmp_path, {"id": "1", "label": "a"}, document)
    with pytest.raises(DataError, match=told) as caught:
        rows_of("jsonl", tmp_path, path=path)
    assert f"{path}:2: " in str(caught.value)


def test_jsonl_names_the_users_own_field_when_it_is_missing(tmp_path: Path) -> None:
    path = lines(tmp_path, {"id": "1", "label": "a"})
    with pytest.raises(DataError, match="no `especie`"):
        rows_of("jsonl", tmp_path, path=path, fields={"label": "especie"})


@pytest.mark.parametrize(
    ("document", "told"),
    [
        ({"id": 2, "label": ["a"]}, "`label` is a list, expected a text"),
        ({"id": 2, "label": {"name": "a"}}, "`label` is an object, expected a text"),
        ({"id": [2], "label": "a"}, "`id` is a list, expected a text"),
    ],
)
def test_jsonl_names_file_and_line_of_a_field_of_the_wrong_type(
    tmp_path: Path, document: dict[str, Any], told: str
) -> None:
    path = lines(tmp_path, {"id": "1", "label": "a"}, document)
    with pytest.raises(DataError, match=told) as caught:
        rows_of("jsonl", tmp_path, path=path)
    assert f"{path}:2: " in str(caught.value)


def test_jsonl_reaches_into_objects_and_lists(tmp_path: Path) -> None:
    path = lines(tmp_path, {"id": 1, "taxon": {"name": "Rosa"}, "photos": [{"url": "http://x"}], "note": "-"})
    fields = {"label": "taxon.name", "url": "photos.0.url", "group": "photos.1.url"}
    (row,) = rows_of("jsonl", tmp_path, path=path, fields=fields, extra_fields=["note"])
    assert (row.label, row.url, row.group) == ("Rosa", "http://x", "")
    assert row.extra == {"note": "-", "latin_name": "Rosa"}


def test_jsonls_fingerprint_changes_with_the_images_it_names(tmp_path: Path) -> None:
    path = lines(tmp_path, {"id": 1, "label": "a", "path": "1.jpg"}, {"id": 2, "label": "b", "url": "http://x"})
    settings = SnapshotSettings(source="jsonl", path=path)
    before = SOURCES["jsonl"].fingerprint(settings)
    (path.parent / "1.jpg").write_bytes(b"-")
    assert SOURCES["jsonl"].fingerprint(settings) != before


def test_jsonl_takes_zero_for_an_id_and_a_label(tmp_path: Path) -> None:
    (row,) = rows_of("jsonl", tmp_path, path=lines(tmp_path, {"id": 0, "label": 0}))
    assert (row.id, row.label) == ("0", "0")


def test_jsonl_names_file_and_line_of_what_is_no_json(tmp_path: Path) -> None:
    path = lines(tmp_path, {"id": "1", "label": "a"})
    with path.open("a") as file:
        file.write('{"id": "2", "label": \n')
    with pytest.raises(DataError) as caught:
        rows_of("jsonl", tmp_path, path=path)
    assert f"{path}:2: not JSON" in str(caught.value)


def test_jsonl_that_is_not_there_is_told_with_both_its_settings(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no such file.*snapshot\.path.*data\.train_jsonl"):
        rows_of("jsonl", tmp_path, path=tmp_path / "gone.jsonl")


# What all have in common


def test_a_source_of_one_class_is_told(tmp_path: Path) -> None:
    settings = SnapshotSettings(source="jsonl", path=lines(tmp_path, {"id": 1, "label": "a"}, {"id": 2, "label": "a"}))
    with pytest.raises(DataError, match="1 classes; a classifier needs at least two"):
        snapshot.run(Config(path=Path("x.yaml"), name="x", snapshot=settings), Workspace(tmp_path))


def test_a_name_in_fields_that_nothing_has_is_told(tmp_path: Path) -> None:
    path = lines(tmp_path, {"id": 1, "label": "a", "plant": 7}, {"id": 2, "label": "b"})
    for name in ("plant", "plant_id"):
        settings = SnapshotSettings(source="jsonl", path=path, fields={"group": name})
        config = Config(path=Path("x.yaml"), name="x", dataset="d", snapshot=settings)
        if name == "plant":
            assert snapshot.run(config, Workspace(tmp_path))["num_rows"] == 2
        else:
            with pytest.raises(DataError, match=r"snapshot\.fields\.group: nothing in the source has a `plant_id`"):
                snapshot.run(config, Workspace(tmp_path))


def test_half_a_surrogate_pair_does_not_end_a_snapshot(tmp_path: Path) -> None:
    path = lines(tmp_path, {"id": 1, "label": "a"}, {"id": 2, "label": "b", "note": "broken \ud83d emoji"})
    settings = SnapshotSettings(source="jsonl", path=path)
    snapshot.run(Config(path=Path("x.yaml"), name="x", dataset="d", snapshot=settings), Workspace(tmp_path))
    rows = list(iter_rows(tmp_path / "data" / "d" / "raw.jsonl"))
    assert rows[1].extra["note"] == "broken ? emoji"


def test_labels_are_mapped_and_their_old_name_stays(tmp_path: Path) -> None:
    path = lines(tmp_path, {"id": 1, "latin_name": "Old"}, {"id": 2, "latin_name": "B"})
    (tmp_path / "map.csv").write_text("synonym,label\nOld,New\n")
    settings = SnapshotSettings(source="jsonl", path=path, label_map=tmp_path / "map.csv")
    metrics = snapshot.run(Config(path=Path("x.yaml"), name="x", dataset="d", snapshot=settings), Workspace(tmp_path))
    assert metrics["per_class"] == {"New": 1, "B": 1}
    rows = list(iter_rows(tmp_path / "data" / "d" / "raw.jsonl"))
    assert [(row.label, row.extra["latin_name"]) for row in rows] == [("New", "Old"), ("B", "B")]
