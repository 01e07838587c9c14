"""The fitted temperature, against optima found another way."""

import numpy as np
import pytest
from scipy.special import log_softmax, softmax
from sklearn.metrics import log_loss

from tfpipe.training.temperature import HOTTEST, fit_temperature


@pytest.mark.parametrize("true_temperature", [0.4, 1.0, 2.7])
def test_no_temperature_of_a_fine_grid_is_better(true_temperature: float) -> None:
    rng = np.random.default_rng(1)
    logits = rng.normal(0, 3, (2000, 6))
    labels = np.array([rng.choice(6, p=row) for row in softmax(logits / true_temperature, axis=-1)])
    found = fit_temperature(logits.astype(np.float32), labels)
    grid = np.geomspace(found / 2, found * 2, 401)
    losses = [log_loss(labels, softmax(logits / temperature, axis=-1), labels=range(6)) for temperature in grid]
    assert found == pytest.approx(grid[int(np.argmin(losses))], rel=4e-3)
    assert found == pytest.approx(true_temperature, rel=0.15)


def test_the_gradient_is_zero_at_the_optimum() -> None:
    """d NLL / d(1/T) = E_p[logit] - logit of the truth, on average."""
    rng = np.random.default_rng(2)
    logits, labels = rng.normal(0, 2, (500, 4)), rng.integers(0, 4, 500)
    logits[np.arange(500), labels] += 1.5
    probs = softmax(logits / fit_temperature(logits, labels), axis=-1)
    assert ((probs * logits).sum(-1) - logits[np.arange(500), labels]).mean() == pytest.approx(0, abs=1e-4)


def test_classes_out_of_the_question_change_nothing() -> None:
    rng = np.random.default_rng(3)
    logits, labels = rng.normal(0, 2, (300, 3)), rng.integers(0, 3, 300)
    logits[np.arange(300), labels] += 2
    wider = np.concatenate([logits, np.full((300, 2), -np.inf)], axis=1)
    assert fit_temperature(wider, labels) == pytest.approx(fit_temperature(logits, labels), rel=1e-6)
    assert np.isfinite(log_softmax(wider, axis=-1)[:, :3]).all()


def test_answers_that_have_nothing_to_do_with_the_labels_are_made_as_unsure_as_may_be() -> None:
    logits = np.array([[9.0, 0.0], [9.0, 0.0]])
    assert fit_temperature(logits, np.array([0, 1])) == pytest.approx(HOTTEST, rel=1e-3)
