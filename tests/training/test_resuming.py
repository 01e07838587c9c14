"""Interruptions, at any moment, change nothing."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from small_runs import (
    EPOCHS,
    STEPS,
    Run,
    Saves,
    Weights,
    assert_equal_weights,
    distill,
    make_plan,
    read_history,
    saved_weights,
    train,
)

from tfpipe.training import fitting
from tfpipe.training.checkpoints import Progress
from tfpipe.training.fitting import FitPlan


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
