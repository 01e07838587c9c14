"""Views: (id, view, seed) decides every pixel, in any process and any order."""

import hashlib
from io import BytesIO
from typing import Any, get_args

import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray
from PIL import Image

from tfpipe.core.inputs import ImageInput
from tfpipe.core.settings import Augmentation
from tfpipe.data import views
from tfpipe.data.views import AUGMENTATIONS, build_view, centre_square, normalise, view_seed

SIZE = 32
RAW = ImageInput(SIZE, mean=(0.0, 0.0, 0.0), scale=(1.0, 1.0, 1.0))
AUGMENTED = ("moderate", "aggressive")


def jpeg(pixels: NDArray[Any], **options: Any) -> bytes:
    buffer = BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(buffer, "JPEG", **{"quality": 95, "subsampling": 0} | options)
    return buffer.getvalue()


def scene(width: int = 90, height: int = 60) -> NDArray[Any]:
    """Smooth, coloured, and nowhere the same."""
    x, y = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    return np.stack([255 * x, 255 * y, 127 + 127 * np.sin(9 * x * y)], axis=-1)


PHOTO = jpeg(scene())


def view(augmentation: Augmentation, example_id: str = "a", number: int = 0, seed: int = 1) -> NDArray[Any]:
    make_view = build_view(augmentation, RAW, seed)
    return make_view(tf.constant(PHOTO), tf.constant(example_id), tf.constant(number, tf.int64)).numpy()


def digest_of_views() -> str:
    """Of a few views as a pipeline makes them, with and without augmentation."""
    digest = hashlib.sha256()
    for augmentation in get_args(Augmentation):
        make_view = build_view(augmentation, RAW, 3)
        ds = tf.data.Dataset.range(4).map(
            lambda number, make_view=make_view: make_view(PHOTO, "Viola × alba/7.jpg", number), num_parallel_calls=2
        )
        for pixels in ds.as_numpy_iterator():
            digest.update(pixels.tobytes())
    return digest.hexdigest()


def test_every_augmentation_of_the_settings_is_there_and_no_other() -> None:
    assert set(AUGMENTATIONS) == set(get_args(Augmentation))


# Replay


