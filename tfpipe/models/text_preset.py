"""Text encoders of KerasHub: presets by name or folder, read into our own layers."""

import json
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import keras
import keras_hub
import numpy as np

from tfpipe.core.errors import ConfigError
from tfpipe.core.inputs import TextInput
from tfpipe.core.settings import ModelSettings
from tfpipe.models.pretrained import OFFLINE, find_preset, told, unfit
from tfpipe.models.text_encoder import EncoderShape
from tfpipe.models.tokenizer import SENTENCE_PIECES, read_text_input

Array = np.ndarray

BACKBONES: dict[str, type[keras.Model]] = {
    "roberta": keras_hub.models.RobertaBackbone,
    "xlm-roberta": keras_hub.models.XLMRobertaBackbone,
    "bert": keras_hub.models.BertBackbone,
    "distilbert": keras_hub.models.DistilBertBackbone,
}
"""Kind of encoder → class."""


def is_preset(settings: ModelSettings) -> bool:
    """Whether `model.weights` is no folder of transformers: then it is a preset's name, or its folder."""
    config = Path(settings.weights) / "config.json"
    return not config.parent.is_dir() or (config.is_file() and b'"registered_name"' in config.read_bytes())


def read_preset_input(kind: str, settings: ModelSettings, max_length: int) -> TextInput:
    """What a model with the preset's tokenizer reads.

    Raises:
        ConfigError: when it cannot be had.
    """
    preset = _preset(kind, settings)
    with told(f"model.weights: the tokenizer of the preset {preset} cannot be had", OFFLINE):
        tokenizer = keras_hub.models.Tokenizer.from_preset(preset)
    with TemporaryDirectory() as folder:
        _write_tokenizer(tokenizer, Path(folder))
        return read_text_input(Path(folder), max_length)


def read_preset(kind: str, settings: ModelSettings) -> keras.Model:
    """The preset's encoder, in KerasHub's layers.

    Raises:
        ConfigError: when it cannot be had, or is of another kind.
    """
    preset = _preset(kind, settings)
    with told(f"model.weights: the preset {preset} cannot be had", OFFLINE):
        backbone = keras_hub.models.Backbone.from_preset(preset)
    if type(backbone) is not BACKBONES[kind]:
        raise ConfigError(f"{unfit(settings)} (it holds a {type(backbone).__name__}).")
    return backbone


def shape_of(kind: str, backbone: Any) -> EncoderShape:
    """The size of a preset's encoder."""
    return EncoderShape(
        vocabulary_size=backbone.vocabulary_size,
        num_positions=backbone.max_sequence_length,
        num_layers=backbone.num_layers,
        num_heads=backbone.num_heads,
        hidden_dim=backbone.hidden_dim,
        intermediate_dim=backbone.intermediate_dim,
        layer_norm_epsilon=backbone.get_layer("embeddings_layer_norm").epsilon,
        head_activation="relu" if kind == "distilbert" else "tanh",
        activation="gelu_tanh" if kind == "bert" else "gelu",
    )


def adopt(network: keras.Model, backbone: Any, rows: Sequence[int] | None = None) -> None:
    """Fill an encoder of the preset's shape, or one with fewer layers, positions and sub-words.

    Args:
        network: of `build_network`.
        backbone: of `read_preset`.
        rows: of its table of sub-words, those that the network has; None: all.
    """
    words = backbone.token_embedding.embeddings.numpy()
    positions = _positions(backbone)
    kept = len(network.get_layer("position_embedding").get_weights()[0])
    network.get_layer("token_embedding").set_weights([words if rows is None else words[list(rows)]])
    network.get_layer("position_embedding").set_weights([positions[:kept]])
    network.get_layer("embeddings_norm").set_weights(backbone.get_layer("embeddings_layer_norm").get_weights())
    names = {layer.name for layer in network.layers}
    for number in range(backbone.num_layers):
        if f"layer_{number}_query" in names:
            _adopt_layer(network, f"layer_{number}", backbone.get_layer(f"transformer_layer_{number}"))
    if "head_dense" in names and hasattr(backbone, "pooled_dense"):
        network.get_layer("head_dense").set_weights(backbone.pooled_dense.get_weights())


def _positions(backbone: Any) -> Array:
    """Segments, of which a classifier of single texts has one, are part of them."""
    if hasattr(backbone, "embeddings"):
        positions: Array = backbone.embeddings.position_embedding.position_embeddings.numpy()
        return positions
    segment: Array = backbone.segment_embedding.embeddings.numpy()[0]
    return backbone.position_embedding.position_embeddings.numpy() + segment


def _adopt_layer(network: keras.Model, name: str, layer: Any) -> None:
    attention, width = layer._self_attention_layer, layer._feedforward_output_dense.units
    for part in ("query", "key", "value"):
        kernel, bias = getattr(attention, f"_{part}_dense").get_weights()
        network.get_layer(f"{name}_{part}").set_weights([kernel.reshape(width, width), bias.reshape(width)])
    kernel, bias = attention._output_dense.get_weights()
    network.get_layer(f"{name}_attention_output").set_weights([kernel.reshape(width, width), bias])
    for ours, theirs in {
        "attention_norm": layer._self_attention_layer_norm,
        "intermediate": layer._feedforward_intermediate_dense,
        "output": layer._feedforward_output_dense,
        "norm": layer._feedforward_layer_norm,
    }.items():
        network.get_layer(f"{name}_{ours}").set_weights(theirs.get_weights())


def _preset(kind: str, settings: ModelSettings) -> str:
    if Path(settings.weights).is_dir():
        return settings.weights
    return find_preset(settings, (BACKBONES[kind],))


def _write_tokenizer(tokenizer: Any, folder: Path) -> None:
    """As `read_text_input` reads it."""
    if hasattr(tokenizer, "merges"):
        (folder / "vocab.json").write_text(json.dumps(dict(tokenizer.vocabulary)), encoding="utf-8")
        merges = ["#version: 0.2", *tokenizer.merges]
        (folder / "merges.txt").write_text("\n".join(merges) + "\n", encoding="utf-8")
        return
    if hasattr(tokenizer, "proto"):
        (folder / SENTENCE_PIECES).write_bytes(tokenizer.proto)
        return
    (folder / "vocab.txt").write_text("\n".join(tokenizer.get_vocabulary()), encoding="utf-8")
    settings = {
        "do_lower_case": tokenizer.lowercase,
        "strip_accents": tokenizer.strip_accents,
        "tokenize_chinese_chars": tokenizer.split_on_cjk,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
