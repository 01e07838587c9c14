"""Convolutional networks of keras.applications, but for MobileNetV2, which has a file of its own."""

import re
from functools import partial
from pathlib import Path

import keras
import tensorflow as tf

from tfpipe.core.errors import ConfigError
from tfpipe.core.settings import ModelSettings
from tfpipe.models.batch_norm import fuse
from tfpipe.models.family import (
    CAFFE,
    IMAGENET,
    MINUS_ONE_TO_ONE,
    RAW,
    BuildOptions,
    Family,
    Normalisation,
    add_head,
    sees,
)
from tfpipe.models.pretrained import OFFLINE, adopt, is_pretrained, read_file, told, unfit

NORMALISATIONS: dict[str, Normalisation] = {
    "MobileNet": MINUS_ONE_TO_ONE,
    "MobileNetV3(Small|Large)": RAW,
    "EfficientNetB[0-7]": RAW,
    "EfficientNetV2(B[0-3]|[SML])": RAW,
    "ConvNeXt(Tiny|Small|Base|Large|XLarge)": RAW,
    "ResNet(50|101|152)": CAFFE,
    "ResNet(50|101|152)V2": MINUS_ONE_TO_ONE,
    "DenseNet(121|169|201)": IMAGENET,
    "VGG(16|19)": CAFFE,
    "Inception(V3|ResNetV2)": MINUS_ONE_TO_ONE,
    "NASNet(Mobile|Large)": MINUS_ONE_TO_ONE,
    "Xception": MINUS_ONE_TO_ONE,
}
"""Pattern of constructors → what their `preprocess_input` does; RAW ones have layers that do it."""


def build(settings: ModelSettings, options: BuildOptions) -> keras.Model:
    """Backbone, average pooling, dropout, logits."""
    published = _published(settings, options.image_size)
    backbone = fuse(published)
    if _normalisation(settings) is CAFFE:
        backbone = _blue_first(backbone)
    pool = keras.layers.GlobalAveragePooling2D(name="pool")
    return add_head(backbone, options, pool=pool, name=_plain(settings.name))


def _published(settings: ModelSettings, image_size: int) -> keras.Model:
    """The network as keras.applications builds it, with the weights of the settings."""
    if not is_pretrained(settings):
        return _construct(settings.name, image_size, None)
    if settings.pretrained or settings.weights == "imagenet":
        # Some networks, such as EfficientNetB0, have another layer with these weights: they are kept as they come.
        _construct(settings.name, image_size, None)
        with told(f"model.weights: the ImageNet weights of {settings.name} cannot be had", OFFLINE):
            return _construct(settings.name, image_size, "imagenet")
    blank = partial(_construct, settings.name, image_size, None)
    donor = read_file(Path(settings.weights), blank, settings.name)
    return adopt(blank(), donor, unfit(settings))


def _construct(name: str, image_size: int, weights: str | None) -> keras.Model:
    constructor = getattr(keras.applications, NAMES[_plain(name)])
    try:
        return constructor(input_shape=(image_size, image_size, 3), include_top=False, weights=weights)
    except ValueError as error:
        if weights:
            raise
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(f"data.image_size: {name} cannot be built for {image_size} pixels ({reason}).") from None


@keras.saving.register_keras_serializable("tfpipe")
class ReverseChannels(keras.layers.Layer):
    """Images (batch, height, width, channels) with their last channel first: blue, green, red, as Caffe had them."""

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """The same values in another order."""
        return inputs[..., ::-1]


def _blue_first(backbone: keras.Model) -> keras.Model:
    images = keras.Input(backbone.input_shape[1:])
    return keras.Model(images, backbone(ReverseChannels(name="blue_first")(images)), name=f"{backbone.name}_rgb")


def _plain(name: str) -> str:
    return name.replace("_", "")


NAMES = {
    constructor.lower(): constructor
    for constructor in dir(keras.applications)
    if any(re.fullmatch(pattern, constructor) for pattern in NORMALISATIONS)
}
"""Name in the settings, where any underscores may stand, → constructor."""


def _normalisation(settings: ModelSettings) -> Normalisation:
    constructor = NAMES[_plain(settings.name)]
    return next(value for pattern, value in NORMALISATIONS.items() if re.fullmatch(pattern, constructor))


PATTERN = "|".join("_?".join(name) for name in NAMES)

FAMILY = Family(build=build, input_of=sees(_normalisation), example="efficientnet_b0")
