"""Vision transformers (Dosovitskiy 2020) of any size, from KerasHub's layers."""

import re
from pathlib import Path
from typing import Any

import h5py
import keras
import keras_hub

from tfpipe.core.errors import ConfigError
from tfpipe.core.settings import ModelSettings
from tfpipe.models.family import MINUS_ONE_TO_ONE, BuildOptions, Family, FirstToken, add_head, check_patches, sees
from tfpipe.models.pretrained import adopt, is_pretrained, normalisation, read_backbone, unfit
from tfpipe.models.vision_transformer import ARGUMENTS, VisionTransformer

PATTERN = r"vit(_(micro|tiny|small|base|large|huge)_patch(\d+)_(\d+))?"

SIZES = {
    "micro": (128, 4, 4),
    "tiny": (192, 12, 3),
    "small": (384, 12, 6),
    "base": (768, 12, 12),
    "large": (1024, 24, 16),
    "huge": (1280, 32, 16),
}
"""Hidden dimension, layers, heads. From tiny on as in DeiT and ViT; micro is for the demo."""

BACKBONES = (keras_hub.models.ViTBackbone, VisionTransformer)

SHAPE = ("patch_size", "num_layers", "num_heads", "hidden_dim", "mlp_dim")
"""What a name says of a backbone."""


def build(settings: ModelSettings, options: BuildOptions) -> keras.Model:
    """Backbone, its class token or, where it has none, the mean of the patch tokens, dropout, logits.

    From scratch, `dropout` also acts inside the encoder's layers, but not in its attention.
    """
    donor = _read(settings) if is_pretrained(settings) else None
    # Published weights were trained on the class token; from scratch the mean learns sooner (Beyer 2022).
    shape = _shape_of(donor) if donor else _shape_named(settings.name) | {"use_class_token": False}
    check_patches(settings.name, options.image_size, shape["patch_size"])
    backbone = VisionTransformer(
        image_shape=(options.image_size, options.image_size, 3),
        dropout_rate=0.0 if donor else options.dropout,
        stochastic_depth=options.stochastic_depth,
        rematerialize=options.rematerialize,
        dtype=keras.config.dtype_policy(),
        **shape,
    )
    if donor:
        adopt(backbone, donor, unfit(settings))
    pool = FirstToken if shape["use_class_token"] else keras.layers.GlobalAveragePooling1D
    return add_head(backbone, options, pool=pool(name="pool"), name="vit")


def _shape_named(name: str) -> dict[str, Any]:
    match = re.fullmatch(PATTERN, name)
    if not match or not match[1]:
        raise ConfigError(f"model.name: {name} has the size of its weights; without any, name one as in {EXAMPLE}.")
    hidden_dim, num_layers, num_heads = SIZES[match[2]]
    return {
        "patch_size": int(match[3]),
        "num_layers": num_layers,
        "num_heads": num_heads,
        "hidden_dim": hidden_dim,
        "mlp_dim": 4 * hidden_dim,
    }


def _read(settings: ModelSettings) -> keras.Model:
    """The backbone of the weights, which has the shape that the name says, if it says one."""
    donor = read_backbone(settings, BACKBONES, blank=lambda path: _blank(path, settings.name))
    if settings.name != "vit":
        there, here = _shape_of(donor), _shape_named(settings.name)
        for key in SHAPE:
            if there[key] != here[key]:
                raise ConfigError(f"{unfit(settings)} ({key} is {there[key]} there, {here[key]} here).")
    return donor


def _shape_of(donor: keras.Model) -> dict[str, Any]:
    """A backbone's arguments, but for the image size and what is up to the training."""
    config = donor.get_config()
    size = config["patch_size"]
    free = ("image_shape", "dropout_rate", "stochastic_depth", "rematerialize")
    shape = {name: config[name] for name in ARGUMENTS if name not in free}
    return shape | {"patch_size": size if isinstance(size, int) else size[0]}


def _blank(path: Path, name: str) -> keras.Model:
    """A backbone as a file of bare weights was saved from: with its grid of patches, and its class token or none."""
    shape = _shape_named(name)
    with h5py.File(path) as file:
        embeddings = file["layers/vi_t_patching_and_embedding"]
        num_positions = len(embeddings["position_embedding/vars/0"])
        has_class_token = len(embeddings["vars"]) > 0 if "vars" in embeddings else False
    side = round((num_positions - has_class_token) ** 0.5) * shape["patch_size"]
    return keras_hub.models.ViTBackbone(image_shape=(side, side, 3), use_class_token=has_class_token, **shape)


EXAMPLE = "vit_base_patch16_224"

FAMILY = Family(
    build=build,
    input_of=sees(lambda settings: normalisation(settings, BACKBONES, MINUS_ONE_TO_ONE)),
    example=EXAMPLE,
    stochastic_depth=True,
)
