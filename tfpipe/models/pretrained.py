"""Weights from elsewhere: KerasHub presets, folders of Hugging Face and KerasHub, files of backbones."""

import difflib
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import keras_hub
import numpy as np
import tensorflow as tf

from tfpipe.core.errors import ConfigError
from tfpipe.core.settings import ModelSettings
from tfpipe.models import transformers_folder
from tfpipe.models.family import Normalisation
from tfpipe.models.vetting import check_archive, check_config, check_weights

Kinds = tuple[type[keras.Model], ...]

FILE_SUFFIXES = (".h5", ".keras")
ADDRESS = re.compile(r"(kaggle|hf|modelscope)://")
POSITIONS = re.compile(r"position_embeddings?(/embeddings)?$")
"""The paths of variables that hold a vector for each place in the image."""


def is_pretrained(settings: ModelSettings) -> bool:
    """Whether the settings name weights."""
    return settings.pretrained or settings.weights != "none"


def read_backbone(
    settings: ModelSettings,
    kinds: Kinds,
    *,
    blank: Callable[[Path], keras.Model],
    options: dict[str, Any] | None = None,
) -> keras.Model:
    """The backbone that `model.weights` names, in the image size that it has there.

    Args:
        settings: with weights.
        kinds: the classes, one of which it must be.
        blank: makes the backbone that a file of bare weights is read into.
        options: arguments of the class that replace those of a preset or a folder.

    Raises:
        ConfigError: when there is no such thing, or it holds something else.
    """
    path = Path(settings.weights)
    if path.is_dir():
        backbone = _from_folder(path, settings.name, options or {})
    elif path.suffix in FILE_SUFFIXES or path.is_file():
        backbone = read_file(path, lambda: blank(path), settings.name)
    else:
        preset = find_preset(settings, kinds)
        with told(f"model.weights: the preset {preset} cannot be had", OFFLINE):
            backbone = keras_hub.models.Backbone.from_preset(preset, **options or {})
    if not isinstance(backbone, kinds):
        raise ConfigError(f"{unfit(settings)} (it holds a {type(backbone).__name__}).")
    return backbone


def unfit(settings: ModelSettings) -> str:
    """How a sentence begins that tells why weights cannot be used."""
    return f"model.weights: {settings.weights} does not fit {settings.name}"


def _from_folder(path: Path, name: str, options: dict[str, Any]) -> keras.Model:
    config = transformers_folder.read_config(path)
    with told(f"model.weights: {path} does not fit {name}", "Look into its config.json."):
        if "model_type" in config:
            return transformers_folder.read_backbone(path, config, options)
        check_config(config)
        return keras_hub.models.Backbone.from_preset(str(path), **options)


def read_file(path: Path, blank: Callable[[], keras.Model], name: str, section: str = "model") -> keras.Model:
    """A backbone from a `.keras` file, or the blank one with the weights of a `.h5` file.

    Raises:
        ConfigError: when there is no such file, or it does not fit.
    """
    if not path.is_file():
        raise ConfigError(
            f"{section}.weights: {path} is no file; "
            "expected `none`, `imagenet`, a preset of KerasHub, a folder or a file of weights."
        )
    with told(f"{section}.weights: {path} does not fit {name}", WHOLE_MODELS):
        if path.suffix == ".keras":
            check_archive(path)
            return backbone_of(keras.saving.load_model(path, compile=False))
        check_weights(path)
        backbone = blank()
        backbone.load_weights(path)
        return backbone


WHOLE_MODELS = "It takes a backbone's weights; to go on from a whole model of tfpipe, there is `model.start_from`."


def backbone_of(network: keras.Model) -> keras.Model:
    """The backbone inside a network of this package; any other network is one itself."""
    if "logits" not in [layer.name for layer in network.layers]:
        return network
    nested = [layer for layer in network.layers if isinstance(layer, keras.Model)]
    return nested[0] if nested else keras.Model(network.input, network.get_layer("pool").input)


def find_preset(settings: ModelSettings, kinds: Kinds) -> str:
    """The preset of KerasHub that the settings mean.

    Raises:
        ConfigError: naming near ones, when there is none of that name.
    """
    known = {name for kind in kinds for name in kind.presets}
    if settings.weights in ("none", "imagenet"):
        wanted = settings.name if settings.name in known else f"{settings.name}_imagenet"
    else:
        wanted = settings.weights
    if wanted in known or ADDRESS.match(wanted):
        return wanted
    near = difflib.get_close_matches(wanted, sorted(known), n=3, cutoff=0)
    raise ConfigError(
        f"model.weights: {settings.weights!r} is no file, folder or preset of KerasHub for {settings.name}; "
        f"near are {', '.join(near)}."
    )


