"""What a training run leaves on disk: the state from which it goes on, and networks."""

import json
import math
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tfpipe.core.cluster import this_worker
from tfpipe.core.files import atomic_open, atomic_path
from tfpipe.training.learner import Learner

SaveNetwork = Callable[[keras.Model, Path], None]


@dataclass
class Progress:
    """What a resumed run must know beside the variables."""

    epoch: int = 0
    """Epochs done."""
    step: int = 0
    """Steps of the next one that are done: the position in the data."""
    best_score: float = -math.inf
    """By the metric that the settings choose."""
    best_top1: float = -1.0
    best_epoch: int = 0
    stale_epochs: int = 0
    """Since validation last improved."""
    history: list[dict[str, float]] = field(default_factory=list)


@dataclass(frozen=True)
class Checkpoints:
    """The files of one phase of a step."""

    step_dir: Path
    checkpoint_dir: Path
    phase: str
    keep: int
    """Epochs whose networks stay, the latest."""

    @property
    def best_path(self) -> Path:
        """The phase's best network."""
        return self.step_dir / f"{self.phase}.best.keras"

    @property
    def has_state(self) -> bool:
        """Whether there is something to go on from."""
        return self._state_path.is_file()

    def save(self, learner: Learner, done: Progress) -> None:
        """Everything that the next step depends on: weights, optimiser, averages, metrics and random state.

        All workers call this, since a metric is the sum of what each has counted; the chief writes.
        """
        values = [np.asarray(variable) for variable in _state(learner)]
        if this_worker().is_chief:
            with atomic_open(self._state_path, "wb") as file:
                file.write(json.dumps(asdict(done)).encode() + b"\n")
                for value in values:
                    file.write(value.tobytes())

    def load(self, learner: Learner) -> Progress:
        """What `save` wrote, into `learner`; the beginning, if it wrote nothing."""
        if not self.has_state:
            return Progress()
        with self._state_path.open("rb") as file:
            done = Progress(**json.loads(file.readline()))
            for variable in _state(learner):
                value = np.asarray(variable)
                variable.assign(np.frombuffer(file.read(value.nbytes), value.dtype).reshape(value.shape))
        return done

    def save_network(self, network: keras.Model, done: Progress, save: SaveNetwork, *, best: bool) -> None:
        """The network as it is at an epoch's end; of earlier ones the latest few stay."""
        path = self.checkpoint_dir / f"{self.phase}-{done.epoch:03d}.keras"
        save(network, path)
        if best:
            _copy(path, self.best_path)
        for old in sorted(self.checkpoint_dir.glob(f"{self.phase}-???.keras"))[: -self.keep]:
            old.unlink()

    def keep_best(self, path: Path) -> None:
        """Copy the best network; until `forget`, the step can still be run again from where it stood."""
        _copy(self.best_path, path)

    def forget(self) -> None:
        """Drop what only an interrupted run needs."""
        self._state_path.unlink(missing_ok=True)
        self.best_path.unlink(missing_ok=True)

    @property
    def _state_path(self) -> Path:
        return self.step_dir / f"{self.phase}.state"


def _state(learner: Learner) -> list[Any]:
    return [*learner.variables, *learner.optimizer.variables, *learner.metrics_variables]


def _copy(source: Path, target: Path) -> None:
    with atomic_path(target) as copy:
        shutil.copyfile(source, copy)
