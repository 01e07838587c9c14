"""The teachers of a student: what each knows, whom it speaks for, and what its labels are made with."""

import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfpipe.core.config import Config
from tfpipe.core.errors import ConfigError, DataError, MismatchError
from tfpipe.core.files import locked, sha256_bytes, sha256_file, sha256_json, write_json
from tfpipe.core.inputs import ModelInput
from tfpipe.core.progress import say
from tfpipe.core.settings import TeacherSettings
from tfpipe.core.workspace import Workspace
from tfpipe.data.pipeline import view_batches
from tfpipe.data.records import Records, classes_sha256
from tfpipe.labels.header import TeacherHeader, differences, read_teacher_header
from tfpipe.labels.npz import NpzLabels
from tfpipe.labels.sparse import align
from tfpipe.labels.speaking import check_region, combine_weights, find_known, find_positions
from tfpipe.models.saving import load_card, load_model
from tfpipe.training.temperature import fit_temperature

Array = np.ndarray
Predict = Callable[[tf.Tensor], tf.Tensor]

BATCH = 128
ENOUGH_LOGITS = 2**26
"""That are held at most to fit a temperature: 7,400 photos of 9,000 classes."""


@dataclass(frozen=True)
class Facts:
    """What is known of the records without looking at a photo, in canonical order."""

    ids: Array
    """(num_examples,) of str."""
    regions: Array
    """(num_examples,) of str."""
    labels: Array
    """(num_examples,) of int."""
    sha256: str
    """Of ids and photos, in their order."""
    classes: list[str]
    shard_lengths: tuple[int, ...]


@dataclass(frozen=True)
class Teacher:
    """A teacher, without its network."""

    name: str
    path: Path
    """Of the model, or of the labels that it once gave."""
    header: TeacherHeader
    model_input: ModelInput | None
    """None where there is no model."""
    positions: Array = field(compare=False)
    """(num_classes,): where each class stands among its own, -1 where it has none such."""
    known: Array = field(compare=False)
    """(num_classes,) of bool: classes that it was trained on."""

    @property
    def is_brought(self) -> bool:
        """Whether its labels come from a file, and there is no network."""
        return self.model_input is None

    def speaks(self, facts: Facts) -> Array:
        """(num_examples,) of bool: whether the example is of its region, and of a class that it knows."""
        of_region = np.full(len(facts.ids), True) if self.header.region is None else facts.regions == self.header.region
        return of_region & self.known[facts.labels]

    def load(self) -> Predict:
        """Inputs (batch, …) → logits (batch, num_classes), calibrated; traced once, for any batch."""
        assert self.model_input
        network, _ = load_model(self.path)
        positions, temperature = self.positions, self.header.calibration_temperature

        @partial(tf.function, input_signature=[batch_spec(self.model_input)], autograph=False)
        def predict(inputs: tf.Tensor) -> tf.Tensor:
            return align(tf.cast(network(inputs, training=False), tf.float32), positions) / temperature

        return predict


def batch_spec(model_input: ModelInput) -> tf.TensorSpec:
    """Of a batch of any size, as a network takes it."""
    return tf.TensorSpec((None, *model_input.shape), model_input.dtype)


def gather_facts(records: Records) -> Facts:
    """Read all records once.

    Raises:
        DataError: when the split or the region has no rows.
    """
    if records.region:
        check_region(records.region, Records(records.directory, records.split).facts()[1], "data.region")

    def known(example: dict[str, tf.Tensor]) -> tuple[tf.Tensor, ...]:
        content = tf.strings.to_hash_bucket_fast(example[records.task], 2**63 - 1)
        return example["id"], example["region"], example["label"], content

    batches = records.examples().map(known).batch(BATCH).as_numpy_iterator()
    ids, regions, labels, contents = (np.concatenate(column) for column in zip(*batches, strict=True))
    told = sha256_json([_text(ids).tolist(), contents.tolist()])
    return Facts(_text(ids), _text(regions), labels, told, records.classes, records.shard_lengths())


