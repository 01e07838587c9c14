"""The teachers of a student as networks, and how much each has to say of which photo."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfpipe.core.config import Config
from tfpipe.core.errors import ConfigError
from tfpipe.core.inputs import ImageInput
from tfpipe.core.workspace import Workspace
from tfpipe.data.records import check_classes
from tfpipe.labels.store import combine_weights
from tfpipe.models.saving import load_model
from tfpipe.stages.evaluate.predictions import Predict, compiled

Array = np.ndarray


@dataclass(frozen=True)
class Speaker:
    """A teacher that can be asked."""

    predict: Predict
    """(batch, size, size, 3) → logits (batch, num_classes), divided by its calibration temperature."""
    image_input: ImageInput
    shares: Array
    """(num_examples,): its share of what the teachers say together."""


def load_speakers(config: Config, workspace: Workspace, classes: Sequence[str], regions: Array) -> list[Speaker]:
    """The teachers that are networks; of those that are files of labels, nothing is known beyond these.

    Where none of them has a say, all shares are 0; elsewhere they sum to 1.

    Args:
        config: the student's.
        workspace: where the trained ones lie.
        classes: of the records.
        regions: (num_examples,) of str.

    Raises:
        ConfigError: when a model cannot be read, or its temperature is unknown.
        MismatchError: when one knows other classes.
    """
    named = zip(config.teachers, config.teacher_configs, strict=True)
    paths = [workspace.best_path(other) if other else Path(str(one.path)) for one, other in named]
    asked = [
        (one, path) for one, path in zip(config.teachers, paths, strict=True) if path.suffix != ".npz" and one.weight
    ]
    filters = tuple(one.region_filter for one, _ in asked)
    heard = np.isin(regions, [name for name in filters if name]) | (None in filters)
    shares = np.zeros((len(regions), len(asked)), np.float32)
    if heard.any():
        shares[heard] = combine_weights(regions[heard], tuple(one.weight for one, _ in asked), filters)
    speakers = []
    for number, (one, path) in enumerate(asked):
        network, card = load_model(path)
        check_classes(list(classes), card.classes, f"the teacher {path}")
        if one.temperature == "calibrated":
            raise ConfigError(f"{config.path}: teachers: the temperature of {path} is to be fitted. Give a number.")
        predict = partial(_calibrated, compiled(network), one.temperature)
        speakers.append(Speaker(predict, card.image_input, shares[:, number]))
    return speakers


def _calibrated(network: Predict, temperature: float, images: tf.Tensor) -> tf.Tensor:
    return network(images) / temperature
