"""The training loop: what an epoch leaves behind, when it ends, and that an interruption changes nothing."""

import csv
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tfpipe.core.errors import EnvironmentProblemError
from tfpipe.core.settings import LossWeights, TrainingSettings
from tfpipe.training import fitting
from tfpipe.training.checkpoints import Checkpoints, Progress
from tfpipe.training.distiller import Distiller
from tfpipe.training.fitting import FitPlan, fit
from tfpipe.training.learner import Classifier
from tfpipe.training.losses import HardLoss
from tfpipe.training.optimizers import build_optimizer
from tfpipe.training.reproducible import make_reproducible

CLASSES, FEATURES, BATCH, STEPS, EPOCHS = 8, 6, 8, 4, 4
EXAMPLES = BATCH * STEPS
ONE_DEVICE = tf.distribute.get_strategy()
SEED = 3  # of a run whose validation rises, then falls
Weights = list[np.ndarray]


def make_data(seed: int, count: int = EXAMPLES) -> tuple[np.ndarray, np.ndarray]:
    """Features, and labels that follow from them but for some noise, so that validation rises and falls."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(count, FEATURES)).astype(np.float32)
    towards = np.random.default_rng(0).normal(size=(FEATURES, CLASSES))
    labels = (features @ towards + rng.normal(0, 1, (count, CLASSES))).argmax(axis=-1)
    return features, np.eye(CLASSES, dtype=np.float32)[labels]


def batches_from(first_epoch: int, first_step: int) -> tf.data.Dataset:
    """Each epoch in its own order, whatever the epoch and step a run begins with."""
    features, targets = make_data(1)
    orders = [np.random.default_rng(epoch).permutation(EXAMPLES) for epoch in range(first_epoch, EPOCHS)]
    order = np.concatenate(orders)[first_step * BATCH :]
    return tf.data.Dataset.from_tensor_slices((features[order], targets[order])).batch(BATCH)


def soft_batches_from(first_epoch: int, first_step: int) -> tf.data.Dataset:
    def with_teacher(features: tf.Tensor, targets: tf.Tensor) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        ids = tf.tile(tf.range(CLASSES)[None, None], (BATCH, 1, 1))
        return features, {
            "targets": targets,
            "teacher_ids": ids,
            "teacher_logits": 3 * targets[:, None],
            "teacher_log_rest": tf.fill((BATCH, 1), -np.inf),
            "teacher_weights": tf.ones((BATCH, 1)),
        }

    ds = batches_from(first_epoch, first_step).map(lambda x, y: (tf.ensure_shape(x, (BATCH, FEATURES)), y))
    return ds.map(with_teacher)


def validation() -> tf.data.Dataset:
    return tf.data.Dataset.from_tensor_slices(make_data(2, 40)).batch(16)


def make_plan(folder: Path, *, phase: str = "teach", keep: int = EPOCHS, **changes: Any) -> FitPlan:
    plan = FitPlan(
        title="fit",
        checkpoints=Checkpoints(folder, folder / "checkpoints", phase, keep),
        epochs=EPOCHS,
        steps_per_epoch=STEPS,
        patience=None,
        save_best=True,
        checkpoint_s=3600,
    )
    return replace(plan, **changes)


@dataclass
class Saves:
    """Writes weights to files, or stops in the middle like a user who has seen enough."""

    interrupt_at: str = ""
    names: list[str] = field(default_factory=list)

    def __call__(self, network: keras.Model, path: Path) -> None:
        self.names.append(path.name)
        if self.interrupt_at == path.name:
            raise KeyboardInterrupt
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            np.savez(file, *network.get_weights())


def saved_weights(path: Path) -> Weights:
    with np.load(path) as archive:
        return [archive[f"arr_{number}"] for number in range(len(archive.files))]


def make_network(*, momentum: float = 0.8) -> keras.Model:
    """Dropout and batch norm: state beside the weights that a resumed run must have back."""
    return keras.Sequential(
        [
            keras.Input((FEATURES,)),
            keras.layers.Dense(16, activation="relu"),
            keras.layers.BatchNormalization(momentum=momentum),
            keras.layers.Dropout(0.4),
            keras.layers.Dense(CLASSES),
        ]
    )


def make_optimizer(learning_rate: float) -> keras.optimizers.Optimizer:
    settings = TrainingSettings(warmup_epochs=0.5)
    return build_optimizer(
        settings, learning_rate=learning_rate, weight_decay=0.05, epochs=EPOCHS, steps_per_epoch=STEPS
    )


def train(
    plan: FitPlan,
    save: Saves,
    *,
    seed: int = SEED,
    learning_rate: float = 0.1,
    momentum: float = 0.8,
    seen: list[tuple[int, int]] | None = None,
) -> tuple[Progress, Weights]:
    """As `teach` does: everything from the seed, then `fit`; `seen` gains where data was asked for from."""
    make_reproducible(seed, deterministic=True)
    network = make_network(momentum=momentum)

    def batches(epoch: int, step: int) -> tf.data.Dataset:
        if seen is not None:
            seen.append((epoch, step))
        return batches_from(epoch, step)

    done = fit(make_classifier(network, learning_rate), batches, validation(), plan, save, ONE_DEVICE)
    return done, network.get_weights()


def make_classifier(network: keras.Model, learning_rate: float, **settings: Any) -> Classifier:
    learner = Classifier(network, hard_loss=HardLoss(), **settings)
    learner(tf.zeros((1, FEATURES)))
    learner.compile(make_optimizer(learning_rate))
    return learner


def distill(plan: FitPlan, save: Saves) -> tuple[Progress, Weights]:
    """As `distill` does: the student inside a model that trains it."""
    make_reproducible(SEED, deterministic=True)
    student = make_network()
    distiller = Distiller(student, temperature=2.0, loss_weights=LossWeights())
    distiller(tf.zeros((1, FEATURES)))
    distiller.compile(make_optimizer(0.1))
    done = fit(distiller, soft_batches_from, validation(), plan, save, ONE_DEVICE)
    return done, student.get_weights()


def assert_equal_weights(found: Weights, expected: Weights) -> None:
    assert len(found) == len(expected)
    for left, right in zip(found, expected, strict=True):
        np.testing.assert_array_equal(left, right)


def read_history(folder: Path) -> list[dict[str, str]]:
    with (folder / "history.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@dataclass(frozen=True)
class Run:
    folder: Path
    plan: FitPlan
    done: Progress
    weights: Weights


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run that nothing disturbed."""
    folder = tmp_path_factory.mktemp("whole")
    plan = make_plan(folder)
    return Run(folder, plan, *train(plan, Saves()))