def find_teachers(config: Config, workspace: Workspace, facts: Facts) -> list[Teacher]:
    """The teachers of the settings; a temperature that is to be fitted is 1 for the time being.

    Raises:
        ConfigError: when a teacher does not fit the settings.
        DataError: when a region that a teacher should speak for has no rows.
        MismatchError: when a teacher knows a class that the records do not.
    """
    if not any(teacher.weight for teacher in config.teachers):
        raise ConfigError(f"{config.path}: the weights of `teachers` sum to 0. Give one of them a weight above 0.")
    named = zip(config.teachers, config.teacher_configs, strict=True)
    paths = [workspace.best_path(other) if other else Path(str(one.path)) for one, other in named]
    placed = zip(paths, config.teacher_configs, strict=True)
    names = _told_apart([other.name if other else _name_of(path) for path, other in placed])
    teachers = []
    for number, (name, path, settings) in enumerate(zip(names, paths, config.teachers, strict=True)):
        where = f"{config.path}: teachers.{number}"
        check_region(settings.region_filter, facts.regions, f"{where}.region_filter")
        build = _brought if path.suffix == ".npz" else _with_network
        teacher = build(name, path, settings, config, facts, where)
        spoken = sha256_bytes(np.packbits(teacher.speaks(facts)).tobytes())
        teachers.append(replace(teacher, header=replace(teacher.header, speaks_sha256=spoken)))
    return teachers


def weigh(config: Config, teachers: list[Teacher], facts: Facts) -> Array:
    """(num_examples, teachers) float32: how much each says of each example; rows sum to 1.

    Raises:
        MismatchError: when none of them speaks for an example, naming its region or class.
    """
    return combine_weights(
        np.stack([teacher.speaks(facts) for teacher in teachers], axis=1),
        tuple(teacher.weight for teacher in config.teachers),
        facts.regions,
        facts.labels,
        tuple(teacher.region_filter for teacher in config.teachers),
        facts.classes,
    )


def begin(teacher: Teacher, store: Path, others: Sequence[Path], records: Records) -> Teacher:
    """The teacher with its temperature, and with its header in the store, by which its files will be known.

    A temperature that is to be fitted is taken from a folder with labels of this very teacher, if there is one: all
    processes that take part must divide by the same number.

    Args:
        teacher: with temperature 1 where it is to be fitted.
        store: of this run.
        others: folders of finished stores, perhaps of this teacher.
        records: the validation split's, all regions.

    Raises:
        MismatchError: when the store was begun with something else.
    """
    folder = store / teacher.name
    with locked(store / f".{teacher.name}.lock"):
        header = teacher.header
        if header.calibrated_on:
            facts = gather_facts(records)
            header = replace(header, calibrated_on=sha256_json([facts.sha256, facts.labels.tolist()]))
            found = (read_teacher_header(other) for other in (folder, *others))
            alike = [h for h in found if h and replace(h, calibration_temperature=1.0) == header]
            temperature = alike[0].calibration_temperature if alike else _fit(teacher, records, facts)
            header = replace(header, calibration_temperature=temperature)
        begun = read_teacher_header(folder)
        if begun is None:
            write_json(asdict(header), folder / "header.json")
        elif begun != header:
            told = "; ".join(differences(begun, header))
            raise MismatchError(f"{folder}: begun with {told}. Run `tfpipe label --force` to begin anew.")
    return replace(teacher, header=header)


def _with_network(
    name: str, path: Path, settings: TeacherSettings, config: Config, facts: Facts, where: str
) -> Teacher:
    card = load_card(path)
    positions = find_positions(facts.classes, card.classes, name)
    known = find_known(positions, np.array(card.train_counts))
    header = replace(
        _header(settings, config, facts),
        model_sha256=sha256_file(path),
        knowledge_sha256=sha256_json([card.classes, [count > 0 for count in card.train_counts]]),
        preprocessing_sha256=sha256_json(card.model_input.to_json()),
    )
    return Teacher(name, path, header, card.model_input, positions, known)


