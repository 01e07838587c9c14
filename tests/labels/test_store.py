"""The soft-label store: what goes in comes out, per example, per teacher, in order."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from made import (
    CLASSES,
    EXAMPLES,
    LENGTHS,
    NAMES,
    TEMPERATURE,
    VIEWS,
    WEIGHTS,
    make_header,
    make_logits,
    make_teacher_header,
    to_numpy,
    write_store,
)
from scipy.special import logsumexp, softmax

from tfpipe.core.errors import MismatchError, MissingArtifactError
from tfpipe.labels.header import LabelHeader, check_header, differences
from tfpipe.labels.sparse import SMALLEST, silence
from tfpipe.labels.store import (
    adopt_shard,
    decode,
    iter_shards,
    labels_of_view,
    read_header,
    shard_path,
    spread,
    write_shard,
)
from tfpipe.labels.summary import combined, count_answers, target_entropy, tell_answers


def read_all(ds: tf.data.Dataset, header: LabelHeader, temperature: float = TEMPERATURE) -> dict[str, np.ndarray]:
    (batch,) = ds.batch(EXAMPLES * VIEWS * 2)
    found = decode(batch["soft_labels"], header, temperature) | {"teacher_weights": batch["teacher_weights"]}
    return {name: value.numpy() for name, value in found.items()}


def dense(ids: np.ndarray, logits: np.ndarray) -> np.ndarray:
    found = np.full((*ids.shape[:-1], CLASSES), np.nan)
    np.put_along_axis(found, ids, logits, axis=-1)
    return found


def both_teachers(view: int) -> np.ndarray:
    return np.stack([make_logits(teacher, view) for teacher in range(2)], axis=1)


def test_with_all_classes_nothing_is_lost_but_float16s_rounding(tmp_path: Path) -> None:
    header = write_store(tmp_path)
    assert read_header(tmp_path) == header
    for view in range(VIEWS):
        found = read_all(labels_of_view(tmp_path, header, tf.constant(view, tf.int64)), header)
        np.testing.assert_array_equal(
            dense(found["teacher_ids"], found["teacher_logits"]),
            both_teachers(view).astype(np.float16).astype(np.float32),
        )
        np.testing.assert_array_equal(found["teacher_weights"], WEIGHTS)
        assert (found["teacher_log_rest"] == np.float32(SMALLEST)).all()


@pytest.mark.parametrize("temperature", [1.0, TEMPERATURE])
def test_with_fewer_the_best_are_kept_and_the_rest_weighed(tmp_path: Path, temperature: float) -> None:
    header = write_store(tmp_path, kept=4)
    found = read_all(labels_of_view(tmp_path, header, tf.constant(1, tf.int64)), header, temperature)
    logits = both_teachers(1).astype(np.float64)
    order = np.argsort(-logits, axis=-1)
    np.testing.assert_array_equal(found["teacher_ids"], order[..., :4])
    np.testing.assert_allclose(found["teacher_logits"], np.take_along_axis(logits, order[..., :4], -1), rtol=1e-3)
    rest = np.take_along_axis(logits, order[..., 4:], -1)
    np.testing.assert_allclose(found["teacher_log_rest"], logsumexp(rest / temperature, axis=-1), rtol=1e-5)


def test_at_a_temperature_that_was_not_stored_the_rest_is_not_guessed(tmp_path: Path) -> None:
    with pytest.raises(MismatchError, match=r"at temperature 1 and 2\.5, and 3 is wanted"):
        decode(tf.constant([["x"]]), make_header(kept=4), 3.0)


def test_decoding_says_what_shapes_and_types_there_are(tmp_path: Path) -> None:
    header = write_store(tmp_path, kept=4)
    ds = labels_of_view(tmp_path, header, 0)
    assert {name: (tuple(value.shape), value.dtype) for name, value in ds.element_spec.items()} == {
        "soft_labels": ((2,), tf.string),
        "teacher_weights": ((2,), tf.float32),
    }
    spec = ds.batch(5).map(lambda example: decode(example["soft_labels"], header, TEMPERATURE)).element_spec
    assert {name: (tuple(value.shape), value.dtype) for name, value in spec.items()} == {
        "teacher_ids": ((None, 2, 4), tf.int32),
        "teacher_logits": ((None, 2, 4), tf.float32),
        "teacher_log_rest": ((None, 2), tf.float32),
    }


def test_the_view_may_be_a_tensor_inside_a_pipeline(tmp_path: Path) -> None:
    """As `distill` does: view after view, epoch after epoch, in one graph."""
    header = write_store(tmp_path)
    views = tf.data.Dataset.range(4).map(lambda epoch: epoch % VIEWS)
    found = read_all(views.flat_map(lambda view: labels_of_view(tmp_path, header, view)), header)
    expected = np.concatenate([both_teachers(view) for view in (0, 1, 2, 0)])
    np.testing.assert_allclose(dense(found["teacher_ids"], found["teacher_logits"]), expected, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("first", [0, 3, 4, 8, 10])
def test_reading_may_start_anywhere(tmp_path: Path, first: int) -> None:
    header = write_store(tmp_path)
    found = read_all(labels_of_view(tmp_path, header, 1, first), header)
    np.testing.assert_allclose(
        dense(found["teacher_ids"], found["teacher_logits"]), both_teachers(1)[first:], rtol=1e-3, atol=1e-6
    )
    np.testing.assert_array_equal(found["teacher_weights"], WEIGHTS[first:])


def test_a_class_that_a_teacher_lacks_is_decoded_as_a_number() -> None:
    records = to_numpy(np.array([[1.0, -np.inf, 0.5]], np.float32), 3, 1.0)
    header = LabelHeader(("one",), (make_teacher_header(num_classes=3, kept=3),), (1.0,))
    found = decode(tf.constant([[records.tobytes()]]), header, TEMPERATURE)
    assert found["teacher_logits"].numpy().tolist() == [[[1.0, 0.5, np.float32(SMALLEST)]]]


@pytest.mark.parametrize("batch_sizes", [[3], [1, 2], [1, 1, 1]])
@pytest.mark.parametrize("places", [[0, 1, 2], [2, 5, 6], [4, 7, 9], [0, 5, 9]])
def test_records_of_some_examples_are_spread_over_all(places: list[int], batch_sizes: list[int]) -> None:
    records = to_numpy(make_logits(0, 0)[:3], 4, 1.0)
    keep = np.isin(np.arange(10), places)
    found = np.concatenate(list(spread(np.split(records, np.cumsum(batch_sizes)[:-1]), keep, silence(4, CLASSES))))
    expected = np.repeat(silence(4, CLASSES), 10)
    expected[places] = records
    np.testing.assert_array_equal(found, expected)


def test_a_teacher_that_speaks_for_none_is_silent_everywhere() -> None:
    found = np.concatenate(list(spread((), np.full(700, False), silence(4, CLASSES))))
    np.testing.assert_array_equal(found, np.repeat(silence(4, CLASSES), 700))


# What does not belong together


def test_a_header_that_matches_is_taken(tmp_path: Path) -> None:
    check_header(make_header(), make_header(), tmp_path)


def test_a_header_that_differs_says_in_what_and_in_all_of_it(tmp_path: Path) -> None:
    found = make_header(temperature=4.0, classes_sha256="zz", model_sha256="yy")
    with pytest.raises(MismatchError) as caught:
        check_header(found, make_header(), tmp_path)
    told = "distillation temperature 4.0, wanted 2.5"
    one = f"another teacher (other weights); {{name}}: another class list; {{name}}: {told}"
    expected = "; ".join(f"{name}: {one.format(name=name)}" for name in NAMES)
    assert str(caught.value) == f"{tmp_path}: labels made with {expected}. Run `tfpipe label` again."


def test_every_field_of_a_header_has_words() -> None:
    other = {name: f"other {name}" for name in vars(make_teacher_header())}
    told = differences(make_teacher_header(**other), make_teacher_header())
    assert len(told) == len(set(told)) == len(other)
    assert not any("sha256" in words for words in told if "{" not in words)


@pytest.mark.parametrize("change", [{"weights": (0.5, 0.5)}, {"names": ("global", "tundra")}])
def test_other_teachers_and_other_weights_are_told(tmp_path: Path, change: dict[str, tuple[object, ...]]) -> None:
    with pytest.raises(MismatchError, match=r"(teachers global, alps, wanted global, tundra|weights 0\.7, 0\.3, want)"):
        check_header(make_header(), replace(make_header(), **change), tmp_path)


def test_another_teachers_folder_in_the_place_of_one_is_told(tmp_path: Path) -> None:
    write_store(tmp_path)
    (tmp_path / "alps").rename(tmp_path / "aside")
    (tmp_path / "global").rename(tmp_path / "alps")
    (tmp_path / "aside").rename(tmp_path / "global")
    with pytest.raises(MismatchError, match=r"global: not the labels that .*header\.json tells of"):
        read_header(tmp_path)


@pytest.mark.parametrize(("teacher", "view", "shard"), [("global", 0, 1), ("alps", 2, 2)])
def test_a_shard_that_is_missing_or_cut_off_is_named(tmp_path: Path, teacher: str, view: int, shard: int) -> None:
    write_store(tmp_path)
    path = shard_path(tmp_path / teacher, view, shard, len(LENGTHS))
    whole = path.read_bytes()
    assert len(whole) == LENGTHS[shard] * (4 * CLASSES + 8)
    path.write_bytes(whole[:-1])
    with pytest.raises(MissingArtifactError) as caught:
        read_header(tmp_path)
    assert str(caught.value).startswith(f"{path}: {len(whole) - 1} bytes, expected {len(whole)}: it was cut off.")
    path.unlink()
    with pytest.raises(MissingArtifactError) as caught:
        read_header(tmp_path)
    assert str(caught.value).startswith(f"{path} is missing. Run")


def test_weights_that_are_not_whole_are_named(tmp_path: Path) -> None:
    """They end the stream of every view early, without a word, if nobody looks."""
    write_store(tmp_path)
    path = tmp_path / "weights.bin"
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(MissingArtifactError, match=r"weights\.bin"):
        read_header(tmp_path)


def test_a_store_that_was_not_closed_is_no_store(tmp_path: Path) -> None:
    write_shard([to_numpy(make_logits(0, 0), CLASSES, 1.0)], shard_path(tmp_path / "global", 0, 0, 3))
    with pytest.raises(MissingArtifactError, match=r"no soft labels\. `tfpipe label` writes them"):
        read_header(tmp_path)


def test_a_store_of_before_is_told(tmp_path: Path) -> None:
    (tmp_path / "header.json").write_text('{"teachers": ["a.yaml"], "views": 1}')
    with pytest.raises(MismatchError, match="a store of another version of tfpipe"):
        read_header(tmp_path)


def test_what_killed_runs_left_goes_when_the_store_is_closed(tmp_path: Path) -> None:
    left = tmp_path / "alps" / "view000" / ".00000-of-00003.bin.0badcafe"
    left.parent.mkdir(parents=True)
    left.touch()
    write_store(tmp_path)
    assert not left.exists()


@pytest.mark.parametrize("links", [True, False])
def test_an_adopted_file_is_the_same_and_outlives_the_first(
    tmp_path: Path, links: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError("no hard links here")

    if not links:
        monkeypatch.setattr(os, "link", refuse)
    first, second = tmp_path / "first.bin", tmp_path / "new" / "second.bin"
    first.write_bytes(b"labels")
    adopt_shard(first, second)
    assert (first.stat().st_ino == second.stat().st_ino) == links
    first.unlink()
    assert second.read_bytes() == b"labels"


# What it is like


def test_answers_are_counted_as_by_hand(tmp_path: Path) -> None:
    header = write_store(tmp_path, kept=4)
    regions = np.array(["alps"] * 5 + ["coast"] * 6)
    weights = np.where((regions == "alps")[:, None], WEIGHTS, [1.0, 0.0])
    labels = make_logits(0, 0).argmax(axis=-1)
    found = tell_answers(count_answers(tmp_path, header, weights, regions, labels), NAMES)
    best = np.stack([both_teachers(view).argmax(axis=-1) for view in range(VIEWS)])
    right = best == labels[None, :, None]
    in_alps = right[:, :5].mean(axis=(0, 1))
    assert found["train_top1"] == pytest.approx({"global": right[:, :, 0].mean(), "alps": in_alps[1]})
    assert found["agreement"] == pytest.approx({"global · alps": (best[:, :5, 0] == best[:, :5, 1]).mean()})
    assert set(found["region_wins"]) == {"alps"}
    win = found["region_wins"]["alps"]
    assert win["teacher"] == NAMES[int(in_alps.argmax())]
    assert win["by"] == pytest.approx(abs(in_alps[0] - in_alps[1]))
    assert win["top1"] == pytest.approx(dict(zip(NAMES, in_alps, strict=True)))


@pytest.mark.parametrize("temperature", [1, None])
def test_what_teachers_say_together_is_the_weighted_mean_of_probabilities(
    tmp_path: Path, temperature: float | None
) -> None:
    header = write_store(tmp_path)
    heat = temperature or TEMPERATURE
    expected = (softmax(both_teachers(0).astype(np.float64) / heat, axis=-1) * WEIGHTS[:, :, None]).sum(axis=1)
    pieces = [
        combined(records, WEIGHTS[places], header, temperature=temperature)
        for places, records in iter_shards(tmp_path, header, 0)
    ]
    found = np.concatenate(pieces)
    np.testing.assert_allclose(found.sum(axis=-1), 1, rtol=1e-12)
    np.testing.assert_allclose(found, expected, atol=3e-3)
    entropy = -(expected * np.log(expected)).sum(axis=-1).mean() / np.log(CLASSES)
    if temperature is None:
        assert target_entropy(tmp_path, header, WEIGHTS) == pytest.approx(entropy, rel=1e-3)
