"""RandAugment: each operation against its formula or Pillow's, and the draw that can be replayed."""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageOps

from tfpipe.data import randaugment
from tfpipe.data.randaugment import OPERATIONS, rand_augment

SIZE = 24
STRENGTHS = (-1.0, -0.4, 0.0, 0.3, 1.0)
GEOMETRIC = ("shear_x", "shear_y", "translate_x", "translate_y")


def noise(low: int = 30, high: int = 220) -> NDArray[np.uint8]:
    return np.random.default_rng(4).integers(low, high, (SIZE, SIZE, 3), np.uint8)


def apply(name: str, pixels: NDArray[Any], strength: float) -> NDArray[np.float32]:
    images = tf.constant(pixels[None].astype(np.float32))
    return OPERATIONS[name](images, tf.constant(strength)).numpy()[0]


# Colours


@pytest.mark.parametrize("strength", STRENGTHS)
def test_solarize_is_pillows(strength: float) -> None:
    pixels = noise(0, 256)
    # At full strength everything from mid grey on is turned round, at none nothing is but pure white.
    threshold = int(np.ceil(255 - 128 * abs(strength)))
    expected = np.asarray(ImageOps.solarize(Image.fromarray(pixels), threshold))
    np.testing.assert_allclose(apply("solarize", pixels, strength), expected, atol=1e-3)


def test_auto_contrast_is_pillows() -> None:
    pixels = noise()
    pixels[..., 1] //= 2
    expected = np.asarray(ImageOps.autocontrast(Image.fromarray(pixels))).astype(float)
    # Pillow cuts the fraction off.
    np.testing.assert_allclose(apply("auto_contrast", pixels, 1.0), expected + 0.5, atol=0.51)


def test_auto_contrast_leaves_a_channel_of_one_value() -> None:
    pixels = noise()
    pixels[..., 0], pixels[..., 2] = 0, 77
    result = apply("auto_contrast", pixels, 1.0)
    np.testing.assert_array_equal(result[..., [0, 2]], pixels[..., [0, 2]])


def test_equalize_is_pillows() -> None:
    pixels = np.random.default_rng(1).normal(100, 20, (SIZE * 4, SIZE * 4, 3)).clip(0, 255).astype(np.uint8)
    expected = np.asarray(ImageOps.equalize(Image.fromarray(pixels)))
    np.testing.assert_allclose(apply("equalize", pixels, 1.0), expected, atol=1e-3)


@pytest.mark.parametrize("strength", STRENGTHS)
def test_color_is_pillows_at_one_minus_nine_tenths(strength: float) -> None:
    pixels = noise(80, 170)
    enhance = ImageEnhance.Color(Image.fromarray(pixels))
    expected = np.asarray(enhance.enhance(1 - 0.9 * strength)).astype(float)
    # Pillow rounds the grey and cuts the result; TensorFlow's weights of the channels differ in the fourth digit.
    np.testing.assert_allclose(apply("color", pixels, strength), expected, atol=2)


@pytest.mark.parametrize("strength", STRENGTHS)
def test_contrast_stretches_about_each_channels_mean(strength: float) -> None:
    pixels = noise().astype(np.float32)
    mean = pixels.mean(axis=(0, 1))
    expected = ((pixels - mean) * (1 + 0.8 * strength) + mean).clip(0, 255)
    np.testing.assert_allclose(apply("contrast", pixels, strength), expected, atol=1e-2)


@pytest.mark.parametrize("strength", STRENGTHS)
def test_brightness_adds_up_to_a_hundred(strength: float) -> None:
    expected = (noise().astype(np.float32) + 100 * strength).clip(0, 255)
    np.testing.assert_allclose(apply("brightness", noise(), strength), expected, atol=1e-3)


# Places


@pytest.mark.parametrize("name", [*GEOMETRIC, "color", "contrast", "brightness"])
def test_at_no_strength_nothing_happens(name: str) -> None:
    np.testing.assert_allclose(apply(name, noise(), 0.0), noise(), atol=1e-3)


