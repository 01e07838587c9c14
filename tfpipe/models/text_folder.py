"""Folders of text encoders as Hugging Face's transformers writes them, read and written."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from tfpipe.core.errors import ConfigError
from tfpipe.core.inputs import TextInput
from tfpipe.models.text_encoder import EncoderShape, gelu_tanh
from tfpipe.models.transformers_folder import CONFIG

WEIGHTS = "model.safetensors"
WEIGHTS_INDEX = "model.safetensors.index.json"

Array = np.ndarray
Names = dict[str, str]
"""Layer of ours, in which `{n}` is the number of a block, → name of theirs, without `.weight` and `.bias`."""


@dataclass(frozen=True)
class Dialect:
    """How a kind of encoder is told of in `config.json` and `model.safetensors`."""

    keys: dict[str, str]
    """Field of `EncoderShape` → key of the config."""
    prefix: str
    """Before every name but the classifier's, if the file holds a classifier."""
    words: str
    positions: str
    first_position: int
    """Row of the table of positions that the first token has."""
    segments: str | None
    layers: Names
    head: Names
    """The head's dense layer stands under `prefix` only in BERT, whose pooler it is."""
    head_activation: str
    architecture: str
    epsilon: float | None = None
    """Where the config does not tell it."""


_BERT_KEYS = {
    "vocabulary_size": "vocab_size",
    "num_positions": "max_position_embeddings",
    "num_layers": "num_hidden_layers",
    "num_heads": "num_attention_heads",
    "hidden_dim": "hidden_size",
    "intermediate_dim": "intermediate_size",
}
_BERT_LAYERS = {
    "embeddings_norm": "embeddings.LayerNorm",
    "layer_{n}_query": "encoder.layer.{n}.attention.self.query",
    "layer_{n}_key": "encoder.layer.{n}.attention.self.key",
    "layer_{n}_value": "encoder.layer.{n}.attention.self.value",
    "layer_{n}_attention_output": "encoder.layer.{n}.attention.output.dense",
    "layer_{n}_attention_norm": "encoder.layer.{n}.attention.output.LayerNorm",
    "layer_{n}_intermediate": "encoder.layer.{n}.intermediate.dense",
    "layer_{n}_output": "encoder.layer.{n}.output.dense",
    "layer_{n}_norm": "encoder.layer.{n}.output.LayerNorm",
}
_ROBERTA = {
    "keys": _BERT_KEYS,
    "prefix": "roberta.",
    "words": "embeddings.word_embeddings",
    "positions": "embeddings.position_embeddings",
    "first_position": 2,
    "segments": "embeddings.token_type_embeddings",
    "layers": _BERT_LAYERS,
    "head": {"head_dense": "classifier.dense", "logits": "classifier.out_proj"},
    "head_activation": "tanh",
}

DIALECTS: dict[str, Dialect] = {
    "roberta": Dialect(**_ROBERTA, architecture="RobertaForSequenceClassification"),  # type: ignore[arg-type]
    "xlm-roberta": Dialect(**_ROBERTA, architecture="XLMRobertaForSequenceClassification"),  # type: ignore[arg-type]
    "bert": Dialect(
        keys=_BERT_KEYS,
        prefix="bert.",
        words="embeddings.word_embeddings",
        positions="embeddings.position_embeddings",
        first_position=0,
        segments="embeddings.token_type_embeddings",
        layers=_BERT_LAYERS,
        head={"head_dense": "bert.pooler.dense", "logits": "classifier"},
        head_activation="tanh",
        architecture="BertForSequenceClassification",
    ),
    "distilbert": Dialect(
        keys={
            "vocabulary_size": "vocab_size",
            "num_positions": "max_position_embeddings",
            "num_layers": "n_layers",
            "num_heads": "n_heads",
            "hidden_dim": "dim",
            "intermediate_dim": "hidden_dim",
        },
        prefix="distilbert.",
        words="embeddings.word_embeddings",
        positions="embeddings.position_embeddings",
        first_position=0,
        segments=None,
        layers={
            "embeddings_norm": "embeddings.LayerNorm",
            "layer_{n}_query": "transformer.layer.{n}.attention.q_lin",
            "layer_{n}_key": "transformer.layer.{n}.attention.k_lin",
            "layer_{n}_value": "transformer.layer.{n}.attention.v_lin",
            "layer_{n}_attention_output": "transformer.layer.{n}.attention.out_lin",
            "layer_{n}_attention_norm": "transformer.layer.{n}.sa_layer_norm",
            "layer_{n}_intermediate": "transformer.layer.{n}.ffn.lin1",
            "layer_{n}_output": "transformer.layer.{n}.ffn.lin2",
            "layer_{n}_norm": "transformer.layer.{n}.output_layer_norm",
        },
        head={"head_dense": "pre_classifier", "logits": "classifier"},
        head_activation="relu",
        architecture="DistilBertForSequenceClassification",
        epsilon=1e-12,
    ),
}
"""`model_type` of a config → how it is written."""


