"""Sparse labels: the buckets' masses are the dense ones', whatever the logits."""

import numpy as np
import pytest
import tensorflow as tf
from made import to_numpy
from scipy.special import logsumexp, softmax

from tfpipe.core.errors import DataError
from tfpipe.labels.sparse import align, dense_logits, record_type, silence, softened, sparsify

RANDOM = np.random.default_rng(5)
CASES = [
    (int(RANDOM.integers(2, 9001)), float(RANDOM.uniform(0.5, 8)), float(10 ** RANDOM.uniform(-1, 1.3)), case)
    for case in range(12)
]
"""Class counts, temperatures, spreads of the logits, seeds."""


@pytest.mark.parametrize(("num_classes", "temperature", "spread", "seed"), [*CASES, (9000, 3.0, 4.0, 99)])
def test_the_masses_of_k_classes_and_the_rest_are_the_dense_ones(
    num_classes: int, temperature: float, spread: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    kept = int(rng.integers(1, min(num_classes, 150) + 1))
    logits = rng.normal(0, spread, (5, num_classes)).astype(np.float32)
    records = to_numpy(logits, kept, temperature)
    dense = logits.astype(np.float64)
    order = np.argsort(-dense, axis=-1, kind="stable")
    np.testing.assert_array_equal(records["ids"], order[:, :kept])
    rest = np.take_along_axis(dense, order[:, kept:], axis=-1)
    for field, heat in (("log_rest", 1.0), ("log_rest_softened", temperature)):
        if kept < num_classes:
            np.testing.assert_allclose(records[field], logsumexp(rest / heat, axis=-1), rtol=1e-5, atol=1e-5)
        stored = np.concatenate([records["logits"] / heat, records[field][:, None]], axis=-1).astype(np.float64)
        probs = np.take_along_axis(softmax(dense / heat, axis=-1), order, axis=-1)
        buckets = np.concatenate([probs[:, :kept], probs[:, kept:].sum(axis=-1, keepdims=True)], axis=-1)
        # What float16 takes from logits of this size.
        np.testing.assert_allclose(softmax(stored, axis=-1), buckets, rtol=np.abs(dense).max() * 2**-10, atol=1e-12)


def test_stored_probabilities_stay_close_to_dense_ones() -> None:
    """Mean |Δp| at most 1e-3, with logits as sure as a fine-tuned teacher's."""
    logits = np.random.default_rng(0).normal(0, 4, (300, 50)).astype(np.float32)
    live = softmax(logits.astype(np.float64), axis=-1)
    difference = np.abs(softened(to_numpy(logits, 50, 3.0), 50, 1.0) - live)
    assert 0 < difference.mean() <= 1e-3
    assert live.max(axis=-1).mean() > 0.5


def test_equal_logits_keep_distinct_classes_and_their_whole_mass() -> None:
    records = to_numpy(np.full((2, 7), 1.5, np.float32), 3, 2.0)
    np.testing.assert_array_equal(records["ids"], [[0, 1, 2]] * 2)
    np.testing.assert_allclose(records["log_rest"], 1.5 + np.log(4), rtol=1e-6)
    np.testing.assert_allclose(records["log_rest_softened"], 0.75 + np.log(4), rtol=1e-6)


def test_with_all_classes_there_is_no_rest() -> None:
    records = to_numpy(np.array([[1.0, 2.0]], np.float32), 2, 3.0)
    assert records["log_rest"] == records["log_rest_softened"] == -np.inf


def test_the_rest_is_not_what_rounding_leaves_of_a_sure_answer() -> None:
    """Subtracted from the whole, e⁻⁴⁰ would be lost."""
    records = to_numpy(np.array([[0.0, -40.0, -40.0]], np.float32), 1, 1.0)
    np.testing.assert_allclose(records["log_rest"], -40 + np.log(2), rtol=1e-6)


def test_classes_that_a_teacher_lacks_fill_the_row_and_weigh_nothing() -> None:
    aligned = align(tf.constant([[3.0, 1.0]]), np.array([1, -1, 0, -1])).numpy()
    np.testing.assert_array_equal(aligned, [[1.0, -np.inf, 3.0, -np.inf]])
    records = to_numpy(aligned, 3, 2.0)
    np.testing.assert_array_equal(records["ids"], [[2, 0, 1]])
    np.testing.assert_array_equal(records["logits"], [[3, 1, -np.inf]])
    assert records["log_rest"] == -np.inf
    np.testing.assert_allclose(softened(records, 4, 1.0), [[softmax([3, 1])[1], 0, softmax([3, 1])[0], 0]], rtol=1e-9)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_told_by_the_examples_id(value: float) -> None:
    logits = np.zeros((3, 4), np.float32)
    logits[1, 2] = value
    with pytest.raises(DataError, match=r"^the teacher made answered example photo 1 with NaN or infinity"):
        to_numpy(align(tf.constant(logits), np.arange(4)).numpy(), 2, 1.0)


def test_a_logit_that_float16_does_not_hold_is_told_by_the_examples_id() -> None:
    with pytest.raises(DataError, match=r"example photo 0 with a logit above 65504"):
        to_numpy(np.array([[70000.0, 0.0]], np.float32), 1, 1.0)


def test_a_class_that_is_out_of_the_question_stays_a_number() -> None:
    """float16 would make -inf of it, which is a class that the teacher does not know."""
    assert to_numpy(np.array([[0.0, -1e6]], np.float32), 2, 1.0)["logits"].tolist() == [[0.0, -65504.0]]


def test_a_record_of_a_hundred_classes_has_408_bytes() -> None:
    assert record_type(100).itemsize == 408


def test_a_record_is_little_endian_on_disk() -> None:
    record = to_numpy(np.array([[0.0, 3.0, 1.0]], np.float32), 2, 1.0)
    assert record.tobytes() == b"\x01\x00\x02\x00" + b"\x00\x42\x00\x3c" + b"\x00\x00\x00\x00" * 2


def test_ids_reach_up_to_uint16s_last() -> None:
    logits = np.zeros((1, 2**16), np.float32)
    logits[0, -1] = 5
    assert to_numpy(logits, 1, 1.0)["ids"].item() == 2**16 - 1


@pytest.mark.parametrize("kept", [3, 8])
def test_silence_is_uniform_and_its_ids_are_distinct(kept: int) -> None:
    record = silence(kept, 8)
    np.testing.assert_allclose(softened(record, 8, 1.0), np.full((1, 8), 1 / 8), rtol=1e-6)
    assert len(set(record["ids"][0].tolist())) == kept


def test_dense_logits_share_the_rest_evenly() -> None:
    logits = np.random.default_rng(3).normal(0, 3, (4, 20)).astype(np.float32)
    dense = dense_logits(to_numpy(logits, 6, 2.0), 20)
    np.testing.assert_allclose(logsumexp(dense, axis=-1), logsumexp(logits, axis=-1), rtol=1e-3)
    order = np.argsort(-logits, axis=-1)
    left = np.take_along_axis(dense, order[:, 6:], axis=-1)
    np.testing.assert_array_equal(left, np.repeat(left[:, :1], 14, axis=1))


def test_the_gradient_graph_knows_its_shapes() -> None:
    spec = tf.function(lambda logits: sparsify(logits, 4, 1.0).tensors()).get_concrete_function(
        tf.TensorSpec((None, 9), tf.float32)
    )
    assert [tuple(shape) for shape in spec.output_shapes][:2] == [(None, 4), (None, 4)]
