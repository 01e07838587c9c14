"""`label`: a file for each teacher, view and shard, whoever writes it; and nothing that does not belong."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from label_garden import (
    CLASSES,
    NUM_TRAIN,
    label,
    label_what_is_missing,
    pack_garden,
    store_of,
    stored,
    teachers_of,
    write_student,
    write_teacher,
)
from scipy.special import softmax

from tfpipe.core.cluster import Share
from tfpipe.core.config import load_config
from tfpipe.core.errors import ConfigError, DataError, MismatchError, MissingArtifactError, TfpipeError
from tfpipe.core.files import sha256_path
from tfpipe.core.workspace import Workspace
from tfpipe.data.pipeline import view_batches
from tfpipe.data.records import Records
from tfpipe.labels.sparse import dense_logits
from tfpipe.labels.store import labels_of_view, read_header, read_weights
from tfpipe.models.saving import load_model
from tfpipe.stages.label import teachers as label_teachers
from tfpipe.stages.label import units as label_units
from tfpipe.stages.label.compare import compare
from tfpipe.stages.label.taking import take
from tfpipe.stages.label.work import open_labels
from tfpipe.stages.runner import run_step


@pytest.fixture(scope="module")
def garden(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Records, and teachers `sharp`, `soft`, one that knows two colours in another order, and one gone wrong."""
    folder = pack_garden(tmp_path_factory.mktemp("garden") / "label" / "g")
    write_teacher(folder / "sharp.keras")
    write_teacher(folder / "soft.keras", sharpness=0.5)
    write_teacher(folder / "partial.keras", classes=["red", "blue"])
    write_teacher(folder / "never.keras", counts=[1, 0, 1])
    write_teacher(folder / "stranger.keras", classes=[*CLASSES, "violet"])
    write_teacher(folder / "broken.keras", tilt=lambda kernel: kernel * np.nan)
    return folder


@pytest.fixture
def nobody_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(label_teachers, "load_model", lambda path: pytest.fail(f"{path} was asked"))


def train(garden: Path) -> Records:
    return Records(garden / "data" / "garden" / "1.0.0", "train")


def live(garden: Path, name: str, view: int, seed: int = 42) -> np.ndarray:
    """What the network says, without anything of `label`."""
    network, card = load_model(garden / f"{name}.keras")
    batches = view_batches(
        train(garden), card.model_input, augmentation="moderate", view=view, view_seed=seed, batch_size=NUM_TRAIN
    )
    (logits,) = [network(images).numpy() for _, images in batches]
    return logits


@pytest.fixture(scope="module")
def two(garden: Path) -> Path:
    """The store of two teachers, one of them regional and calibrated."""
    teachers = teachers_of(garden, "sharp", "soft", soft={"region_filter": "EU_SW", "temperature": "calibrated"})
    label(garden, "two", teachers)
    return store_of(garden, "two")


def test_what_is_stored_is_what_the_teachers_say_of_the_same_views(garden: Path, two: Path) -> None:
    header = read_header(two)
    _, regions, _ = train(garden).facts()
    assert header.shard_lengths == train(garden).shard_lengths()
    assert len(header.shard_lengths) == 2
    for view in range(2):
        for teacher, name in enumerate(("sharp", "soft")):
            expected = live(garden, name, view) / header.teachers[teacher].calibration_temperature
            found = stored(two, header, view, teacher)
            spoken = np.full(NUM_TRAIN, True) if teacher == 0 else regions == "EU_SW"
            assert np.array_equal(found["ids"][spoken], np.argsort(-expected, axis=-1)[spoken])
            difference = softmax(dense_logits(found, 3), axis=-1) - softmax(expected.astype(np.float64), axis=-1)
            assert np.abs(difference[spoken]).mean() <= 1e-3
            np.testing.assert_allclose(dense_logits(found, 3)[~spoken], 0)
    shares = read_weights(two, header)
    np.testing.assert_allclose(shares[:, 1], np.where(regions == "EU_SW", 0.5, 0))
    np.testing.assert_allclose(shares.sum(axis=-1), 1)


def test_the_calibrated_teacher_divides_by_what_fits_its_region_of_validation_best(garden: Path, two: Path) -> None:
    found = read_header(two).teachers[1].calibration_temperature
    network, card = load_model(garden / "soft.keras")
    records = Records(train(garden).directory, "validation")
    batches = view_batches(records, card.model_input, augmentation="none", view=0, view_seed=0, batch_size=NUM_TRAIN)
    (logits,) = [network(images).numpy() for _, images in batches]
    _, regions, labels = records.facts()
    logits, labels = logits[regions == "EU_SW"], labels[regions == "EU_SW"]
    grid = np.append(np.geomspace(0.05, 20, 400), found)
    losses = [-np.log(softmax(logits / t, axis=-1)[np.arange(len(labels)), labels]).mean() for t in grid]
    assert losses[-1] <= min(losses) * 1.001


