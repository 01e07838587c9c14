"""Models on disk: a `.keras` file whose bytes depend on nothing but the model, with its card inside."""

import json
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

import tfpipe.models.mobilenet
import tfpipe.models.text_encoder  # noqa: F401 - register their layers, so that saved models load
from tfpipe.core.errors import ConfigError
from tfpipe.core.files import atomic_path, sha256_bytes
from tfpipe.core.inputs import ModelInput, input_from_json

CARD = "tfpipe.json"
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
        return keras.saving.load_model(path, compile=False), card
    except (ValueError, OSError) as error:
        raise _none_of_ours(path, error) from None


def load_card(path: Path) -> Card:
    """Of a model's file the card alone.

    Raises:
        ConfigError: when the file is none of ours.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            document = json.loads(archive.read(CARD))
        spec = input_from_json(document["model_input"])
        return Card(document["name"], document["classes"], spec, document["train_counts"])
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such model file.") from None
    except (zipfile.BadZipFile, KeyError, ValueError, OSError) as error:
        raise _none_of_ours(path, error) from None


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