ACTIVATIONS: dict[str, Literal["gelu", "gelu_tanh"]] = {
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
}
"""Name in a config → ours."""


def read_shape(folder: Path, config: Mapping[str, Any]) -> EncoderShape:
    """The size of the encoder that a folder holds.

    Args:
        folder: where the config stands.
        config: its `config.json`.

    Raises:
        ConfigError: when it is of a kind, or has an activation, that is not known here.
    """
    dialect = _dialect(folder, config)
    activation = config.get("hidden_act", config.get("activation", "gelu"))
    if activation not in ACTIVATIONS:
        raise ConfigError(
            f"model.weights: {folder} has the activation {activation!r}; known are {', '.join(ACTIVATIONS)}."
        )
    missing = [key for key in dialect.keys.values() if key not in config]
    if missing:
        raise ConfigError(f"model.weights: {folder / CONFIG} has no {missing[0]!r}.")
    sizes = {field: int(config[key]) for field, key in dialect.keys.items()}
    sizes["num_positions"] -= dialect.first_position
    _check_fits(folder, sizes)
    epsilon = dialect.epsilon or float(config["layer_norm_eps"])
    return EncoderShape(
        **sizes,
        layer_norm_epsilon=epsilon,
        head_activation=dialect.head_activation,
        activation=ACTIVATIONS[activation],
    )


def _check_fits(folder: Path, sizes: Mapping[str, int]) -> None:
    """Before memory is asked for: a network has no more weights than its files have bytes.

    Raises:
        ConfigError: when it would.
    """
    width, depth = sizes["hidden_dim"], sizes["num_layers"]
    if min(sizes.values()) < 1 or width % sizes["num_heads"]:
        raise ConfigError(f"model.weights: {folder / CONFIG} tells of {dict(sizes)}: no such network can be.")
    tables = sizes["vocabulary_size"] + sizes["num_positions"]
    count = width * (tables + depth * (4 * width + 2 * sizes["intermediate_dim"]))
    held = sum(path.stat().st_size for path in _weight_files(folder))
    if count > held:
        raise ConfigError(
            f"model.weights: {folder / CONFIG} tells of {count:,} weights, and the files have {held:,} bytes: "
            "they are of another network."
        )


def read_weights(
    network: keras.Model,
    folder: Path,
    config: Mapping[str, Any],
    *,
    classes: Sequence[str],
    rows: Sequence[int] | None = None,
) -> None:
    """Fill an encoder of the folder's shape, or one with fewer layers, positions and sub-words.

    The head, too, if the folder's was fitted to these very classes.

    Args:
        network: of `build_network`.
        folder: to read.
        config: its `config.json`.
        classes: of the logits.
        rows: of the folder's table of sub-words, those that the network has; None: all.

    Raises:
        ConfigError: when there are no weights, or one is missing or of another shape.
    """
    dialect, tensors = _dialect(folder, config), _Tensors(folder)
    prefix = dialect.prefix if any(name.startswith(dialect.prefix) for name in tensors.values) else ""
    words = tensors.get(f"{prefix}{dialect.words}.weight")
    positions = tensors.get(f"{prefix}{dialect.positions}.weight")[dialect.first_position :]
    if dialect.segments:
        positions = positions + tensors.get(f"{prefix}{dialect.segments}.weight")[0]
    num_positions = len(network.get_layer("position_embedding").get_weights()[0])
    _assign(network, "token_embedding", [words if rows is None else words[rows]], folder)
    _assign(network, "position_embedding", [positions[:num_positions]], folder)
    for ours, theirs in _numbered(dialect.layers, network):
        _assign(network, ours, tensors.of_layer(prefix + theirs), folder)
    _read_head(network, dialect, tensors, prefix, _order(config, classes), folder)


