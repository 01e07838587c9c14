"""Text classifiers: RoBERTa, XLM-R, BERT and DistilBERT, from folders, or from nothing but a tokenizer."""

import re
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import keras

from tfpipe.core.errors import ConfigError
from tfpipe.core.inputs import TextInput
from tfpipe.core.settings import DataSettings, ModelSettings
from tfpipe.models.family import BuildOptions, Family
from tfpipe.models.pretrained import is_pretrained
from tfpipe.models.text_encoder import EncoderShape, build_network
from tfpipe.models.text_folder import DIALECTS, read_shape, read_weights
from tfpipe.models.tokenizer import read_text_input, vocabulary_size
from tfpipe.models.transformers_folder import read_config
from tfpipe.models.vocabulary import rows_of

SIZES = {
    "tiny": (128, 2, 2),
    "mini": (256, 4, 4),
    "small": (512, 4, 8),
    "medium": (512, 8, 8),
    "base": (768, 12, 12),
    "large": (1024, 24, 16),
}
"""Hidden dimension, layers, heads (Devlin 2018; Turc 2019)."""

EPSILONS = {"roberta": 1e-5, "xlm-roberta": 1e-5, "bert": 1e-12, "distilbert": 1e-12}
"""Of layer norms, from scratch."""


def build(kind: str, settings: ModelSettings, options: BuildOptions) -> keras.Model:
    """Token ids (batch, length) → logits (batch, num_classes)."""
    text_input = options.model_input
    assert isinstance(text_input, TextInput)
    folder = Path(settings.weights)
    config = _config(kind, folder) if is_pretrained(settings) else None
    shape = _shape_there(config, text_input, settings) if config else _shape_named(kind, settings, text_input)
    network = build_network(
        shape,
        num_classes=options.num_classes,
        pad_id=text_input.pad_id,
        dropout=options.dropout,
        pooling=settings.pooling,
        seed=options.seed,
    )
    if config:
        of_folder = read_text_input(folder, text_input.max_length)
        rows = rows_of(text_input, of_folder) if settings.vocabulary_size else None
        read_weights(network, folder, config, classes=options.classes, rows=rows)
    return network


def kind_of(name: str) -> str:
    """The key of `DIALECTS` that a model's name begins with."""
    return next(kind for kind in DIALECTS if re.fullmatch(_pattern(kind), name))


def input_of(kind: str, settings: ModelSettings, data: DataSettings) -> TextInput:
    """By the tokenizer that came with the weights, or the one that the settings name."""
    if is_pretrained(settings):
        return read_text_input(_folder(settings), data.max_length)
    if settings.tokenizer is None:
        raise ConfigError(f"model.tokenizer: {settings.name} without `weights` needs a folder with a tokenizer.")
    return read_text_input(settings.tokenizer, data.max_length)


def _folder(settings: ModelSettings) -> Path:
    folder = Path(settings.weights)
    if not folder.is_dir():
        raise ConfigError(
            f"model.weights: {settings.weights} is no folder; {settings.name} is read from one, "
            "with config.json, model.safetensors and its tokenizer."
        )
    return folder


def _config(kind: str, folder: Path) -> dict[str, Any]:
    config = read_config(folder)
    if config.get("model_type") in DIALECTS and config["model_type"] != kind:
        raise ConfigError(f"model.weights: {folder} holds a {config['model_type']}, and model.name asks for a {kind}.")
    return config


def _shape_named(kind: str, settings: ModelSettings, text_input: TextInput) -> EncoderShape:
    name = settings.name
    size = name.rpartition("_")[2]
    if size not in SIZES:
        named = ", ".join(f"{name}_{size}" for size in SIZES)
        raise ConfigError(f"model.name: {name} has the size of its weights; without any, name one of {named}.")
    hidden_dim, num_layers, num_heads = SIZES[size]
    return EncoderShape(
        vocabulary_size=vocabulary_size(text_input),
        num_positions=text_input.max_length,
        num_layers=settings.num_layers or num_layers,
        num_heads=num_heads,
        hidden_dim=hidden_dim,
        intermediate_dim=4 * hidden_dim,
        layer_norm_epsilon=EPSILONS[kind],
        head_activation=DIALECTS[kind].head_activation,
    )


def _shape_there(config: dict[str, Any], text_input: TextInput, settings: ModelSettings) -> EncoderShape:
    """What is taken of a folder's encoder: all of it, or, where the settings cut, no more than is needed."""
    shape = read_shape(Path(settings.weights), config)
    _check(shape, text_input, settings)
    if not (settings.num_layers or settings.vocabulary_size):
        return shape
    return replace(
        shape,
        vocabulary_size=vocabulary_size(text_input) if settings.vocabulary_size else shape.vocabulary_size,
        num_positions=text_input.max_length,
        num_layers=settings.num_layers or shape.num_layers,
    )


def _check(shape: EncoderShape, text_input: TextInput, settings: ModelSettings) -> None:
    named, there = SIZES.get(settings.name.rpartition("_")[2]), (shape.hidden_dim, shape.num_layers, shape.num_heads)
    if named and named != there:
        raise ConfigError(
            f"model.weights: {settings.weights} does not fit {settings.name} (hidden dimension, layers and heads are "
            f"{there} there, {named} here)."
        )
    if (settings.num_layers or 0) > shape.num_layers:
        raise ConfigError(f"model.num_layers: {settings.weights} has {shape.num_layers}, not {settings.num_layers}.")
    if vocabulary_size(text_input) > shape.vocabulary_size:
        raise ConfigError(
            f"model.weights: the tokenizer of {settings.weights} knows {vocabulary_size(text_input):,} sub-words, and "
            f"its network {shape.vocabulary_size:,}: they do not belong together."
        )
    if text_input.max_length > shape.num_positions:
        raise ConfigError(
            f"data.max_length: {text_input.max_length} is more than the {shape.num_positions} positions of "
            f"{settings.weights}."
        )


def _pattern(kind: str) -> str:
    return kind.replace("-", "[_-]") + f"(_({'|'.join(SIZES)}))?"


FAMILIES: dict[str, Family] = {
    _pattern(kind): Family(
        build=partial(build, kind),
        input_of=partial(input_of, kind),
        example=kind.replace("-", "_"),
        task="text",
        in_browser=True,
    )
    for kind in DIALECTS
}
"""Pattern of names → family."""
