"""Quantization-aware training of a student, by its teachers' labels.

Only a process of its own imports this: TF-MOT turns tf.keras into another Keras (`stages/own_process.py`).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from tfpipe.core.config import Config
from tfpipe.core.errors import EnvironmentProblemError
from tfpipe.core.progress import say
from tfpipe.core.settings import AUTO_BATCH
from tfpipe.core.steps import Metrics
from tfpipe.core.workspace import Workspace
from tfpipe.data.long_tail import correct
from tfpipe.data.pipeline import Epochs
from tfpipe.data.records import Records
from tfpipe.models.saving import Card, save_model
from tfpipe.quantization.aware import AwarePlan, BatchesFrom, Losses, train_aware
from tfpipe.stages.phases import training_records
from tfpipe.stages.portable import load_portable
from tfpipe.stages.quantize.validation import build_validation
from tfpipe.stages.taught import open_soft_labels, taught_batches
from tfpipe.training.distiller import Distiller
from tfpipe.training.reproducible import make_reproducible


@dataclass(frozen=True)
class Lessons:
    """What the student learns from."""

    losses_of: Losses
    batches_from: BatchesFrom
    steps_per_epoch: int


def run(config: Config, workspace: Workspace) -> Metrics:
    """Train the finished student on the int8 grid, and write it to `aware.keras`.

    Losses are those of `distillation`, but for the features; the views, their labels and their order are those of
    the student's own first epochs. A killed run goes on after its last whole epoch.
    """
    make_reproducible(config.seed, deterministic=config.deterministic)
    student, card = load_portable(config, workspace)
    lessons = _open_lessons(student, card, config, workspace)
    step_dir = workspace.step_dir(config, "quantize")
    with _telling_of_memory(config):
        network, done = train_aware(
            student,
            lessons.losses_of,
            lessons.batches_from,
            build_validation(config, workspace, card.model_input),
            _plan(config, step_dir, lessons.steps_per_epoch),
            partial(_write_scalars, step_dir / "logs"),
        )
    save_model(network, card, step_dir / "aware.keras")
    return {"best_epoch": done.best_epoch, "epochs": done.history}


def _open_lessons(student: keras.Model, card: Card, config: Config, workspace: Workspace) -> Lessons:
    """Photos, and what the teachers say of them, from the store or from memory."""
    records, settings = training_records(config, workspace), config.distillation
    labels, teachers = open_soft_labels(config, workspace, records)
    if teachers:
        say("  label.views: live: the teachers label each batch anew, as they did while the student trained")
    distiller = Distiller(
        student,
        loss=settings.loss,
        temperature=settings.temperature,
        loss_weights=settings.loss_weights,
        teachers=teachers,
    )
    epochs = _epochs(config, records, card)

    def batches_from(epoch: int) -> tf.data.Dataset:
        return taught_batches(config, records, card.model_input, replace(epochs, first_epoch=epoch), labels)

    return Lessons(distiller.losses_of, batches_from, epochs.steps_per_epoch(records.num_examples))


@contextmanager
def _telling_of_memory(config: Config) -> Iterator[None]:
    try:
        yield
    except (tf.errors.ResourceExhaustedError, MemoryError):
        raise EnvironmentProblemError(
            f"{config.path}: out of memory. Halve quantize.batch_size, or run `tfpipe quantize` by itself: "
            "in `tfpipe run` the steps before it may still hold a GPU's memory."
        ) from None


def _epochs(config: Config, records: Records, card: Card) -> Epochs:
    """The student's own, on one device and without accumulation."""
    wanted = config.quantize.batch_size or config.training.batch_size
    size = min(AUTO_BATCH if wanted == "auto" else wanted, records.num_examples)
    corrections = correct(config.training, np.array(card.train_counts))
    return Epochs(size, config.quantize.epochs, config.seed, sampling_weights=corrections.sampling_weights)


def _plan(config: Config, step_dir: Path, steps_per_epoch: int) -> AwarePlan:
    return AwarePlan(
        title=f"quantize {config.name}",
        epochs=config.quantize.epochs,
        steps_per_epoch=steps_per_epoch,
        learning_rate=config.quantize.learning_rate or config.training.learning_rate / 10,
        save_best=config.callbacks.save_best,
        state_path=step_dir / "aware.state",
        sparsity=config.quantize.sparsity,
    )


def _write_scalars(logs_dir: Path, epoch: dict[str, float]) -> None:
    """For TensorBoard, the names and steps that Keras gives them."""
    parts = {"train": {"loss": epoch["loss"]}}
    parts["validation"] = {"loss": epoch["val_loss"], "top1": epoch["val_top1"]}
    for part, numbers in parts.items():
        with tf.summary.create_file_writer(str(logs_dir / part)).as_default(step=int(epoch["epoch"]) - 1):
            for name, value in numbers.items():
                tf.summary.scalar(f"epoch_{name}", value)
