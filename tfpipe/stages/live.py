"""Teachers that are not asked beforehand but while the student trains: `label.views: live`."""

from collections.abc import Sequence
from pathlib import Path

import keras
import tensorflow as tf

from tfpipe.core.config import Config
from tfpipe.core.workspace import Workspace
from tfpipe.data.pipeline import LiveLabels
from tfpipe.data.records import Records, check_classes
from tfpipe.labels.store import combine_weights
from tfpipe.models.saving import Card, load_model
from tfpipe.training.live_teachers import LiveTeachers


def load_teachers(config: Config, workspace: Workspace, records: Records) -> tuple[LiveTeachers, list[Card]]:
    """The settings' teachers, in their order, each in the precision it was saved in, whatever the student's.

    Raises:
        MismatchError: when one knows other classes than the records.
    """
    # What has no policy of its own would take the student's.
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32")
    try:
        loaded = [load_model(path) for path in _paths(config, workspace)]
    finally:
        keras.config.set_dtype_policy(before)
    for path, (_, card) in zip(_paths(config, workspace), loaded, strict=True):
        check_classes(records.classes, card.classes, f"the teacher {path}")
    temperatures = [float(teacher.temperature) for teacher in config.teachers]
    return LiveTeachers([network for network, _ in loaded], temperatures), [card for _, card in loaded]


def live_labels(config: Config, records: Records, cards: Sequence[Card]) -> LiveLabels:
    """What the teachers of these cards want to see, and how much each says of each example.

    Raises:
        MismatchError: when no teacher speaks for some region.
    """
    weights = tuple(teacher.weight for teacher in config.teachers)
    filters = tuple(teacher.region_filter for teacher in config.teachers)
    shares = combine_weights(records.facts()[1], weights, filters)
    return LiveLabels(tuple(card.image_input for card in cards), tf.constant(shares))


def _paths(config: Config, workspace: Workspace) -> list[Path]:
    return [
        workspace.best_path(trained) if trained else Path(str(teacher.path))
        for teacher, trained in zip(config.teachers, config.teacher_configs, strict=True)
    ]
