"""`label`: every teacher says what it thinks of every training view, once."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfpipe.core.config import Config
from tfpipe.core.errors import DataError
from tfpipe.core.files import sha256_json
from tfpipe.core.progress import Advance, progress
from tfpipe.core.settings import Augmentation
from tfpipe.core.steps import Metrics
from tfpipe.core.workspace import Workspace
from tfpipe.data.pipeline import view_batches
from tfpipe.data.records import Records, check_classes, classes_sha256, ids_sha256
from tfpipe.labels.store import (
    Array,
    LabelHeader,
    combine_weights,
    record_type,
    sparsify,
    spread,
    view_path,
    write_header,
    write_view,
)
from tfpipe.models.saving import Card, load_model, weights_sha256
from tfpipe.stages.phases import training_records
from tfpipe.training.reproducible import make_reproducible

BATCH = 128
MOST_CLASSES = 2**16


@dataclass(frozen=True)
class Teacher:
    """A fitted teacher and the region it speaks for."""

    predict: Callable[[tf.Tensor], tf.Tensor]
    """(batch, size, size, 3) → logits (batch, num_classes)."""
    card: Card
    weights_sha256: str
    region: str | None


def run(config: Config, workspace: Workspace) -> Metrics:
    """Fill the store; views that an interrupted run has written are kept."""
    make_reproducible(config.seed, deterministic=config.deterministic)
    records = training_records(config, workspace)
    _check_ids_fit(len(records.classes))
    teachers = _load_teachers(config, workspace, records)
    regions = records.facts()[1]
    header = _header(config, records, teachers)
    store = workspace.step_dir(config, "label") / "store"
    weights = combine_weights(regions, header.teacher_weights, header.region_filters)
    said = [np.flatnonzero(weights[:, number]) for number in range(len(teachers))]
    with progress(f"label {config.name}", header.views * sum(map(len, said))) as advance:
        for number, teacher in enumerate(teachers):
            for view in range(header.views):
                if view_path(store, number, view).is_file():
                    advance(len(said[number]))
                    continue
                batches = _records_of_view(teacher, config, records, header, view, advance)
                everywhere = spread(batches if len(said[number]) else (), said[number], len(regions), header.kept)
                write_view(everywhere, store, teacher=number, view=view)
    write_header(header, weights, store)
    return _metrics(store, header, records, weights)


def _load_teachers(config: Config, workspace: Workspace, records: Records) -> list[Teacher]:
    teachers = []
    for settings, teacher_config in zip(config.teachers, config.teacher_configs, strict=True):
        path = workspace.best_path(teacher_config) if teacher_config else Path(str(settings.path))
        network, card = load_model(path)
        check_classes(records.classes, card.classes, f"the teacher {path}")
        predict = tf.function(partial(network, training=False), reduce_retracing=True)
        teachers.append(Teacher(predict, card, weights_sha256(network), settings.region_filter))
    return teachers


def _check_ids_fit(num_classes: int) -> None:
    if num_classes > MOST_CLASSES:
        raise DataError(f"{num_classes} classes: the soft-label store holds ids of at most {MOST_CLASSES}.")


def _header(config: Config, records: Records, teachers: list[Teacher]) -> LabelHeader:
    inputs = [teacher.card.image_input.to_json() for teacher in teachers]
    return LabelHeader(
        teachers=tuple((t.config or t.path or Path()).as_posix() for t in config.teachers),
        teacher_weights=tuple(t.weight for t in config.teachers),
        region_filters=tuple(t.region_filter for t in config.teachers),
        teacher_sha256s=tuple(teacher.weights_sha256 for teacher in teachers),
        preprocessing_sha256=sha256_json([_augmentation(config), inputs]),
        classes_sha256=classes_sha256(records.classes),
        examples_sha256=ids_sha256(records),
        view_seed=config.seed,
        views=config.label.views if isinstance(config.label.views, int) else 1,
        top_k=config.label.top_k,
        num_classes=len(records.classes),
        num_examples=records.num_examples,
        temperature=config.distillation.temperature,
    )


def _records_of_view(
    teacher: Teacher, config: Config, records: Records, header: LabelHeader, view: int, advance: Advance
) -> Iterator[Array]:
    """Store records of the examples that the teacher speaks for, batch by batch."""
    batches = view_batches(
        records,
        teacher.card.image_input,
        augmentation=_augmentation(config),
        view=view,
        view_seed=header.view_seed,
        batch_size=BATCH,
        mixup_alpha=config.label.mixup_alpha,
        cutmix_alpha=config.label.cutmix_alpha,
        keep=None if teacher.region is None else records.facts()[1] == teacher.region,
    )
    for _, images in batches:
        logits = teacher.predict(images).numpy()
        _check_finite(logits)
        yield sparsify(logits, header.kept, header.temperature)
        advance(len(logits))


def _augmentation(config: Config) -> Augmentation:
    return "none" if config.label.views == "unaugmented" else config.data.augmentation


def _check_finite(logits: Array) -> None:
    if not np.isfinite(logits).all():
        raise DataError("a teacher answered with NaN or infinity: its training went wrong. Train it again.")


def _metrics(store: Path, header: LabelHeader, records: Records, weights: Array) -> Metrics:
    labels = records.facts()[2]
    top1 = {}
    for number, name in enumerate(header.teachers):
        speaks = weights[:, number] > 0
        best = np.fromfile(view_path(store, number, 0), record_type(header.kept))["ids"][:, 0]
        top1[name] = float((best == labels)[speaks].mean())
    return {
        "num_examples": header.num_examples,
        "views": header.views,
        "top_k": header.kept,
        "bytes_per_view": record_type(header.kept).itemsize,
        "train_top1_of_view0": top1,
    }
