"""How deep below the head each variable lies, for learning rates that fall with depth."""

import re
from collections.abc import Iterator

import keras

from tfpipe.models.family import head_layers

NUM_GROUPS = 12
"""Of a network whose layers' names tell of no blocks: as BEiT's recipe groups a ConvNeXt (Bao 2021; Liu 2022)."""
MIN_GROUPS = 2
"""Names that tell of no more groups than these tell nothing."""
BLOCK = re.compile(r".*?(transformer_block_\d+|layers?_\d+|blocks?_?\d+[a-z]*|expanded_conv(_\d+)?)(?=[_/]|$)")
"""The part of a path that names a block of layers, with all that stands before it."""


def layer_depths(network: keras.Model) -> dict[str, int]:
    """Path of each trainable variable → depth below the head: 0 for the head, 1 for the topmost layers ….

    Layers are a transformer's blocks, a convolutional network's blocks, or, where names tell of none, groups of equal
    size. What stands between or above blocks, such as the last norm, belongs to the block below it, and what stands
    below all, such as embeddings, is the deepest (timm's `param_groups_layer_decay`).
    """
    head = {variable.path for layer in head_layers(network) for variable in layer.weights}
    groups = _group([variable.path for variable in _iter_upwards(network) if variable.path not in head])
    depths = {path: len(groups) - number for number, paths in enumerate(groups) for path in paths}
    depths |= dict.fromkeys(head, 0)
    return {variable.path: depths[variable.path] for variable in network.trainable_variables}


def _iter_upwards(network: keras.Model) -> Iterator[keras.Variable]:
    """All weights from the images to the logits, also those that are frozen: freezing moves no layer."""
    for layer in network.layers:
        if isinstance(layer, keras.Model):
            yield from _iter_upwards(layer)
        else:
            yield from layer.weights


def _group(paths: list[str]) -> list[list[str]]:
    """The paths by block, the deepest first."""
    groups: dict[str, list[str]] = {}
    block = "stem"
    for path in paths:
        match = BLOCK.match(path)
        block = match[0] if match else block
        groups.setdefault(block, []).append(path)
    if len(groups) > MIN_GROUPS:
        return list(groups.values())
    layers = list(dict.fromkeys(path.rpartition("/")[0] for path in paths))
    number_of = {layer: number * NUM_GROUPS // len(layers) for number, layer in enumerate(layers)}
    parts: dict[int, list[str]] = {}
    for path in paths:
        parts.setdefault(number_of[path.rpartition("/")[0]], []).append(path)
    return list(parts.values())
