"""Records: TFDS reads them without us, in the same order each time, by split and by region."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
import yaml
from meadow import CLASSES, NUM_TRAIN, NUM_VALIDATION, make_rows, photo, write_splits

from tfpipe.core.errors import DataError, EnvironmentProblemError, MismatchError, TfpipeError
from tfpipe.core.workspace import Workspace
from tfpipe.data import shards
from tfpipe.data.packing import plan_shards
from tfpipe.data.records import Records, check_classes, classes_sha256, write_records
from tfpipe.data.rows import Row
from tfpipe.data.workers import Runner
from tfpipe.stages import runner


def ids(records: Records) -> list[str]:
    return [example["id"].decode() for example in records.examples().as_numpy_iterator()]


def write(rows: Sequence[Row], folder: Path, num_shards: int | None = 2) -> Path:
    """Records of rows whose photos lie in `folder`."""
    directory = folder / "meadow" / "1.0.0"
    write_records(write_splits(rows, folder), directory, num_shards=num_shards, title="meadow", runner=Runner())
    return directory


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


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


def test_images_are_found_by_their_place_in_the_canonical_order(records_dir: Path) -> None:
    records = Records(records_dir, "train")
    order = ids(records)
    found = records.contents([len(order) - 1, 0, 3])
    assert found == {place: photo(int(order[place])) for place in (0, 3, len(order) - 1)}
    assert records.contents([]) == {}


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
    again = contents(write(make_rows()[::-1], tmp_path, num_shards=3))
    assert again == contents(records_dir)
    assert len(again) == 2 * 3 + 3


def test_a_beam_runner_makes_the_same_records(records_dir: Path, tmp_path: Path) -> None:
    rows_path = write_splits(make_rows(), tmp_path / "photos")
    two_workers = ("--direct_num_workers=2", "--direct_running_mode=multi_processing")
    runner = Runner("DirectRunner", two_workers)
    write_records(rows_path, tmp_path / "meadow" / "1.0.0", num_shards=3, title="meadow", runner=runner)
    assert contents(tmp_path / "meadow" / "1.0.0") == contents(records_dir)


def test_the_files_are_those_that_tensorflow_writes(records_dir: Path, tmp_path: Path) -> None:
    for path in records_dir.glob("*.tfrecord*"):
        # TensorFlow checks the checksums as it reads.
        records = [record.numpy() for record in tf.data.TFRecordDataset(str(path))]
        with tf.io.TFRecordWriter(str(tmp_path / path.name)) as writer:
            for record in records:
                writer.write(record)
                example = tf.train.Example.FromString(record)
                assert example.SerializeToString(deterministic=True) == record
        assert (tmp_path / path.name).read_bytes() == path.read_bytes()


def test_the_metadata_are_those_that_tfds_writes(records_dir: Path, tmp_path: Path) -> None:
    ours = tfds.builder_from_directory(records_dir).info

    class Meadow(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version("1.0.0")
        pkg_dir_path = tmp_path

        def _info(self) -> Any:
            return tfds.core.DatasetInfo(builder=self, features=ours.features)

        def _split_generators(self, dl_manager: object) -> dict[str, Any]:
            return {name: self._generate_examples(name) for name in ("train", "validation")}

        def _generate_examples(self, split: str) -> Any:
            for row in make_rows():
                if row.split == split:
                    values = {name: getattr(row, name) for name in ("id", "label", "region", "group")}
                    yield row.id, values | {"image": photo(int(row.id))}

    Meadow(data_dir=tmp_path).download_and_prepare()
    theirs = tfds.builder_from_directory(tmp_path / "meadow" / "1.0.0").info
    assert (ours.name, ours.version, ours.file_format) == (theirs.name, theirs.version, theirs.file_format)
    for file in ("features.json", "label.labels.txt"):
        assert (records_dir / file).read_text() == (tmp_path / "meadow" / "1.0.0" / file).read_text()
    for split in ("train", "validation"):
        assert ours.splits[split].num_examples == theirs.splits[split].num_examples
        assert ours.splits[split].num_bytes == theirs.splits[split].num_bytes
    assert ours.splits["train"].shard_lengths == [8, 8, 7]


def test_no_shard_is_left_without_a_row(tmp_path: Path) -> None:
    directory = write(make_rows()[:2], tmp_path, num_shards=5)
    assert sorted(ids(Records(directory, "train"))) == ["00", "01"]
    assert len(list(directory.glob("*-train.*"))) == 2


def test_unset_the_number_of_shards_goes_by_size(tmp_path: Path) -> None:
    rows_path = write_splits(make_rows(), tmp_path)
    rows_path.write_text(re.sub(r'"num_bytes": \d+', '"num_bytes": 300000000', rows_path.read_text()))
    plan = plan_shards(rows_path, tmp_path, name="meadow", num_shards=None)
    # TFDS wants no more than a gibibyte in a file, and no less than 64 mebibytes.
    for split, num_rows in (("train", NUM_TRAIN), ("validation", NUM_VALIDATION)):
        shard_bytes = [300e6 * len(shard.labels) for shard in plan.shards[split]]
        assert sum(shard_bytes) == 300e6 * num_rows
        assert min(shard_bytes) >= 64 * 2**20
        assert max(shard_bytes) <= 2**30


def test_numbers_and_classes(records_dir: Path) -> None:
    assert Records(records_dir, "train").num_examples == NUM_TRAIN
    assert Records(records_dir, "validation").num_examples == NUM_VALIDATION
    assert Records(records_dir, "train").classes == CLASSES


def test_a_region_keeps_its_own_rows_in_order_and_the_whole_class_list(records_dir: Path) -> None:
    regional = Records(records_dir, "train", region="EU_SW")
    assert ids(regional) == [i for i in ids(Records(records_dir, "train")) if int(i) % 3 == 0]
    assert regional.num_examples == 8
    assert regional.classes == CLASSES


def test_shard_lengths_are_those_of_the_files(records_dir: Path) -> None:
    paths = sorted(records_dir.glob("*train*.tfrecord*"))
    in_files = [[tf.train.Example.FromString(r.numpy()) for r in tf.data.TFRecordDataset(str(path))] for path in paths]
    assert Records(records_dir, "train").shard_lengths() == tuple(map(len, in_files))
    regional = [[e for e in file if e.features.feature["region"].bytes_list.value == [b"EU_SW"]] for file in in_files]
    assert Records(records_dir, "train", region="EU_SW").shard_lengths() == tuple(map(len, regional))


def test_a_region_that_is_not_there_is_told_with_those_that_are(records_dir: Path) -> None:
    with pytest.raises(DataError, match="region 'US' has no rows in train; there are: EU, EU_SW"):
        _ = Records(records_dir, "train", region="US").num_examples


@pytest.mark.parametrize("ask", [lambda records: records.num_examples, lambda records: records.examples()])
def test_a_split_without_rows_is_told(records_dir: Path, ask: Callable[[Records], object]) -> None:
    with pytest.raises(DataError, match="no rows in split test"):
        ask(Records(records_dir, "test"))


def test_without_train_rows_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no row is in train"):
        write([replace(make_rows()[0], split="test")], tmp_path)
    assert not (tmp_path / "meadow").exists()


def test_a_row_without_an_image_is_told(tmp_path: Path) -> None:
    rows_path = tmp_path / "splits.jsonl"
    rows_path.write_text('{"id": "1", "label": "a", "text": "a diary", "split": "train"}\n')
    with pytest.raises(DataError, match="row 1 has no image"):
        write_records(rows_path, tmp_path / "d" / "1.0.0", num_shards=1, title="d", runner=Runner())


# What goes wrong, and what is left then


def spoil(folder: Path, how: str) -> None:
    if how == "gone":
        (folder / "7.jpg").unlink()
    else:
        (folder / "7.jpg").write_bytes(photo(7) + b"x")


@pytest.mark.parametrize(
    ("how", "told"), [("gone", "No such file or directory, though the audit saw it"), ("changed", "has changed since")]
)
def test_a_photo_that_is_not_as_the_audit_saw_it_is_told_and_the_old_records_stay(
    tmp_path: Path, how: str, told: str
) -> None:
    directory = write(make_rows()[:9], tmp_path)
    before = contents(directory)
    rows_path = write_splits(make_rows(), tmp_path)
    spoil(tmp_path, how)
    with pytest.raises(DataError, match=rf"row 07: .*7\.jpg.*{told}.*tfpipe audit --force") as caught:
        write_records(rows_path, directory, num_shards=2, title="meadow", runner=Runner())
    assert "\n" not in str(caught.value)
    assert contents(directory) == before


def test_records_of_other_rows_take_the_place_of_the_old_and_of_what_was_left(tmp_path: Path) -> None:
    write(make_rows(), tmp_path)
    rows_path = write_splits(make_rows()[:20], tmp_path)
    spoil(tmp_path, "gone")
    with pytest.raises(DataError):
        write_records(rows_path, tmp_path / "meadow" / "1.0.0", num_shards=2, title="meadow", runner=Runner())
    directory = write(make_rows()[:4], tmp_path)
    assert sorted(ids(Records(directory, "train"))) == ["00", "01", "02", "03"]
    assert [path.name for path in (tmp_path / "meadow").iterdir()] == ["1.0.0"]


def test_a_full_disk_is_told_and_the_old_records_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = write(make_rows()[:9], tmp_path)
    before = contents(directory)
    rows_path = write_splits([replace(row, split="train") for row in make_rows()], tmp_path)

    def full(record: bytes) -> tuple[bytes, ...]:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shards, "_framed", full)
    with pytest.raises(EnvironmentProblemError, match="no space left on the disk"):
        # One shard, which this very process writes.
        write_records(rows_path, directory, num_shards=1, title="meadow", runner=Runner())
    assert contents(directory) == before


SCRIPT = """
import sys
from pathlib import Path
from tfpipe.data.records import write_records
from tfpipe.data.workers import Runner
if __name__ == "__main__":
    write_records(Path(sys.argv[1]), Path(sys.argv[2]), num_shards=3, title="meadow", runner=Runner())