def test_history_has_a_line_an_epoch(whole: Run) -> None:
    rows = read_history(whole.folder)
    expected = {"phase", "epoch", "learning_rate", "loss", "top1", "top5", "val_loss", "val_top1", "val_top5"}
    assert set(rows[0]) == expected
    assert [(row["phase"], row["epoch"]) for row in rows] == [("teach", str(n)) for n in range(1, EPOCHS + 1)]
    assert [float(row["val_top1"]) for row in rows] == [row["val_top1"] for row in whole.done.history]


def test_history_tells_the_validation_of_the_checkpoint_of_its_epoch(whole: Run) -> None:
    features, targets = make_data(2, 40)
    network, folder = make_network(), whole.plan.checkpoints.checkpoint_dir
    for row in read_history(whole.folder):
        network.set_weights(saved_weights(folder / f"teach-{int(row['epoch']):03d}.keras"))
        logits = network(features, training=False).numpy().astype(np.float64)
        own = logits[targets.astype(bool)][:, None]
        places = (logits > own).sum(axis=-1)
        assert float(row["val_top1"]) == pytest.approx((places < 1).mean())
        assert float(row["val_top5"]) == pytest.approx((places < 5).mean())
        loss = (np.log(np.exp(logits).sum(axis=-1)) - own[:, 0]).mean()
        assert float(row["val_loss"]) == pytest.approx(loss, rel=1e-4)