@pytest.mark.parametrize("augmentation", AUGMENTED)
def test_a_view_in_a_parallel_pipeline_is_the_view_made_alone(augmentation: Augmentation) -> None:
    names, numbers = [f"id {i % 6}" for i in range(24)], [i // 6 for i in range(24)]
    make_view = build_view(augmentation, RAW, 1)
    ds = tf.data.Dataset.from_tensor_slices(([PHOTO] * 24, names, np.array(numbers, np.int64)))
    once = list(ds.map(make_view, num_parallel_calls=8).as_numpy_iterator())
    # In another order, on other threads.
    again = list(ds.shuffle(24, seed=0).map(make_view, num_parallel_calls=3).as_numpy_iterator())
    assert sorted(p.tobytes() for p in once) == sorted(p.tobytes() for p in again)
    for pixels, name, number in list(zip(once, names, numbers, strict=True))[::5]:
        # TensorFlow rearranges the arithmetic of a graph, which shows in the last digit.
        np.testing.assert_allclose(pixels, view(augmentation, name, number), atol=1e-3)


@pytest.mark.parametrize("augmentation", AUGMENTED)
def test_another_id_view_or_seed_gives_another_picture(augmentation: Augmentation) -> None:
    pictures = [
        view(augmentation, example_id, number, seed)
        for example_id, number, seed in (("a", 0, 1), ("b", 0, 1), ("a", 1, 1), ("a", 0, 2), ("a", 10, 1), ("a1", 0, 1))
    ]
    for i, one in enumerate(pictures):
        for other in pictures[:i]:
            assert np.abs(one - other).mean() > 0.5


def test_seeds_of_thousands_of_views_are_all_different() -> None:
    ids = tf.constant([f"{i}" for i in range(3000)])
    seeds = {tuple(s) for number in range(3) for s in view_seed(ids, tf.constant(number, tf.int64), 0).numpy()}
    assert len(seeds) == 9000
    # An id that ends like a view number is not mistaken for that view of a shorter one.
    assert not np.array_equal(view_seed(tf.constant("a1"), 1, 0), view_seed(tf.constant("a"), 11, 0))


# Without augmentation


@pytest.mark.parametrize(("width", "height"), [(90, 60), (60, 91), (32, 32), (33, 20)])
def test_no_augmentation_is_the_centre_square_resized(width: int, height: int) -> None:
    content = jpeg(scene(width, height))
    with Image.open(BytesIO(content)) as image:
        pixels = np.asarray(image.convert("RGB")).astype(np.float32)
    side = min(width, height)
    top, left = (height - side) // 2, (width - side) // 2
    square = pixels[top : top + side, left : left + side]
    expected = tf.image.resize(square, (SIZE, SIZE), method="bilinear", antialias=True).numpy()
    # Pillow's own decoder is the judge: libjpeg's accurate DCT, as browsers have it.
    np.testing.assert_allclose(centre_square(tf.constant(content), SIZE, None).numpy(), expected, atol=1e-3)


def test_no_augmentation_agrees_with_pillows_resize() -> None:
    with Image.open(BytesIO(PHOTO)) as image:
        square = image.crop((15, 0, 75, 60)).resize((SIZE, SIZE), Image.Resampling.BILINEAR)
    assert np.abs(view("none") - np.asarray(square)).mean() < 0.5


def test_no_augmentation_is_the_same_for_every_view() -> None:
    np.testing.assert_array_equal(view("none", "a", 0, 1), view("none", "b", 7, 2))


def test_a_grey_photo_has_three_equal_channels() -> None:
    buffer = BytesIO()
    Image.fromarray(scene()[..., 0].astype(np.uint8)).save(buffer, "JPEG")
    pixels = centre_square(tf.constant(buffer.getvalue()), SIZE, None).numpy()
    assert pixels.shape == (SIZE, SIZE, 3)
    np.testing.assert_array_equal(pixels[..., 0], pixels[..., 2])


# Sizes, ranges, normalisation


@pytest.mark.parametrize("augmentation", ["none", *AUGMENTED])
@pytest.mark.parametrize("size", [17, 48])
def test_views_have_the_models_size_and_stay_in_range(augmentation: Augmentation, size: int) -> None:
    make_view = build_view(augmentation, ImageInput(size), 0)
    for number in range(8):
        pixels = make_view(tf.constant(PHOTO), tf.constant("a"), tf.constant(number, tf.int64)).numpy()
        assert pixels.shape == (size, size, 3)
        assert pixels.dtype == np.float32
        # Mean and scale of 127.5 take 0..255 to -1..1.
        assert -1 - 1e-5 <= pixels.min() < pixels.max() <= 1 + 1e-5


def test_normalising_is_channel_by_channel() -> None:
    model_input = ImageInput(2, mean=(10.0, 20.0, 30.0), scale=(1.0, 2.0, 4.0))
    pixels = np.arange(12, dtype=np.float32).reshape(2, 2, 3)
    expected = (pixels - np.array([10, 20, 30])) / np.array([1, 2, 4])
    np.testing.assert_allclose(normalise(tf.constant(pixels), model_input).numpy(), expected, rtol=1e-6)


# What augmentation does


def test_crops_decoded_in_part_are_the_crops_of_the_whole() -> None:
    photo = jpeg(scene(), subsampling=2, quality=80)
    with Image.open(BytesIO(photo)) as image:
        pixels = np.asarray(image.convert("RGB")).astype(np.float32)
    for number in range(6):
        seed = tf.constant([number, 5])
        begin, extent, _ = tf.image.stateless_sample_distorted_bounding_box(
            (60, 90, 3),
            tf.zeros((1, 0, 4)),
            seed,
            min_object_covered=0.0,
            aspect_ratio_range=(3 / 4, 4 / 3),
            area_range=(0.3, 1.0),
            use_image_if_no_bounding_boxes=True,
        )
        (top, left, _), (height, width, _) = begin.numpy(), extent.numpy()
        whole = pixels[top : top + height, left : left + width]
        expected = tf.image.resize(whole, (SIZE, SIZE), antialias=True).numpy()
        part = views._random_crop(tf.constant(photo), SIZE, seed, smallest_area=0.3).numpy()
        # Colour is stored at half the resolution; at the window's edge it is upsampled from fewer neighbours.
        assert np.abs(part - expected).mean() < 2


@pytest.mark.parametrize(("augmentation", "smallest_area"), [("moderate", 0.5), ("aggressive", 0.3)])
def test_crops_are_as_large_and_as_wide_as_told(
    augmentation: Augmentation, smallest_area: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Red grows with x and green with y, so the colours of a crop say where it is from, once nothing changes colours.
    monkeypatch.setattr(views, "rand_augment", lambda pixels, seed: pixels)
    monkeypatch.setattr(views, "_jitter", lambda pixels, seed, strength: pixels)
    photo = jpeg(scene(200, 200))
    areas, ratios = [], []
    for number in range(40):
        crop = AUGMENTATIONS[augmentation](tf.constant(photo), 64, tf.constant([number, 0])).numpy()
        width, height = (np.ptp(crop[..., channel].mean(axis=channel)) / 255 for channel in (0, 1))
        areas.append(width * height)
        ratios.append(width / height)
    assert smallest_area - 0.05 < min(areas) < smallest_area + 0.2
    assert max(areas) > 0.8
    assert 0.7 < min(ratios) < 0.9
    assert 1.1 < max(ratios) < 1.42


@pytest.mark.parametrize("augmentation", AUGMENTED)
def test_about_half_of_the_views_are_mirrored(augmentation: Augmentation, monkeypatch: pytest.MonkeyPatch) -> None:
    # RandAugment may turn colours round; what is asked here is the flip before it.
    monkeypatch.setattr(views, "rand_augment", lambda pixels, seed: pixels)
    mirrored = 0
    for number in range(60):
        red = view(augmentation, "a", number)[..., 0].mean(axis=0)
        assert abs(red[-1] - red[0]) > 30
        mirrored += red[-1] < red[0]
    # Of 60 fair coins, fewer than 15 or more than 45 heads come once in 15,000 times.
    assert 15 <= mirrored <= 45


def test_jitter_is_saturation_contrast_and_brightness_within_its_strength() -> None:
    pixels = np.random.default_rng(0).uniform(90, 160, (16, 16, 3)).astype(np.float32)
    brightness, contrast, saturation = [], [], []
    grey_of = np.array([0.2989, 0.587, 0.114])  # ITU-R BT.601
    for number in range(40):
        out = views._jitter(tf.constant(pixels), tf.constant([number, 1]), strength=0.15).numpy()
        brightness.append(out.mean() / pixels.mean())
        spread = np.std(out @ grey_of) / np.std(pixels @ grey_of) / brightness[-1]
        contrast.append(spread)
        colour = np.std(out - (out @ grey_of)[..., None]) / np.std(pixels - (pixels @ grey_of)[..., None])
        saturation.append(colour / brightness[-1] / spread)
    for factors in (brightness, contrast, saturation):
        assert 0.84 < min(factors) < 0.9
        assert 1.1 < max(factors) < 1.16
    # Drawn each for itself, not one for all.
    assert np.abs(np.corrcoef([brightness, contrast, saturation])[np.triu_indices(3, 1)]).max() < 0.6


@pytest.mark.parametrize(("side", "antialias"), [(60, False), (150, True)])
def test_windows_are_antialiased_only_where_they_shrink_enough(side: int, antialias: bool) -> None:
    image = np.random.default_rng(5).uniform(0, 255, (side, side, 3)).astype(np.float32)
    expected = tf.image.resize(image, (48, 48), antialias=antialias)
    np.testing.assert_allclose(views._resize_fast(tf.constant(image), 48), expected, atol=1e-3)
