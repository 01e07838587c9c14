"""The soft-label store: what goes in comes out, per example, per teacher, in order."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from scipy.special import logsumexp, softmax

from tfpipe.core.errors import MismatchError, MissingArtifactError
from tfpipe.labels.store import (
    LabelHeader,
    check_header,
    combine_weights,
    decode,
    labels_of_view,
    read_header,
    record_type,
    sparsify,
    spread,
    view_path,
    write_header,
    write_view,
)

EXAMPLES, CLASSES, VIEWS, TEMPERATURE = 11, 9, 3, 2.5
WEIGHTS = np.random.default_rng(9).dirichlet((1, 1), EXAMPLES).astype(np.float32)


def make_header(*, top_k: int = CLASSES) -> LabelHeader:
    return LabelHeader(
        teachers=("global.yaml", "alps.yaml"),
        teacher_weights=(0.7, 0.3),
        region_filters=(None, "alps"),
        teacher_sha256s=("aa", "bb"),
        preprocessing_sha256="cc",
        classes_sha256="dd",
        examples_sha256="ee",
        view_seed=1,
        views=VIEWS,
        top_k=top_k,
        num_classes=CLASSES,
        num_examples=EXAMPLES,
        temperature=TEMPERATURE,
    )


def make_logits(teacher: int, view: int) -> np.ndarray:
    """(EXAMPLES, CLASSES), all different."""
    return np.random.default_rng([teacher, view]).normal(0, 4, (EXAMPLES, CLASSES)).astype(np.float32)


def write_store(store: Path, *, top_k: int = CLASSES) -> LabelHeader:
    """In batches of four, as a stage would."""
    header = make_header(top_k=top_k)
    for teacher in range(2):
        for view in range(VIEWS):
            logits = make_logits(teacher, view)
            batches = (sparsify(logits[at : at + 4], top_k, TEMPERATURE) for at in range(0, EXAMPLES, 4))
            write_view(batches, store, teacher=teacher, view=view)
    write_header(header, WEIGHTS, store)
    return header


def read_all(ds: tf.data.Dataset, header: LabelHeader) -> dict[str, np.ndarray]:
    """Decoded in one batch."""
    (batch,) = ds.batch(1000)
    decoded = decode(batch["soft_labels"], header) | {"teacher_weights": batch["teacher_weights"]}
    return {name: values.numpy() for name, values in decoded.items()}


def dense(ids: np.ndarray, logits: np.ndarray) -> np.ndarray:
    found = np.full((*ids.shape[:-1], CLASSES), np.nan)
    np.put_along_axis(found, ids, logits, axis=-1)
    return found


def test_with_all_classes_nothing_is_lost_but_float16s_rounding(tmp_path: Path) -> None:
    header = write_store(tmp_path)
    assert read_header(tmp_path) == header
    for view in range(VIEWS):
        found = read_all(labels_of_view(tmp_path, header, tf.constant(view, tf.int64)), header)
        expected = np.stack([make_logits(teacher, view) for teacher in range(2)], axis=1)
        np.testing.assert_array_equal(
            dense(found["teacher_ids"], found["teacher_logits"]), expected.astype(np.float16).astype(np.float32)
        )
        np.testing.assert_array_equal(found["teacher_weights"], WEIGHTS)
        assert (found["teacher_log_rest"] == -np.inf).all()


def test_with_fewer_the_best_are_kept_and_the_rest_weighed(tmp_path: Path) -> None:
    header = write_store(tmp_path, top_k=4)
    found = read_all(labels_of_view(tmp_path, header, tf.constant(1, tf.int64)), header)
    logits = np.stack([make_logits(teacher, 1) for teacher in range(2)], axis=1).astype(np.float64)
    order = np.argsort(-logits, axis=-1)
    np.testing.assert_array_equal(found["teacher_ids"], order[..., :4])
    np.testing.assert_allclose(found["teacher_logits"], np.take_along_axis(logits, order[..., :4], -1), rtol=1e-3)
    rest = np.take_along_axis(logits, order[..., 4:], -1)
    np.testing.assert_allclose(found["teacher_log_rest"], logsumexp(rest / TEMPERATURE, axis=-1), rtol=1e-5)


def test_the_stream_says_what_shape_it_has(tmp_path: Path) -> None:
    header = write_store(tmp_path, top_k=4)
    ds = labels_of_view(tmp_path, header, tf.constant(0, tf.int64))
    assert {name: (tuple(value.shape), value.dtype) for name, value in ds.element_spec.items()} == {
        "soft_labels": ((2,), tf.string),
        "teacher_weights": ((2,), tf.float32),
    }
    spec = ds.batch(3, drop_remainder=True).map(lambda labels: decode(labels["soft_labels"], header)).element_spec
    assert {name: (tuple(value.shape), value.dtype) for name, value in spec.items()} == {
        "teacher_ids": ((3, 2, 4), tf.int32),
        "teacher_logits": ((3, 2, 4), tf.float32),
        "teacher_log_rest": ((3, 2), tf.float32),
    }


def test_the_view_may_be_a_tensor_inside_a_pipeline(tmp_path: Path) -> None:
    """As `distill` does: view after view, epoch after epoch, in one graph."""
    header = write_store(tmp_path)
    views = tf.data.Dataset.range(4).map(lambda epoch: epoch % VIEWS)
    found = read_all(views.flat_map(lambda view: labels_of_view(tmp_path, header, view)), header)
    expected = [np.stack([make_logits(t, view) for t in range(2)], axis=1) for view in (0, 1, 2, 0)]
    np.testing.assert_allclose(
        dense(found["teacher_ids"], found["teacher_logits"]), np.concatenate(expected), rtol=1e-3, atol=1e-6
    )


@pytest.mark.parametrize("top_k", [1, 5, 9, 400])
def test_both_masses_are_scipys_over_the_classes_left_out(top_k: int) -> None:
    logits = np.random.default_rng(top_k).normal(0, 20, (6, 500)).astype(np.float32)
    records = sparsify(logits, top_k, TEMPERATURE)
    rest = -np.sort(-logits.astype(np.float64), axis=-1)[:, top_k:]
    np.testing.assert_allclose(records["log_rest"], logsumexp(rest, axis=-1), rtol=1e-5)
    np.testing.assert_allclose(records["log_rest_softened"], logsumexp(rest / TEMPERATURE, axis=-1), rtol=1e-5)


def test_a_record_of_a_hundred_classes_has_408_bytes() -> None:
    assert record_type(100).itemsize == 408


def test_a_record_is_little_endian_on_disk() -> None:
    record = sparsify(np.array([[0.0, 3.0, 1.0]], np.float32), 2, 1.0)
    assert record.tobytes() == b"\x01\x00\x02\x00" + b"\x00\x42\x00\x3c" + b"\x00\x00\x00\x00" * 2


def test_ids_reach_up_to_uint16s_last() -> None:
    logits = np.zeros((1, 2**16), np.float32)
    logits[0, -1] = 5
    assert sparsify(logits, 1, 1.0)["ids"].item() == 2**16 - 1


def test_stored_probabilities_stay_close_to_live_ones(tmp_path: Path) -> None:
    """Mean |Δp| at most 1e-3, with logits as sure as a fine-tuned teacher's."""
    header = write_store(tmp_path)
    found = read_all(labels_of_view(tmp_path, header, tf.constant(0, tf.int64)), header)
    stored = softmax(dense(found["teacher_ids"], found["teacher_logits"]), axis=-1)
    live = softmax(np.stack([make_logits(t, 0) for t in range(2)], axis=1).astype(np.float64), axis=-1)
    difference = np.abs(stored - live)
    assert 0 < difference.mean() <= 1e-3
    assert live.max(axis=-1).mean() > 0.5


