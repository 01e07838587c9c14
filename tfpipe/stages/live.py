"""Teachers that are not asked beforehand but while the student trains: `label.views: live`."""

import keras
import numpy as np
import tensorflow as tf

from tfpipe.core.config import Config
from tfpipe.core.errors import ConfigError
from tfpipe.core.workspace import Workspace
from tfpipe.data.pipeline import LiveLabels
from tfpipe.data.records import Records
from tfpipe.models.saving import load_model
from tfpipe.stages.label.teachers import Teacher, find_teachers, gather_facts, weigh
from tfpipe.training.live_teachers import LiveTeachers


def live_labels(
    config: Config, workspace: Workspace, records: Records, *, asked: bool
) -> tuple[LiveLabels, LiveTeachers | None]:
    """How much each teacher says of each example, and the teachers; none of them where they are not `asked`.

    Raises:
        ConfigError: when a teacher has not all classes of the records, in their order.
        MismatchError: when no teacher speaks for some region or class.
    """
    facts = gather_facts(records)
    teachers = find_teachers(config, workspace, facts)
    for teacher in teachers:
        if not np.array_equal(teacher.positions, np.arange(len(facts.classes))):
            raise ConfigError(
                f"{config.path}: label.views: live: the teacher {teacher.name} has not the records' classes in their "
                "order. Store its labels: set `label.views` to a number."
            )
    shares = tf.constant(weigh(config, teachers, facts))
    if not asked:
        return LiveLabels((), shares), None
    wanted = tuple(teacher.model_input for teacher in teachers if teacher.model_input)
    return LiveLabels(wanted, shares), _load(teachers)


def _load(teachers: list[Teacher]) -> LiveTeachers:
    """Each in the precision it was saved in, whatever the student's."""
    # What has no policy of its own would take the student's.
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32")
    try:
        networks = [load_model(teacher.path)[0] for teacher in teachers]
    finally:
        keras.config.set_dtype_policy(before)
    return LiveTeachers(networks, [teacher.header.calibration_temperature for teacher in teachers])
