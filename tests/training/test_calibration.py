"""Measures of calibration, against scikit-learn and plain loops."""

from pathlib import Path

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss, log_loss

from tfpipe.training import calibration, outcomes
from tfpipe.training.calibration import Judged, describe, ece_by_chance, judge_probabilities
from tfpipe.training.reliability import NUM_BINS, reliability

CLASSES = 6


@pytest.fixture(scope="module")
def logits() -> np.ndarray:
    return np.random.default_rng(0).normal(0, 2, (400, CLASSES)).astype(np.float32)


@pytest.fixture(scope="module")
def labels(logits: np.ndarray) -> np.ndarray:
    """Right two times in three."""
    rng = np.random.default_rng(1)
    return np.where(rng.random(len(logits)) < 2 / 3, logits.argmax(axis=-1), rng.integers(CLASSES, size=len(logits)))


@pytest.mark.parametrize("temperature", [1.0, 2.3])
def test_losses_and_scores_are_scikit_learns(logits: np.ndarray, labels: np.ndarray, temperature: float) -> None:
    probs = softmax(logits.astype(np.float64) / temperature, axis=-1)
    judged = judge_probabilities(logits, labels, temperature)
    found = describe(judged, resamples=20, seed=0)
    assert found["nll"] == pytest.approx(log_loss(labels, probs), rel=1e-5)
    assert found["brier"] == pytest.approx(brier_score_loss(labels, probs, scale_by_half=False), rel=1e-5)
    np.testing.assert_allclose(judged.confidences, probs.max(axis=-1), rtol=1e-5)
    np.testing.assert_allclose(judged.label_probs, probs[np.arange(len(labels)), labels], rtol=1e-4)
    assert found["top1_accuracy"] == (probs.argmax(axis=-1) == labels).mean()


@pytest.mark.parametrize(("binning", "strategy"), [("width", "uniform"), ("mass", "quantile")])
def test_bins_are_scikit_learns(logits: np.ndarray, labels: np.ndarray, binning: str, strategy: str) -> None:
    judged = judge_probabilities(logits, labels, 1.0)
    found = reliability(judged.confidences, judged.right, binning=binning)
    shares, means = calibration_curve(judged.right, judged.confidences, n_bins=NUM_BINS, strategy=strategy)
    full = [each for each in found["bins"] if each["count"]]
    assert [each["accuracy"] for each in full] == pytest.approx(shares.tolist())
    assert [each["confidence"] for each in full] == pytest.approx(means.tolist())
    counts = np.array([each["count"] for each in full])
    assert counts.sum() == len(labels)
    assert found["ece"] == pytest.approx((np.abs(shares - means) * counts).sum() / len(labels))
    assert found["mce"] == pytest.approx(np.abs(shares - means).max())
    if binning == "mass":
        assert counts.max() - counts.min() <= 1


def errors_by_loop(confidences: np.ndarray, right: np.ndarray, edges: list[float]) -> tuple[float, float]:
    """Guo 2017, equations 3 and 5."""
    gaps, sizes = [], []
    for number in range(len(edges) - 1):
        members = [
            place
            for place, confidence in enumerate(confidences)
            if (confidence > edges[number] or number == 0)
            and (confidence <= edges[number + 1] or number == len(edges) - 2)
        ]
        if members:
            gaps.append(abs(np.mean(right[members]) - np.mean(confidences[members].astype(float))))
            sizes.append(len(members))
    return sum(gap * size for gap, size in zip(gaps, sizes, strict=True)) / len(right), max(gaps)


