"""TFDS: data sets that TFDS itself has written, as rows."""

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from tfpipe.core.errors import ConfigError, DataError
from tfpipe.core.settings import SnapshotSettings
from tfpipe.data.rows import Row
from tfpipe.data.sources import SOURCES


def photo(number: int, kind: str) -> bytes:
    buffer = BytesIO()
    Image.new("RGB", (40, 30), (number, 0, 0)).save(buffer, kind)
    return buffer.getvalue()


PHOTOS = {f"{number}.jpg": photo(number, "JPEG") for number in range(5)}


def write(folder: Path, name: str, features: dict[str, Any], splits: dict[str, list[dict[str, Any]]]) -> None:
    """Have TFDS write a data set without making its name known to this process."""

    def info(self: Any) -> Any:
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def generate(self: Any, examples: list[dict[str, Any]]) -> Any:
        return enumerate(examples)

    members = {
        "VERSION": tfds.core.Version("1.2.0"),
        "pkg_dir_path": folder,
        "_info": info,
        "_split_generators": lambda self, manager: {k: self._generate_examples(v) for k, v in splits.items()},
        "_generate_examples": generate,
    }
    with tfds.core.registered.skip_registration():
        builder = type(name, (tfds.core.GeneratorBasedBuilder,), members)
        builder(data_dir=folder).download_and_prepare()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with some data sets."""
    folder = tmp_path_factory.mktemp("tensorflow_datasets")
    label = tfds.features.ClassLabel(names=["Bellis", "Rosa"])
    text = tfds.features.Text()
    size = {"width": np.int32, "where": text}
    photos = {
        "photo": tfds.features.Image(),
        "kind": label,
        "name": text,
        "size": size,
        "box": tfds.features.BBoxFeature(),
    }
    box = tfds.features.BBox(0.0, 0.0, 1.0, 1.0)

    def example(number: int) -> dict[str, Any]:
        size = {"width": 40, "where": f"bed {number}"}
        name = f"{number}.jpg"
        return {"photo": BytesIO(PHOTOS[name]), "kind": number % 2, "name": name, "size": size, "box": box}

    write(folder, "Garden", photos, {"train": [example(i) for i in range(3)], "test": [example(i) for i in (3, 4)]})
    unlabelled = [{"text": f"unlabelled {i}", "label": -1} for i in range(2)]
    diary = [{"text": f"tëxt {i}", "label": i % 2} for i in range(6)]
    write(folder, "Diary", {"text": text, "label": label}, {"train": diary, "unsupervised": unlabelled})
    two = {"text": text, "first": label, "second": label}
    write(folder, "Twice", two, {"train": [{"text": "a", "first": 0, "second": 1}]})
    return folder


def rows_of(folder: Path, images_dir: Path, name: str, **settings: Any) -> list[Row]:
    settings = {"source": f"tfds://{name}", "path": folder} | settings
    return list(SOURCES["tfds"].iter_rows(SnapshotSettings(**settings), images_dir=images_dir, seed=0))


@pytest.mark.parametrize("name", ["garden", "garden:1.2.0", "garden:1.*.*"])
def test_images_keep_the_bytes_they_are_stored_with(folder: Path, tmp_path: Path, name: str) -> None:
    rows = rows_of(folder, tmp_path / "images", name)
    assert sorted(row.id for row in rows) == ["test/000000", "test/000001", *(f"train/{i:06d}" for i in range(3))]
    for row in rows:
        # TFDS shuffles when it writes; the name that rides along tells which it was.
        assert Path(row.path).read_bytes() == PHOTOS[row.extra["name"]]
        number = int(row.extra["name"][0])
        assert (row.label, row.id[:4] == "test") == (("Bellis", "Rosa")[number % 2], number > 2)
        assert row.extra["size"] == {"width": 40, "where": f"bed {number}"}
        assert "box" not in row.extra
        assert row.path.endswith(".jpg")


def test_the_same_example_has_the_same_id_in_every_run(folder: Path, tmp_path: Path) -> None:
    first, second = (rows_of(folder, tmp_path / "images", "garden") for _ in range(2))
    assert first == second


def test_texts_are_rows_and_those_without_a_label_are_left_out(folder: Path, tmp_path: Path) -> None:
    rows = rows_of(folder, tmp_path, "diary")
    assert {(row.text, row.label) for row in rows} == {(f"tëxt {i}", ("Bellis", "Rosa")[i % 2]) for i in range(6)}
    assert {row.id for row in rows} == {f"train/{i:06d}" for i in range(6)}


def test_fields_name_what_is_what(folder: Path, tmp_path: Path) -> None:
    (row,) = rows_of(folder, tmp_path, "twice", fields={"label": "second", "id": "text"})
    assert (row.id, row.label, row.text) == ("a", "Rosa", "a")
    rows = rows_of(folder, tmp_path, "garden", fields={"group": "size.where", "path": "photo"})
    assert sorted(row.group for row in rows) == [f"bed {i}" for i in range(5)]


def test_two_labels_are_told_with_the_features(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"`snapshot\.fields`.*`text` \(Text\), `first` \(ClassLabel\)"):
        rows_of(folder, tmp_path, "twice")


@pytest.mark.parametrize("name", ["no_such_garden", "garden:9.9.9"])
def test_a_data_set_that_is_not_there_is_told(folder: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match=r"neither in .* nor to be downloaded") as caught:
        rows_of(folder, tmp_path, name)
    assert "\n" not in str(caught.value)


def test_an_address_that_is_none_is_told(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected tfds://name"):
        rows_of(folder, tmp_path, "../garden")
