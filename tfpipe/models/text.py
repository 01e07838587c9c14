"""Text classifiers: RoBERTa, XLM-R, BERT and DistilBERT, from folders, presets, or nothing but a tokenizer."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import keras

from tfpipe.core.errors import ConfigError
from tfpipe.core.inputs import TextInput
from tfpipe.core.settings import DataSettings, ModelSettings
from tfpipe.models.family import BuildOptions, Family
from tfpipe.models.pretrained import is_pretrained, told, unfit
from tfpipe.models.text_encoder import EncoderShape, build_network
from tfpipe.models.text_folder import DIALECTS, read_shape, read_weights
from tfpipe.models.text_preset import adopt, is_preset, read_preset, read_preset_input, shape_of
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

LOOK = "Look into its config.json."

EPSILONS = {"roberta": 1e-5, "xlm-roberta": 1e-5, "bert": 1e-12, "distilbert": 1e-12}
"""Of layer norms, from scratch."""


def build(kind: str, settings: ModelSettings, options: BuildOptions) -> keras.Model:
    """Token ids (batch, length) → logits (batch, num_classes)."""
    text_input = options.model_input
    assert isinstance(text_input, TextInput)
    source = _open(kind, settings, options.classes) if is_pretrained(settings) else None
    network = build_network(
        _taken(source.shape, text_input, settings) if source else _shape_named(kind, settings, text_input),
        num_classes=options.num_classes,
        pad_id=text_input.pad_id,
        dropout=options.dropout,
        pooling=settings.pooling,
        seed=options.seed,
    )
    if source:
        whole = _input_there(kind, settings, text_input.max_length) if settings.vocabulary_size else None
        source.fill(network, rows_of(text_input, whole) if whole else None)
    return network


def kind_of(name: str) -> str:
    """The key of `DIALECTS` that a model's name begins with."""
    return next(kind for kind in DIALECTS if re.fullmatch(_pattern(kind), name))


def input_of(kind: str, settings: ModelSettings, data: DataSettings) -> TextInput:
    """By the tokenizer that came with the weights, or the one that the settings name."""
    if is_pretrained(settings):
        return _input_there(kind, settings, data.max_length)
    if settings.tokenizer is None:
        raise ConfigError(f"model.tokenizer: {settings.name} without `weights` needs a folder with a tokenizer.")
    return read_text_input(settings.tokenizer, data.max_length)


@dataclass(frozen=True)
class _Source:
    """Where pretrained weights come from."""

    shape: EncoderShape
    fill: Callable[[keras.Model, Sequence[int] | None], None]
    """Reads the weights into a network; of the table of sub-words the rows that are named."""


def _open(kind: str, settings: ModelSettings, classes: Sequence[str]) -> _Source:
    if is_preset(settings):
        backbone = read_preset(kind, settings)
        return _Source(shape_of(kind, backbone), lambda network, rows: adopt(network, backbone, rows))
    folder = Path(settings.weights)
    config = _config(kind, folder)

    def fill(network: keras.Model, rows: Sequence[int] | None) -> None:
        with told(unfit(settings), LOOK):
            read_weights(network, folder, config, classes=classes, rows=rows)

    with told(unfit(settings), LOOK):
        return _Source(read_shape(folder, config), fill)


def _input_there(kind: str, settings: ModelSettings, max_length: int) -> TextInput:
    """With the tokenizer that belongs to pretrained weights."""
    if is_preset(settings):
        return read_preset_input(kind, settings, max_length)
    return read_text_input(Path(settings.weights), max_length)


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


def _taken(shape: EncoderShape, text_input: TextInput, settings: ModelSettings) -> EncoderShape:
    """All of a pretrained encoder, or, where the settings cut, no more than is needed."""
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
