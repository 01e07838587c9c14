"""RandAugment (Cubuk 2019) that can be replayed: keras-cv's operations, our own stateless draw.

keras-cv's layer holds its random state inside, so a view drawn by it could never
be drawn again. Its operations take the strength as an argument, and those we use.
"""

from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import Any

import tensorflow as tf

Operation = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
"""((1, size, size, 3) values 0..255, strength in [-1, 1]) → the same shape."""

VALUES = (0, 255)
DTYPE = "float32"
"""Whatever the precision of the network."""
OPERATIONS_PER_IMAGE = 2
MAGNITUDE = 0.5
"""Mean absolute strength; each draw is uniform in [0, 2 * MAGNITUDE], its sign even."""


def rand_augment(pixels: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Two operations, drawn with replacement, each at a drawn strength.

    Args:
        pixels: (size, size, 3) float32, 0..255.
        seed: (2,) int32.

    Returns:
        (size, size, 3) float32, 0..255.
    """
    choices = tf.random.stateless_uniform((OPERATIONS_PER_IMAGE,), seed, 0, len(OPERATIONS), tf.int32)
    strengths = tf.random.stateless_uniform((OPERATIONS_PER_IMAGE,), seed + 1, -2 * MAGNITUDE, 2 * MAGNITUDE)
    images = pixels[tf.newaxis]
    for number in range(OPERATIONS_PER_IMAGE):
        images = _apply(choices[number], images, strengths[number])
    return tf.ensure_shape(tf.clip_by_value(images[0], 0.0, 255.0), pixels.shape)


@tf.function(autograph=False)
def _apply(choice: tf.Tensor, images: tf.Tensor, strength: tf.Tensor) -> tf.Tensor:
    """A graph of its own: drawing ten operations takes a second, which once is enough for all views of a size."""

    def branch(operation: Operation) -> Callable[[], tf.Tensor]:
        return lambda: tf.ensure_shape(operation(images, strength), images.shape)

    return tf.switch_case(choice, [branch(operation) for operation in OPERATIONS.values()])


def _equalize(images: tf.Tensor, strength: tf.Tensor) -> tf.Tensor:
    """The one operation whose code asks `if` of a tensor."""
    layer = _layer("equalization")
    return tf.autograph.to_graph(type(layer).augment_images)(layer, images)


def _solarize(images: tf.Tensor, strength: tf.Tensor) -> tf.Tensor:
    threshold = 255 - 128 * tf.abs(strength)
    return _layer("solarization").augment_images(images, {"additions": 0.0, "thresholds": threshold})


def _sheared(images: tf.Tensor, x: tf.Tensor | None, y: tf.Tensor | None) -> tf.Tensor:
    return _layer("shear").augment_images(images, {"shear_x": x, "shear_y": y})


def _translated(images: tf.Tensor, x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
    return _layer("translation").augment_images(images, {"width_translations": x, "height_translations": y})


def _rows(strength: tf.Tensor, at_most: float) -> tf.Tensor:
    return tf.reshape(at_most * strength, (1, 1))


@cache
def _layer(name: str) -> Any:
    """Built when it is first used: keras-cv draws random numbers, before which TensorFlow's workers must have met.

    It also imports PyTorch where that is installed, which takes seconds that no other augmentation should wait for.
    """
    with tf.init_scope():
        # It draws them from this generator, of which determinism asks to be seeded; its layers' own draws go unused.
        tf.random.set_global_generator(tf.random.Generator.from_seed(0))
        return LAYERS[name](import_module("keras_cv.layers"))


LAYERS: dict[str, Callable[[Any], Any]] = {
    "auto_contrast": lambda layers: layers.AutoContrast(VALUES, dtype=DTYPE),
    "equalization": lambda layers: layers.Equalization(VALUES, dtype=DTYPE),
    "solarization": lambda layers: layers.Solarization(VALUES, dtype=DTYPE),
    "color": lambda layers: layers.RandomColorDegeneration(1.0, dtype=DTYPE),
    "contrast": lambda layers: layers.RandomContrast(VALUES, 0.5, dtype=DTYPE),
    "brightness": lambda layers: layers.RandomBrightness(1.0, VALUES, dtype=DTYPE),
    "shear": lambda layers: layers.RandomShear(0.3, 0.3, dtype=DTYPE),
    "translation": lambda layers: layers.RandomTranslation(0.3, 0.3, dtype=DTYPE),
}
"""Of the module `keras_cv.layers`."""

OPERATIONS: dict[str, Operation] = {
    "auto_contrast": lambda images, strength: _layer("auto_contrast").augment_images(images),
    "equalize": _equalize,
    "solarize": _solarize,
    "color": lambda images, strength: _layer("color").augment_images(images, 0.9 * strength),
    "contrast": lambda images, strength: _layer("contrast").augment_images(images, 1 + 0.8 * strength),
    "brightness": lambda images, strength: _layer("brightness").augment_images(images, 100 * strength),
    "shear_x": lambda images, strength: _sheared(images, _rows(strength, 0.3), None),
    "shear_y": lambda images, strength: _sheared(images, None, _rows(strength, 0.3)),
    "translate_x": lambda images, strength: _translated(images, _rows(strength, 0.3), _rows(strength, 0.0)),
    "translate_y": lambda images, strength: _translated(images, _rows(strength, 0.0), _rows(strength, 0.3)),
}