def _brought(name: str, path: Path, settings: TeacherSettings, config: Config, facts: Facts, where: str) -> Teacher:
    if config.label.views != "unaugmented":
        raise ConfigError(
            f"{where}.path: {path} holds one label of each photo as it is, and label.views is {config.label.views}. "
            "Set `label.views: unaugmented`, or name the teacher's model."
        )
    if settings.temperature == "calibrated":
        raise ConfigError(
            f"{where}.temperature: {path} says nothing of the validation split to calibrate on. Give a number."
        )
    NpzLabels(path).check(len(facts.classes))
    every = np.arange(len(facts.classes))
    header = replace(_header(settings, config, facts), model_sha256=sha256_file(path))
    return Teacher(name, path, header, None, every, np.full(len(every), True))


def _header(settings: TeacherSettings, config: Config, facts: Facts) -> TeacherHeader:
    """What does not depend on the teacher's file."""
    return TeacherHeader(
        model_sha256="",
        knowledge_sha256="",
        preprocessing_sha256="",
        augmentation="none" if config.label.views == "unaugmented" else config.data.augmentation,
        mixup_alpha=config.label.mixup_alpha,
        cutmix_alpha=config.label.cutmix_alpha,
        view_seed=config.seed,
        views=config.label.views if isinstance(config.label.views, int) else 1,
        region=settings.region_filter,
        calibration_temperature=1.0 if settings.temperature == "calibrated" else settings.temperature,
        calibrated_on="validation" if settings.temperature == "calibrated" else "",
        classes_sha256=classes_sha256(facts.classes),
        examples_sha256=facts.sha256,
        speaks_sha256="",
        num_classes=len(facts.classes),
        shard_lengths=facts.shard_lengths,
        kept=min(config.label.top_k, len(facts.classes)),
        temperature=config.distillation.temperature,
    )


def _fit(teacher: Teacher, records: Records, facts: Facts) -> float:
    """By the likelihood of the validation split's labels, or of so many of them as memory allows, evenly spaced."""
    places = np.flatnonzero(teacher.speaks(facts))
    if not len(places):
        of = f" of region {teacher.header.region}" if teacher.header.region else ""
        raise DataError(
            f"the teacher {teacher.name}: no row{of} in validation has a class that it knows, to calibrate it on. "
            "Give its `temperature` as a number."
        )
    places = places[:: -(-len(places) * len(facts.classes) // ENOUGH_LOGITS)]
    keep = np.full(len(facts.ids), False)
    keep[places] = True
    assert teacher.model_input
    batches = view_batches(
        records, teacher.model_input, augmentation="none", view=0, view_seed=0, batch_size=BATCH, keep=keep
    )
    predict = teacher.load()
    logits = np.concatenate([predict(images).numpy() for _, images in batches])
    if np.isnan(logits).any():
        raise DataError(f"the teacher {teacher.name} answered with NaN or infinity. Train it again.")
    temperature = fit_temperature(logits, facts.labels[places])
    say(f"{teacher.name}: temperature {temperature:.3f}, fitted on {len(places)} examples of validation")
    return temperature


def _text(column: Array) -> Array:
    """Bytes, as TensorFlow has them → str."""
    return np.array([value.decode() for value in column])


def _name_of(path: Path) -> str:
    """Of a folder for the labels of a model file: `runs/flowers/teach/best.keras` → `flowers-teach-best`."""
    return re.sub(r"[^\w.-]+", "-", "-".join(path.with_suffix("").parts[-3:])).strip("-.") or "teacher"


def _told_apart(names: list[str]) -> list[str]:
    """The same teacher may speak twice, for two regions."""
    return [f"{n}-{names[:i].count(n) + 1}" if n in names[:i] else n for i, n in enumerate(names)]
