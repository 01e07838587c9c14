"""The training loop: what an epoch leaves behind, and when a run ends."""

from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from small_runs import (
    BATCH,
    CLASSES,
    EPOCHS,
    FEATURES,
    ONE_DEVICE,
    SEED,
    STEPS,
    Run,
    Saves,
    assert_equal_weights,
    batches_from,
    make_classifier,
    make_data,
    make_network,
    make_optimizer,
    make_plan,
    read_history,
    saved_weights,
    train,
    validation,
)
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tfpipe.core.errors import EnvironmentProblemError
from tfpipe.core.settings import BestMetric
from tfpipe.training.fitting import BEST_METRICS, fit
from tfpipe.training.learner import Classifier, in_parts
from tfpipe.training.losses import HardLoss
from tfpipe.training.reproducible import make_reproducible


def test_history_has_a_line_an_epoch(whole: Run) -> None:
    rows = read_history(whole.folder)
    measured = {"loss", "top1", "top5", "val_loss", "val_top1", "val_top5", "val_f1"}
    assert set(rows[0]) == {"phase", "epoch", "learning_rate"} | measured
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


def test_an_epochs_loss_and_accuracy_are_of_that_epoch_alone(tmp_path: Path) -> None:
    """Of a network that stays as it is, and other data in each epoch."""
    epochs = [make_data(seed) for seed in (10, 11, 12)]
    network = keras.Sequential([keras.Input((FEATURES,)), keras.layers.Dense(CLASSES)])

    def batches(first_epoch: int, first_step: int) -> tf.data.Dataset:
        assert (first_epoch, first_step) == (0, 0)
        whole = tuple(np.concatenate(parts) for parts in zip(*epochs, strict=True))
        return tf.data.Dataset.from_tensor_slices(whole).batch(BATCH)

    plan = make_plan(tmp_path, epochs=len(epochs))
    done = fit(make_classifier(network, 1e-12), batches, validation(), plan, Saves(), ONE_DEVICE)
    for (features, targets), row in zip(epochs, done.history, strict=True):
        logits = network(features).numpy().astype(np.float64)
        losses = np.log(np.exp(logits).sum(axis=-1)) - logits[targets.astype(bool)]
        assert row["loss"] == pytest.approx(losses.mean(), rel=1e-5)
        assert row["top1"] == pytest.approx((logits.argmax(axis=-1) == targets.argmax(axis=-1)).mean())


@pytest.mark.parametrize(
    ("metric", "best"),
    [("accuracy", "top1 0.6, loss 1"), ("f1", "f1 0.7, loss 2"), ("loss", "top1 0.6, loss 1")],
)
def test_among_equals_the_other_measure_decides(metric: BestMetric, best: str) -> None:
    epochs = {
        "top1 0.6, loss 2": {"val_top1": 0.6, "val_f1": 0.5, "val_loss": 2.0},
        "top1 0.5, loss 1": {"val_top1": 0.5, "val_f1": 0.5, "val_loss": 1.0},
        "top1 0.6, loss 1": {"val_top1": 0.6, "val_f1": 0.5, "val_loss": 1.0},
        "f1 0.7, loss 3": {"val_top1": 0.4, "val_f1": 0.7, "val_loss": 3.0},
        "f1 0.7, loss 2": {"val_top1": 0.3, "val_f1": 0.7, "val_loss": 2.0},
    }
    assert max(epochs, key=lambda name: BEST_METRICS[metric](epochs[name])) == best


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
    # Files of one second are read in the order of their names, and there the tenth of a process comes before its ninth.
    tensors = {tag: sorted(events.Tensors(tag), key=lambda event: event.step) for tag in events.Tags()["tensors"]}
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


def test_validation_is_drawn_once(tmp_path: Path) -> None:
    """Though its last batch is shorter, and some metrics make their variables at the first."""
    drawn: list[bool] = []

    class Told(keras.layers.Layer):
        def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
            drawn.append(bool(training))
            return inputs

    network = keras.Sequential([keras.Input((FEATURES,)), Told(), keras.layers.Dense(CLASSES)])
    classifier = make_classifier(network, 0.1)
    drawn.clear()
    fit(classifier, batches_from, validation(), make_plan(tmp_path), Saves(), ONE_DEVICE)
    assert drawn.count(False) == 1


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
    for whole, partial in zip(*weights, strict=True):
        np.testing.assert_allclose(partial, whole, atol=2e-6)


def test_a_batch_of_any_length_is_cut_into_parts() -> None:
    @tf.function(input_signature=[tf.TensorSpec((6, None), tf.int32)])
    def cut(whole: tf.Tensor) -> tf.Tensor:
        return in_parts(whole, 3)

    np.testing.assert_array_equal(cut(tf.reshape(tf.range(24), (6, 4))), np.arange(24).reshape(3, 2, 4))