@pytest.mark.parametrize(("strength", "pixels_moved"), [(1.0, 6), (-1.0, -6), (0.5, 3)])
def test_translations_move_by_a_share_of_the_side(strength: float, pixels_moved: int) -> None:
    # 0.3 of 20 pixels is 6.
    pixels = noise()[:20, :20]
    inside = slice(max(pixels_moved, 0), 20 + min(pixels_moved, 0))
    come_from = slice(max(-pixels_moved, 0), 20 + min(-pixels_moved, 0))
    across = apply("translate_x", pixels, strength)
    np.testing.assert_allclose(across[:, inside], pixels[:, come_from], atol=1e-2)
    down = apply("translate_y", pixels, strength)
    np.testing.assert_allclose(down[inside], pixels[come_from], atol=1e-2)


@pytest.mark.parametrize("strength", [1.0, -0.5])
def test_shears_move_each_row_or_column_by_its_distance(strength: float) -> None:
    # A ramp of 4 a pixel: moved by d pixels along itself, it changes by 4 * d.
    ramp = np.repeat(np.arange(SIZE, dtype=np.float32)[None] * 4 + 80, SIZE, axis=0)
    across = np.repeat(ramp[..., None], 3, axis=-1)
    moved = apply("shear_x", across, strength) - across
    row = np.arange(SIZE)[:, None, None]
    middle = slice(9, 15)  # far enough from the sides, whose outside is a reflection
    np.testing.assert_allclose(moved[:, middle], np.broadcast_to(4 * 0.3 * strength * row, (SIZE, 6, 3)), atol=0.05)
    down = across.transpose(1, 0, 2)
    moved = apply("shear_y", down, strength) - down
    np.testing.assert_allclose(
        moved[middle], np.broadcast_to(4 * 0.3 * strength * row.transpose(1, 0, 2), (6, SIZE, 3)), atol=0.05
    )


# The draw


def test_the_same_seed_draws_the_same_and_others_differ() -> None:
    pixels = tf.constant(noise().astype(np.float32))
    drawn = [rand_augment(pixels, tf.constant([seed, 1])).numpy() for seed in range(12)]
    traced = tf.function(rand_augment)
    for seed, first in enumerate(drawn):
        np.testing.assert_allclose(traced(pixels, tf.constant([seed, 1])).numpy(), first, atol=1e-3)
    np.testing.assert_array_equal(rand_augment(pixels, tf.constant([3, 1])).numpy(), drawn[3])
    assert len({pixels.tobytes() for pixels in drawn}) >= 11


def test_the_result_keeps_shape_and_range() -> None:
    pixels = tf.constant(noise(0, 256).astype(np.float32))
    for seed in range(20):
        result = rand_augment(pixels, tf.constant([seed, 2]))
        assert result.shape == (SIZE, SIZE, 3)
        assert result.numpy().min() >= 0
        assert result.numpy().max() <= 255


def test_every_operation_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    # Each stand-in adds its own power of ten, so a sum tells which two were drawn.
    for place, name in enumerate(OPERATIONS):
        monkeypatch.setitem(OPERATIONS, name, lambda images, strength, place=place: images + 0.01 * 3**place)
    # Not as a graph, which would outlive the stand-ins.
    monkeypatch.setattr(randaugment, "_apply", randaugment._apply.python_function)
    zeros = tf.zeros((2, 2, 3))
    sums = {round(float(rand_augment(zeros, tf.constant([seed, 0]))[0, 0, 0]) / 0.01) for seed in range(300)}
    pairs = {3**a + 3**b for a in range(len(OPERATIONS)) for b in range(len(OPERATIONS)) if 0.01 * (3**a + 3**b) <= 255}
    assert sums - {25500} <= pairs
    assert len(sums) > 0.7 * len(pairs)


def test_strengths_are_of_either_sign_and_up_to_one(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[float] = []

    def note(choice: tf.Tensor, images: tf.Tensor, strength: tf.Tensor) -> tf.Tensor:
        seen.append(float(strength))
        return images

    monkeypatch.setattr(randaugment, "_apply", note)
    for seed in range(150):
        rand_augment(tf.zeros((2, 2, 3)), tf.constant([seed, 0]))
    assert len(seen) == 300
    assert -1 <= min(seen) < -0.95
    assert 0.95 < max(seen) <= 1
    # Uniform on [-1, 1]: absolute mean one half, within four standard errors of 0.29 / sqrt(300).
    assert abs(np.abs(seen).mean() - 0.5) < 0.07
