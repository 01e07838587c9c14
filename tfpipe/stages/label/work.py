"""What there is to do for a store: its header, each example's weights, and the units that are to be written."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from tfpipe.core.config import Config
from tfpipe.core.errors import DataError
from tfpipe.core.execution import previous_dir
from tfpipe.core.progress import say
from tfpipe.core.states import read_whole
from tfpipe.core.workspace import Workspace
from tfpipe.data.records import Records
from tfpipe.labels.header import LabelHeader, TeacherHeader, check_header, read_teacher_header
from tfpipe.labels.sparse import MOST_CLASSES
from tfpipe.labels.store import read_header
from tfpipe.stages import STEPS
from tfpipe.stages.label.teachers import Facts, Teacher, begin, find_teachers, gather_facts, weigh
from tfpipe.stages.label.units import Unit, list_units
from tfpipe.stages.phases import check_loss, training_records

Array = np.ndarray


@dataclass(frozen=True)
class Work:
    """What `label` does for one student."""

    store: Path
    header: LabelHeader
    facts: Facts
    weights: Array
    """(num_examples, teachers) float32, rows sum to 1."""
    units: list[Unit]

    @property
    def num_missing(self) -> int:
        """Files that are not there yet."""
        return sum(not unit.is_done for unit in self.units)


def store_dir(config: Config, workspace: Workspace) -> Path:
    """Where a student's soft labels lie."""
    return workspace.step_dir(config, "label") / "store"


def open_work(config: Config, workspace: Workspace) -> Work:
    """Look at records and teachers, refuse what cannot be labelled, and begin each teacher's folder.

    Raises:
        TfpipeError: when the settings, the records and the teachers do not go together.
    """
    records, store = training_records(config, workspace), store_dir(config, workspace)
    facts = gather_facts(records)
    _check_top_k(config, facts)
    _tell_of_idle_views(config)
    check_loss(config, kept=min(config.label.top_k, len(facts.classes)), num_classes=len(facts.classes))
    teachers = find_teachers(config, workspace, facts)
    weights = weigh(config, teachers, facts)
    before = _folders_before(config, workspace)
    validation = Records(records.directory, "validation")
    teachers = [begin(teacher, store, list(before), validation) for teacher in teachers]
    # Fresh ones: what has been read of the others would travel with each unit.
    fresh = replace(records)
    units = [
        unit
        for teacher in teachers
        for unit in list_units(
            teacher,
            store / teacher.name,
            next((folder for folder, header in before.items() if header == teacher.header), None),
            fresh,
            facts,
            deterministic=config.deterministic,
        )
    ]
    return Work(store, _header(config, teachers), facts, weights, units)


def open_labels(config: Config, workspace: Workspace, records: Records) -> tuple[Path, LabelHeader]:
    """The store of a student's soft labels, which are of these settings, records and teachers.

    Raises:
        MissingArtifactError: when a file of it is missing or cut off.
        MismatchError: naming all in which the labels differ.
    """
    store = store_dir(config, workspace)
    found = read_header(store)
    teachers = find_teachers(config, workspace, gather_facts(records))
    if found.names == tuple(teacher.name for teacher in teachers):
        teachers = [as_fitted(*pair) for pair in zip(teachers, found.teachers, strict=True)]
    check_header(found, _header(config, teachers), store)
    return store, found


def teachers_as_asked(config: Config, workspace: Workspace) -> list[Teacher]:
    """A student's teachers, with the temperatures that were fitted for its labels."""
    teachers = find_teachers(config, workspace, gather_facts(training_records(config, workspace)))
    if config.label.views == "live":
        return teachers
    found = read_header(store_dir(config, workspace))
    return [as_fitted(*pair) for pair in zip(teachers, found.teachers, strict=True)]


def as_fitted(teacher: Teacher, found: TeacherHeader) -> Teacher:
    """The teacher with the temperature that was fitted for its labels, where one is to be fitted at all."""
    if not (teacher.header.calibrated_on and found.calibrated_on):
        return teacher
    fitted = replace(
        teacher.header,
        calibrated_on=found.calibrated_on,
        calibration_temperature=found.calibration_temperature,
    )
    return replace(teacher, header=fitted)


def _header(config: Config, teachers: list[Teacher]) -> LabelHeader:
    names = tuple(teacher.name for teacher in teachers)
    return LabelHeader(names, tuple(t.header for t in teachers), tuple(t.weight for t in config.teachers))


def _check_top_k(config: Config, facts: Facts) -> None:
    num_classes = len(facts.classes)
    if num_classes > MOST_CLASSES:
        raise DataError(f"{num_classes} classes: the soft-label store holds ids of at most {MOST_CLASSES}.")
    if "top_k" in config.label.model_fields_set and config.label.top_k > num_classes:
        say(
            f"{config.path}: label.top_k is {config.label.top_k}, and there are {num_classes} classes: "
            "all of them are stored, and nothing is lost."
        )


def _tell_of_idle_views(config: Config) -> None:
    views, epochs = config.label.views, config.distillation_epochs
    if isinstance(views, int) and views > epochs:
        say(
            f"warning: {config.path}: label.views is {views}, and distillation, with a view an epoch, takes {epochs} "
            f"of them; set it to {epochs}"
        )


def _folders_before(config: Config, workspace: Workspace) -> dict[Path, TeacherHeader]:
    """Teachers' folders of finished stores: this student's of before, then other students'.

    None of stores that other code wrote, and none at all when everything is to be made anew.
    """
    step_dir = workspace.step_dir(config, "label")
    begun = read_whole(step_dir / "started.json")
    if begun and begun["force"]:
        return {}
    step_dirs = [previous_dir(step_dir), *sorted(step_dir.parent.parent.glob(f"*/{step_dir.name}"))]
    states = {folder: read_whole(folder / "state.json") for folder in step_dirs}
    alike = [folder for folder, state in states.items() if state and state["version"] == STEPS["label"].version]
    folders = [folder for step_dir in alike for folder in sorted((step_dir / "store").glob("*/"))]
    return {folder: header for folder in folders if (header := read_teacher_header(folder))}
