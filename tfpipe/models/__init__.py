"""Networks: from settings to a Keras model that returns logits. One file a family, and one line in `MODELS`."""

import re
from collections.abc import Callable
from dataclasses import dataclass

import keras

from tfpipe.core.errors import ConfigError
from tfpipe.core.inputs import ImageInput
from tfpipe.core.settings import ModelSettings
from tfpipe.models import mobilenet, vit

BuildModel = Callable[..., keras.Model]
"""(settings, *, num_classes, image_size, dropout, seed) → model from (batch, size, size, 3) to logits."""


@dataclass(frozen=True)
class Family:
    """A kind of network: how to build it, what it wants to see, and whether a browser can run it."""

    build: BuildModel
    mean: tuple[float, float, float]
    scale: tuple[float, float, float]
    in_browser: bool


def build_model(
    settings: ModelSettings,
    *,
    num_classes: int,
    image_size: int,
    dropout: float,
    seed: int,
    stochastic_depth: float = 0.0,
    rematerialize: bool = False,
) -> keras.Model:
    """A fresh network, with pretrained backbone weights where the settings ask for them.

    Raises:
        ConfigError: when no family has that name, or its weights cannot be had.
    """
    family = find_family(settings.name)
    return family.build(settings, num_classes=num_classes, image_size=image_size, dropout=dropout, seed=seed)


def image_input(name: str, image_size: int) -> ImageInput:
    """What the network of that name wants to see."""
    family = find_family(name)
    return ImageInput(image_size, family.mean, family.scale)


def find_family(name: str) -> Family:
    """The family whose pattern matches a name.

    Raises:
        ConfigError: naming the patterns there are.
    """
    for pattern, family in MODELS.items():
        if re.fullmatch(pattern, name):
            return family
    raise ConfigError(f"model.name: {name!r} is no model; known are names like {', '.join(EXAMPLES)}.")


MODELS: dict[str, Family] = {
    mobilenet.PATTERN: Family(mobilenet.build, mobilenet.MEAN, mobilenet.SCALE, in_browser=True),
    vit.PATTERN: Family(vit.build, vit.MEAN, vit.SCALE, in_browser=False),
}
"""Pattern of names → family."""

EXAMPLES = ("mobilenetv2", "vit_base_patch16_224", "vit_tiny_patch8_64")


def layer_depths(network: keras.Model) -> dict[str, int]:
    return {}
