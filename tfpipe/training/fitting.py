"""The training loop: Keras's `fit`, with what an epoch's end brings, and resumable at every epoch."""

import csv
import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfpipe.core.files import atomic_open, atomic_path
from tfpipe.core.progress import Advance, progress
from tfpipe.training.metrics import build_metrics

SaveNetwork = Callable[[keras.Model, Path], None]
BatchesFrom = Callable[[int], tf.data.Dataset]
"""First epoch → batches of that epoch and all later ones."""


@dataclass(frozen=True)
class FitPlan:
    """Where and how long a network trains, and what is kept of it."""

    title: str
    step_dir: Path
    checkpoint_dir: Path
    epochs: int
    steps_per_epoch: int
    patience: int | None
    save_best: bool
    phase: str
    """Names the phase in `history.csv` and in the files of a step that has several."""


@dataclass
class Progress:
    """What a resumed run must know beside the weights."""

    epoch: int = 0
    """Epochs done."""
    best_top1: float = -1.0
    best_epoch: int = 0
    stale_epochs: int = 0
    """Since validation last improved."""
    history: list[dict[str, float]] = field(default_factory=list)


def fit(
    model: keras.Model,
    network: keras.Model,
    batches_from: BatchesFrom,
    validation: tf.data.Dataset,
    plan: FitPlan,
    save: SaveNetwork,
) -> Progress:
    """Train, keeping the best network in `<phase>.best.keras` and one checkpoint an epoch.

    Args:
        model: compiled and built; what `fit` trains.
        network: the network inside it, from images to logits; what is kept.
        batches_from: training batches.
        validation: batches of (images, targets).
        plan: see there.
        save: writes a network to a file.

    Returns:
        What happened; after a finished phase, at once, without training.
    """
    model.optimizer.build(model.trainable_variables)
    done = _resume(model, plan)
    if done.epoch >= plan.epochs or _is_stalled(done, plan):
        return done
    with progress(plan.title, (plan.epochs - done.epoch) * plan.steps_per_epoch) as advance:
        model.fit(
            batches_from(done.epoch),
            epochs=plan.epochs,
            initial_epoch=done.epoch,
            steps_per_epoch=plan.steps_per_epoch,
            shuffle=False,
            verbose=0,
            callbacks=[
                EpochEnd(network, validation, plan, save, done),
                keras.callbacks.TensorBoard(plan.step_dir / "logs" / plan.phase, write_graph=False),
                ShowProgress(advance, plan.epochs),
            ],
        )
    return done


def best_path(plan: FitPlan) -> Path:
    """The phase's best network."""
    return plan.step_dir / f"{plan.phase}.best.keras"


def keep_best(plan: FitPlan, path: Path) -> None:
    """Copy the phase's best network; until `forget`, the step can still be run again from where it stood."""
    with atomic_path(path) as copy:
        shutil.copyfile(best_path(plan), copy)


def forget(plan: FitPlan) -> None:
    """Drop what only an interrupted run needs."""
    _resume_path(plan).unlink(missing_ok=True)
    best_path(plan).unlink(missing_ok=True)


class EpochEnd(keras.callbacks.Callback):
    """Validates, writes history and checkpoints, and ends training when it no longer helps."""

    def __init__(
        self, network: keras.Model, validation: tf.data.Dataset, plan: FitPlan, save: SaveNetwork, done: Progress
    ) -> None:
        super().__init__()
        self.network = network
        self.validation = validation
        self.plan = plan
        self.save = save
        self.done = done
        self.predict = tf.function(lambda images: network(images, training=False))

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        """`logs` gains the validation's numbers, so that the callbacks after this one see them."""
        logs |= self._validate()
        done, plan = self.done, self.plan
        done.epoch = epoch + 1
        self.save(self.network, plan.checkpoint_dir / f"{plan.phase}-{done.epoch:03d}.keras")
        risen = _score(logs) > max(map(_score, done.history), default=(-1.0, 0.0))
        done.stale_epochs = 0 if risen else done.stale_epochs + 1
        if risen or not plan.save_best:
            done.best_top1, done.best_epoch = logs["val_top1"], done.epoch
            self.save(self.network, best_path(plan))
        rate = float(self.model.optimizer.learning_rate)
        done.history.append({"epoch": done.epoch, "learning_rate": rate} | {k: float(v) for k, v in logs.items()})
        _write_history(done, plan)
        _save_resume(self.model, done, plan)
        self.model.stop_training = _is_stalled(done, plan)

    def _validate(self) -> dict[str, float]:
        loss = keras.metrics.CategoricalCrossentropy("loss", from_logits=True)
        metrics = [loss, *build_metrics()]
        for images, targets in self.validation:
            logits = self.predict(images)
            for metric in metrics:
                metric.update_state(targets, logits)
        return {f"val_{metric.name}": float(metric.result()) for metric in metrics}


class ShowProgress(keras.callbacks.Callback):
    """Moves a bar over all epochs, with the last validation beside it."""

    def __init__(self, advance: Advance, epochs: int) -> None:
        super().__init__()
        self.advance = advance
        self.epochs = epochs
        self.note = ""

    def on_train_batch_end(self, batch: int, logs: dict[str, float]) -> None:
        """One step further."""
        self.advance(1, self.note)

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        """Shows how the epoch went."""
        self.note = f"epoch {epoch + 1} of {self.epochs}: loss {logs['loss']:.3f}, val top-1 {logs['val_top1']:.3f}"


def _score(logs: dict[str, float]) -> tuple[float, float]:
    """Validation top-1, and among equals, which small splits have many of, the lower loss."""
    return logs["val_top1"], -logs["val_loss"]


def _is_stalled(done: Progress, plan: FitPlan) -> bool:
    return plan.patience is not None and done.stale_epochs >= plan.patience


def _write_history(done: Progress, plan: FitPlan) -> None:
    """`history.csv`: one line an epoch, the phases of a step one after the other."""
    path = plan.step_dir / "history.csv"
    rows = [row for row in _read_csv(path) if row["phase"] != plan.phase]
    rows += [{"phase": plan.phase} | epoch for epoch in done.history]
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with atomic_open(path) as file:
        writer = csv.DictWriter(file, fieldnames=columns)
        writer.writeheader()
        writer.writerows(rows)


def _read_csv(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _resume_path(plan: FitPlan) -> Path:
    return plan.step_dir / f"{plan.phase}.resume.npz"


def _save_resume(model: keras.Model, done: Progress, plan: FitPlan) -> None:
    with atomic_open(_resume_path(plan), "wb") as file:
        np.savez(file, *[np.asarray(v) for v in _state(model)], progress=json.dumps(asdict(done)))


def _resume(model: keras.Model, plan: FitPlan) -> Progress:
    """Weights, optimiser and random state of the last whole epoch, into `model`."""
    path = _resume_path(plan)
    if not path.is_file():
        return Progress()
    with np.load(path) as saved:
        for number, variable in enumerate(_state(model)):
            variable.assign(saved[f"arr_{number}"])
        return Progress(**json.loads(str(saved["progress"])))


def _state(model: keras.Model) -> list[Any]:
    return [*model.variables, *model.optimizer.variables]
