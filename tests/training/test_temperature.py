"""The temperature: a known one is found again, and no other is better."""

import numpy as np
import pytest
from scipy.special import log_softmax, softmax

from tfpipe.training import outcomes
from tfpipe.training.temperature import COLDEST, HOTTEST, fit_temperature, is_at_bound


def sure_by(factor: float, num_examples: int, num_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Logits, and labels drawn as softmax(logits / factor) says."""
    rng = np.random.default_rng(1)
    logits = rng.normal(0, 3 * factor, (num_examples, num_classes))
    probs = softmax(logits / factor, axis=-1)
    labels = (probs.cumsum(axis=-1) > rng.random((num_examples, 1))).argmax(axis=-1)
    return logits.astype(np.float32), labels


def loss(logits: np.ndarray, labels: np.ndarray, temperature: float) -> float:
    log_probs = log_softmax(logits.astype(np.float64) / temperature, axis=-1)
    return float(-log_probs[np.arange(len(labels)), labels].mean())


@pytest.mark.parametrize("factor", [0.3, 1.0, 2.5])
def test_a_known_temperature_is_found_again(factor: float) -> None:
    assert fit_temperature(*sure_by(factor, 20_000, 7)) == pytest.approx(factor, rel=0.03)


def test_brute_force_finds_no_better_one() -> None:
    logits, labels = sure_by(1.7, 300, 5)
    grid = np.exp(np.linspace(np.log(COLDEST), np.log(HOTTEST), 1500))
    losses = [loss(logits, labels, temperature) for temperature in grid]
    found = fit_temperature(logits, labels)
    assert found == pytest.approx(grid[np.argmin(losses)], rel=5e-3)
    assert loss(logits, labels, found) <= min(losses) + 1e-12


def test_parts_give_what_the_whole_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    logits, labels = sure_by(1.7, 300, 5)
    whole = fit_temperature(logits, labels)
    monkeypatch.setattr(outcomes, "CHUNK", 5 * 7)
    assert fit_temperature(logits, labels) == pytest.approx(whole, rel=1e-5)


def test_a_class_that_is_out_of_the_question_does_not_count() -> None:
    logits, labels = sure_by(1.7, 300, 5)
    more = np.concatenate([logits, np.full((300, 2), -np.inf, np.float32)], axis=-1)
    assert fit_temperature(more, labels) == pytest.approx(fit_temperature(logits, labels), rel=1e-5)


def test_always_right_and_worse_than_chance_end_at_the_bounds() -> None:
    logits, labels = sure_by(1.0, 300, 5)
    always, never = fit_temperature(logits, logits.argmax(axis=-1)), fit_temperature(logits, logits.argmin(axis=-1))
    assert always == pytest.approx(COLDEST, rel=0.01)
    assert never == pytest.approx(HOTTEST, rel=0.01)
    assert is_at_bound(always)
    assert is_at_bound(never)
    assert not is_at_bound(fit_temperature(logits, labels))