@pytest.mark.parametrize("batch_sizes", [[3], [1, 2], [1, 1, 1]])
@pytest.mark.parametrize("places", [[0, 1, 2], [2, 5, 6], [4, 7, 9], [0, 5, 9]])
def test_records_of_some_examples_are_spread_over_all(places: list[int], batch_sizes: list[int]) -> None:
    records = sparsify(make_logits(0, 0)[:3], 4, 1.0)
    batches = np.split(records, np.cumsum(batch_sizes)[:-1])
    found = np.concatenate(list(spread(batches, np.array(places), 10, 4)))
    expected = np.zeros(10, record_type(4))
    for place, record in zip(places, records, strict=True):
        expected[place] = record
    np.testing.assert_array_equal(found, expected)


def test_a_teacher_that_speaks_for_none_leaves_only_zeros() -> None:
    found = np.concatenate(list(spread((), np.array([], int), 5, 4)))
    np.testing.assert_array_equal(found, np.zeros(5, record_type(4)))


def test_a_silent_teachers_share_goes_to_the_others() -> None:
    """The plan's weights, 0.7 for the global and 0.3 for the regional teacher, by hand."""
    regions = np.array(["alps", "coast", "alps", ""])
    found = combine_weights(regions, (0.7, 0.3, 1.0), (None, "alps", "coast"))
    expected = [[0.7, 0.3, 0], [0.7 / 1.7, 0, 1 / 1.7], [0.7, 0.3, 0], [1, 0, 0]]
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_weights_need_not_sum_to_one() -> None:
    np.testing.assert_allclose(combine_weights(np.array(["a"]), (6.0, 2.0), (None, None)), [[0.75, 0.25]])