def test_two_machines_shares_are_to_the_byte_what_one_writes(garden: Path, capsys: pytest.CaptureFixture[str]) -> None:
    teachers = teachers_of(garden, "sharp", "soft")
    first = label(garden, "shared", teachers, Share(1, 2), seed=7)
    assert first == {"num_files": 8, "num_missing": 4}
    assert "share 1 of 2 is done; of 8 files 4 are still missing" in capsys.readouterr().err
    assert not (garden / "runs" / "shared" / "label" / "state.json").exists()
    assert label(garden, "shared", teachers, Share(2, 2), seed=7) == {"num_files": 8, "num_missing": 0}
    assert not (store_of(garden, "shared") / "header.json").exists()
    label(garden, "whole", teachers, seed=7)


def test_what_shares_left_is_joined_without_asking_anybody(garden: Path, nobody_is_asked: None) -> None:
    label_what_is_missing(garden, "shared", teachers_of(garden, "sharp", "soft"), seed=7)
    assert sha256_path(store_of(garden, "shared")) == sha256_path(store_of(garden, "whole"))
    # And a share that comes too late finds all done.
    label(garden, "shared", teachers_of(garden, "sharp", "soft"), Share(2, 2), seed=7)


def test_a_share_of_what_was_never_prepared_names_the_command(garden: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    shutil.copy(garden / "dataset.yaml", other)
    path = write_student(other, "early", teachers_of(garden, "sharp"))
    with pytest.raises(MissingArtifactError, match=r"Run `tfpipe snapshot"):
        run_step("label", path, workspace=Workspace(other), share=Share(1, 2))


def test_a_killed_run_goes_on_after_the_files_that_are_whole(garden: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    teachers = teachers_of(garden, "sharp")
    write, written = label_units.write_shard, []

    def killed(records: Iterator[np.ndarray], path: Path) -> None:
        if len(written) == 3:
            # As after `kill -9` in the middle of a file.
            path.with_name(f".{path.name}.0badcafe").write_bytes(b"half")
            raise KeyboardInterrupt
        write(records, path)
        written.append(path)

    monkeypatch.setattr(label_units, "write_shard", killed)
    with pytest.raises(KeyboardInterrupt):
        label(garden, "killed", teachers)
    before = {path: path.stat().st_mtime_ns for path in written}
    monkeypatch.setattr(label_units, "write_shard", lambda records, path: (write(records, path), written.append(path)))
    label_what_is_missing(garden, "killed", teachers)
    assert len(written) == len(set(written)) == 4
    assert {path: path.stat().st_mtime_ns for path in before} == before
    label(garden, "unbroken", teachers)
    assert sha256_path(store_of(garden, "killed")) == sha256_path(store_of(garden, "unbroken"))


def test_a_beam_runner_writes_the_same(garden: Path) -> None:
    teachers = teachers_of(garden, "sharp")
    label(garden, "one", teachers)
    path = write_student(garden, "beam", teachers)
    run_step("label", path, ("runner=DirectRunner",), workspace=Workspace(garden), force=True)
    assert sha256_path(store_of(garden, "beam")) == sha256_path(store_of(garden, "one"))


def test_classes_are_aligned_by_name(garden: Path) -> None:
    """`partial` knows red and blue, in that order; of green the other one speaks alone."""
    metrics = label(garden, "aligned", teachers_of(garden, "partial", "sharp"), label={"views": 1})
    header = read_header(store_of(garden, "aligned"))
    found = dense_logits(stored(store_of(garden, "aligned"), header, 0), 3)
    labels = train(garden).facts()[2]
    green = labels == CLASSES.index("green")
    expected = live(garden, "partial", 0)
    np.testing.assert_allclose(found[~green][:, [2, 0]], expected[~green], rtol=1e-3)
    assert (found[~green][:, 1] == -np.inf).all()
    assert read_weights(store_of(garden, "aligned"), header)[green].tolist() == [[0.0, 1.0]] * green.sum()
    assert metrics["train_top1"]["label-g-partial"] == 1.0


def test_metrics_tell_how_teachers_compare(garden: Path, two: Path) -> None:
    metrics = json.loads((two.parent / "metrics.json").read_text())
    assert metrics["bytes_per_view"] == 20
    assert metrics["top_k"] == 3
    assert set(metrics["region_wins"]) == {"EU_SW"}
    assert list(metrics["agreement"]) == ["label-g-sharp · label-g-soft"]
    assert 0 < metrics["target_entropy"] < 1


def test_unaugmented_labels_are_of_the_plain_photo(garden: Path) -> None:
    label(garden, "plain", teachers_of(garden, "sharp"), label={"views": "unaugmented"})
    header = read_header(store_of(garden, "plain"))
    network, card = load_model(garden / "sharp.keras")
    batches = view_batches(
        train(garden), card.model_input, augmentation="none", view=0, view_seed=7, batch_size=NUM_TRAIN
    )
    (expected,) = [network(images).numpy() for _, images in batches]
    assert header.views == 1
    np.testing.assert_allclose(dense_logits(stored(store_of(garden, "plain"), header, 0), 3), expected, rtol=1e-3)


# --check


def test_labels_that_are_the_teachers_pass(garden: Path, two: Path) -> None:
    metrics = compare(load_config(garden / "two.yaml"), Workspace(garden), 30)
    assert metrics["index_agreement"] == 1.0
    assert metrics["mean_probability_difference"] < 1e-6
    assert 30 <= metrics["num_compared"] <= 60


def test_labels_that_are_not_the_teachers_do_not(garden: Path) -> None:
    store = store_of(garden, "one")
    path = next(store.glob("*/view001/00001*"))
    content = np.fromfile(path, np.uint8)
    try:
        np.roll(content, 3 * 20).tofile(path)
        with pytest.raises(MismatchError, match=r"labels asked for again, mean \|Δp\| .*Run `tfpipe label --force`"):
            compare(load_config(garden / "one.yaml"), Workspace(garden), 1000)
    finally:
        content.tofile(path)


# .npz


def test_labels_taken_as_npz_come_back_the_same(garden: Path, tmp_path: Path) -> None:
    take(load_config(garden / "plain.yaml"), Workspace(garden), tmp_path / "taken.npz")
    with np.load(tmp_path / "taken.npz") as saved:
        assert set(saved) == {"logits", "indices", "confidences", "soft_probs"}
        np.testing.assert_allclose(saved["soft_probs"].sum(axis=-1), 1, rtol=1e-6)
        np.testing.assert_allclose(saved["confidences"], softmax(saved["logits"], axis=-1).max(axis=-1), rtol=1e-5)
        assert saved["indices"].tolist() == train(garden).facts()[0].tolist()
        shuffled = np.random.default_rng(0).permutation(NUM_TRAIN)
        np.savez(
            tmp_path / "back.npz", logits=saved["logits"][shuffled], indices=saved["indices"].astype(int)[shuffled]
        )
        np.savez(tmp_path / "probs.npz", soft_probs=saved["soft_probs"], indices=saved["indices"])
    expected = stored(store_of(garden, "plain"), read_header(store_of(garden, "plain")), 0)
    for name in ("back", "probs"):
        label(garden, name, [{"path": str(tmp_path / f"{name}.npz")}], label={"views": "unaugmented"})
        found = stored(store_of(garden, name), read_header(store_of(garden, name)), 0)
        np.testing.assert_array_equal(found["ids"], expected["ids"])
        if name == "back":
            np.testing.assert_array_equal(found, expected)
        np.testing.assert_allclose(
            softmax(dense_logits(found, 3), axis=-1), softmax(dense_logits(expected, 3), axis=-1), atol=2e-3
        )


def test_several_teachers_are_taken_one_by_one_and_together(garden: Path, two: Path, tmp_path: Path) -> None:
    take(load_config(garden / "two.yaml"), Workspace(garden), tmp_path / "two.npz")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "two-label-g-sharp.npz",
        "two-label-g-soft.npz",
        "two.npz",
    ]
    with np.load(tmp_path / "two-label-g-soft.npz") as saved:
        ids, regions, _ = train(garden).facts()
        assert saved["indices"].tolist() == ids[regions == "EU_SW"].tolist()
    with np.load(tmp_path / "two.npz") as saved:
        assert set(saved) == {"soft_probs", "indices"}
        np.testing.assert_allclose(saved["soft_probs"].sum(axis=-1), 1, rtol=1e-6)


# What a person got wrong


@pytest.mark.parametrize(
    ("teachers", "more", "error", "told"),
    [
        (("broken",), {}, DataError, r"the teacher label-g-broken answered example \d+ with NaN or infinity"),
        (("stranger",), {}, MismatchError, "knows violet, and the records have no such class"),
        (("never",), {}, MismatchError, r"was trained on the class green \(\d+ examples\)"),
        (("partial",), {}, MismatchError, "trained on the class green"),
        (("sharp",), {"sharp": {"weight": 0}}, ConfigError, "the weights of `teachers` sum to 0"),
        (("sharp",), {"sharp": {"region_filter": "ATLANTIS"}}, DataError, "teachers.0.region_filter: no row has"),
        (("sharp",), {"sharp": {"region_filter": "EU_SW"}}, MismatchError, "no teacher speaks for region EU:"),
        (("sharp",), {"label": {"views": "live"}}, ConfigError, "label.views is live, so there is nothing to store"),
        (("sharp",), {"data": {"config": "dataset.yaml", "region": "MOON"}}, DataError, "no row has region 'MOON'"),
    ],
)
def test_bad_input_ends_in_one_sentence(
    garden: Path, teachers: tuple[str, ...], more: dict[str, Any], error: type[TfpipeError], told: str
) -> None:
    sections = {key: value for key, value in more.items() if key in ("label", "data")}
    with pytest.raises(error, match=told) as caught:
        label(garden, "bad", teachers_of(garden, *teachers, **more), **sections)
    assert "\n" not in str(caught.value)


def test_more_classes_or_views_than_are_of_use_is_told(garden: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = {"views": 2, "top_k": 400}
    assert label(garden, "many", teachers_of(garden, "sharp"), label=asked, training={"epochs": 1})["top_k"] == 3
    told = capsys.readouterr().err
    assert "label.top_k is 400, and there are 3 classes: all of them are stored" in told
    assert "label.views is 2, and distillation, with a view an epoch, takes 1 of them" in told


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        ({"logits": np.zeros((40, 4), np.float32)}, "`logits` has 4 classes, and the records have 3"),
        ({"logits": np.zeros((39, 3), np.float32)}, r"`logits` is float32 \(39, 3\), and `indices` has 40 ids"),
        ({"logits": np.zeros((40, 3), np.float32), "indices": np.arange(100, 140)}, "no row for"),
        ({"logits": np.full((40, 3), np.nan, np.float32)}, "answered example .* with NaN or infinity"),
        ({"soft_probs": np.full((40, 3), 0.9, np.float32)}, r"sum to 2\.7 or are below 0"),
        ({"answers": np.zeros(3)}, "neither `logits` nor `soft_probs`; there are: indices, answers"),
        ({"logits": np.zeros((40, 3)), "indices": np.array(["a"] * 40, object)}, "holds pickled Python objects"),
        ({"logits": np.zeros((40, 3)), "indices": np.zeros(40, int)}, "names 39 ids twice"),
    ],
)
def test_an_npz_that_does_not_fit_ends_in_one_sentence(
    garden: Path, tmp_path: Path, columns: dict[str, np.ndarray], told: str
) -> None:
    np.savez(tmp_path / "bad.npz", **{"indices": np.array(train(garden).facts()[0])} | columns)
    with pytest.raises(TfpipeError, match=told) as caught:
        label(garden, "bad", [{"path": str(tmp_path / "bad.npz")}], label={"views": "unaugmented"})
    assert "\n" not in str(caught.value)