def test_history_tells_the_learning_rate_that_the_epoch_ended_with(whole: Run) -> None:
    for row in read_history(whole.folder):
        step = int(row["epoch"]) * STEPS
        share = (step - 2) / (EPOCHS * STEPS - 2)  # two steps of warm-up
        expected = 0.1 * 0.5 * (1 + np.cos(np.pi * share))
        assert float(row["learning_rate"]) == pytest.approx(expected, abs=1e-7)


def test_the_best_network_is_that_of_the_epoch_with_the_highest_validation_top1(whole: Run) -> None:
    top1 = [row["val_top1"] for row in whole.done.history]
    best = int(np.argmax(top1)) + 1
    assert top1[-1] < max(top1), "the last epoch is the best: this run cannot tell best from last"
    assert (whole.done.best_epoch, whole.done.best_top1) == (best, max(top1))
    assert_equal_weights(
        saved_weights(whole.plan.checkpoints.best_path),
        saved_weights(whole.plan.checkpoints.checkpoint_dir / f"teach-{best:03d}.keras"),
    )


def test_every_epoch_leaves_a_checkpoint(whole: Run) -> None:
    names = sorted(path.name for path in whole.plan.checkpoints.checkpoint_dir.iterdir())
    assert names == [f"teach-{number:03d}.keras" for number in range(1, EPOCHS + 1)]
    assert_equal_weights(saved_weights(whole.plan.checkpoints.checkpoint_dir / names[-1]), whole.weights)


def test_without_save_best_the_last_network_is_kept(tmp_path: Path) -> None:
    plan = make_plan(tmp_path, save_best=False)
    done, weights = train(plan, Saves())
    assert_equal_weights(saved_weights(plan.checkpoints.best_path), weights)
    assert done.best_epoch == EPOCHS


@pytest.mark.parametrize("save_best", [True, False])
def test_training_ends_when_validation_has_not_risen_for_so_many_epochs(tmp_path: Path, save_best: bool) -> None:
    """Where nothing is learned the first epoch stays the best; two more, and patience is at its end."""
    plan = make_plan(tmp_path, patience=2, save_best=save_best)
    done, _ = train(plan, Saves(), learning_rate=1e-12, momentum=1.0)
    assert len({row["val_top1"] for row in done.history}) == 1
    assert done.epoch == 3
    assert len(read_history(tmp_path)) == 3


def test_patience_counts_from_the_best_epoch(whole: Run, tmp_path: Path) -> None:
    """The same run as `whole`, which falls in the epoch after its best."""
    top1 = [row["val_top1"] for row in whole.done.history]
    best = int(np.argmax(top1)) + 1
    done, _ = train(make_plan(tmp_path, patience=1), Saves())
    bests = np.maximum.accumulate([-1.0, *top1])
    first_fall = next(n for n, value in enumerate(top1, 1) if value <= bests[n - 1])
    assert done.epoch == first_fall
    assert done.best_epoch == min(best, first_fall - 1)


def test_a_finished_phase_is_not_trained_again(whole: Run) -> None:
    def no_batches(first_epoch: int, first_step: int) -> tf.data.Dataset:
        raise AssertionError(f"batches wanted from epoch {first_epoch}")

    network = make_network()
    save = Saves()
    learner = make_classifier(network, 0.1)
    assert fit(learner, no_batches, validation(), whole.plan, save, ONE_DEVICE) == whole.done
    assert save.names == []
    assert_equal_weights(network.get_weights(), whole.weights)


