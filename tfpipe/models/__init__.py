"""Networks: from settings to a Keras model that returns logits. One file a kind, and one line in `MODELS`."""

import difflib
import re
from collections.abc import Sequence

import keras

from tfpipe.core.errors import ConfigError
from tfpipe.core.inputs import ModelInput
from tfpipe.core.settings import DataSettings, ModelSettings
from tfpipe.models import applications, hub, mobilenet, text, vit
from tfpipe.models.depths import layer_depths
from tfpipe.models.family import BuildOptions, Family, check_size, head_layers
from tfpipe.models.precision import as_float32

__all__ = ["MODELS", "as_float32", "build_model", "find_family", "head_layers", "input_of", "layer_depths"]


def build_model(
    settings: ModelSettings,
    *,
    num_classes: int,
    model_input: ModelInput,
    dropout: float,
    stochastic_depth: float,
    rematerialize: bool,
    seed: int,
    classes: Sequence[str] = (),
) -> keras.Model:
    """A fresh network in the global precision, with pretrained backbone weights where the settings ask for them.

    Inputs (batch, *model_input.shape) → logits (batch, num_classes), float32 in every precision. The last layer
    is `logits`; below it stand `head_projection` where `head_rank` is set, `dropout`, `pool` and the backbone.

    A text classifier that was fitted to these very `classes` keeps its head.

    Raises:
        ConfigError: when no family has that name, its weights cannot be had, it cannot do what is asked for, or it
            is larger than `max_mb`.
    """
    family = find_family(settings.name)
    if stochastic_depth and not family.stochastic_depth:
        raise ConfigError(f"regularization.stochastic_depth: {settings.name} has none; vision transformers have it.")
    if rematerialize and not family.stochastic_depth:
        raise ConfigError(f"training.rematerialize: {settings.name} has no such thing; vision transformers have it.")
    options = BuildOptions(
        num_classes, model_input, dropout, stochastic_depth, rematerialize, seed, settings.head_rank, classes
    )
    network = family.build(settings, options)
    check_size(network, settings)
    return network


def input_of(settings: ModelSettings, data: DataSettings) -> ModelInput:
    """What the network of these settings wants to see; pretrained weights may say it themselves.

    Raises:
        ConfigError: when no family has that name, or a preset or folder that would say it cannot be had.
    """
    return find_family(settings.name).input_of(settings, data)


def find_family(name: str) -> Family:
    """The family whose pattern matches a name.

    Raises:
        ConfigError: with the nearest names there are.
    """
    for pattern, family in MODELS.items():
        if re.fullmatch(pattern, name):
            return family
    examples = [family.example for family in MODELS.values()]
    known = {*examples, *applications.NAMES, *hub.NAMES}
    near = difflib.get_close_matches(name, sorted(known), n=3, cutoff=0.6)
    hint = f"near are {', '.join(near)}" if near else f"known are names like {', '.join(examples)}"
    raise ConfigError(f"model.name: {name!r} is no model; {hint}.")


MODELS: dict[str, Family] = {
    mobilenet.PATTERN: mobilenet.FAMILY,
    vit.PATTERN: vit.FAMILY,
    applications.PATTERN: applications.FAMILY,
    **hub.FAMILIES,
    **text.FAMILIES,
}
"""Pattern of names → family."""