def test_an_npz_with_views_is_refused(garden: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"holds one label of each photo as it is, and label\.views is 2"):
        label(garden, "bad", [{"path": str(tmp_path / "any.npz")}])


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("seed=1", "view seed 42, wanted 1"),
        ("label.views=5", "2 views, wanted 5"),
        ("distillation.temperature=9", r"distillation temperature 3\.0, wanted 9\.0"),
        ("data.augmentation=none", "augmentation moderate, wanted none"),
        ("teachers=[{path: label/g/soft.keras}]", "teachers label-g-sharp, label-g-soft, wanted label-g-soft"),
    ],
)
def test_labels_made_with_something_else_are_refused(garden: Path, two: Path, change: str, told: str) -> None:
    config = load_config(garden / "two.yaml", (change.replace("label/g", str(garden)),))
    with pytest.raises(MismatchError, match=told):
        open_labels(config, Workspace(garden), train(garden))


def test_a_teacher_with_other_weights_is_another(garden: Path) -> None:
    label(garden, "swapped", [{"path": str(shutil.copy(garden / "sharp.keras", garden / "copy.keras"))}])
    shutil.copy(garden / "soft.keras", garden / "copy.keras")
    with pytest.raises(MismatchError, match=r"labels made with another teacher \(other weights\)\. Run"):
        open_labels(load_config(garden / "swapped.yaml"), Workspace(garden), train(garden))


def test_a_stream_of_the_store_is_in_step_with_the_records(garden: Path, two: Path) -> None:
    pairs = tf.data.Dataset.zip(train(garden).examples(), labels_of_view(two, read_header(two), 0))
    regions = {example["region"].decode(): labels["teacher_weights"] for example, labels in pairs.as_numpy_iterator()}
    assert regions["EU"].tolist() == [1.0, 0.0]
    assert regions["EU_SW"][1] > 0
