"""Views of two photos: which two, by what share, and that the target follows."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from meadow import NUM_TRAIN, number_of
from pixels import student_batches, write_scenes

from tfpipe.core.inputs import ImageInput
from tfpipe.data.partners import FURTHEST, Views, partner_distance
from tfpipe.data.pipeline import Epochs, LiveLabels, distillation_batches, view_batches
from tfpipe.data.records import Records

RAW = ImageInput(8, mean=(0.0, 0.0, 0.0), scale=(1.0, 1.0, 1.0))
SEED = 3


@pytest.fixture
def train(records_dir: Path) -> Records:
    return Records(records_dir, "train")


def distance(view: int, num_examples: int = NUM_TRAIN, seed: int = SEED) -> int:
    return int(partner_distance(tf.constant(view, tf.int64), seed, num_examples))


def views_of(records: Records, view: int = 0, augmentation: Any = "none", **options: Any) -> tuple[list[str], Any]:
    """Ids (examples,) and images (examples, 8, 8, 3)."""
    ds = view_batches(records, RAW, augmentation=augmentation, view=view, view_seed=SEED, batch_size=4, **options)
    batches = [(np.array([], object), np.zeros((0, 8, 8, 3))), *ds.as_numpy_iterator()]
    ids, images = zip(*batches, strict=True)
    return [i.decode() for i in np.concatenate(ids)], np.concatenate(images)


def targets_of(records: Records, view: int, **options: Any) -> Any:
    """(examples, num_classes) in canonical order."""
    views = Views("none", SEED, **options)
    make, number = views.build(RAW, records), tf.constant(view, tf.int64)
    ds = views.examples(records, number).map(lambda example: make(example, number)[1])
    return np.stack(list(ds.as_numpy_iterator()))


# Who


def test_a_partner_is_never_oneself_and_not_the_same_in_each_view() -> None:
    for num_examples in (2, 3, 23, 100_000):
        found = {distance(view, num_examples) for view in range(60)}
        assert min(found) >= 1
        assert max(found) <= min(num_examples - 1, FURTHEST)
        assert len(found) > 0.4 * min(60, num_examples - 1)
    assert [distance(v) for v in range(8)] != [distance(v, seed=4) for v in range(8)]
    assert distance(0, num_examples=1) == 1


def test_the_only_example_is_mixed_with_itself(tmp_path: Path) -> None:
    alone = write_scenes(tmp_path, 1)
    for options in ({"mixup_alpha": 1.0}, {"cutmix_alpha": 1.0}):
        np.testing.assert_allclose(views_of(alone, **options)[1], views_of(alone)[1], rtol=1e-5)


@pytest.mark.parametrize("view", [0, 1, 5])
def test_mixup_of_a_view_is_of_the_example_that_far_on_and_so_is_the_target(train: Records, view: int) -> None:
    """Photos are of one grey, which tells their number, so that the share can be read from the pixels."""
    own = views_of(train)[1].mean(axis=(1, 2, 3))
    partner = np.roll(own, -distance(view))
    mixed = views_of(train, view, mixup_alpha=0.8)[1].mean(axis=(1, 2, 3))
    share = (mixed - partner) / (own - partner)
    assert len(np.unique(share.round(4))) == NUM_TRAIN
    assert 0 <= share.min() < 0.3
    assert 0.7 < share.max() <= 1 + 1e-4
    classes = np.eye(3)[number_of(views_of(train)[1]) % 3]
    expected = share[:, None] * classes + (1 - share[:, None]) * np.roll(classes, -distance(view), axis=0)
    np.testing.assert_allclose(targets_of(train, view, mixup_alpha=0.8), expected, atol=1e-3)


def test_cutmix_of_a_view_pastes_the_example_that_far_on_and_the_target_counts_its_pixels(train: Records) -> None:
    own = views_of(train)[1]
    mixed = views_of(train, 2, cutmix_alpha=1.0)[1]
    kept = (mixed == own).all(axis=-1)
    np.testing.assert_array_equal((mixed == np.roll(own, -distance(2), axis=0)).all(axis=-1), ~kept)
    classes = np.eye(3)[number_of(own) % 3]
    share = kept.mean(axis=(1, 2))[:, None]
    expected = share * classes + (1 - share) * np.roll(classes, -distance(2), axis=0)
    np.testing.assert_allclose(targets_of(train, 2, cutmix_alpha=1.0), expected, atol=1e-6)
    assert len(np.unique(share)) > 10


def test_with_both_a_coin_decides_for_each_view(train: Records) -> None:
    own = views_of(train)[1]
    mixed = views_of(train, mixup_alpha=0.8, cutmix_alpha=0.8)[1]
    partner = np.roll(own, -distance(0), axis=0)
    cut = ((mixed == own) | (mixed == partner)).all(axis=(1, 2, 3))
    # Of 23 fair coins, fewer than 4 or more than 19 heads come once in 2,000 times.
    assert 4 <= cut.sum() <= 19


def test_without_alphas_there_is_no_partner(train: Records) -> None:
    number = tf.constant(0, tf.int64)
    assert "partner" not in Views("none", SEED).examples(train, number).element_spec
    assert "partner" in Views("none", SEED, mixup_alpha=0.1).examples(train, number).element_spec


def test_partners_of_a_region_are_of_that_region(records_dir: Path) -> None:
    regional = Records(records_dir, "train", region="EU_SW")
    own = views_of(regional)[1]
    mixed = views_of(regional, cutmix_alpha=1.0)[1]
    partner = np.roll(own, -distance(0, regional.num_examples), axis=0)
    assert ((mixed == own) | (mixed == partner)).all()


# Stretches


MIXED = {"mixup_alpha": 0.8, "cutmix_alpha": 0.8}


@pytest.mark.parametrize(
    ("region", "mixing", "first", "count"),
    [
        (None, {}, 9, 8),
        (None, MIXED, 9, 8),
        (None, MIXED, 0, 5),
        (None, MIXED, 22, None),
        (None, MIXED, 23, None),
        ("EU_SW", MIXED, 3, 4),
    ],
)
def test_a_stretch_is_a_part_of_the_whole(
    records_dir: Path, region: str | None, mixing: dict[str, float], first: int, count: int | None
) -> None:
    records = Records(records_dir, "train", region)
    ids, images = views_of(records, 1, **mixing)
    found_ids, found = views_of(records, 1, first=first, count=count, **mixing)
    there = slice(first, None if count is None else first + count)
    assert found_ids == ids[there]
    np.testing.assert_array_equal(found, images[there])


class Broken(Records):
    """Some photos are none, so that decoding one of them fails."""

    def examples(self, first: int = 0) -> tf.data.Dataset:
        def spoil(example: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
            odd = tf.strings.to_number(example["id"], tf.int32) % 2 == 1
            return example | {"image": tf.where(odd, b"no photo", example["image"])}

        return super().examples(first).map(spoil)


def test_examples_that_are_not_kept_are_not_decoded(train: Records) -> None:
    ids, images = views_of(train)
    broken = Broken(train.directory, "train")
    with pytest.raises(tf.errors.InvalidArgumentError):
        views_of(broken, first=3, count=12)
    keep = np.array([int(name) % 2 == 0 for name in ids[3:15]])
    found_ids, found = views_of(broken, first=3, count=12, keep=keep)
    assert found_ids == np.array(ids[3:15])[keep].tolist()
    np.testing.assert_array_equal(found, images[3:15][keep])


# In training


def batches(records: Records, epochs: Epochs, views: Any, **mixing: float) -> list[Any]:
    return list(student_batches(records, epochs, views, augmentation="moderate", **mixing).as_numpy_iterator())


@pytest.mark.parametrize(("views", "mixing"), [(2, MIXED), ("unaugmented", {})])
def test_a_resumed_run_sees_exactly_the_batches_that_were_left(
    scenes: Records, views: Any, mixing: dict[str, float]
) -> None:
    fresh = batches(scenes, Epochs(6, 3, seed=1), views, **mixing)
    resumed = batches(scenes, Epochs(6, 3, seed=1, first_epoch=1, first_step=2), views, **mixing)
    assert len(resumed) == len(fresh) - 4 - 2
    for one, other in zip(resumed, fresh[6:], strict=True):
        tf.nest.map_structure(np.testing.assert_array_equal, one, other)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Records:
    return write_scenes(tmp_path_factory.mktemp("scenes"), 24)


def images_of(batches: list[Any]) -> dict[int, list[Any]]:
    """Place in the canonical order → the images shown of it."""
    images: dict[int, list[Any]] = {}
    for shown, labels in batches:
        for image, (place, _) in zip(shown, labels["teacher_ids"], strict=True):
            images.setdefault(int(place), []).append(image)
    return images


def test_a_copy_in_an_epoch_is_the_same_view_where_labels_are_stored(scenes: Records) -> None:
    often = Epochs(24, 1, seed=1, sampling_weights=np.array([2.0, 0, 0, 2.0]))
    for views, mixing, same in ((2, MIXED, True), ("unaugmented", {}, False)):
        shown = images_of(batches(scenes, often, views, **mixing))
        assert [len(images) for images in shown.values()] == [2] * 12
        assert all(np.array_equal(*images) == same for images in shown.values())


def test_unaugmented_labels_stay_while_views_go_on(scenes: Records) -> None:
    found = batches(scenes, Epochs(24, 3, seed=1), "unaugmented")
    for _, labels in found:
        assert set(labels["teacher_ids"][:, 1]) == {0}
    for images in images_of(found).values():
        assert len({image.tobytes() for image in images}) == 3


# Live


SMALL = ImageInput(16, mean=(0.0, 0.0, 0.0), scale=(255.0, 255.0, 255.0))
WEIGHTS = np.random.default_rng(0).dirichlet((1, 1, 1), NUM_TRAIN).astype(np.float32)


def live(records: Records, epochs: Epochs, **options: Any) -> list[Any]:
    labels = LiveLabels((SMALL, RAW, SMALL), tf.constant(np.resize(WEIGHTS, (records.num_examples, 3))))
    ds = distillation_batches(records, RAW, epochs, labels, view_seed=SEED, **{"augmentation": "none"} | options)
    return list(ds.as_numpy_iterator())


@pytest.mark.parametrize("mixing", [{}, {"mixup_alpha": 0.8}])
def test_live_teachers_see_the_students_views_as_each_wants_them(train: Records, mixing: dict[str, float]) -> None:
    ids, weights_of = train.facts()[0].tolist(), []
    for images, labels in live(train, Epochs(5, 2, seed=1), **mixing):
        first, second, third = labels["teacher_inputs"]
        np.testing.assert_array_equal(second, images)
        np.testing.assert_array_equal(third, first)
        assert first.shape == (5, 16, 16, 3)
        np.testing.assert_allclose(255 * first.mean(axis=(1, 2, 3)), images.mean(axis=(1, 2, 3)), rtol=1e-4)
        assert set(labels) == {"targets", "teacher_weights", "teacher_inputs"}
        assert images.shape == (5, 8, 8, 3)
        if not mixing:
            places = [ids.index(f"{number:02d}") for number in number_of(images)]
            np.testing.assert_array_equal(labels["teacher_weights"], WEIGHTS[places])
        weights_of += labels["teacher_weights"].tolist()
    assert len(np.unique(weights_of, axis=0)) > NUM_TRAIN - 4


def test_every_epoch_with_live_teachers_is_another_view_and_can_be_resumed(scenes: Records) -> None:
    options: dict[str, Any] = {"augmentation": "moderate", "cutmix_alpha": 1.0}
    fresh = live(scenes, Epochs(8, 3, seed=1), **options)
    assert len({image.tobytes() for images, _ in fresh for image in images}) == 3 * 24
    resumed = live(scenes, Epochs(8, 3, seed=1, first_epoch=1, first_step=1), **options)
    for one, other in zip(resumed, fresh[4:], strict=True):
        tf.nest.map_structure(np.testing.assert_array_equal, one, other)