def write_folder(
    network: keras.Model, folder: Path, *, kind: str, classes: Sequence[str], text_input: TextInput
) -> None:
    """Write a fitted classifier so that `AutoModelForSequenceClassification.from_pretrained(folder)` reads it.

    Args:
        network: of `build_network`.
        folder: exists.
        kind: a key of `DIALECTS`.
        classes: of the logits.
        text_input: with the tokenizer.

    Raises:
        ConfigError: when the head reads the mean of the tokens, which no classifier of transformers does.
    """
    if "head_dense" not in {layer.name for layer in network.layers}:
        raise ConfigError(
            "model.pooling: mean: transformers' classifiers read the first token. Train one with `pooling: first`."
        )
    dialect, shape = DIALECTS[kind], _shape_of(network)
    words, positions = (network.get_layer(f"{name}_embedding").get_weights()[0] for name in ("token", "position"))
    tensors = {f"{dialect.prefix}{dialect.words}.weight": words}
    above = np.zeros((dialect.first_position, shape.hidden_dim), np.float32)
    tensors[f"{dialect.prefix}{dialect.positions}.weight"] = np.concatenate([above, positions])
    if dialect.segments:
        rows = 1 if dialect.first_position else 2
        tensors[f"{dialect.prefix}{dialect.segments}.weight"] = np.zeros((rows, shape.hidden_dim), np.float32)
    named = [*((ours, dialect.prefix + theirs) for ours, theirs in _numbered(dialect.layers, network))]
    for ours, theirs in [*named, *dialect.head.items()]:
        kernel, bias = network.get_layer(ours).get_weights()
        tensors |= {f"{theirs}.weight": np.ascontiguousarray(kernel.T), f"{theirs}.bias": bias}
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    config = _config(kind, classes, shape) | {"pad_token_id": text_input.pad_id}
    (folder / CONFIG).write_text(json.dumps(config, indent=2, ensure_ascii=False), encoding="utf-8")
    (folder / "tokenizer.json").write_text(text_input.tokenizer, encoding="utf-8")


def _shape_of(network: keras.Model) -> EncoderShape:
    vocabulary_size, hidden_dim = network.get_layer("token_embedding").get_weights()[0].shape
    return EncoderShape(
        vocabulary_size=vocabulary_size,
        num_positions=len(network.get_layer("position_embedding").get_weights()[0]),
        num_layers=sum(layer.name.endswith("_query") for layer in network.layers),
        num_heads=network.get_layer("layer_0_attention").num_heads,
        hidden_dim=hidden_dim,
        intermediate_dim=network.get_layer("layer_0_intermediate").units,
        layer_norm_epsilon=network.get_layer("embeddings_norm").epsilon,
        head_activation=keras.activations.serialize(network.get_layer("head_dense").activation),
        activation="gelu_tanh" if network.get_layer("layer_0_intermediate").activation is gelu_tanh else "gelu",
    )


def _config(kind: str, classes: Sequence[str], shape: EncoderShape) -> dict[str, Any]:
    dialect = DIALECTS[kind]
    sizes = {key: getattr(shape, field) for field, key in dialect.keys.items()}
    sizes[dialect.keys["num_positions"]] += dialect.first_position
    extra: dict[str, Any] = {}
    if dialect.epsilon is None:
        extra = {"layer_norm_eps": shape.layer_norm_epsilon, "type_vocab_size": 1 if dialect.first_position else 2}
    return {
        "model_type": kind,
        "architectures": [dialect.architecture],
        **sizes,
        **extra,
        "hidden_act" if dialect.epsilon is None else "activation": next(
            name for name, ours in ACTIVATIONS.items() if ours == shape.activation
        ),
        "id2label": {str(number): name for number, name in enumerate(classes)},
        "label2id": {name: number for number, name in enumerate(classes)},
    }


