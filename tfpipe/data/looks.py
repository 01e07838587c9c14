"""Looks: the few fixed ways to look at a photo whose answers `evaluate` averages. Nothing is left to chance."""

import tensorflow as tf

from tfpipe.core.inputs import ImageInput
from tfpipe.data.records import Records
from tfpipe.data.views import DCT, normalise

STEPS_CLOSER = 8
"""In as many steps the window would shrink from the centre square to nothing."""


def look_batches(
    records: Records, image_input: ImageInput, *, looks: int, batch_size: int, first: int = 0
) -> tf.data.Dataset:
    """Batches (batch, looks, size, size, 3) of every example, in canonical order.

    The first look is the centre square, as without looks; then its mirror image, then 7/8 of the
    square and the mirror image of that, then 6/8. What stands before `first` is passed over, undecoded.
    """

    def decode(example: dict[str, tf.Tensor]) -> tf.Tensor:
        image = tf.io.decode_jpeg(example["image"], channels=3, dct_method=DCT, try_recover_truncated=True)
        return tf.stack([_look(image, number, image_input) for number in range(looks)])

    return records.examples(first).map(decode, tf.data.AUTOTUNE).batch(batch_size).prefetch(1)


def _look(image: tf.Tensor, number: int, image_input: ImageInput) -> tf.Tensor:
    """(height, width, 3) → (size, size, 3), normalised."""
    closer, mirrored = divmod(number, 2)
    square = tf.minimum(tf.shape(image)[0], tf.shape(image)[1])
    side = tf.maximum(square * (STEPS_CLOSER - closer) // STEPS_CLOSER, 1)
    top, left = (tf.shape(image)[0] - side) // 2, (tf.shape(image)[1] - side) // 2
    window = image[top : top + side, left : left + side]
    size = image_input.size
    pixels = tf.ensure_shape(tf.image.resize(window, (size, size), antialias=True), (size, size, 3))
    return normalise(pixels[:, ::-1] if mirrored else pixels, image_input)