"""


def test_after_a_kill_the_rest_is_written_and_the_bytes_are_the_same(records_dir: Path, tmp_path: Path) -> None:
    rows_path = write_splits(make_rows(), tmp_path / "photos")
    blocked = plan_shards(rows_path, tmp_path, name="meadow", num_shards=3).shards["train"][1]
    with rows_path.open("rb") as file:
        file.seek(int(blocked.offsets[2]))
        image = Path(json.loads(file.readline())["path"])
    content = image.read_bytes()
    # A pipe that nobody writes to: here the process waits, in the middle of a shard, until it is killed.
    image.unlink()
    os.mkfifo(image)
    directory = tmp_path / "meadow" / "1.0.0"
    (tmp_path / "write.py").write_text(SCRIPT)
    command = [sys.executable, str(tmp_path / "write.py"), str(rows_path), str(directory)]
    process = subprocess.Popen(command, start_new_session=True)
    finished = wait_for_shards(directory.parent, 3 + 3 - 1)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not directory.exists()
    times = {path.name: path.stat().st_mtime_ns for path in finished}

    image.unlink()
    image.write_bytes(content)
    write_records(rows_path, directory, num_shards=3, title="meadow", runner=Runner())
    assert {name: (directory / name).stat().st_mtime_ns for name in times} == times
    assert contents(directory) == contents(records_dir)
    assert [path.name for path in directory.parent.iterdir()] == ["1.0.0"]


def wait_for_shards(folder: Path, count: int) -> list[Path]:
    for _ in range(1200):
        found = [path for path in folder.glob(".1.0.0.*/*.tfrecord-*") if not path.name.startswith(".")]
        if len(found) == count:
            return found
        time.sleep(0.1)
    raise AssertionError(f"{count} shards never came")


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
    config.write_text(yaml.safe_dump({"dataset": "d", "snapshot": snapshot, "audit": {"min_side": 8}}))
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