def normalisation(settings: ModelSettings, kinds: Kinds, usual: Normalisation) -> Normalisation:
    """What the weights were trained on, if their folder or preset says it; else what is usual for the kind.

    Raises:
        ConfigError: when a preset cannot be had.
    """
    path = Path(settings.weights)
    if path.is_dir():
        if (path / "image_converter.json").is_file():
            with told(f"model.weights: {path} has an image converter that cannot be read", "Bring the folder again."):
                return _of_converter(keras_hub.layers.ImageConverter.from_preset(str(path)), usual)
        with told(f"model.weights: {path} has a preprocessor that cannot be read", "Mend or remove its JSON file."):
            return transformers_folder.read_normalisation(path) or usual
    if not is_pretrained(settings) or path.suffix in FILE_SUFFIXES or path.is_file():
        return usual
    preset = find_preset(settings, kinds)
    with told(f"model.weights: the preset {preset} cannot be had", OFFLINE):
        return _of_converter(keras_hub.layers.ImageConverter.from_preset(preset), usual)


def _of_converter(converter: Any, usual: Normalisation) -> Normalisation:
    """KerasHub says `value * scale + offset`, each None, a number, or one a channel."""
    if converter.scale is None and converter.offset is None:
        return usual
    factor = np.broadcast_to(1.0 if converter.scale is None else converter.scale, 3).astype(float)
    offset = np.broadcast_to(0.0 if converter.offset is None else converter.offset, 3).astype(float)
    return Normalisation(tuple((-offset / factor).tolist()), tuple((1 / factor).tolist()))


def adopt(backbone: keras.Model, donor: keras.Model, told_as: str) -> keras.Model:
    """Give a backbone the weights of another of its kind; position embeddings are resized.

    Raises:
        ConfigError: naming the first weight whose shape does not fit.
    """
    if len(backbone.weights) != len(donor.weights):
        raise ConfigError(f"{told_as} ({len(donor.weights)} weights there, {len(backbone.weights)} here).")
    for ours, theirs in zip(backbone.weights, donor.weights, strict=True):
        value = theirs.numpy()
        if ours.shape != theirs.shape and POSITIONS.search(ours.path):
            value = resize_positions(value, ours.shape[-2])
        if value.shape != tuple(ours.shape):
            raise ConfigError(f"{told_as} ({theirs.path} is {value.shape} there, {tuple(ours.shape)} here).")
        ours.assign(value)
    return backbone


def resize_positions(embeddings: np.ndarray, count: int) -> np.ndarray:
    """Position embeddings (…, tokens, hidden_dim) for `count` tokens: bicubic on their grid (Dosovitskiy 2020, §3.2).

    Tokens that stand for no patch come first, are as many in both, and keep their vectors. Grids are square.
    """
    num_extra = _num_extra_tokens(embeddings.shape[-2], count)
    extra, patches = np.split(embeddings, [num_extra], axis=-2)
    hidden_dim = embeddings.shape[-1]
    side, new_side = (round((tokens - num_extra) ** 0.5) for tokens in (embeddings.shape[-2], count))
    grid = patches.reshape(1, side, side, hidden_dim).astype(np.float32)
    # With antialiasing, as timm does it: a smaller grid averages over what it leaves out.
    resized = tf.image.resize(grid, (new_side, new_side), method="bicubic", antialias=True).numpy()
    return np.concatenate([extra, resized.reshape(*extra.shape[:-2], new_side**2, hidden_dim)], axis=-2)


def _num_extra_tokens(*counts: int) -> int:
    """0, 1 (class) or 2 (class and distillation): what is left over from squares in both."""
    for num_extra in range(3):
        if all(round((count - num_extra) ** 0.5) ** 2 == count - num_extra for count in counts):
            return num_extra
    raise ConfigError(f"model.weights: position embeddings of {counts[0]} tokens are on no square grid.")


OFFLINE = "Connect this machine, or name a folder or file of weights."


@contextmanager
def told(failure: str, advice: str) -> Iterator[None]:
    """Say in a sentence what a library could not do.

    Raises:
        ConfigError: in the place of any error but our own.
    """
    try:
        # Keras warns of every layer that does not fit, before it raises.
        with warnings.catch_warnings(action="ignore"):
            yield
    except ConfigError:
        raise
    except Exception as error:  # noqa: BLE001 - hubs, converters and h5py raise a dozen kinds
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(f"{failure} ({reason}). {advice}") from None
