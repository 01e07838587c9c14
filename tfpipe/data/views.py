"""Views: (example id, view number, seed) → the same pixels, always.

Every random choice is a stateless op keyed by those three, so a teacher labels
exactly what a student sees, in any process, order or number of threads.

What the settings' words mean:

| `augmentation` | crop, of the area | flip | colours and shapes                          |
|----------------|-------------------|------|---------------------------------------------|
| `none`         | the centre square | no   | as they are: validation, test, the page     |
| `moderate`     | 50 to 100 %       | half | saturation, contrast, brightness by ± 15 %  |
| `aggressive`   | 30 to 100 %       | half | RandAugment, two of ten operations          |

Crops have an aspect ratio of 3:4 to 4:3. ImageNet's habit, 8 to 100 % of the area, would often miss the leaf or the
flower that tells two species apart. `random_erasing` comes on top of any of them, MixUp and CutMix
(`data/mixing.py`) on top of all: over the batch, or, where teachers label what is mixed, of a view and its
partner (`data/partners.py`).
"""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from tfpipe.core.inputs import ImageInput
from tfpipe.core.settings import Augmentation
from tfpipe.data.randaugment import rand_augment

MakeView = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]
"""(JPEG bytes, example id, view number) → (size, size, 3) float32, normalised."""

DCT = "INTEGER_ACCURATE"
"""The decoder's arithmetic; browsers use this one, TensorFlow by itself a coarser."""

ALIASING = 1.5
"""Windows that shrink by more are resized with an antialiasing kernel."""

ERASED_AREA = (0.02, 1 / 3)
ERASED_ASPECT = (0.3, 1 / 0.3)
"""Share of the pixels, and height by width: timm's; Zhong 2017 goes up to 0.4 of the pixels."""

ERASING = 0x7A686F6E
"""Sets the draws of random erasing apart from those before it."""

LUMA = (0.2989, 0.587, 0.114)
"""Of `tf.image.rgb_to_grayscale`."""


def build_view(
    augmentation: Augmentation, image_input: ImageInput, seed: int, *, random_erasing: float = 0.0
) -> MakeView:
    """A function that makes views, to be mapped over examples.

    Args:
        augmentation: a key of `AUGMENTATIONS`.
        image_input: what the model wants.
        seed: of all views.
        random_erasing: probability that a box of a view is filled with noise.
    """
    augment = AUGMENTATIONS[augmentation]

    def make_view(jpeg: tf.Tensor, example_id: tf.Tensor, view: tf.Tensor) -> tf.Tensor:
        key = view_seed(example_id, view, seed)
        pixels = augment(jpeg, image_input.size, key)
        if random_erasing:
            pixels = erase(pixels, tf.random.experimental.stateless_fold_in(key, ERASING), random_erasing)
        return normalise(pixels, image_input)

    return make_view


def view_seed(example_id: tf.Tensor, view: tf.Tensor, seed: int) -> tf.Tensor:
    """(2,) int32 seed of one view of one example."""
    key = tf.strings.join([example_id, tf.strings.as_string(view)], separator="\n")
    return tf.bitcast(tf.strings.to_hash_bucket_strong(key, 2**63 - 1, key=[seed, 0]), tf.int32)


def normalise(pixels: tf.Tensor, image_input: ImageInput) -> tf.Tensor:
    """(size, size, 3) values 0..255 → what the model wants."""
    # Whole rows of constants: broadcasting three numbers along the last axis takes longer than the decoding.
    row = np.ones((pixels.shape[-2], 1), np.float32)
    return (pixels - row * image_input.mean) / (row * image_input.scale)


def centre_square(jpeg: tf.Tensor, size: int, seed: tf.Tensor) -> tf.Tensor:
    """No augmentation: the centre square, resized. (size, size, 3) float32, 0..255."""
    image = tf.io.decode_jpeg(jpeg, channels=3, dct_method=DCT, try_recover_truncated=True)
    side = tf.minimum(tf.shape(image)[0], tf.shape(image)[1])
    top, left = (tf.shape(image)[0] - side) // 2, (tf.shape(image)[1] - side) // 2
    return _resize(image[top : top + side, left : left + side], size)


def moderate(jpeg: tf.Tensor, size: int, seed: tf.Tensor) -> tf.Tensor:
    """A generous crop, a flip, a little light."""
    seeds = tf.random.experimental.stateless_split(seed, 3)
    pixels = _random_crop(jpeg, size, seeds[0], smallest_area=0.5)
    return _jitter(tf.image.stateless_random_flip_left_right(pixels, seeds[1]), seeds[2], strength=0.15)


def aggressive(jpeg: tf.Tensor, size: int, seed: tf.Tensor) -> tf.Tensor:
    """A smaller crop, a flip, RandAugment with two operations."""
    seeds = tf.random.experimental.stateless_split(seed, 3)
    pixels = _random_crop(jpeg, size, seeds[0], smallest_area=0.3)
    return rand_augment(tf.image.stateless_random_flip_left_right(pixels, seeds[1]), seeds[2])