def test_phases_stand_one_after_the_other_in_one_history(tmp_path: Path) -> None:
    train(make_plan(tmp_path, phase="distill", epochs=2), Saves())
    finetune = make_plan(tmp_path, phase="finetune", epochs=1)
    for _ in range(2):  # the second time anew, as with --force
        train(finetune, Saves())
        finetune.checkpoints.forget()
    assert [(row["phase"], row["epoch"]) for row in read_history(tmp_path)] == [
        ("distill", "1"),
        ("distill", "2"),
        ("finetune", "1"),
    ]


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    events = EventAccumulator(str(folder))
    events.Reload()
    tensors = {tag: events.Tensors(tag) for tag in events.Tags()["tensors"]}
    return {tag: [(e.step, float(tf.make_ndarray(e.tensor_proto))) for e in found] for tag, found in tensors.items()}


def test_tensorboard_shows_what_the_history_tells(whole: Run) -> None:
    logs = whole.folder / "logs" / "teach"
    train_scalars, validation_scalars = scalars(logs / "train"), scalars(logs / "validation")
    for name, found in [
        ("loss", train_scalars["epoch_loss"]),
        ("top1", train_scalars["epoch_top1"]),
        ("top5", train_scalars["epoch_top5"]),
        ("learning_rate", train_scalars["epoch_learning_rate"]),
        ("val_loss", validation_scalars["epoch_loss"]),
        ("val_top1", validation_scalars["epoch_top1"]),
        ("val_top5", validation_scalars["epoch_top5"]),
    ]:
        assert [step for step, _ in found] == list(range(EPOCHS)), name
        expected = [row[name] for row in whole.done.history]
        np.testing.assert_allclose([value for _, value in found], expected, rtol=1e-6, atol=1e-9, err_msg=name)


def test_the_same_seed_gives_the_same_weights_and_another_gives_others(whole: Run, tmp_path: Path) -> None:
    done, weights = train(make_plan(tmp_path / "again"), Saves())
    assert_equal_weights(weights, whole.weights)
    assert done == whole.done
    _, others = train(make_plan(tmp_path / "other"), Saves(), seed=SEED + 1)
    assert any((left != right).any() for left, right in zip(others, whole.weights, strict=True))


@contextmanager
def acting_after(step: int, act: Callable[[], None]) -> Iterator[None]:
    """Something happens once, when a run has done so many steps."""
    steps = 0

    @contextmanager
    def watched(title: str, total: int | None) -> Iterator[Callable[..., None]]:
        def advance(count: int = 1, note: str = "") -> None:
            nonlocal steps
            steps += count
            if steps == step:
                act()

        yield advance

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fitting, "progress", watched)
        yield


def break_off() -> None:
    """As a kill does: nothing more is written."""
    raise KeyboardInterrupt


