"""What an image looks like: the same after another camera app had it, and another than any other photo."""

from collections.abc import Callable
from io import BytesIO
from itertools import combinations

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageEnhance
from scipy.fft import dctn

from tfpipe.data.perceptual import SIDE, are_alike, make_thumbnail, perceptual_hashes
from tfpipe.data.sources.herbarium.specimens import image_bytes

NUM_PLANTS, NUM_PHOTOS = 8, 3
"""Of one plant, photos are as like as different photos get."""


@pytest.fixture(scope="module")
def photos() -> list[Image.Image]:
    return [
        Image.open(BytesIO(image_bytes(5, plant, photo, 128)))
        for plant in range(NUM_PLANTS)
        for photo in range(NUM_PHOTOS)
    ]


def encoded(image: Image.Image, quality: int) -> Image.Image:
    buffer = BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer)


def cropped(image: Image.Image, part: float) -> Image.Image:
    trim = round(part * min(image.size))
    return image.crop((trim, trim, image.width - trim, image.height - trim))


def cut_off(image: Image.Image, part: float) -> Image.Image:
    return image.crop((round(part * image.width), round(part * image.height), image.width, image.height))


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "coarser": lambda image: encoded(image, 30),
    "half as large": lambda image: encoded(image.resize((image.width // 2, image.height // 2)), 80),
    "twice as large": lambda image: image.resize((2 * image.width, 2 * image.height), Image.Resampling.BICUBIC),
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.08),
    "darker": lambda image: ImageEnhance.Brightness(image).enhance(0.92),
    "cropped": lambda image: cropped(image, 0.03),
    "cut off": lambda image: cut_off(image, 0.03),
    "all at once": lambda image: encoded(ImageEnhance.Brightness(cropped(image, 0.03)).enhance(1.08), 60),
}


def thumbnails_of(images: list[Image.Image]) -> NDArray[np.uint8]:
    return np.stack([make_thumbnail(image) for image in images])


@pytest.mark.parametrize("change", CHANGES)
def test_a_photo_that_was_changed_a_little_is_the_same_photo(photos: list[Image.Image], change: str) -> None:
    before, after = thumbnails_of(photos), thumbnails_of([CHANGES[change](photo) for photo in photos])
    assert np.bitwise_count(perceptual_hashes(before) ^ perceptual_hashes(after)).max() <= 14
    numbers = np.arange(len(photos))
    assert are_alike(np.concatenate([before, after]), np.stack([numbers, numbers + len(photos)], axis=1)).all()


def test_two_photos_are_two_even_of_one_plant(photos: list[Image.Image]) -> None:
    pairs = np.array(list(combinations(range(len(photos)), 2)))
    assert not are_alike(thumbnails_of(photos), pairs).any()


def test_alike_does_not_depend_on_the_order_or_the_company(photos: list[Image.Image]) -> None:
    thumbnails = thumbnails_of([*photos, *(cropped(photo, 0.03) for photo in photos)])
    pairs = np.random.default_rng(0).integers(0, len(thumbnails), (1500, 2))
    alike = are_alike(thumbnails, pairs)
    np.testing.assert_array_equal(alike, are_alike(thumbnails, pairs[:, ::-1]))
    np.testing.assert_array_equal(alike[:40], [are_alike(thumbnails, pair[None])[0] for pair in pairs[:40]])


def test_the_hash_has_the_signs_of_the_lowest_frequencies() -> None:
    thumbnail = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE), np.uint8)
    coefficients = dctn(thumbnail.astype(float), norm="ortho")
    # Along the diagonals, from the lowest frequency on, without the constant.
    diagonals = [(v, total - v) for total in range(1, 12) for v in range(total + 1)]
    expected = sum(1 << bit for bit, (v, h) in enumerate(diagonals[:64]) if coefficients[v, h] > 2)
    assert perceptual_hashes(thumbnail[None]).tolist() == [expected]


def test_blank_pages_have_no_bits_and_are_like_nothing() -> None:
    noise = np.random.default_rng(0).normal(250, 1, (90, 120)).clip(0, 255).astype(np.uint8)
    pages = [Image.new("L", (120, 90), shade) for shade in (255, 250, 128, 0)]
    thumbnails = thumbnails_of([*pages, encoded(Image.fromarray(noise), 80)])
    assert not perceptual_hashes(thumbnails).any()
    assert not are_alike(thumbnails, np.array(list(combinations(range(5), 2)))).any()


def test_a_drawing_on_a_white_page_is_not_the_page_nor_another_drawing() -> None:
    def drawing(left: int) -> Image.Image:
        page = Image.new("L", (120, 90), 255)
        page.paste(0, (left, 30, left + 12, 60))
        return page

    thumbnails = thumbnails_of([Image.new("L", (120, 90), 255), drawing(20), drawing(70), encoded(drawing(20), 60)])
    assert are_alike(thumbnails, np.array(list(combinations(range(4), 2)))).tolist() == [
        *(False, False, False),
        *(False, True),
        False,
    ]


def test_no_pairs_are_no_trouble() -> None:
    assert are_alike(np.zeros((0, SIDE, SIDE), np.uint8), np.zeros((0, 2), np.int64)).shape == (0,)
