"""Random erasing: a box of noise, now and then, and nothing else."""

from io import BytesIO
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray
from PIL import Image

from tfpipe.core.inputs import ImageInput
from tfpipe.core.settings import Augmentation
from tfpipe.data.views import build_view, erase

SIZE = 64
BLANK = np.full((SIZE, SIZE, 3), -1, np.float32)
"""A value that noise never has."""


def boxes(count: int) -> list[tuple[int, int, int, int]]:
    """(top, left, height, width) of the boxes of some views, each checked to be one."""
    found = []
    for number in range(count):
        erased = (erase(tf.constant(BLANK), tf.constant([number, 5]), 1.0).numpy() != -1).all(axis=-1)
        rows, columns = (np.flatnonzero(erased.any(axis=axis)) for axis in (1, 0))
        np.testing.assert_array_equal(rows, np.arange(rows[0], rows[-1] + 1))
        np.testing.assert_array_equal(columns, np.arange(columns[0], columns[-1] + 1))
        assert erased.sum() == len(rows) * len(columns)
        found.append((rows[0], columns[0], len(rows), len(columns)))
    return found


def test_boxes_are_as_large_and_as_tall_as_timms_and_lie_anywhere() -> None:
    """Area uniform in 2 to 33 %, aspect in its logarithm from 0.3 to 1 / 0.3."""
    top, left, height, width = np.array(boxes(300)).T
    area = height * width / SIZE**2
    assert 0.015 < area.min() < 0.04
    assert 0.3 < area.max() < 1 / 3 + 0.02
    # Uniform: mean 0.177, standard deviation 0.0905; of 300, three standard errors.
    assert abs(area.mean() - 0.177) < 0.016
    aspect = np.log(height / width)
    assert abs(aspect).max() < np.log(1 / 0.3) + 0.15  # sides are rounded
    assert abs(aspect.mean()) < 0.12
    assert aspect.std() == pytest.approx(2 * np.log(1 / 0.3) / np.sqrt(12), rel=0.1)
    for low, extent in ((top, height), (left, width)):
        assert low.min() == 0
        assert (low + extent).max() == SIZE
        # As often before as behind the middle.
        assert abs((low + extent / 2).mean() - SIZE / 2) < 2


def test_a_box_holds_noise_of_all_values_in_every_channel() -> None:
    noise = erase(tf.constant(BLANK), tf.constant([3, 5]), 1.0).numpy()
    noise = noise[noise[..., 0] != -1]
    assert len(noise) > 300
    assert 0 <= noise.min() < 3
    assert 252 < noise.max() <= 255
    np.testing.assert_allclose(noise.mean(axis=0), 127.5, atol=12)
    np.testing.assert_allclose(noise.std(axis=0), 255 / np.sqrt(12), atol=6)
    assert np.abs(np.corrcoef(noise.T)[np.triu_indices(3, 1)]).max() < 0.2


def test_it_happens_as_often_as_told() -> None:
    shares = [(erase(tf.constant(BLANK), tf.constant([n, 0]), 0.25).numpy() != -1).mean() for n in range(400)]
    erased = [share for share in shares if share]
    # Binomial: 100 ± 26 within three standard deviations; and whether says nothing of how large.
    assert 74 <= len(erased) <= 126
    assert abs(np.mean(erased) - 0.177) < 0.03


def photo() -> bytes:
    buffer = BytesIO()
    pixels = np.random.default_rng(1).integers(0, 256, (9, 12, 3), np.uint8)
    Image.fromarray(pixels).resize((96, 72), Image.Resampling.BICUBIC).save(buffer, "JPEG")
    return buffer.getvalue()


def view(augmentation: Augmentation, number: int, random_erasing: float) -> NDArray[Any]:
    make_view = build_view(augmentation, ImageInput(SIZE), 1, random_erasing=random_erasing)
    return make_view(tf.constant(photo()), tf.constant("a"), tf.constant(number, tf.int64)).numpy()


@pytest.mark.parametrize("augmentation", ["none", "moderate", "aggressive"])
def test_around_the_box_a_view_is_what_it_is_without(augmentation: Augmentation) -> None:
    """Stored labels of plain views stay true, and the box follows from the view's number alone."""
    shares = []
    for number in range(4):
        plain, erased = view(augmentation, number, 0.0), view(augmentation, number, 1.0)
        np.testing.assert_array_equal(erased, view(augmentation, number, 1.0))
        changed = (plain != erased).any(axis=-1)
        rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
        assert changed[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].mean() > 0.98
        assert -1 <= erased.min() < erased.max() <= 1
        shares.append(changed.mean())
    assert len(set(shares)) == 4


def test_in_a_parallel_pipeline_the_boxes_are_the_same() -> None:
    make_view = build_view("none", ImageInput(SIZE), 1, random_erasing=0.5)
    ds = tf.data.Dataset.range(8).map(lambda number: make_view(photo(), "a", number), num_parallel_calls=4)
    for number, pixels in enumerate(ds.as_numpy_iterator()):
        np.testing.assert_allclose(pixels, view("none", number, 0.5), atol=1e-5)
