"""What all kinds of networks share: an entry of the table, and the layers above a backbone."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import keras
import tensorflow as tf

from tfpipe.core.errors import ConfigError
from tfpipe.core.inputs import ImageInput, ModelInput
from tfpipe.core.settings import DataSettings, ModelSettings, Task

Channels = tuple[float, float, float]
"""A number for red, green and blue."""

HEAD = ("head_projection", "head_dense", "logits")
"""Layers above a pretrained backbone: the first is there where `head_rank` is set, the second in text encoders."""


@dataclass(frozen=True)
class Normalisation:
    """What is done to pixel values 0..255 of a channel before a network sees them: `(value - mean) / scale`."""

    mean: Channels
    scale: Channels


RAW = Normalisation((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
"""For networks that normalise by themselves."""
MINUS_ONE_TO_ONE = Normalisation((127.5, 127.5, 127.5), (127.5, 127.5, 127.5))
IMAGENET = Normalisation((0.485 * 255, 0.456 * 255, 0.406 * 255), (0.229 * 255, 0.224 * 255, 0.225 * 255))
"""Mean and standard deviation of ImageNet's channels."""
CAFFE = Normalisation((123.68, 116.779, 103.939), (1.0, 1.0, 1.0))
"""ImageNet's mean alone; such networks see blue first, too."""


@dataclass(frozen=True)
class BuildOptions:
    """What a network is built for, beside its settings."""

    num_classes: int
    model_input: ModelInput
    dropout: float
    stochastic_depth: float
    rematerialize: bool
    seed: int
    head_rank: int | None
    classes: Sequence[str]
    """Names of the logits; empty where no folder's head is to be kept."""

    @property
    def image_size(self) -> int:
        """Of a family that sees images."""
        assert isinstance(self.model_input, ImageInput)
        return self.model_input.size


@dataclass(frozen=True)
class Family:
    """A kind of network: how to build it, what it wants to see, and what it can."""

    build: Callable[[ModelSettings, BuildOptions], keras.Model]
    input_of: Callable[[ModelSettings, DataSettings], ModelInput]
    example: str
    """A name that the family's pattern matches."""
    task: Task = "image"
    in_browser: bool = False
    """Whether it runs in TensorFlow.js."""
    stochastic_depth: bool = False
    """Whether its layers can be left out at random, and rematerialized."""


def sees(
    normalisation: Callable[[ModelSettings], Normalisation],
) -> Callable[[ModelSettings, DataSettings], ImageInput]:
    """What a family of image networks wants to see, of the size that the settings say."""

    def input_of(settings: ModelSettings, data: DataSettings) -> ImageInput:
        found = normalisation(settings)
        return ImageInput(data.image_size, found.mean, found.scale)

    return input_of


def add_head(backbone: keras.Model, options: BuildOptions, *, pool: keras.layers.Layer, name: str) -> keras.Model:
    """Backbone, `pool`, dropout and logits (batch, num_classes), which are float32 in every precision.

    With `head_rank`, the head is two layers with so many units between them (Sainath 2013).

    Raises:
        ConfigError: when such a head has no fewer weights than a plain one.
    """
    images = keras.Input((options.image_size, options.image_size, 3), name="images")
    # Some of KerasHub's backbones want their one input by name.
    features = backbone(dict.fromkeys(backbone.input, images) if isinstance(backbone.input, dict) else images)
    return keras.Model(images, _head(features, options, pool), name=name)


def add_head_in_place(
    backbone: keras.Model, options: BuildOptions, *, pool: keras.layers.Layer, name: str
) -> keras.Model:
    """The same, but with the backbone's layers as the network's own."""
    return keras.Model(backbone.input, _head(backbone.output, options, pool), name=name)


def head_layers(network: keras.Model) -> list[keras.layers.Layer]:
    """Those of `HEAD` that a network has."""
    return [layer for layer in network.layers if layer.name in HEAD]


def check_size(network: keras.Model, settings: ModelSettings) -> None:
    """Hold a network against `model.max_mb`.

    Raises:
        ConfigError: with the size that was found, and what would make it smaller.
    """
    found, head = _megabytes(network.weights), _megabytes(w for layer in head_layers(network) for w in layer.weights)
    if settings.max_mb is None or found <= settings.max_mb:
        return
    advice = "a smaller model.head_rank" if settings.head_rank else "model.head_rank"
    if settings.name.startswith("mobilenet"):
        advice += " or a smaller model.alpha"
    raise ConfigError(
        f"model.max_mb: {settings.name} has {found:.1f} MB of float32 weights, {head:.1f} of them in the head for "
        f"{network.output_shape[-1]:,} classes, and the limit is {settings.max_mb:g}. Set {advice}, or raise the limit."
    )


def _megabytes(weights: Iterable[keras.Variable]) -> float:
    """10⁶ bytes, in float32."""
    return sum(4 * math.prod(weight.shape) for weight in weights) / 1e6


def _head(features: keras.KerasTensor, options: BuildOptions, pool: keras.layers.Layer) -> keras.KerasTensor:
    hidden = keras.layers.Dropout(options.dropout, seed=options.seed, name="dropout")(pool(features))
    if options.head_rank:
        _check_rank(options.head_rank, hidden.shape[-1], options.num_classes)
        hidden = keras.layers.Dense(options.head_rank, use_bias=False, name="head_projection")(hidden)
    return keras.layers.Dense(options.num_classes, dtype="float32", name="logits")(hidden)


def _check_rank(rank: int, num_features: int, num_classes: int) -> None:
    """Two factors must have fewer weights than their product."""
    most = (num_features * num_classes - 1) // (num_features + num_classes)
    if rank > most:
        raise ConfigError(
            f"model.head_rank: {rank} saves nothing between {num_features:,} features and {num_classes:,} classes; "
            + (f"choose at most {most:,}, or leave it out." if most else "leave it out.")
        )


@keras.saving.register_keras_serializable("tfpipe")
class FirstToken(keras.layers.Layer):
    """Tokens (batch, tokens, hidden_dim) → the first one, which stands for the whole (batch, hidden_dim)."""

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """The class token."""
        return inputs[:, 0]


def check_patches(name: str, image_size: int, patch_size: int) -> None:
    """Refuse images that are no whole number of patches.

    Raises:
        ConfigError: naming both.
    """
    if image_size % patch_size:
        raise ConfigError(f"data.image_size: {image_size} is no multiple of {name}'s patches of {patch_size}.")
