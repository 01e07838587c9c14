"""Pipelines: the order is a function of (seed, epoch), and images keep their own labels."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from meadow import NUM_TRAIN, NUM_VALIDATION, number_of
from scipy.stats import chisquare

from tfpipe.core.cluster import ALONE, Worker
from tfpipe.core.inputs import ImageInput
from tfpipe.data import views
from tfpipe.data.pipeline import (
    COPIES_APART,
    Epochs,
    StoredLabels,
    distillation_batches,
    evaluation_batches,
    training_batches,
    view_batches,
)
from tfpipe.data.records import Records

RAW = ImageInput(8, mean=(0.0, 0.0, 0.0), scale=(1.0, 1.0, 1.0))
BATCH = 5  # does not divide NUM_TRAIN: 4 whole batches an epoch, 3 examples left out
STEPS = NUM_TRAIN // BATCH


@pytest.fixture
def train(records_dir: Path) -> Records:
    return Records(records_dir, "train")


def epochs(number: int, seed: int = 0, first_epoch: int = 0, batch_size: int = BATCH) -> Epochs:
    return Epochs(batch_size=batch_size, epochs=number, seed=seed, first_epoch=first_epoch)


def plain(records: Records, schedule: Epochs, **options: Any) -> list[tuple[Any, Any]]:
    ds = training_batches(records, RAW, schedule, augmentation="none", **options)
    return list(ds.as_numpy_iterator())


def numbers(batches: list[tuple[Any, Any]]) -> list[list[int]]:
    """Which photos an epoch showed, in order; one list an epoch."""
    shown = [number_of(images).tolist() for images, _ in batches]
    return [sum(shown[start : start + STEPS], []) for start in range(0, len(shown), STEPS)]  # noqa: RUF017


# Training


def test_an_epoch_shows_every_example_at_most_once_in_whole_batches(train: Records) -> None:
    batches = plain(train, epochs(3))
    assert [images.shape for images, _ in batches] == [(BATCH, 8, 8, 3)] * STEPS * 3
    assert [targets.shape for _, targets in batches] == [(BATCH, 3)] * STEPS * 3
    for shown in numbers(batches):
        assert len(set(shown)) == STEPS * BATCH
        assert set(shown) <= set(range(NUM_TRAIN))


def test_what_one_epoch_leaves_out_another_shows(train: Records) -> None:
    assert set().union(*numbers(plain(train, epochs(6)))) == set(range(NUM_TRAIN))


def test_targets_are_the_classes_of_the_images(train: Records) -> None:
    for images, targets in plain(train, epochs(2)):
        np.testing.assert_array_equal(targets, np.eye(3)[number_of(images) % 3])


def test_the_order_differs_between_epochs_and_seeds_and_is_equal_for_equal_ones(train: Records) -> None:
    first, second, third = numbers(plain(train, epochs(3, seed=4)))
    assert first != second != third != first
    assert numbers(plain(train, epochs(3, seed=4))) == [first, second, third]
    assert numbers(plain(train, epochs(1, seed=5))) != [first]


@pytest.mark.parametrize("options", [{}, {"mixup_alpha": 0.8, "cutmix_alpha": 0.8}])
def test_a_resumed_run_sees_exactly_the_batches_that_were_left(train: Records, options: dict[str, float]) -> None:
    def batches(**position: Any) -> list[Any]:
        schedule = replace(epochs(4), **position)
        return list(training_batches(train, RAW, schedule, augmentation="moderate", **options).as_numpy_iterator())

    fresh = batches()
    for epoch, step in ((1, 0), (3, 0), (4, 0), (0, 1), (1, 3), (3, STEPS)):
        resumed = batches(first_epoch=epoch, first_step=step)
        assert len(resumed) == STEPS * (4 - epoch) - step
        check_equal(resumed, fresh[STEPS * epoch + step :])


@pytest.mark.parametrize("options", [{}, {"mixup_alpha": 0.8, "cutmix_alpha": 0.8}])
@pytest.mark.parametrize("position", [{}, {"first_epoch": 1, "first_step": 2}])
def test_workers_parts_one_after_the_other_are_the_batches_of_one(
    train: Records, options: dict[str, float], position: dict[str, int]
) -> None:
    """Also where MixUp's neighbour is another worker's."""

    def batches(worker: Worker) -> list[Any]:
        schedule = replace(epochs(3, batch_size=6), worker=worker, **position)
        return list(training_batches(train, RAW, schedule, augmentation="moderate", **options).as_numpy_iterator())

    parts = zip(*(batches(Worker(number, 3)) for number in range(3)), strict=True)
    together = [tuple(np.concatenate(of_all) for of_all in zip(*part, strict=True)) for part in parts]
    check_equal(together, batches(ALONE))


def check_equal(found: list[Any], expected: list[Any]) -> None:
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one[0], other[0])
        np.testing.assert_array_equal(one[1], other[1])


def test_each_epoch_trains_on_another_view_and_it_is_the_view_of_that_epoch(train: Records) -> None:
    schedule = epochs(2, seed=9)
    batches = list(training_batches(train, RAW, schedule, augmentation="moderate").as_numpy_iterator())
    make_view = views.build_view("moderate", RAW, 9)
    images = {e["id"].decode(): e["image"] for e in train.examples().as_numpy_iterator()}
    order = numbers(plain(train, schedule))
    for epoch in (0, 1):
        for place in (0, BATCH + 2, STEPS * BATCH - 1):
            name = f"{order[epoch][place]:02d}"
            expected = make_view(tf.constant(images[name]), tf.constant(name), tf.constant(epoch, tf.int64))
            shown = batches[epoch * STEPS + place // BATCH][0][place % BATCH]
            np.testing.assert_allclose(shown, expected, atol=1e-3)


def test_mixing_is_another_in_each_step_and_keeps_targets_sums(train: Records) -> None:
    mixed = plain(train, epochs(2), mixup_alpha=0.8)
    clean = plain(train, epochs(2))
    shares = []
    for (images, targets), (whole, one_hot) in zip(mixed, clean, strict=True):
        np.testing.assert_allclose(targets.sum(axis=1), 1, atol=1e-6)
        grey, own, neighbour = (a.mean(axis=(1, 2, 3)) for a in (images, whole, np.roll(whole, 1, axis=0)))
        share = (grey - neighbour) / (own - neighbour)
        expected = share[:, None] * one_hot + (1 - share[:, None]) * np.roll(one_hot, 1, axis=0)
        np.testing.assert_allclose(targets, expected, atol=1e-3)
        shares.append(tuple(np.round(share, 3)))
    assert len(set(shares)) == len(shares)


def test_a_region_trains_on_its_own_rows(records_dir: Path) -> None:
    regional = Records(records_dir, "train", region="EU_SW")
    batches = plain(regional, epochs(2, batch_size=4))
    assert [sorted(number_of(np.concatenate([b[0] for b in batches[i : i + 2]]))) for i in (0, 2)] == [
        list(range(0, NUM_TRAIN, 3))
    ] * 2


@pytest.mark.parametrize(("num_examples", "batch_size", "steps"), [(23, 5, 4), (20, 5, 4), (5, 5, 1)])
def test_steps_are_whole_batches(num_examples: int, batch_size: int, steps: int) -> None:
    assert epochs(1, batch_size=batch_size).steps_per_epoch(num_examples) == steps


# Sampling

RARE_OFTEN = np.array([0.3, 0.7, 15 / 7])
"""Of 8, 8 and 7 examples: 2.4, 5.6 and 15 of the 23 in an epoch."""


def sampled(number: int, weights: Any = RARE_OFTEN, **options: Any) -> Epochs:
    return replace(epochs(number, **options), sampling_weights=weights)


def test_classes_come_as_often_as_their_weights_say(train: Records) -> None:
    shown = np.concatenate([number_of(images) for images, _ in plain(train, sampled(100, batch_size=NUM_TRAIN))])
    assert len(shown) == 100 * NUM_TRAIN
    of_class = np.bincount(shown % 3)
    assert chisquare(of_class, np.array([2.4, 5.6, 15]) * 100).pvalue > 0.01
    for number, count in enumerate(np.bincount(shown)):
        weight = RARE_OFTEN[number % 3]
        spread = np.sqrt(100 * (weight % 1) * (1 - weight % 1))
        assert abs(count - 100 * weight) < 4 * spread + 5, number


def test_weights_of_one_are_no_sampling_at_all(train: Records) -> None:
    assert numbers(plain(train, sampled(2, np.ones(3)))) == numbers(plain(train, epochs(2)))


def test_mixing_keeps_the_shares_that_sampling_gave_the_classes(train: Records) -> None:
    schedule = sampled(40, batch_size=NUM_TRAIN)
    drawn = np.concatenate([targets for _, targets in plain(train, schedule)]).mean(axis=0)
    mixed = plain(train, schedule, mixup_alpha=0.8, cutmix_alpha=0.8)
    np.testing.assert_allclose(np.concatenate([t for _, t in mixed]).mean(axis=0), drawn, atol=0.03)
    # Drawn are 2.4, 5.6 and 15 of 23: chance cannot hide what uniform sampling would give.
    np.testing.assert_allclose(drawn, [2.4 / 23, 5.6 / 23, 15 / 23], atol=0.03)


@pytest.mark.parametrize("weight", [0.2, 3.0])
def test_an_epoch_keeps_its_size_however_many_are_drawn(train: Records, weight: float) -> None:
    batches = plain(train, sampled(3, np.full(3, weight)))
    assert [images.shape for images, _ in batches] == [(BATCH, 8, 8, 3)] * STEPS * 3


def test_sampling_draws_anew_in_each_epoch_and_the_same_for_the_same_seed(train: Records) -> None:
    drawn = [sorted(shown) for shown in numbers(plain(train, sampled(2, seed=4)))]
    assert drawn[0] != drawn[1]
    assert [sorted(shown) for shown in numbers(plain(train, sampled(2, seed=4)))] == drawn
    assert [sorted(shown) for shown in numbers(plain(train, sampled(2, seed=5)))] != drawn


def test_a_resumed_run_with_sampling_sees_exactly_the_batches_that_were_left(train: Records) -> None:
    def batches(first_epoch: int) -> list[Any]:
        schedule = sampled(3, first_epoch=first_epoch)
        return list(training_batches(train, RAW, schedule, augmentation="moderate").as_numpy_iterator())

    fresh, resumed = batches(0), batches(2)
    assert len(resumed) == STEPS
    for one, other in zip(resumed, fresh[2 * STEPS :], strict=True):
        np.testing.assert_array_equal(one[0], other[0])
        np.testing.assert_array_equal(one[1], other[1])


def test_an_example_that_comes_twice_in_an_epoch_is_another_view_each_time(train: Records) -> None:
    schedule = sampled(2, np.array([0, 0, 3.0]), seed=9, batch_size=21)
    order = np.concatenate([number_of(images) for images, _ in plain(train, schedule)])
    batches = list(training_batches(train, RAW, schedule, augmentation="moderate").as_numpy_iterator())
    shown = np.concatenate([images for images, _ in batches])
    make_view = views.build_view("moderate", RAW, 9)
    images = {int(e["id"]): e["image"] for e in train.examples().as_numpy_iterator()}
    for epoch in (0, 1):
        found = shown[21 * epoch : 21 * (epoch + 1)][order[21 * epoch : 21 * (epoch + 1)] == 2]
        expected = [
            make_view(tf.constant(images[2]), tf.constant("02"), tf.constant(epoch + COPIES_APART * copy, tf.int64))
            for copy in range(3)
        ]
        key = lambda view: float(np.mean(view))  # noqa: E731
        np.testing.assert_allclose(sorted(found, key=key), sorted(map(np.asarray, expected), key=key), atol=1e-3)


# Distillation


def labels_of_view(view: tf.Tensor) -> tf.data.Dataset:
    """Soft labels that tell where in the canonical order they stand, and of which view they are."""
    return tf.data.Dataset.range(NUM_TRAIN).map(
        lambda place: {
            "soft_labels": tf.strings.as_string([place, view]),
            "teacher_weights": tf.cast([place, -place], tf.float32),
        }
    )


def decode_labels(soft_labels: tf.Tensor) -> dict[str, tf.Tensor]:
    assert soft_labels.shape[0], "as in_parts needs it"
    place, of_view = tf.unstack(tf.strings.to_number(soft_labels, tf.int64), axis=-1)
    return {"place": place, "of_view": of_view}


def distilled(
    train: Records, schedule: Epochs, view_count: Any, augmentation: Any = "none", **mixing: float
) -> list[tuple[Any, Any]]:
    labels = StoredLabels(labels_of_view, decode_labels, view_count)
    ds = distillation_batches(train, RAW, schedule, labels, augmentation=augmentation, view_seed=3, **mixing)
    return list(ds.as_numpy_iterator())


def test_every_image_comes_with_its_own_soft_labels_and_target(train: Records) -> None:
    canonical = [int(e["id"]) for e in train.examples().as_numpy_iterator()]
    batches = distilled(train, epochs(3), 2)
    assert len(batches) == 3 * STEPS
    for images, labels in batches:
        shown = number_of(images)
        assert [canonical[place] for place in labels["place"]] == shown.tolist()
        np.testing.assert_array_equal(labels["targets"], np.eye(3)[shown % 3])
        np.testing.assert_array_equal(labels["teacher_weights"], labels["place"][:, None] * [1, -1])
        assert set(labels) == {"place", "of_view", "teacher_weights", "targets"}


def test_epoch_e_shows_view_e_modulo_views(train: Records) -> None:
    batches = distilled(train, epochs(5), 2)
    seen = [set(np.concatenate([b[1]["of_view"] for b in batches[i * STEPS : (i + 1) * STEPS]])) for i in range(5)]
    assert seen == [{0}, {1}, {0}, {1}, {0}]


def test_the_student_sees_the_pixels_that_the_teacher_labelled(train: Records) -> None:
    labelled = {}
    for view in (0, 1):
        ds = view_batches(train, RAW, augmentation="aggressive", view=view, view_seed=3, batch_size=7)
        labelled[view] = np.concatenate([images for _, images in ds.as_numpy_iterator()])
        assert len(labelled[view]) == NUM_TRAIN
    assert np.abs(labelled[0] - labelled[1]).mean() > 0.5
    # The seed that shuffles is another than the one that draws views.
    for images, labels in distilled(train, epochs(3, seed=77), 2, "aggressive"):
        for image, place, view in zip(images, labels["place"], labels["of_view"], strict=True):
            np.testing.assert_array_equal(image, labelled[view][place])


def test_a_resumed_distillation_sees_exactly_the_batches_that_were_left(train: Records) -> None:
    fresh = distilled(train, epochs(3), 2, "moderate")
    resumed = distilled(train, epochs(3, first_epoch=1), 2, "moderate")
    assert len(resumed) == 2 * STEPS
    for one, other in zip(resumed, fresh[STEPS:], strict=True):
        np.testing.assert_array_equal(one[0], other[0])
        np.testing.assert_array_equal(one[1]["place"], other[1]["place"])
        np.testing.assert_array_equal(one[1]["of_view"], other[1]["of_view"])


def test_sampled_images_keep_their_own_soft_labels_and_views(train: Records) -> None:
    canonical = [int(e["id"]) for e in train.examples().as_numpy_iterator()]
    batches = distilled(train, sampled(3), 2)
    assert len(batches) == 3 * STEPS
    shown = np.concatenate([number_of(images) for images, _ in batches])
    assert np.bincount(shown % 3).argmax() == 2
    assert len(shown) > len(set(shown))
    for images, labels in batches:
        assert [canonical[place] for place in labels["place"]] == number_of(images).tolist()
        np.testing.assert_array_equal(labels["targets"], np.eye(3)[number_of(images) % 3])
    ds = view_batches(train, RAW, augmentation="moderate", view=1, view_seed=3, batch_size=NUM_TRAIN)
    _, labelled = next(ds.as_numpy_iterator())
    for images, labels in distilled(train, sampled(2, first_epoch=1), 2, "moderate"):
        assert set(labels["of_view"]) == {1}
        np.testing.assert_array_equal(images, labelled[labels["place"]])


def test_an_epoch_of_distillation_shows_every_example_at_most_once_in_another_order(train: Records) -> None:
    first, second = numbers(distilled(train, epochs(2), 1))
    assert len(set(first)) == len(set(second)) == STEPS * BATCH
    assert first != second


# Evaluation


def test_evaluation_can_begin_further_on(records_dir: Path) -> None:
    records = Records(records_dir, "validation")
    whole, rest = (
        np.concatenate([images for images, _ in evaluation_batches(records, RAW, batch_size=4, first=first)])
        for first in (0, 2)
    )
    np.testing.assert_array_equal(rest, whole[2:])


@pytest.mark.parametrize("batch_size", [1, 4, 100])
def test_evaluation_covers_every_example_once_in_canonical_order(records_dir: Path, batch_size: int) -> None:
    records = Records(records_dir, "validation")
    batches = list(evaluation_batches(records, RAW, batch_size=batch_size).as_numpy_iterator())
    shown = np.concatenate([number_of(images) for images, _ in batches])
    assert shown.tolist() == [int(e["id"]) for e in records.examples().as_numpy_iterator()]
    assert sorted(shown) == list(range(NUM_TRAIN, NUM_TRAIN + NUM_VALIDATION))
    np.testing.assert_array_equal(np.concatenate([targets for _, targets in batches]), np.eye(3)[shown % 3])
