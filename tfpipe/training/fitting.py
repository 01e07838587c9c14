"""The training loop: steps, what an epoch's end brings, and resumable after every step that was saved."""

import csv
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from tfpipe.core.cluster import this_worker
from tfpipe.core.errors import EnvironmentProblemError
from tfpipe.core.files import atomic_open
from tfpipe.core.progress import Advance, progress
from tfpipe.core.settings import BestMetric
from tfpipe.training.checkpoints import Checkpoints, Progress, SaveNetwork
from tfpipe.training.distribution import agree, build_vote, share_out, spread, telling_who_is_gone
from tfpipe.training.learner import Learner
from tfpipe.training.metrics import build_metrics
from tfpipe.training.optimizers import averaged_weights

BatchesFrom = Callable[[int, int], tf.data.Dataset]
"""First epoch, and steps of it that are done → batches of the rest of that epoch and of all later ones."""
Step = Callable[[Any], None]


@dataclass(frozen=True)
class FitPlan:
    """How long a network trains, and what is kept of it."""

    title: str
    checkpoints: Checkpoints
    epochs: int
    steps_per_epoch: int
    patience: int | None
    save_best: bool
    checkpoint_s: float
    """Between two saved states."""
    xla: bool = False
    best_metric: BestMetric = "accuracy"
    logging_steps: int | None = None
    """Between two points of the loss in TensorBoard; None: the epochs alone have points."""


def fit(
    learner: Learner,
    batches_from: BatchesFrom,
    validation: tf.data.Dataset,
    plan: FitPlan,
    save: SaveNetwork,
    strategy: tf.distribute.Strategy,
) -> Progress:
    """Train, keeping the best network and a state from which a killed run goes on.

    Args:
        learner: compiled, under `strategy`.
        batches_from: training batches of this worker.
        validation: batches of (inputs, targets).
        plan: see there.
        save: writes a network to a file.
        strategy: over which devices.

    Returns:
        What happened; after a finished phase, at once, without training.

    Raises:
        KeyboardInterrupt: when told to stop, once the state is saved.
        EnvironmentProblemError: when memory does not suffice, or another worker is gone.
    """
    learner.optimizer.build(learner.trainable_variables)
    done = plan.checkpoints.load(learner)
    run = _Run(learner, validation, plan, save, strategy, done)
    if run.is_over:
        return done
    left = (plan.epochs - done.epoch) * plan.steps_per_epoch - done.step
    with telling_who_is_gone(), _telling_of_memory(), _listening() as told, progress(plan.title, left) as advance:
        batches = iter(spread(strategy, batches_from(done.epoch, done.step)))
        step = _compiled(learner, strategy, batches.element_spec, xla=plan.xla)
        while not run.is_over:
            run.finish_steps(step, batches, told, advance)
            run.end_epoch()
    return done


class _Told:
    """Whether somebody asked the run to stop."""

    def __init__(self) -> None:
        self.to_stop = False

    def hear(self, number: int, frame: object) -> None:
        """The first time, training ends after the step; the second time, at once."""
        if self.to_stop:
            raise KeyboardInterrupt
        self.to_stop = True


class _Run:
    """One phase under way."""

    def __init__(
        self,
        learner: Learner,
        validation: tf.data.Dataset,
        plan: FitPlan,
        save: SaveNetwork,
        strategy: tf.distribute.Strategy,
        done: Progress,
    ) -> None:
        self.learner = learner
        self.plan = plan
        self.save = save
        self.strategy = strategy
        self.done = done
        self.validate = _compiled_validation(learner.network, validation, strategy)
        self.any_says = build_vote(strategy)
        self.saved_at = time.monotonic()

    @property
    def is_over(self) -> bool:
        """Whether there is nothing left to train."""
        plan, done = self.plan, self.done
        return done.epoch >= plan.epochs or (plan.patience is not None and done.stale_epochs >= plan.patience)

    def finish_steps(self, step: Step, batches: Iterator[Any], told: _Told, advance: Advance) -> None:
        """The rest of the epoch."""
        done, plan = self.done, self.plan
        note = _note(done, plan)
        while done.step < plan.steps_per_epoch:
            step(next(batches))
            done.step += 1
            advance(1, note)
            self._log_step()
            stop, due = self.any_says(told.to_stop, time.monotonic() - self.saved_at > plan.checkpoint_s)
            if stop or due:
                self._save_state()
            if stop:
                raise KeyboardInterrupt

    def _log_step(self) -> None:
        """The mean loss of the epoch so far, and the learning rate, for TensorBoard."""
        plan, step = self.plan, self.done.epoch * self.plan.steps_per_epoch + self.done.step
        if not plan.logging_steps or step % plan.logging_steps or not this_worker().is_chief:
            return
        with self.step_writer.as_default(step=step):
            tf.summary.scalar("loss", self.learner.mean_loss.result())
            tf.summary.scalar("learning_rate", self.learner.optimizer.learning_rate)

    @cached_property
    def step_writer(self) -> tf.summary.SummaryWriter:
        """One for all steps: TensorBoard reads the files of one second in no certain order."""
        checkpoints = self.plan.checkpoints
        return tf.summary.create_file_writer(str(checkpoints.step_dir / "logs" / checkpoints.phase / "steps"))

    def end_epoch(self) -> None:
        """Validate, and keep networks, history and state."""
        done, plan = self.done, self.plan
        agree(self.strategy, self.learner.non_trainable_variables)
        logs = {name: float(value) for name, value in self.learner.get_metrics_result().items()}
        self.learner.reset_metrics()
        with averaged_weights(self.learner.optimizer):
            logs |= self.validate()
            done.epoch, done.step = done.epoch + 1, 0
            is_best = self._note_validation(logs)
            if this_worker().is_chief:
                plan.checkpoints.save_network(self.learner.network, done, self.save, best=is_best)
        rate = float(self.learner.optimizer.learning_rate)
        done.history.append({"epoch": done.epoch, "learning_rate": rate} | logs)
        if this_worker().is_chief:
            _write_history(done, plan)
            _write_scalars(done.history[-1], plan)
        self._save_state()

    def _note_validation(self, logs: dict[str, float]) -> bool:
        """Whether the epoch's network is the one to keep."""
        done = self.done
        score = BEST_METRICS[self.plan.best_metric]
        risen = all(score(logs) > score(before) for before in done.history)
        done.stale_epochs = 0 if risen else done.stale_epochs + 1
        if risen or not self.plan.save_best:
            done.best_score, done.best_top1, done.best_epoch = score(logs)[0], logs["val_top1"], done.epoch
            return True
        return False

    def _save_state(self) -> None:
        self.plan.checkpoints.save(self.learner, self.done)
        self.saved_at = time.monotonic()