def test_errors_are_those_of_a_loop(logits: np.ndarray, labels: np.ndarray) -> None:
    judged = judge_probabilities(logits, labels, 1.0)
    found = describe(judged, resamples=20, seed=0)
    wide = [number / NUM_BINS for number in range(NUM_BINS + 1)]
    assert (found["ece"], found["mce"]) == pytest.approx(errors_by_loop(judged.confidences, judged.right, wide))
    heavy = np.percentile(judged.confidences.astype(float), np.linspace(0, 100, NUM_BINS + 1)).tolist()
    assert (found["ece_equal_mass"], found["mce_equal_mass"]) == pytest.approx(
        errors_by_loop(judged.confidences, judged.right, heavy)
    )


@pytest.mark.parametrize("num_examples", [1, 2, 50])
def test_equal_confidences_share_a_bin_however_the_bins_are_cut(num_examples: int) -> None:
    right = np.arange(num_examples) % 2 == 0
    for binning in ("width", "mass"):
        found = reliability(np.full(num_examples, np.float32(0.8)), right, binning=binning)
        assert found["ece"] == found["mce"] == pytest.approx(abs(right.mean() - 0.8))


def test_parts_give_the_same_bits_as_the_whole_and_so_does_the_disk(
    logits: np.ndarray, labels: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = judge_probabilities(logits, labels, 1.3)
    logits.tofile(tmp_path / "logits.f32")
    monkeypatch.setattr(outcomes, "CHUNK", 7 * CLASSES)
    on_disk = np.memmap(tmp_path / "logits.f32", "<f4", mode="r", shape=logits.shape)
    for name, column in vars(judge_probabilities(on_disk, labels, 1.3)).items():
        np.testing.assert_array_equal(column, getattr(whole, name))


# Intervals


def drawn(num_examples: int, seed: int, *, shift: float = 0.0) -> Judged:
    """Answers that are right as often as they are sure, or less by a shift."""
    rng = np.random.default_rng(seed)
    confidences = rng.uniform(0.3, 1, num_examples).astype(np.float32)
    right = rng.random(num_examples) < confidences - shift
    nothing = np.zeros(num_examples)
    return Judged(np.zeros(num_examples, int), np.where(right, 0, 1), confidences, confidences, nothing, nothing)


def test_a_resample_scores_as_its_photos_do() -> None:
    """Bins stay where they are, and so only those of equal width are the resample's own."""
    judged = drawn(300, 0)
    (sums,) = calibration.iter_sums(calibration._columns(judged), resamples=40, seed=5)
    found = calibration._scores_of(sums)
    picked = np.random.default_rng(5).integers(300, size=(40, 300))
    for number, places in enumerate(picked):
        expected = reliability(judged.confidences[places].astype(float), judged.right[places])
        assert (found["ece"][number], found["mce"][number]) == pytest.approx((expected["ece"], expected["mce"]))


def test_the_interval_holds_the_true_error_about_as_often_as_it_says() -> None:
    """Of answers that are right 0.15 less often than they are sure."""
    held = 0
    for seed in range(80):
        found = describe(drawn(1000, seed, shift=0.15), resamples=100, seed=0)["intervals"]["ece"]
        held += found["low"] <= 0.15 <= found["high"]
    assert held >= 71


def test_the_interval_is_about_the_error_however_few_the_photos() -> None:
    """Plain resamples of a perfect model's answers lie above it."""
    for seed in range(20):
        found = describe(drawn(100, seed), resamples=100, seed=0)
        assert found["intervals"]["ece"]["low"] <= found["ece"] <= found["intervals"]["ece"]["high"]
        middle = np.mean([found["intervals"]["ece_equal_mass"][end] for end in ("low", "high")])
        assert middle == pytest.approx(found["ece_equal_mass"], abs=0.03)


def test_chance_alone_makes_an_error_and_it_is_told() -> None:
    perfect = [reliability(each.confidences, each.right)["ece"] for each in (drawn(150, seed) for seed in range(200))]
    assert ece_by_chance(drawn(150, 0).confidences, draws=500, seed=1) == pytest.approx(np.mean(perfect), rel=0.08)
    assert ece_by_chance(drawn(100_000, 0).confidences, draws=20, seed=1) < 0.005