@pytest.mark.parametrize("step", [1, 2 * STEPS - 1, 2 * STEPS, 2 * STEPS + 1])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_run_after_the_step_and_it_goes_on_from_there(
    whole: Run, tmp_path: Path, step: int, number: int
) -> None:
    plan = make_plan(tmp_path)
    with acting_after(step, lambda: signal.raise_signal(number)), pytest.raises(KeyboardInterrupt):
        train(plan, Saves())
    seen: list[tuple[int, int]] = []
    done, weights = train(plan, Saves(), seen=seen)
    assert seen == [((step // STEPS, step % STEPS) if step % STEPS else (step // STEPS - 1, STEPS))]
    check_resumed_equals(whole, plan, done, weights)


def test_a_kill_costs_what_came_after_the_last_checkpoint_and_nothing_else(whole: Run, tmp_path: Path) -> None:
    """Broken off in epoch 3: the run goes on from the end of epoch 2."""
    plan = make_plan(tmp_path)
    with acting_after(2 * STEPS + 3, break_off), pytest.raises(KeyboardInterrupt):
        train(plan, Saves())
    assert len(read_history(tmp_path)) == 2
    seen: list[tuple[int, int]] = []
    done, weights = train(plan, Saves(), seen=seen)
    assert seen == [(2, 0)]
    check_resumed_equals(whole, plan, done, weights)


def test_states_are_saved_within_an_epoch_too(whole: Run, tmp_path: Path) -> None:
    plan = make_plan(tmp_path, checkpoint_s=0.0)
    with acting_after(2 * STEPS + 3, break_off), pytest.raises(KeyboardInterrupt):
        train(plan, Saves())
    seen: list[tuple[int, int]] = []
    done, weights = train(plan, Saves(), seen=seen)
    assert seen == [(2, 2)]
    check_resumed_equals(whole, plan, done, weights)


def test_of_the_networks_the_latest_stay(whole: Run, tmp_path: Path) -> None:
    plan = make_plan(tmp_path, keep=2)
    train(plan, Saves())
    assert sorted(p.name for p in plan.checkpoints.checkpoint_dir.iterdir()) == ["teach-003.keras", "teach-004.keras"]
    assert_equal_weights(saved_weights(plan.checkpoints.best_path), saved_weights(whole.plan.checkpoints.best_path))


def test_interrupting_at_the_end_of_an_epoch_changes_nothing(whole: Run, tmp_path: Path) -> None:
    """Between training an epoch and having it on disk: that epoch is trained again, to the same bits."""
    plan = make_plan(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        train(plan, Saves("teach-003.keras"))
    check_resumed_equals(whole, plan, *train(plan, Saves()))


def test_an_interrupted_distillation_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    expected, weights = distill(make_plan(tmp_path / "whole"), Saves())
    plan = make_plan(tmp_path / "interrupted")
    with pytest.raises(KeyboardInterrupt):
        distill(plan, Saves("teach-003.keras"))
    save = Saves()
    resumed, found = distill(plan, save)
    assert save.names == ["teach-003.keras", "teach-004.keras"]
    assert_equal_weights(found, weights)
    assert resumed == expected


def check_resumed_equals(whole: Run, plan: FitPlan, done: Progress, weights: Weights) -> None:
    assert_equal_weights(weights, whole.weights)
    assert done == whole.done
    assert read_history(plan.checkpoints.step_dir) == read_history(whole.folder)
    assert_equal_weights(saved_weights(plan.checkpoints.best_path), saved_weights(whole.plan.checkpoints.best_path))
    for number in range(1, EPOCHS + 1):
        ours, theirs = (p.checkpoints.checkpoint_dir / f"teach-{number:03d}.keras" for p in (plan, whole.plan))
        assert_equal_weights(saved_weights(ours), saved_weights(theirs))


def test_a_step_that_does_not_fit_into_memory_ends_in_a_sentence(tmp_path: Path) -> None:
    class TooLarge(Classifier):
        def losses_of(self, targets: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
            # TensorFlow itself would try for ten seconds before it gives up.
            raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")

    network = make_network()
    learner = TooLarge(network, hard_loss=HardLoss())
    learner(tf.zeros((1, FEATURES)))
    learner.compile(make_optimizer(0.1))
    with pytest.raises(EnvironmentProblemError, match=r"out of memory .* Double training.accumulation_steps"):
        fit(learner, batches_from, validation(), make_plan(tmp_path), Saves(), ONE_DEVICE)


@pytest.mark.parametrize("parts", [2, 4, 8])
def test_parts_of_a_batch_make_the_update_of_the_whole(tmp_path: Path, parts: int) -> None:
    """Without batch norm and dropout, which see parts; but for the order in which float32 numbers are added."""
    weights = []
    for steps in (1, parts):
        make_reproducible(SEED, deterministic=True)
        network = keras.Sequential(
            [keras.Input((FEATURES,)), keras.layers.Dense(16, activation="tanh"), keras.layers.Dense(CLASSES)]
        )
        learner = make_classifier(network, 0.1, accumulation_steps=steps)
        done = fit(learner, batches_from, validation(), make_plan(tmp_path / str(steps)), Saves(), ONE_DEVICE)
        weights.append(network.get_weights())
        assert done.epoch == EPOCHS
    for whole, in_parts in zip(*weights, strict=True):
        np.testing.assert_allclose(in_parts, whole, atol=2e-6)
