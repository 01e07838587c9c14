"""Other image backbones of KerasHub: transformers and convolutional networks, from presets and folders."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import keras
import keras_hub

from tfpipe.core.errors import ConfigError
from tfpipe.core.settings import ModelSettings
from tfpipe.models.dinov2 import Dinov2
from tfpipe.models.family import IMAGENET, BuildOptions, Family, FirstToken, add_head, check_patches, sees
from tfpipe.models.pretrained import adopt, find_preset, is_pretrained, normalisation, read_backbone, told, unfit

models = keras_hub.models
Sizes = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Kind:
    """One class of KerasHub's backbones, or several that are alike."""

    backbones: tuple[type[keras.Model], ...]
    word: str
    """A name for any size, which the weights then say."""
    pool: Callable[..., keras.layers.Layer]
    """From what the backbone gives to features (batch, channels)."""
    still: dict[str, Any] = field(default_factory=dict)
    """Arguments that switch off what acts in training inside the backbone: KerasHub keeps no state of that chance."""
    sizes: Sizes = field(default_factory=dict)
    """Name → arguments, where they are known without a preset."""
    rebuilt_as: type[keras.Model] | None = None
    """A class of ours with the same weights."""
    resizes: bool = False
    """Whether the class resizes position embeddings in its own way."""


def build(kind: Kind, settings: ModelSettings, options: BuildOptions) -> keras.Model:
    """Backbone, its class token or the average over places, dropout, logits."""
    donor = _read(kind, settings, options.image_size)
    backbone = adopt(_resized(kind, donor, settings.name, options.image_size), donor, unfit(settings))
    for variable in backbone.trainable_variables:
        # The mask token is for training without labels: here it would never have a gradient.
        variable.trainable = variable.name != "mask_token"
    return add_head(backbone, options, pool=kind.pool(name="pool"), name=kind.word)


def _read(kind: Kind, settings: ModelSettings, image_size: int) -> keras.Model:
    if not is_pretrained(settings):
        return _from_name(kind, settings)
    return read_backbone(
        settings,
        kind.backbones,
        blank=lambda path: _from_name(kind, settings),
        options={"image_shape": (image_size, image_size, 3)} if kind.resizes else {},
    )


def _from_name(kind: Kind, settings: ModelSettings) -> keras.Model:
    """A backbone of the name's size, with weights of no worth."""
    if settings.name in kind.sizes:
        return kind.backbones[0](**kind.sizes[settings.name])
    if settings.name == kind.word:
        raise ConfigError(
            f"model.name: {settings.name} has the size of its weights, a folder or a preset; "
            "without any, name a preset of KerasHub."
        )
    preset = find_preset(settings.model_copy(update={"weights": "none"}), kind.backbones)
    advice = "The shape of a preset is read from the net, too: connect this machine, or name a folder of weights."
    with told(f"model.name: the preset {preset} cannot be had", advice):
        return models.Backbone.from_preset(preset, load_weights=False)


def _resized(kind: Kind, donor: keras.Model, name: str, image_size: int) -> keras.Model:
    config = donor.get_config() | kind.still
    config |= {"image_shape": (image_size, image_size, 3), "dtype": keras.config.dtype_policy()}
    size = config.get("patch_size")
    if isinstance(size, int | tuple | list):
        check_patches(name, image_size, size if isinstance(size, int) else size[0])
    if "window_size" in config:
        _check_windows(config, name, image_size)
    with told(f"data.image_size: {name} cannot be built for {image_size} pixels", "Choose another size."):
        return (kind.rebuilt_as or type(donor)).from_config(config)


def _check_windows(config: dict[str, Any], name: str, image_size: int) -> None:
    """KerasHub's Swin transformer has whole windows only, down to its last stage, at half the resolution each."""
    unit = config["patch_size"] * config["window_size"] * 2 ** (len(config["depths"]) - 1)
    if image_size % unit:
        raise ConfigError(
            f"data.image_size: {image_size} is no multiple of {unit}, as {name}'s windows of {config['window_size']} "
            f"patches need it after {len(config['depths']) - 1} halvings."
        )