def test_a_region_without_a_teacher_is_named() -> None:
    regions = np.array(["alps", "coast", "heath", "alps"])
    with pytest.raises(MismatchError, match=r"no teacher speaks for region coast, heath: add one"):
        combine_weights(regions, (1.0,), ("alps",))


def test_a_header_that_matches_is_taken(tmp_path: Path) -> None:
    check_header(make_header(), {"classes_sha256": "dd", "views": VIEWS}, tmp_path)


def test_a_header_that_differs_says_in_what_and_in_all_of_it(tmp_path: Path) -> None:
    header = replace(make_header(), temperature=4.0, classes_sha256="zz")
    with pytest.raises(MismatchError) as caught:
        check_header(header, {"temperature": 3.0, "classes_sha256": "dd", "views": VIEWS}, tmp_path)
    message = str(caught.value)
    assert message.startswith(f"{tmp_path}: labels made with ")
    assert "temperature 4.0, wanted 3.0" in message
    assert "classes_sha256 zz, wanted dd" in message
    assert "views" not in message
    assert "tfpipe label" in message


@pytest.mark.parametrize(("teacher", "view"), [(0, 0), (1, 2)])
@pytest.mark.parametrize("cut", [1, None], ids=["cut off", "missing"])
def test_a_file_that_is_not_whole_is_named(tmp_path: Path, teacher: int, view: int, cut: int | None) -> None:
    write_store(tmp_path)
    path = view_path(tmp_path, teacher, view)
    whole = path.read_bytes()
    path.unlink()
    if cut:
        path.write_bytes(whole[:-cut])
    found = len(whole) - cut if cut else 0
    with pytest.raises(MissingArtifactError) as caught:
        read_header(tmp_path)
    assert str(caught.value).startswith(f"{path}: {found} bytes, expected {len(whole)}.")
    assert len(whole) == EXAMPLES * (4 * CLASSES + 8)


def test_weights_that_are_not_whole_are_named(tmp_path: Path) -> None:
    """They end the stream of every view early, without a word, if nobody looks."""
    write_store(tmp_path)
    path = tmp_path / "weights.bin"
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(MissingArtifactError, match=r"weights\.bin"):
        read_header(tmp_path)


def test_a_store_that_was_not_closed_is_no_store(tmp_path: Path) -> None:
    write_view([sparsify(make_logits(0, 0), CLASSES, 1.0)], tmp_path, teacher=0, view=0)
    with pytest.raises(MissingArtifactError, match=r"no soft labels\. `tfpipe label` writes them"):
        read_header(tmp_path)
