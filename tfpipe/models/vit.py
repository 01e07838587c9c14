"""Vision transformers (Dosovitskiy 2020) of any size, from KerasHub."""

import re
import warnings

import keras
import keras_hub

from tfpipe.core.errors import ConfigError
from tfpipe.core.settings import ModelSettings

PATTERN = r"vit_(micro|tiny|small|base|large)_patch(\d+)_(\d+)"
MEAN = (127.5, 127.5, 127.5)
SCALE = (127.5, 127.5, 127.5)

SIZES = {
    "micro": (128, 4, 4),
    "tiny": (192, 12, 3),
    "small": (384, 12, 6),
    "base": (768, 12, 12),
    "large": (1024, 24, 16),
}
"""Hidden dimension, layers, heads. From tiny on as in DeiT and ViT; micro is for the demo."""


def build(settings: ModelSettings, *, num_classes: int, image_size: int, dropout: float, seed: int) -> keras.Model:
    """Backbone, the mean of the patch tokens (or, pretrained, the class token), dropout, logits.

    From scratch, `dropout` also acts inside the encoder's layers, but not in its attention.
    """
    backbone = _backbone(settings, image_size, dropout)
    images = keras.Input((image_size, image_size, 3), name="images")
    tokens = backbone(images)
    # Published weights were trained on the class token; from scratch the mean learns sooner (Beyer 2022).
    hidden = tokens[:, 0] if _is_pretrained(settings) else keras.layers.GlobalAveragePooling1D(name="pool")(tokens)
    hidden = keras.layers.Dropout(dropout, seed=seed, name="dropout")(hidden)
    logits = keras.layers.Dense(num_classes, name="logits")(hidden)
    return keras.Model(images, logits, name="vit")


def _backbone(settings: ModelSettings, image_size: int, dropout: float) -> keras.Model:
    match = re.fullmatch(PATTERN, settings.name)
    assert match, settings.name
    size, patch_size, named_size = match[1], int(match[2]), int(match[3])
    if image_size % patch_size:
        raise ConfigError(f"data.image_size: {image_size} is no multiple of {settings.name}'s patches of {patch_size}.")
    if _is_pretrained(settings):
        return _pretrained(settings, image_size, named_size)
    hidden_dim, num_layers, num_heads = SIZES[size]
    backbone = keras_hub.models.ViTBackbone(
        image_shape=(image_size, image_size, 3),
        patch_size=patch_size,
        num_layers=num_layers,
        num_heads=num_heads,
        hidden_dim=hidden_dim,
        mlp_dim=4 * hidden_dim,
        dropout_rate=dropout,
        use_class_token=False,
    )
    if settings.weights != "none":
        _load(backbone, settings)
    return backbone


def _is_pretrained(settings: ModelSettings) -> bool:
    return settings.pretrained or settings.weights == "imagenet"


def _pretrained(settings: ModelSettings, image_size: int, named_size: int) -> keras.Model:
    if image_size != named_size:
        raise ConfigError(f"data.image_size: {image_size}, but {settings.name}'s weights are for {named_size}.")
    try:
        return keras_hub.models.ViTBackbone.from_preset(f"{settings.name}_imagenet")
    except Exception as error:  # noqa: BLE001 - KerasHub's hubs raise a dozen kinds when they are out of reach
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(
            f"model.pretrained: the preset {settings.name}_imagenet cannot be had ({reason}). "
            "Connect this machine, or set `pretrained: false`."
        ) from None


def _load(backbone: keras.Model, settings: ModelSettings) -> None:
    try:
        with warnings.catch_warnings(action="ignore"):
            backbone.load_weights(settings.weights)
    except (ValueError, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(f"model.weights: {settings.weights} does not fit {settings.name} ({reason}).") from None
