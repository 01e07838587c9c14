"""Models on disk: a `.keras` file whose bytes depend on nothing but the model, with its card inside."""

import json
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
from pydantic import TypeAdapter
from tokenizers import Tokenizer

import tfpipe.models.mobilenet
import tfpipe.models.text_encoder  # noqa: F401 - register their layers, so that saved models load
from tfpipe.core.errors import ConfigError
from tfpipe.core.files import atomic_path, sha256_bytes
from tfpipe.core.inputs import ModelInput, TextInput, input_from_json
from tfpipe.models.vetting import check_archive

CARD = "tfpipe.json"
LARGEST_CARD = 2**28
"""Bytes. A tokenizer of 250,000 sub-words has 17 million."""
EPOCH = (1980, 1, 1, 0, 0, 0)
"""The earliest time a zip file can tell."""


@dataclass(frozen=True)
class Card:
    """What must travel with a model to use it rightly."""

    name: str
    classes: list[str]
    model_input: ModelInput
    train_counts: list[int]
    """Training examples of each class; of one with none, as a region may leave some, the model knows nothing."""

    def to_json(self) -> dict[str, Any]:
        """As it lies in the file."""
        return {**vars(self), "model_input": self.model_input.to_json()}


_CARDS = TypeAdapter(Card)


def save_model(model: keras.Model, card: Card, path: Path) -> None:
    """Write model and card; equal models give equal bytes."""
    with atomic_path(path) as final:
        dated = final.with_name(f"{final.name}.keras")
        try:
            model.save(dated)
            _rewrite(dated, final, card)
        finally:
            dated.unlink(missing_ok=True)


def load_model(path: Path) -> tuple[keras.Model, Card]:
    """Read what `save_model` wrote.

    Raises:
        ConfigError: when the file is none of ours.
    """
    card = load_card(path)
    try:
        check_archive(path)
        network = keras.saving.load_model(path, compile=False)
        if network.output_shape[-1] != len(card.classes):
            raise ValueError(f"its card names {len(card.classes)} classes, and its outputs are {network.output_shape}")
    except Exception as error:  # noqa: BLE001 - Keras, zipfile and h5py raise a dozen kinds for a file that is none
        raise _none_of_ours(path, error) from None
    return network, card


def load_card(path: Path) -> Card:
    """Of a model's file the card alone.

    Raises:
        ConfigError: when the file is none of ours.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if archive.getinfo(CARD).file_size > LARGEST_CARD:
                raise ValueError(f"its {CARD} is larger than {LARGEST_CARD:,} bytes")
            return _card_from(json.loads(archive.read(CARD)))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such model file.") from None
    except Exception as error:  # noqa: BLE001 - again
        raise _none_of_ours(path, error) from None


def _card_from(document: dict[str, Any]) -> Card:
    """Raises ValueError, or what a document of another shape is met with."""
    spec = input_from_json(document["model_input"])
    if isinstance(spec, TextInput):
        Tokenizer.from_str(spec.tokenizer)
    return _CARDS.validate_python(vars(Card(document["name"], document["classes"], spec, document["train_counts"])))


def _none_of_ours(path: Path, error: Exception) -> ConfigError:
    return ConfigError(
        f"{path}: not a model that tfpipe wrote ({' '.join(str(error).split())[:120]}). "
        "Name a `config:` to train instead, or a `best.keras` of a run."
    )


def weights_sha256(model: keras.Model) -> str:
    """The hash by which labels know their teacher."""
    return sha256_bytes(b"".join(weight.tobytes() for weight in model.get_weights()))


def _rewrite(source: Path, target: Path, card: Card) -> None:
    """Copy a `.keras` archive without the times and memory addresses that Keras and zip put in."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in sorted(old.namelist()):
            content = old.read(name)
            if name == "metadata.json":
                content = json.dumps({"keras_version": json.loads(content)["keras_version"]}).encode()
            if name == "config.json":
                content = _numbered(content)
            new.writestr(zipfile.ZipInfo(name, EPOCH), content)
        new.writestr(zipfile.ZipInfo(CARD, EPOCH), json.dumps(card.to_json(), ensure_ascii=False))


def _numbered(config: bytes) -> bytes:
    """Shared objects, which Keras knows by their address in memory, numbered as they come."""
    pattern = rb'("shared_object_id": )(\d+)'
    numbers = {address: number for number, (_, address) in enumerate(dict.fromkeys(re.findall(pattern, config)))}
    return re.sub(pattern, lambda match: match[1] + b"%d" % numbers[match[2]], config)
