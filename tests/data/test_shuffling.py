"""Shuffled as `Dataset.shuffle` does it, and without the state that would stop a deterministic pipeline's threads."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.framework import op_def_registry

from tfpipe.core.inputs import ImageInput
from tfpipe.core.settings import Augmentation
from tfpipe.data.pipeline import Epochs, StoredLabels, distillation_batches, training_batches
from tfpipe.data.records import Records
from tfpipe.data.shuffling import shuffled

INPUT = ImageInput(8, mean=(0.0, 0.0, 0.0), scale=(1.0, 1.0, 1.0))
EPOCHS = Epochs(batch_size=5, epochs=2, seed=0)
DETERMINISTIC = {"RangeDataset", "TFRecordDataset", "TensorSliceDataset"}
"""Of the operations with a state, those that `make_deterministic`, a rewrite of tf.data's, lets run on any thread."""


@pytest.fixture
def train(records_dir: Path) -> Records:
    return Records(records_dir, "train")


def stateful_operations(ds: tf.data.Dataset) -> set[str]:
    """In the functions that are mapped."""
    graph = tf.compat.v1.GraphDef()
    graph.ParseFromString(tf.raw_ops.DatasetToGraphV2(input_dataset=tf.data.experimental.to_variant(ds)).numpy())
    names = {node.op for function in graph.library.function for node in function.node_def}
    return {name for name in names if op_def_registry.get(name).is_stateful}


@pytest.mark.parametrize("buffer", [1, 7, 40, 100])
def test_the_order_is_that_of_tensorflow(buffer: int) -> None:
    def elements(number: tf.Tensor) -> tf.data.Dataset:
        return tf.data.Dataset.range(40).map(lambda place: {"place": place, "pair": (place, number)})

    ours = tf.data.Dataset.range(3).flat_map(lambda seed: shuffled(elements(seed), buffer, seed))
    theirs = tf.data.Dataset.range(3).flat_map(
        lambda seed: elements(seed).shuffle(buffer, seed=seed, reshuffle_each_iteration=False)
    )
    assert ours.element_spec == theirs.element_spec
    found = list(ours.as_numpy_iterator())
    assert found == list(theirs.as_numpy_iterator()) == list(ours.as_numpy_iterator())
    assert len({tuple(one["place"] for one in found[start : start + 40]) for start in (0, 40, 80)}) == (
        1 if buffer == 1 else 3
    )


def test_a_state_would_be_found() -> None:
    ds = tf.data.Dataset.range(3).flat_map(lambda seed: tf.data.Dataset.range(9).shuffle(9, seed=seed))
    assert stateful_operations(ds) - DETERMINISTIC


@pytest.mark.parametrize("augmentation", ["none", "moderate", "aggressive"])
@pytest.mark.parametrize("sampled", [False, True])
def test_nothing_keeps_a_deterministic_pipeline_from_running_ahead(
    train: Records, augmentation: Augmentation, sampled: bool
) -> None:
    epochs = Epochs(5, 2, seed=0, sampling_weights=np.ones(3) if sampled else None)
    ds = training_batches(
        train, INPUT, epochs, augmentation=augmentation, mixup_alpha=0.2, cutmix_alpha=1.0, random_erasing=0.5
    )
    assert stateful_operations(ds) <= DETERMINISTIC


def test_nor_do_stored_labels_and_partners(train: Records) -> None:
    def labels_of_view(view: tf.Tensor) -> tf.data.Dataset:
        ds = tf.data.Dataset.range(train.num_examples)
        return ds.map(lambda place: {"soft_labels": tf.strings.as_string([place]), "teacher_weights": [1.0]})

    labels = StoredLabels(labels_of_view, lambda soft: {"soft": soft}, views=2)
    ds = distillation_batches(
        train, INPUT, EPOCHS, labels, augmentation="moderate", view_seed=3, mixup_alpha=0.2, cutmix_alpha=1.0
    )
    assert stateful_operations(ds) <= DETERMINISTIC
