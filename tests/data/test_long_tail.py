"""Corrections for rare classes, against scikit-learn and the papers' formulas."""

import numpy as np
import pytest
from sklearn.utils.class_weight import compute_class_weight

from tfpipe.core.settings import TrainingSettings
from tfpipe.data.long_tail import BETA, correct, count_classes
from tfpipe.data.rows import Row

COUNTS = np.array([500, 120, 30, 4, 1])
TOTAL = COUNTS.sum()


def sampling(name: str, counts: np.ndarray = COUNTS) -> np.ndarray:
    weights = correct(TrainingSettings(sampling=name), counts).sampling_weights
    assert weights is not None
    return weights


def test_nothing_is_corrected_by_default() -> None:
    corrections = correct(TrainingSettings(), COUNTS)
    assert corrections.sampling_weights is corrections.class_weights is corrections.logit_offsets is None


@pytest.mark.parametrize("name", ["class_balanced", "square_root", "effective_number"])
def test_an_epoch_keeps_its_size(name: str) -> None:
    assert (COUNTS * sampling(name)).sum() == pytest.approx(TOTAL)


def test_class_balanced_sampling_shows_every_class_equally_often() -> None:
    np.testing.assert_allclose(COUNTS * sampling("class_balanced"), np.full(5, TOTAL / 5))


def test_square_root_sampling_shows_a_class_by_the_root_of_its_size() -> None:
    np.testing.assert_allclose(COUNTS * sampling("square_root"), TOTAL * np.sqrt(COUNTS) / np.sqrt(COUNTS).sum())


def test_effective_number_sampling_weighs_by_the_sum_of_a_geometric_series() -> None:
    """E_n = 1 + β + … + β^(n-1): each further example covers less that is new (Cui 2019)."""
    effective = np.array([sum(BETA**i for i in range(n)) for n in COUNTS])
    weights = sampling("effective_number")
    np.testing.assert_allclose(weights * effective, np.full(5, weights[0] * effective[0]), rtol=1e-9)


def test_balanced_class_weights_are_scikit_learns() -> None:
    labels = np.repeat(np.arange(5), COUNTS)
    expected = compute_class_weight("balanced", classes=np.arange(5), y=labels)
    corrections = correct(TrainingSettings(class_weights="balanced"), COUNTS)
    np.testing.assert_allclose(corrections.class_weights, expected)
    assert corrections.sampling_weights is None


@pytest.mark.parametrize("strength", [0.5, 1.0, 2.0])
def test_logit_offsets_are_log_priors(strength: float) -> None:
    offsets = correct(TrainingSettings(logit_adjustment=strength), COUNTS).logit_offsets
    np.testing.assert_allclose(offsets, strength * np.log(COUNTS / TOTAL))


def test_what_sampling_has_balanced_is_not_corrected_again() -> None:
    settings = TrainingSettings(sampling="class_balanced", class_weights="balanced", logit_adjustment=1.0)
    corrections = correct(settings, COUNTS)
    np.testing.assert_allclose(corrections.class_weights, np.ones(5))
    np.testing.assert_allclose(corrections.logit_offsets, np.full(5, -np.log(5)))


def test_what_sampling_has_left_is_corrected_by_weights() -> None:
    corrections = correct(TrainingSettings(sampling="square_root", class_weights="balanced"), COUNTS)
    felt = COUNTS * corrections.sampling_weights * corrections.class_weights
    np.testing.assert_allclose(felt, np.full(5, TOTAL / 5))


def test_a_class_without_examples_upsets_nothing() -> None:
    """A regional teacher knows all classes, and sees some of them only."""
    counts = np.array([6, 0, 2])
    np.testing.assert_allclose(sampling("class_balanced", counts), [8 / 12, 0, 2])
    corrections = correct(TrainingSettings(class_weights="effective_number", logit_adjustment=1.0), counts)
    assert corrections.class_weights is not None
    assert corrections.class_weights[1] == 0
    assert np.isfinite(corrections.logit_offsets).all()
    assert np.argmin(corrections.logit_offsets) == 1


def test_rows_are_counted_by_class_within_split_and_region() -> None:
    rows = [
        Row(id=str(number), label=label, region=region, split=split)
        for number, (label, region, split) in enumerate(
            [("b", "EU", "train"), ("a", "EU", "train"), ("b", "US", "train"), ("b", "EU", "test"), ("c", "", "test")]
        )
    ]
    assert count_classes(rows, ["a", "b", "c"], split="train", region=None).tolist() == [1, 2, 0]
    assert count_classes(rows, ["a", "b", "c"], split="train", region="EU").tolist() == [1, 1, 0]
    assert count_classes(rows, ["a", "b", "c"], split="test", region=None).tolist() == [0, 1, 1]
