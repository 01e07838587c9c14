"""The warning before distillation, and the entropy that it is about."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.special import logsumexp, softmax
from scipy.stats import entropy

from tfpipe.core.settings import LossWeights, SoftLoss
from tfpipe.stages.softness import tell_of_softness
from tfpipe.training.distiller import Distiller
from tfpipe.training.softness import SoftTargets

EXAMPLES, TEACHERS = 8, 2


def draw(num_classes: int, spread: float) -> tuple[np.ndarray, np.ndarray]:
    """Logits (EXAMPLES, TEACHERS, num_classes), and weights of which one row silences a teacher."""
    rng = np.random.default_rng(num_classes)
    weights = rng.dirichlet(np.ones(TEACHERS), EXAMPLES).astype(np.float32)
    weights[0] = (1, 0)
    return rng.normal(0, spread, (EXAMPLES, TEACHERS, num_classes)).astype(np.float32), weights


def kept(logits: np.ndarray, weights: np.ndarray, k: int, temperature: float) -> SoftTargets:
    order = np.argsort(-logits, axis=-1)
    best, others = (np.take_along_axis(logits, part, axis=-1) for part in (order[..., :k], order[..., k:]))
    rest = logsumexp(others / temperature, axis=-1) if k < logits.shape[-1] else np.full(logits.shape[:2], -1e30)
    return SoftTargets(logits.shape[-1], order[..., :k], best, rest, weights, temperature)


def mixed_entropy(logits: np.ndarray, weights: np.ndarray, temperature: float) -> float:
    probs = (weights[..., None] * softmax(logits.astype(np.float64) / temperature, axis=-1)).sum(axis=1)
    return float(entropy(probs, axis=-1).mean() / np.log(logits.shape[-1]))


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_with_all_classes_it_is_scipys_entropy_of_the_mixture(temperature: float) -> None:
    logits, weights = draw(20, 3.0)
    found = kept(logits, weights, 20, temperature)
    for other in (temperature, 0.5):
        assert found.relative_entropy(other) == pytest.approx(mixed_entropy(logits, weights, other), rel=1e-5)


def test_with_fewer_classes_the_others_are_taken_to_be_alike() -> None:
    """Exact where they are; elsewhere near at the temperature of the labels."""
    logits, weights = draw(20, 3.0)
    order = np.argsort(-logits, axis=-1)
    np.put_along_axis(logits, order[..., 5:], -4.0, axis=-1)
    found = kept(logits, weights, 5, 2.0)
    for temperature in (2.0, 0.7):
        expected = mixed_entropy(logits, weights, temperature)
        assert found.relative_entropy(temperature) == pytest.approx(expected, rel=1e-5)
    logits, weights = draw(2000, 2.0)
    found = kept(logits, weights, 100, 3.0)
    assert found.relative_entropy(3.0) == pytest.approx(mixed_entropy(logits, weights, 3.0), abs=0.03)


def test_the_better_temperature_is_the_highest_that_is_soft_enough() -> None:
    logits, weights = draw(20, 3.0)
    found = kept(logits, weights, 20, 8.0)
    better = found.better_temperature()
    assert better is not None
    assert mixed_entropy(logits, weights, better) < 0.7 <= mixed_entropy(logits, weights, better * 2**0.25)
    assert kept(np.zeros_like(logits), weights, 20, 8.0).better_temperature() is None


def tell(
    logits: np.ndarray, weights: np.ndarray, temperature: float, loss: SoftLoss = "kl_divergence", k: int = 20
) -> None:
    student = keras.Sequential([keras.Input((2,)), keras.layers.Dense(20)])
    distiller = Distiller(student, loss=loss, temperature=temperature, loss_weights=LossWeights())
    said = kept(logits, weights, k, temperature)
    targets = {
        "targets": np.eye(20, dtype=np.float32)[:EXAMPLES],
        "teacher_ids": said.ids.astype(np.int32),
        "teacher_logits": said.logits,
        "teacher_log_rest": said.log_rest.astype(np.float32),
        "teacher_weights": weights,
    }
    tell_of_softness(tf.data.Dataset.from_tensor_slices((np.zeros((EXAMPLES, 2)), targets)).batch(4), distiller)


def test_targets_that_are_nearly_uniform_are_told_of(capsys: pytest.CaptureFixture[str]) -> None:
    logits, weights = draw(20, 3.0)
    tell(logits, weights, 1.0)
    tell(logits, weights, 20.0, loss="standardized_kl")  # whose targets are softened otherwise
    assert capsys.readouterr().err == ""
    tell(logits, weights, 8.0)
    told = capsys.readouterr().err
    percent = 100 * mixed_entropy(logits, weights, 8.0)
    better = kept(logits, weights, 20, 8.0).better_temperature()
    assert f"warning: at distillation.temperature 8 the soft labels of 8 examples have {percent:.0f} % of" in told
    assert f"20 classes, and say little more than it; at {better:.2g} it would be 6" in told
    tell(logits, weights, 8.0, k=5)
    assert "examples have about 9" in capsys.readouterr().err
    tell(np.zeros_like(logits), weights, 8.0)
    assert "100 % of the entropy" in (told := capsys.readouterr().err)
    assert "no lower temperature helps" in told
