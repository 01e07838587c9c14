"""MixUp and CutMix: image and target are mixed by the same share, with the same neighbour."""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray

from tfpipe.data.mixing import Batch, cutmix, mix_neighbours, mixup, splice

BATCH, SIZE, NUM_CLASSES = 32, 16, 32


def batch() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Random images, and a class of its own for each, so that targets tell who was mixed with whom."""
    images = np.random.default_rng(0).uniform(-1, 1, (BATCH, SIZE, SIZE, 3)).astype(np.float32)
    return images, np.eye(NUM_CLASSES, dtype=np.float32)


def with_neighbours(images: NDArray[Any], targets: NDArray[Any]) -> tuple[Batch, Batch]:
    return (images, targets), (np.roll(images, 1, axis=0), np.roll(targets, 1, axis=0))


def seed_of(number: int) -> tf.Tensor:
    return tf.constant([number, 7])


def own_shares(targets: NDArray[Any]) -> NDArray[Any]:
    """How much of each target is its own class; the rest must be the neighbour's."""
    kept = targets[np.arange(BATCH), np.arange(BATCH)]
    expected = np.zeros_like(targets)
    expected[np.arange(BATCH), np.arange(BATCH)] = kept
    expected[np.arange(BATCH), np.arange(BATCH) - 1] = 1 - kept
    np.testing.assert_allclose(targets, expected, atol=1e-6)
    return kept


def test_mixup_mixes_image_and_target_by_the_same_share() -> None:
    images, targets = batch()
    mixed, mixed_targets = (t.numpy() for t in mixup(*with_neighbours(images, targets), seed_of(0), 0.8))
    share = own_shares(mixed_targets)
    neighbour = np.roll(images, 1, axis=0)
    # The share recovered from the pixels alone: mixed - neighbour = share * (image - neighbour).
    difference = images - neighbour
    recovered = ((mixed - neighbour) * difference).sum(axis=(1, 2, 3)) / (difference**2).sum(axis=(1, 2, 3))
    np.testing.assert_allclose(recovered, share, atol=1e-5)
    expected = share[:, None, None, None] * images + (1 - share[:, None, None, None]) * neighbour
    np.testing.assert_allclose(mixed, expected, atol=1e-5)
    assert len(np.unique(share)) == BATCH


@pytest.mark.parametrize("alpha", [0.2, 0.8, 2.0])
def test_mixups_shares_are_drawn_from_beta(alpha: float) -> None:
    targets = np.zeros((4000, 2), np.float32)
    targets[::2, 0] = targets[1::2, 1] = 1
    images = np.zeros((4000, 1, 1, 3), np.float32)
    _, mixed = mixup(*with_neighbours(images, targets), seed_of(1), alpha)
    share = np.where(targets[:, 0] == 1, mixed[:, 0], mixed[:, 1])
    # Beta(a, a): mean 1/2, variance 1 / (4 (2a + 1)).
    assert abs(share.mean() - 0.5) < 0.03
    assert share.var() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.07)


def test_shares_are_numbers_even_for_a_tiny_alpha() -> None:
    # Both gammas of a Beta may underflow to zero, and zero by zero is no number.
    images = np.zeros((20_000, 1, 1, 3), np.float32)
    _, mixed = mixup(*with_neighbours(images, np.ones((20_000, 1), np.float32)), seed_of(0), 0.02)
    np.testing.assert_allclose(mixed, 1, atol=1e-6)


def test_every_cutmix_pixel_is_from_one_of_the_two_and_the_target_counts_them() -> None:
    images, targets = batch()
    neighbour = np.roll(images, 1, axis=0)
    areas = []
    for number in range(8):
        mixed, mixed_targets = (t.numpy() for t in cutmix(*with_neighbours(images, targets), seed_of(number), 0.8))
        own = (mixed == images).all(axis=-1)
        pasted = (mixed == neighbour).all(axis=-1)
        np.testing.assert_array_equal(own, ~pasted)
        np.testing.assert_allclose(own.mean(axis=(1, 2)), own_shares(mixed_targets), atol=1e-6)
        for mask in pasted:
            assert_is_a_box(mask)
        areas += list(pasted.mean(axis=(1, 2)))
    assert 0.2 < np.mean(areas) < 0.5
    assert max(areas) > 0.8


def assert_is_a_box(mask: NDArray[np.bool_]) -> None:
    rows, columns = mask.any(axis=1), mask.any(axis=0)
    np.testing.assert_array_equal(mask, rows[:, None] & columns[None])
    for line in (rows, columns):
        assert (np.diff(line.astype(int), prepend=0) == 1).sum() <= 1


def test_cutmix_boxes_reach_every_part_of_the_image() -> None:
    images, targets = batch()
    neighbour = np.roll(images, 1, axis=0)
    mixed = [cutmix(*with_neighbours(images, targets), seed_of(number), 1.0)[0].numpy() for number in range(8)]
    covered = np.mean([(one == neighbour).all(axis=-1).mean(axis=0) for one in mixed], axis=0)
    assert covered.min() > 0.1
    # A box is drawn about a centre that may lie anywhere, so neither axis is preferred.
    np.testing.assert_allclose(covered, covered[::-1, ::-1], atol=0.15)
    np.testing.assert_allclose(covered, covered.T, atol=0.15)