def _compiled(learner: Learner, strategy: tf.distribute.Strategy, spec: Any, *, xla: bool) -> Step:
    """One step on all devices, for batches that `spec` describes, drawn once."""

    @tf.function(input_signature=[spec], jit_compile=xla or None, autograph=False)
    def step(batch: Any) -> None:
        strategy.run(learner.train_step, args=(batch,))

    return step


def _compiled_validation(
    network: keras.Model, validation: tf.data.Dataset, strategy: tf.distribute.Strategy
) -> Callable[[], dict[str, float]]:
    """A function that passes over the validation batches, on all devices."""
    loss = keras.metrics.CategoricalCrossentropy("loss", from_logits=True)
    metrics = [loss, *build_metrics(), keras.metrics.F1Score("macro", name="f1")]
    # Some make their variables at the first batch. Within the function below, it would be drawn twice for that.
    nothing = tf.zeros((1, network.output_shape[-1]))
    strategy.run(lambda: [metric.update_state(nothing, nothing) for metric in metrics])

    def measure(inputs: tf.Tensor, targets: tf.Tensor) -> None:
        logits = network(inputs, training=False)
        for metric in metrics:
            metric.update_state(targets, logits)

    batches = share_out(strategy, validation)

    @tf.function(input_signature=[batches.element_spec], autograph=False)
    def measure_on_all(batch: Any) -> None:
        strategy.run(measure, args=batch)

    def validate() -> dict[str, float]:
        for metric in metrics:
            metric.reset_state()
        for batch in batches:
            measure_on_all(batch)
        return {f"val_{metric.name}": float(metric.result()) for metric in metrics}

    return validate


@contextmanager
def _listening() -> Iterator[_Told]:
    """Let Ctrl-C and SIGTERM wait for the end of a step."""
    told = _Told()
    if threading.current_thread() is not threading.main_thread():
        yield told
        return
    before = {number: signal.signal(number, told.hear) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield told
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _telling_of_memory() -> Iterator[None]:
    try:
        yield
    except (tf.errors.ResourceExhaustedError, MemoryError) as error:
        raise EnvironmentProblemError(
            f"out of memory ({' '.join(str(error).split())[:80]}…). Double training.accumulation_steps: the update "
            "stays the same. Or halve training.batch_size; `batch_size: auto` finds what fits."
        ) from None


def _note(done: Progress, plan: FitPlan) -> str:
    if not done.history:
        return ""
    last = done.history[-1]
    return f"epoch {done.epoch} of {plan.epochs}: loss {last['loss']:.3f}, val top-1 {last['val_top1']:.3f}"


def _write_history(done: Progress, plan: FitPlan) -> None:
    """`history.csv`: one line an epoch, the phases of a step one after the other."""
    path, phase = plan.checkpoints.step_dir / "history.csv", plan.checkpoints.phase
    rows = [row for row in _read_csv(path) if row["phase"] != phase]
    rows += [{"phase": phase} | epoch for epoch in done.history]
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


def _write_scalars(epoch: dict[str, float], plan: FitPlan) -> None:
    """For TensorBoard, the names and steps that Keras gives them."""
    folder = plan.checkpoints.step_dir / "logs" / plan.checkpoints.phase
    for part in ("train", "validation"):
        with tf.summary.create_file_writer(str(folder / part)).as_default(step=int(epoch["epoch"]) - 1):
            for name, value in epoch.items():
                if name != "epoch" and name.startswith("val_") == (part == "validation"):
                    tf.summary.scalar(f"epoch_{name.removeprefix('val_')}", value)


BEST_METRICS: dict[BestMetric, Callable[[dict[str, float]], tuple[float, float]]] = {
    "accuracy": lambda logs: (logs["val_top1"], -logs["val_loss"]),
    "f1": lambda logs: (logs["val_f1"], -logs["val_loss"]),
    "loss": lambda logs: (-logs["val_loss"], logs["val_top1"]),
}
"""What is best → score, and what decides among equals, which small splits have many of."""
