"""Quantization-aware training: a finished network learns with its kernels on the int8 grid (Jacob 2018, §3).

The network's batch norms are folded before, so that what is trained is what is exported. A network of few more
epochs needs no new statistics: those of its own training stand (Krishnamoorthi 2018, §3.2.2, freezes them too).
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import tf_keras

from tfpipe.core.errors import TfpipeError
from tfpipe.core.files import atomic_open
from tfpipe.core.progress import progress
from tfpipe.quantization.fake import with_fake_quantization
from tfpipe.quantization.pruning import Pruner
from tfpipe.quantization.twin import build_twin, carry_back, check_twin

Array = np.ndarray
Losses = Callable[[Any, tf.Tensor], tf.Tensor]
"""What a batch holds beside its images, logits (batch, num_classes) → (batch,)."""
BatchesFrom = Callable[[int], tf.data.Dataset]
"""First epoch → batches of it and of all later ones: images (batch, size, size, 3) and what `Losses` reads."""
Validate = Callable[[keras.Model], dict[str, float]]
"""A network as int8 has it → `val_top1` and `val_loss`."""


@dataclass(frozen=True)
class AwarePlan:
    """How long it trains, how fast, and where it keeps what a killed run goes on from."""

    title: str
    epochs: int
    steps_per_epoch: int
    learning_rate: float
    """At the beginning; it falls to 0 along a half cosine."""
    save_best: bool
    """Keep the epoch that validates best; otherwise the last."""
    state_path: Path
    sparsity: float = 0.0
    """Share of weights that become 0, in the first half of the training."""

    @property
    def first_kept(self) -> int:
        """The first epoch in which as many weights are 0 as are to be."""
        return -(-self.epochs // 2) if self.sparsity else 1


@dataclass
class Progress:
    """What a resumed run must know beside the weights."""

    best_epoch: int = 0
    history: list[dict[str, float]] = field(default_factory=list)

    @property
    def epoch(self) -> int:
        """Epochs done."""
        return len(self.history)


def train_aware(
    network: keras.Model,
    losses_of: Losses,
    batches_from: BatchesFrom,
    validate: Validate,
    plan: AwarePlan,
    end_epoch: Callable[[dict[str, float]], None],
) -> tuple[keras.Model, Progress]:
    """Train, and return the network with weights of int8 that are to be kept.

    Args:
        network: finished, its batch norms folded.
        losses_of: what each example costs.
        batches_from: of training.
        validate: the network as it would be exported, at every epoch's end.
        plan: see there.
        end_epoch: told what an epoch brought.

    Raises:
        TfpipeError: when the loss is no number any more.
    """
    run = _Run(network, losses_of, plan)
    left = (plan.epochs - run.done.epoch) * plan.steps_per_epoch
    with progress(plan.title, left) as advance:
        batches = iter(batches_from(run.done.epoch)) if left else iter(())
        while run.done.epoch < plan.epochs:
            note = _note(run.done, plan)
            losses = []
            for _ in range(plan.steps_per_epoch):
                losses.append(run.step(next(batches)))
                advance(1, note)
            run.finish_epoch(float(np.mean(losses)), validate)
            end_epoch(run.done.history[-1])
    return run.best_network(), run.done


class _Run:
    """A training under way; it starts from where the last one ended an epoch."""

    def __init__(self, network: keras.Model, losses_of: Losses, plan: AwarePlan) -> None:
        check_twin(network, build_twin(network))
        self.twin = build_twin(network, with_fake_quantization)
        self.exported = keras.models.clone_model(network)
        self.plan = plan
        schedule = tf_keras.optimizers.schedules.CosineDecay(plan.learning_rate, plan.epochs * plan.steps_per_epoch)
        self.optimizer = tf_keras.optimizers.Adam(schedule)
        self.optimizer.build(self.twin.trainable_variables)
        num_steps = plan.epochs * plan.steps_per_epoch // 2
        self.pruner = Pruner(self.twin, plan.sparsity, num_steps, self.optimizer.iterations) if plan.sparsity else None
        self.best = self._learned()
        self.done = self._load()
        self.step = _compiled(self.twin, self.optimizer, losses_of, self.pruner)

    def finish_epoch(self, loss: float, validate: Validate) -> None:
        """Validate what would be exported, and keep the state."""
        if not np.isfinite(loss):
            raise TfpipeError(f"{self.plan.title}: the loss is no finite number. Lower quantize.learning_rate.")
        carry_back(self.twin, self.exported)
        found = {"epoch": self.done.epoch + 1, "loss": loss, **validate(self.exported)}
        rivals = [_score(epoch) for epoch in self.done.history if epoch["epoch"] >= self.plan.first_kept]
        is_best = not self.plan.save_best or _score(found) > max(rivals, default=(-1.0, 0.0))
        if is_best and found["epoch"] >= self.plan.first_kept:
            self.best, self.done.best_epoch = self._learned(), self.done.epoch + 1
        self.done.history.append(found)
        self._save()

    def best_network(self) -> keras.Model:
        """The network with the weights that are to be kept."""
        for variable, value in zip(self.twin.trainable_variables, self.best, strict=True):
            variable.assign(value)
        carry_back(self.twin, self.exported)
        return self.exported

    def _learned(self) -> list[Array]:
        return [variable.numpy() for variable in self.twin.trainable_variables]

    def _variables(self) -> list[tf.Variable]:
        """All on which the next step depends."""
        masks = self.pruner.masks if self.pruner else []
        return [*self.twin.trainable_variables, *self.optimizer.variables, *masks]

    def _save(self) -> None:
        values = [*(variable.numpy() for variable in self._variables()), *self.best]
        with atomic_open(self.plan.state_path, "wb") as file:
            file.write(json.dumps(asdict(self.done)).encode() + b"\n")
            for value in values:
                file.write(value.tobytes())

    def _load(self) -> Progress:
        if not self.plan.state_path.is_file():
            return Progress()
        with self.plan.state_path.open("rb") as file:
            done = Progress(**json.loads(file.readline()))
            for variable in self._variables():
                variable.assign(_read(file, variable.numpy()))
            self.best = [_read(file, value) for value in self.best]
        return done


def _read(file: Any, like: Array) -> Array:
    return np.frombuffer(file.read(like.nbytes), like.dtype).reshape(like.shape)


def _compiled(
    twin: tf_keras.Model, optimizer: tf_keras.optimizers.Optimizer, losses_of: Losses, pruner: Pruner | None
) -> Callable[[Any], tf.Tensor]:
    """One update by a batch → the mean loss, ()."""

    @tf.function
    def step(batch: Any) -> tf.Tensor:
        images, targets = batch
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(losses_of(targets, twin(images, training=True)))
        gradients = tape.gradient(loss, twin.trainable_variables)
        optimizer.apply_gradients(zip(gradients, twin.trainable_variables, strict=True))
        if pruner:
            pruner.after_step()
        return loss

    return step


def _score(found: dict[str, float]) -> tuple[float, float]:
    """Validation top-1, and among equals the lower loss."""
    return found["val_top1"], -found["val_loss"]


def _note(done: Progress, plan: AwarePlan) -> str:
    if not done.history:
        return ""
    last = done.history[-1]
    return f"epoch {done.epoch} of {plan.epochs}: loss {last['loss']:.3f}, val top-1 {last['val_top1']:.3f}"