def test_cutmix_boxes_are_as_large_as_lambda_says() -> None:
    """Beta(a, a) of a large a is one half: a box that no edge cuts has sides of √½ of the image's, rounded."""
    size = 64
    images = np.ones((400, size, size, 1), np.float32)
    pasted = cutmix((images, images[:, 0, 0]), (0 * images, images[:, 0, 0]), seed_of(5), 1e6)[0].numpy()[..., 0] == 0
    whole = [mask for mask in pasted if not (mask[0].any() or mask[-1].any() or mask[:, 0].any() or mask[:, -1].any())]
    assert len(whole) > 20
    sides = [side for mask in whole for side in (mask.any(axis=1).sum(), mask.any(axis=0).sum())]
    assert np.mean(sides) == pytest.approx(size * 0.5**0.5, abs=0.2)


@pytest.mark.parametrize("operation", [mixup, cutmix])
def test_the_same_seed_mixes_the_same_way(operation: Any) -> None:
    images, targets = batch()
    first = operation(*with_neighbours(images, targets), seed_of(3), 0.8)
    again = tf.function(lambda: operation(*with_neighbours(images, targets), seed_of(3), 0.8))()
    other = operation(*with_neighbours(images, targets), seed_of(4), 0.8)
    np.testing.assert_allclose(first[0], again[0], atol=1e-6)
    np.testing.assert_allclose(first[1], again[1], atol=1e-6)
    assert np.abs(first[1] - other[1]).max() > 0.1


def test_without_alphas_nothing_is_mixed() -> None:
    images, targets = batch()
    mixed = mix_neighbours((images, targets), seed_of(0), mixup_alpha=0, cutmix_alpha=0)
    np.testing.assert_array_equal(mixed[0], images)
    np.testing.assert_array_equal(mixed[1], targets)


@pytest.mark.parametrize(("alphas", "operation"), [((0.8, 0.0), mixup), ((0.0, 0.8), cutmix)])
def test_with_one_alpha_it_is_that_one(alphas: tuple[float, float], operation: Any) -> None:
    images, targets = batch()
    mixed = mix_neighbours((images, targets), seed_of(2), mixup_alpha=alphas[0], cutmix_alpha=alphas[1])
    for got, expected in zip(mixed, operation(*with_neighbours(images, targets), seed_of(2), 0.8), strict=True):
        np.testing.assert_array_equal(got, expected)


def test_with_both_a_coin_decides_for_the_whole_batch() -> None:
    images, targets = batch()
    cut = 0
    for number in range(60):
        mixed, mixed_targets = mix_neighbours((images, targets), seed_of(number), mixup_alpha=0.8, cutmix_alpha=0.8)
        own_shares(mixed_targets.numpy())
        from_one = ((mixed == images) | (mixed == np.roll(images, 1, axis=0))).numpy().all(axis=(1, 2, 3))
        # MixUp leaves whole only what its share leaves to one of the two, to the last digit.
        assert from_one.all() or from_one.mean() < 0.2
        cut += bool(from_one.all())
    assert 15 <= cut <= 45


def test_smoothing_mixed_labels_is_mixing_smoothed_labels() -> None:
    """As in timm, which smooths first."""
    images, targets = batch()
    smooth = lambda values: 0.9 * values + 0.1 / NUM_CLASSES  # noqa: E731 - Szegedy 2016, §7
    _, first = mix_neighbours((images, smooth(targets)), seed_of(5), mixup_alpha=0.8, cutmix_alpha=0.8)
    _, mixed = mix_neighbours((images, targets), seed_of(5), mixup_alpha=0.8, cutmix_alpha=0.8)
    np.testing.assert_allclose(first, smooth(mixed), atol=1e-6)


@pytest.mark.parametrize(("own", "other"), [("a b c d e f", "u v w x"), ("a", "u"), ("", "u v"), ("a b", "")])
def test_a_spliced_text_begins_as_one_and_ends_as_the_other_and_its_target_counts_the_words(
    own: str, other: str
) -> None:
    shares = []
    for number in range(60):
        example = (tf.constant(own), tf.constant([1.0, 0.0]))
        text, target = splice(example, (tf.constant(other), tf.constant([0.0, 1.0])), seed_of(number), 1.0)
        words = text.numpy().decode().split()
        first = [word for word in words if word < "u"]
        last = words[len(first) :]
        assert first == own.split()[: len(first)]
        assert last == other.split()[len(other.split()) - len(last) :]
        shares.append(len(first) / len(words))
        np.testing.assert_allclose(target.numpy(), [shares[-1], 1 - shares[-1]], atol=1e-6)
    if own and other:
        assert 0.3 < np.mean(shares) < 0.75
    if len(own) > 1 and other:
        assert len(set(shares)) > 5
