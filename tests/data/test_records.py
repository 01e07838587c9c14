"""Records: TFDS reads them without us, in the same order each time, by split and by region."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tensorflow_datasets as tfds
import yaml
from meadow import CLASSES, NUM_TRAIN, NUM_VALIDATION, make_rows, photo

from tfpipe.core.errors import DataError, MismatchError, TfpipeError
from tfpipe.core.workspace import Workspace
from tfpipe.data.records import Records, check_classes, classes_sha256, write_records
from tfpipe.data.rows import Row
from tfpipe.stages import runner


def ids(records: Records) -> list[str]:
    return [example["id"].decode() for example in records.examples().as_numpy_iterator()]


def test_tfds_alone_reads_the_same_ids_labels_and_bytes(records_dir: Path) -> None:
    builder = tfds.builder_from_directory(records_dir)
    assert builder.info.features["label"].names == CLASSES
    read: dict[str, Any] = {}
    for split in ("train", "validation"):
        ds = builder.as_dataset(split=split, decoders={"image": tfds.decode.SkipDecoding()})
        read |= {e["id"].decode(): (e, split) for e in ds.as_numpy_iterator()}
    assert len(read) == NUM_TRAIN + NUM_VALIDATION
    for row in make_rows():
        example, split = read[row.id]
        assert example["image"] == photo(int(row.id))
        assert CLASSES[example["label"]] == row.label
        assert (example["region"].decode(), example["group"].decode()) == (row.region, row.group)
        assert split == row.split


def test_tfds_alone_decodes_the_images(records_dir: Path) -> None:
    example = next(iter(tfds.builder_from_directory(records_dir).as_dataset(split="train").as_numpy_iterator()))
    assert example["image"].shape == (24, 32, 3)


def test_train_is_sharded_as_asked(records_dir: Path) -> None:
    names = sorted(path.name for path in records_dir.glob("*-train.*"))
    assert names == [f"meadow-train.tfrecord-0000{number}-of-00003" for number in range(3)]


def test_our_reader_gives_all_in_the_same_order_each_time(records_dir: Path) -> None:
    first = ids(Records(records_dir, "train"))
    assert sorted(first) == [f"{number:02d}" for number in range(NUM_TRAIN)]
    assert ids(Records(records_dir, "train")) == first
    # TFDS shuffles as it writes, so that no shard holds one class alone.
    assert first != sorted(first)


def test_rows_in_another_order_make_the_same_records(records_dir: Path, tmp_path: Path) -> None:
    directory = tmp_path / "meadow" / "1.0.0"
    write_records(
        make_rows()[::-1], directory, read_image=lambda row: photo(int(row.id)), classes=CLASSES, num_shards=3
    )
    for path in records_dir.glob("*.tfrecord*"):
        assert (directory / path.name).read_bytes() == path.read_bytes()


def test_numbers_and_classes(records_dir: Path) -> None:
    assert Records(records_dir, "train").num_examples == NUM_TRAIN
    assert Records(records_dir, "validation").num_examples == NUM_VALIDATION
    assert Records(records_dir, "train").classes == CLASSES


def test_a_region_keeps_its_own_rows_in_order_and_the_whole_class_list(records_dir: Path) -> None:
    regional = Records(records_dir, "train", region="EU_SW")
    assert ids(regional) == [i for i in ids(Records(records_dir, "train")) if int(i) % 3 == 0]
    assert regional.num_examples == 8
    assert regional.classes == CLASSES


def test_a_region_that_is_not_there_is_told_with_those_that_are(records_dir: Path) -> None:
    with pytest.raises(DataError, match="region 'US' has no rows in train; there are: EU, EU_SW"):
        _ = Records(records_dir, "train", region="US").num_examples


@pytest.mark.parametrize("ask", [lambda records: records.num_examples, lambda records: records.examples()])
def test_a_split_without_rows_is_told(records_dir: Path, ask: Callable[[Records], object]) -> None:
    with pytest.raises(DataError, match="no rows in split test"):
        ask(Records(records_dir, "test"))


def test_without_train_rows_nothing_is_written(tmp_path: Path) -> None:
    rows = [Row(id="1", label="a", split="test")]
    with pytest.raises(DataError, match="no row is in train"):
        write_records(rows, tmp_path / "d" / "1.0.0", read_image=lambda row: photo(1), classes=["a"], num_shards=1)
    assert not (tmp_path / "d").exists()


def broken(row: Row) -> bytes:
    if row.id == "07":
        raise DataError("the photo is gone")
    return photo(int(row.id))


def test_records_that_break_off_do_not_appear(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the photo is gone"):
        write_records(make_rows(), tmp_path / "d" / "1.0.0", read_image=broken, classes=CLASSES, num_shards=1)
    assert list((tmp_path / "d").iterdir()) == []


def test_records_change_whole_or_not_at_all(tmp_path: Path) -> None:
    directory = tmp_path / "d" / "1.0.0"

    def write(rows: list[Row], read_image: Callable[[Row], bytes] = lambda row: photo(int(row.id))) -> None:
        write_records(rows, directory, read_image=read_image, classes=CLASSES, num_shards=2)

    write(make_rows())
    before = ids(Records(directory, "train"))
    with pytest.raises(DataError):
        write(make_rows(), broken)
    assert ids(Records(directory, "train")) == before
    write(make_rows()[:4])
    assert sorted(ids(Records(directory, "train"))) == ["00", "01", "02", "03"]
    assert [path.name for path in (tmp_path / "d").iterdir()] == ["1.0.0"]


# Class lists


def test_equal_class_lists_agree() -> None:
    check_classes(["a", "b"], ["a", "b"], "the model")


@pytest.mark.parametrize(
    ("classes", "expected", "told"),
    [
        (["a", "c"], ["a", "b"], r"knows 2 classes, the records have 2 \(gone: b; new: c\)"),
        (["a"], ["a", "b", "c", "d", "e"], r"knows 5 classes, the records have 1 \(gone: b, c, d\)"),
        (["a", "b"], ["a"], r"\(new: b\)"),
        (["b", "a"], ["a", "b"], r"\(the order differs\)"),
    ],
)
def test_other_class_lists_are_told_apart(classes: list[str], expected: list[str], told: str) -> None:
    with pytest.raises(MismatchError, match=rf"^the model .*{told}"):
        check_classes(classes, expected, "the model")


def test_the_hash_of_a_class_list_knows_names_and_order() -> None:
    hashes = [classes_sha256(names) for names in (["a", "b"], ["b", "a"], ["ab"], ["a", "b", "c"], [])]
    assert len(set(hashes)) == len(hashes)
    assert classes_sha256(["a", "b"]) == hashes[0]


# From a folder of photos to records, by the steps themselves


@pytest.fixture
def meadow(tmp_path: Path) -> Path:
    for number in range(12):
        path = tmp_path / "meadow" / f"class {number % 2}" / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(photo(number))
    return tmp_path / "meadow"


def make(tmp_path: Path, snapshot: dict[str, Any], step: str = "pack") -> dict[str, Any]:
    config = tmp_path / "x.yaml"
    config.write_text(yaml.safe_dump({"dataset": "d", "snapshot": snapshot, "split": {"min_side": 8}}))
    return runner.run_step(step, config, workspace=Workspace(tmp_path))


def test_photos_in_folders_become_records_with_their_bytes(meadow: Path, tmp_path: Path) -> None:
    metrics = make(tmp_path, {"source": "folder", "path": str(meadow)})
    assert (metrics["num_examples"], metrics["num_classes"]) == (12, 2)
    assert metrics["classes_sha256"] == classes_sha256(["class 0", "class 1"])
    builder = tfds.builder_from_directory(tmp_path / "data" / "d" / "1.0.0")
    read = {}
    for split in builder.info.splits:
        for example in builder.as_dataset(split=split, decoders={"image": tfds.decode.SkipDecoding()}):
            read[example["id"].numpy().decode()] = example["image"].numpy()
    assert read == {path.relative_to(meadow).as_posix(): path.read_bytes() for path in meadow.rglob("*.jpg")}


def test_two_rows_of_one_id_are_told_by_their_id(meadow: Path, tmp_path: Path) -> None:
    # Views, soft labels and splits are all keyed by the id.
    table = tmp_path / "meta.csv"
    table.write_text("path,id\nclass 0/0.jpg,twice\nclass 1/1.jpg,twice\n")
    with pytest.raises(TfpipeError, match="twice"):
        make(tmp_path, {"source": "folder", "path": str(meadow), "metadata": str(table)})
