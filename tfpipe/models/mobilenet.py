"""MobileNetV2 (Sandler 2018) from keras.applications, with batch norm on TensorFlow's fused operation."""

from pathlib import Path

import keras

from tfpipe.core.settings import BaselineSettings, ModelSettings
from tfpipe.models.batch_norm import fuse
from tfpipe.models.family import MINUS_ONE_TO_ONE, BuildOptions, Family, add_head_in_place, sees
from tfpipe.models.pretrained import OFFLINE, adopt, read_file, told

PATTERN = r"mobilenet_?v2"
NORMALISATION = MINUS_ONE_TO_ONE


def build(settings: ModelSettings, options: BuildOptions) -> keras.Model:
    """Backbone of width `alpha`, average pooling, dropout, logits."""
    weights = "imagenet" if settings.pretrained else settings.weights
    backbone = _backbone(settings.alpha, weights, options.image_size, section="model")
    pool = keras.layers.GlobalAveragePooling2D(name="pool")
    return add_head_in_place(backbone, options, pool=pool, name="mobilenetv2")


def build_features(settings: BaselineSettings) -> keras.Model:
    """Backbone and average pooling alone, frozen: images (batch, size, size, 3) → features (batch, channels)."""
    backbone = _backbone(settings.alpha, settings.weights, settings.image_size, section="baseline")
    network = keras.Model(backbone.input, keras.layers.GlobalAveragePooling2D(name="pool")(backbone.output))
    network.trainable = False
    return network


def _backbone(alpha: float, weights: str, image_size: int, *, section: str) -> keras.Model:
    published = _construct(alpha, image_size)
    if weights == "imagenet":
        with told(f"{section}.weights: the ImageNet weights of mobilenetv2 with alpha {alpha} cannot be had", OFFLINE):
            published = _construct(alpha, image_size, "imagenet")
    elif weights != "none":
        name = f"mobilenetv2 with alpha {alpha}"
        donor = read_file(Path(weights), lambda: _construct(alpha, image_size), name, section)
        adopt(published, donor, f"{section}.weights: {weights} does not fit {name}")
    return fuse(published)


def _construct(alpha: float, image_size: int, weights: str | None = None) -> keras.Model:
    return keras.applications.MobileNetV2(
        input_shape=(image_size, image_size, 3), alpha=alpha, include_top=False, weights=weights
    )


FAMILY = Family(build=build, input_of=sees(lambda settings: NORMALISATION), example="mobilenetv2", in_browser=True)