def erase(pixels: tf.Tensor, seed: tf.Tensor, probability: float) -> tf.Tensor:
    """Random erasing (Zhong 2017): now and then a box is filled with noise, so that no part is relied upon.

    Noise in each pixel, as the paper chose (RE-R): one flat colour is a shape that can be learnt. It is
    uniform in 0..255, before normalisation, so that it is the same for every model; timm's `pixel` is
    normal, and after it.

    Args:
        pixels: (size, size, 3) float32, 0..255.
        seed: (2,) int32.
        probability: of a box at all.

    Returns:
        (size, size, 3) float32, 0..255.
    """
    seeds = tf.random.experimental.stateless_split(seed, 2)
    draws = tf.random.stateless_uniform((5,), seeds[0])
    return tf.cond(draws[0] < probability, lambda: _with_noise(pixels, draws[1:], seeds[1]), lambda: pixels)


def _with_noise(pixels: tf.Tensor, draws: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """A box of noise; `draws`, (4,) in [0, 1), say how large, how tall, and where."""
    size = pixels.shape[0]
    area = size**2 * (ERASED_AREA[0] + draws[0] * (ERASED_AREA[1] - ERASED_AREA[0]))
    least, most = np.log(ERASED_ASPECT)
    aspect = tf.exp(least + draws[1] * (most - least))
    # The largest and longest boxes together would not fit: those end at the edge.
    extent = tf.clip_by_value(tf.round(tf.sqrt(area * tf.stack([aspect, 1 / aspect]))), 1, size)
    height, width = tf.unstack(tf.cast(extent, tf.int32))
    top, left = tf.unstack(tf.cast(draws[2:] * (size + 1 - extent), tf.int32))
    noise = tf.random.stateless_uniform((height, width, 3), seed, 0.0, 255.0)
    # Put together from its parts: to blend by a mask over the last axis takes longer, and more noise.
    band = pixels[top : top + height]
    band = tf.concat([band[:, :left], noise, band[:, left + width :]], axis=1)
    return tf.ensure_shape(tf.concat([pixels[:top], band, pixels[top + height :]], axis=0), pixels.shape)


def _random_crop(jpeg: tf.Tensor, size: int, seed: tf.Tensor, *, smallest_area: float) -> tf.Tensor:
    """Decode only a random window, and resize it (Szegedy 2014, §6)."""
    begin, extent, _ = tf.image.stateless_sample_distorted_bounding_box(
        tf.image.extract_jpeg_shape(jpeg),
        tf.constant([[[0.0, 0.0, 1.0, 1.0]]]),
        seed,
        min_object_covered=0.0,
        aspect_ratio_range=(3 / 4, 4 / 3),
        area_range=(smallest_area, 1.0),
        use_image_if_no_bounding_boxes=True,
    )
    window = tf.concat([begin[:2], extent[:2]], axis=0)
    # The audit has opened every photo, and left out those that are cut short. What is damaged and could be opened must
    # not end a training of days: of what TensorFlow misses, there is a grey patch, as Pillow shows it.
    image = tf.image.decode_and_crop_jpeg(jpeg, window, channels=3, dct_method=DCT, try_recover_truncated=True)
    return _resize_fast(image, size)


def _resize(image: tf.Tensor, size: int) -> tf.Tensor:
    pixels = tf.image.resize(image, (size, size), antialias=True)
    return tf.ensure_shape(pixels, (size, size, 3))


def _resize_fast(image: tf.Tensor, size: int) -> tf.Tensor:
    """Antialiased, which costs three times as much, only where a window shrinks enough for it to show."""
    shrinks = tf.cast(tf.reduce_max(tf.shape(image)[:2]), tf.float32) > ALIASING * size
    bilinear = lambda: tf.ensure_shape(tf.image.resize(image, (size, size)), (size, size, 3))  # noqa: E731
    return tf.cond(shrinks, lambda: _resize(image, size), bilinear)


def _jitter(pixels: tf.Tensor, seed: tf.Tensor, *, strength: float) -> tf.Tensor:
    """Saturation, contrast and brightness by up to ± `strength`, as one affine map of the colours."""
    saturation, contrast, brightness = tf.unstack(1 + tf.random.stateless_uniform((3,), seed, -strength, strength))
    to_grey = tf.tile(tf.constant(LUMA)[:, None], (1, 3))
    saturate = saturation * tf.eye(3) + (1 - saturation) * to_grey
    mean = tf.reduce_mean(
        tf.linalg.matvec(saturate, tf.reduce_mean(tf.reduce_mean(pixels, axis=0), axis=0), transpose_a=True)
    )
    pixels = tf.tensordot(pixels, saturate * contrast * brightness, 1) + mean * (1 - contrast) * brightness
    return tf.clip_by_value(pixels, 0.0, 255.0)


AUGMENTATIONS: dict[Augmentation, Callable[[tf.Tensor, int, tf.Tensor], tf.Tensor]] = {
    "none": centre_square,
    "moderate": moderate,
    "aggressive": aggressive,
}