def _dinov2_sizes() -> Sizes:
    shapes = {"small": (384, 12, 6), "base": (768, 12, 12), "large": (1024, 24, 16)}
    return {
        f"dinov2_{name}": {
            "patch_size": 14,
            "hidden_dim": hidden_dim,
            "num_layers": num_layers,
            "num_heads": num_heads,
            "intermediate_dim": 4 * hidden_dim,
            "image_shape": (224, 224, 3),
        }
        for name, (hidden_dim, num_layers, num_heads) in shapes.items()
    }


def _deit_sizes() -> Sizes:
    return {
        f"deit_{name}_distilled_patch16_{image_size}": {
            "patch_size": 16,
            "hidden_dim": hidden_dim,
            "num_layers": 12,
            "num_heads": num_heads,
            "intermediate_dim": 4 * hidden_dim,
            "image_shape": (image_size, image_size, 3),
        }
        for name, hidden_dim, num_heads in (("tiny", 192, 3), ("small", 384, 6), ("base", 768, 12))
        for image_size in (224, 384)
    }


def _swin_sizes() -> Sizes:
    shapes = {
        "tiny": (96, (2, 2, 6, 2), (3, 6, 12, 24)),
        "small": (96, (2, 2, 18, 2), (3, 6, 12, 24)),
        "base": (128, (2, 2, 18, 2), (4, 8, 16, 32)),
        "large": (192, (2, 2, 18, 2), (6, 12, 24, 48)),
    }
    return {
        f"swin_{name}_patch4_window{window}_{image_size}": {
            "embed_dim": embed_dim,
            "depths": depths,
            "num_heads": num_heads,
            "window_size": window,
            "image_shape": (image_size, image_size, 3),
        }
        for name, (embed_dim, depths, num_heads) in shapes.items()
        for window, image_size in ((7, 224), (12, 384))
    }


KINDS = (
    Kind(
        backbones=(models.DINOV2Backbone,),
        word="dinov2",
        pool=FirstToken,
        still={"dropout_rate": 0.0, "drop_path_rate": 0.0},
        sizes=_dinov2_sizes(),
        rebuilt_as=Dinov2,
        resizes=True,
    ),
    Kind(
        backbones=(models.DINOV3Backbone,),
        word="dinov3",
        pool=FirstToken,
        still={"attention_dropout": 0.0, "drop_path_rate": 0.0},
    ),
    Kind(
        backbones=(models.DeiTBackbone,),
        word="deit",
        pool=FirstToken,
        still={"dropout_rate": 0.0, "attention_dropout": 0.0},
        sizes=_deit_sizes(),
    ),
    Kind(
        backbones=(models.SwinTransformerBackbone,),
        word="swin",
        pool=keras.layers.GlobalAveragePooling1D,
        still={"dropout_rate": 0.0, "attention_dropout": 0.0, "drop_path": 0.0},
        sizes=_swin_sizes(),
    ),
    Kind(
        backbones=(
            *(models.ResNetBackbone, models.DenseNetBackbone, models.EfficientNetBackbone, models.MobileNetBackbone),
            *(models.CSPNetBackbone, models.VGGBackbone, models.XceptionBackbone, models.MiTBackbone),
            models.HGNetV2Backbone,
        ),
        word="keras_hub",
        pool=keras.layers.GlobalAveragePooling2D,
    ),
)


def _names(kind: Kind) -> list[str]:
    presets = [name for backbone in kind.backbones for name in backbone.presets]
    return sorted({kind.word, *kind.sizes, *presets})


NAMES = [name for kind in KINDS for name in _names(kind)]

FAMILIES: dict[str, Family] = {
    "|".join(map(re.escape, _names(kind))): Family(
        build=partial(build, kind),
        input_of=sees(partial(normalisation, kinds=kind.backbones, usual=IMAGENET)),
        example=kind.word,
    )
    for kind in KINDS
}
"""Pattern of names → family."""