class _Tensors:
    """What stands in a folder's safetensors, whole."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.values: dict[str, Array] = {}
        for path in _weight_files(folder):
            try:
                self.values |= load_file(path)
            # The last two of numbers that NumPy has not.
            except (SafetensorError, OSError, ValueError, KeyError, AttributeError) as error:
                told = " ".join(str(error).split())[:120]
                raise ConfigError(f"model.weights: {path} is no safetensors file, or cut off ({told}).") from None

    def get(self, name: str) -> Array:
        if name not in self.values:
            raise ConfigError(
                f"model.weights: {self.folder} has no weight {name!r}: its {CONFIG} is of another network."
            )
        return self.values[name].astype(np.float32)

    def of_layer(self, name: str) -> list[Array]:
        """Kernel and bias of a dense layer, or scale and shift of a norm, which older files call gamma and beta."""
        if f"{name}.gamma" in self.values:
            return [self.get(f"{name}.gamma"), self.get(f"{name}.beta")]
        return [self.get(f"{name}.weight").T, self.get(f"{name}.bias")]


def _weight_files(folder: Path) -> list[Path]:
    if (folder / WEIGHTS_INDEX).is_file():
        index = json.loads((folder / WEIGHTS_INDEX).read_text(encoding="utf-8"))
        names = sorted(set(index["weight_map"].values()))
        strange = [name for name in names if Path(name).name != name]
        if strange:
            raise ConfigError(
                f"model.weights: {folder / WEIGHTS_INDEX} names {strange[0]!r}, which is no file beside it."
            )
        return [folder / name for name in names]
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    raise ConfigError(
        f"model.weights: {folder} has no {WEIGHTS}; write it with transformers' `save_pretrained`, "
        "which uses safetensors."
    )


def _read_head(
    network: keras.Model, dialect: Dialect, tensors: _Tensors, prefix: str, order: list[int] | None, folder: Path
) -> None:
    """The dense layer if there is one, and the logits if their classes are ours."""
    layers = {layer.name for layer in network.layers}
    dense, logits = dialect.head["head_dense"], dialect.head["logits"]
    dense = dense if prefix else dense.removeprefix(dialect.prefix)
    if "head_dense" in layers and f"{dense}.weight" in tensors.values:
        _assign(network, "head_dense", tensors.of_layer(dense), folder)
    if order is not None and f"{logits}.weight" in tensors.values and "head_dense" in layers:
        _assign(network, "logits", [part[..., order] for part in tensors.of_layer(logits)], folder)


def _order(config: Mapping[str, Any], classes: Sequence[str]) -> list[int] | None:
    """Where each class stands among the folder's; None if they are not the same."""
    names = {name: int(number) for number, name in config.get("id2label", {}).items()}
    return [names[name] for name in classes] if names.keys() == set(classes) else None


def _numbered(names: Names, network: keras.Model) -> Iterator[tuple[str, str]]:
    layers = {layer.name for layer in network.layers}
    for ours, theirs in names.items():
        number = 0
        while ours.format(n=number) in layers:
            yield ours.format(n=number), theirs.format(n=number)
            number += 1
            if "{n}" not in ours:
                break


def _assign(network: keras.Model, layer: str, values: list[Array], folder: Path) -> None:
    variables = network.get_layer(layer).weights
    for variable, value in zip(variables, values, strict=True):
        if tuple(variable.shape) != value.shape:
            raise ConfigError(
                f"model.weights: {folder}: {layer} is {value.shape} there, and {tuple(variable.shape)} by its {CONFIG}."
            )
        variable.assign(value)


def _dialect(folder: Path, config: Mapping[str, Any]) -> Dialect:
    kind = config.get("model_type")
    if kind not in DIALECTS:
        raise ConfigError(
            f"model.weights: {folder} holds a {kind!r}, and no encoder of texts that is known here; "
            f"known are {', '.join(DIALECTS)}."
        )
    return DIALECTS[kind]
