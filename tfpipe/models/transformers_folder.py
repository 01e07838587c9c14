"""Folders as Hugging Face's transformers writes them: config.json, model.safetensors, preprocessor_config.json."""

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import keras
from keras_hub.src.utils.transformers import (
    convert_deit,
    convert_dinov2,
    convert_dinov3,
    convert_swin_transformer,
    convert_vit,
)
from keras_hub.src.utils.transformers.safetensor_utils import SafetensorLoader

from tfpipe.core.errors import ConfigError
from tfpipe.models.family import Normalisation

CONFIG = "config.json"
WEIGHTS = ("model.safetensors", "model.safetensors.index.json")

CONVERTERS: dict[str, ModuleType] = {
    "vit": convert_vit,
    "deit": convert_deit,
    "dinov2": convert_dinov2,
    "dinov2_with_registers": convert_dinov2,
    "dinov3_vit": convert_dinov3,
    "swin": convert_swin_transformer,
}
"""`model_type` of a config → KerasHub's converter. KerasHub 0.31 has one of Swin, but does not use it."""

EPSILONS = {"dinov2": 1e-6, "dinov2_with_registers": 1e-6, "swin": 1e-5}
"""Of layer norms, where KerasHub's layers leave no choice."""


def read_config(path: Path) -> dict[str, Any]:
    """The folder's `config.json`.

    Raises:
        ConfigError: when there is none, or it is no JSON.
    """
    config = path / CONFIG
    if not config.is_file():
        raise ConfigError(f"model.weights: {path} has no {CONFIG}; expected a folder of Hugging Face or KerasHub.")
    try:
        document: dict[str, Any] = json.loads(config.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        raise ConfigError(f"model.weights: {config} is no JSON.") from None
    if not isinstance(document, dict) or not isinstance(document.get("model_type", ""), str):
        raise ConfigError(f"model.weights: {config} does not describe a network.")
    return document


def read_backbone(path: Path, config: dict[str, Any], options: dict[str, Any]) -> keras.Model:
    """The backbone, in KerasHub's layers.

    Args:
        path: the folder.
        config: its `config.json`.
        options: arguments of the backbone that replace those of the folder.

    Raises:
        ConfigError: when the folder's architecture is not known, or there are no weights in the folder.
    """
    model_type = config["model_type"]
    if model_type not in CONVERTERS:
        raise ConfigError(
            f"model.weights: {path} holds a {model_type!r}, which no converter knows; "
            f"known are {', '.join(CONVERTERS)}."
        )
    if not any((path / name).is_file() for name in WEIGHTS):
        raise ConfigError(
            f"model.weights: {path} has no {WEIGHTS[0]}; "
            "write it with transformers' `save_pretrained`, which uses safetensors."
        )
    converter = CONVERTERS[model_type]
    backbone = converter.backbone_cls(**converter.convert_backbone_config(config) | _left_out(path, config) | options)
    with _Weights(str(path)) as weights:
        converter.convert_weights(backbone, weights, config)
    return backbone


def _left_out(path: Path, config: dict[str, Any]) -> dict[str, Any]:
    """What KerasHub's converters read past."""
    model_type = config["model_type"]
    if config["hidden_act"] != "gelu" and model_type != "dinov3_vit":
        raise ConfigError(f"model.weights: {path} has the activation {config['hidden_act']!r}; only gelu is known.")
    epsilon = config["layer_norm_eps"]
    if epsilon != EPSILONS.get(model_type, epsilon):
        raise ConfigError(f"model.weights: {path} has a layer_norm_eps of {epsilon}; known is {EPSILONS[model_type]}.")
    return {"layer_norm_epsilon": epsilon} if model_type == "vit" else {}


class _Weights(SafetensorLoader):
    """KerasHub asks for `vit.embeddings…`, as a classifier's file has it; a bare backbone's has no `vit.`."""

    def get_prefixed_key(self, hf_weight_key: str, dict_like: Any) -> str:
        bare = hf_weight_key.partition(".")[2]
        return bare if bare in dict_like.keys() else super().get_prefixed_key(hf_weight_key, dict_like)  # noqa: SIM118


def read_normalisation(path: Path) -> Normalisation | None:
    """What the folder's preprocessor does to pixels, or None where the folder does not say it.

    Keys that are absent have transformers' own defaults: values are divided by 255, and normalised if there is a mean.
    """
    file = path / "preprocessor_config.json"
    if not file.is_file():
        return None
    document = json.loads(file.read_text(encoding="utf-8"))
    unit = 1 / document.get("rescale_factor", 1 / 255) if document.get("do_rescale", True) else 1.0
    if "image_mean" not in document or not document.get("do_normalize", True):
        return Normalisation((0.0, 0.0, 0.0), (unit, unit, unit))
    red, green, blue = (unit * mean for mean in document["image_mean"])
    mean = (red, green, blue)
    red, green, blue = (unit * deviation for deviation in document["image_std"])
    return Normalisation(mean, (red, green, blue))
