"""Sets of classes: the quantile by hand, and coverage where the theorem promises it."""

import numpy as np
import pytest
from scipy.special import softmax
from scipy.stats import betabinom

from tfpipe.training import outcomes
from tfpipe.training.calibration import judge_probabilities
from tfpipe.training.conformal import (
    SetRule,
    Sets,
    conformal_quantile,
    fit_sets,
    least_examples,
    make_sets,
    measure_sets,
)

CLASSES = 8


def exchangeable(num_examples: int, seed: int, *, easy: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits that tell the label poorly; of the first `easy` classes, well."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(CLASSES, size=num_examples)
    logits = rng.normal(0, 1, (num_examples, CLASSES))
    logits[np.arange(num_examples), labels] += np.where(labels < easy, 6, 1)
    return logits.astype(np.float32), labels


def fit(logits: np.ndarray, labels: np.ndarray, kind: str, level: float = 0.9) -> SetRule:
    judged = judge_probabilities(logits, labels, 1.0)
    return fit_sets(judged.label_probs, labels, level=level, kind=kind)


def test_the_quantile_by_hand() -> None:
    scores = np.random.default_rng(0).permutation(np.arange(1, 20) / 20)
    # Of 19 scores, the ⌈20 · 0.9⌉ = 18th; of 9, the 9th; of 8, none is far enough out.
    assert conformal_quantile(scores, 0.9) == 18 / 20
    assert conformal_quantile(scores[:9], 0.9) == scores[:9].max()
    assert conformal_quantile(scores[:8], 0.9) == 1.0
    assert conformal_quantile(np.array([]), 0.9) == 1.0
    assert [least_examples(level) for level in (0.5, 0.9, 0.95, 0.99)] == [1, 9, 19, 99]
    for level in (0.5, 0.9, 0.95, 0.99):
        least = least_examples(level)
        assert conformal_quantile(np.full(least, 0.5), level) == 0.5
        assert conformal_quantile(np.full(least - 1, 0.5), level) == 1.0


def test_sets_cover_as_often_as_the_theorem_says() -> None:
    """Of n fresh examples, as many as a beta-binomial of (n, k, m + 1 - k), fitted on m, with k = ⌈(m + 1) · level⌉."""
    held = []
    for seed in range(60):
        rule = fit(*exchangeable(200, seed), "marginal")
        logits, labels = exchangeable(500, 1000 + seed)
        held.append(make_sets(logits, labels, rule, temperature=1.0).holds_label.sum())
    place = 181
    expected = betabinom(500, place, 201 - place)
    low, high = expected.ppf(1e-4), expected.ppf(1 - 1e-4)
    assert low <= min(held)
    assert max(held) <= high
    spread = expected.std() / np.sqrt(len(held))
    assert abs(np.mean(held) - expected.mean()) < 4 * spread


def test_the_examples_it_was_fitted_on_are_held_to_the_last_one() -> None:
    """Rounding leaves none out: exactly ⌈(n + 1) · level⌉ of distinct scores are at or below the quantile."""
    for seed in range(20):
        logits, labels = exchangeable(300, seed)
        rule = fit(logits, labels, "marginal")
        assert make_sets(logits, labels, rule, temperature=1.0).holds_label.sum() == 271


def test_class_conditional_sets_cover_each_class_and_marginal_ones_the_whole() -> None:
    logits, labels = exchangeable(8000, 0, easy=4)
    fresh, fresh_labels = exchangeable(8000, 1, easy=4)
    coverages = {}
    for kind in ("marginal", "class_conditional"):
        sets = make_sets(fresh, fresh_labels, fit(logits, labels, kind), temperature=1.0)
        coverages[kind] = [sets.holds_label[fresh_labels == number].mean() for number in range(CLASSES)]
        assert sets.holds_label.mean() == pytest.approx(0.9, abs=0.02)
    assert np.ptp(coverages["marginal"]) > 0.1
    assert coverages["class_conditional"] == pytest.approx([0.9] * CLASSES, abs=0.045)


def test_classes_with_too_few_examples_share_a_quantile() -> None:
    logits, labels = exchangeable(400, 0)
    kept = np.ones(len(labels), bool)
    for rare in (0, 1, 2):
        kept[np.flatnonzero(labels == rare)[4:]] = False
    logits, labels = logits[kept], labels[kept]
    rule = fit(logits, labels, "class_conditional")
    assert set(rule.of_class) == {3, 4, 5, 6, 7}
    scores = 1 - judge_probabilities(logits, labels, 1.0).label_probs.astype(float)
    assert rule.num_pooled_examples == 12
    assert rule.quantile == conformal_quantile(scores[labels < 3], 0.9)
    assert rule.of_class[5] == conformal_quantile(scores[labels == 5], 0.9)
    np.testing.assert_array_equal(rule.quantiles(CLASSES)[:3], rule.quantile)
    # Eight of them are too few for a quantile, and all examples speak for them.
    fewer = (labels > 1) | np.isin(np.arange(len(labels)), np.flatnonzero(labels < 2))
    fewer[np.flatnonzero(labels == 2)] = False
    rule = fit(logits[fewer], labels[fewer], "class_conditional")
    assert rule.num_pooled_examples == fewer.sum()
    assert rule.quantile == fit(logits[fewer], labels[fewer], "marginal").quantile


def test_a_set_has_every_class_with_enough_probability(monkeypatch: pytest.MonkeyPatch) -> None:
    logits, labels = exchangeable(100, 0)
    rule = SetRule(0.9, 0.8, {2: 0.4}, 100)
    probs = softmax(logits / 1.5, axis=-1)
    expected = probs >= np.where(np.arange(CLASSES) == 2, 1 - 0.4, 1 - 0.8)
    monkeypatch.setattr(outcomes, "CHUNK", 7 * CLASSES)
    sets = make_sets(logits, labels, rule, temperature=1.5)
    np.testing.assert_array_equal(sets.sizes, expected.sum(axis=-1))
    found = measure_sets(sets, labels)
    held = expected[np.arange(100), labels]
    assert found["coverage"] == held.mean()
    assert found["mean_size"] == expected.sum() / 100
    assert found["share_empty"] == (~expected.any(axis=-1)).mean()
    assert found["macro_coverage"] == pytest.approx(np.mean([held[labels == each].mean() for each in range(CLASSES)]))
    assert found["coverage_interval"]["low"] < held.mean() < found["coverage_interval"]["high"]


def test_classes_without_examples_have_no_part_in_the_mean_over_classes() -> None:
    sets = Sets(np.array([2, 1, 0]), np.array([True, False, True]))
    assert measure_sets(sets, np.array([1, 1, 4]))["macro_coverage"] == (0.5 + 1) / 2


def test_too_few_examples_let_every_class_in() -> None:
    logits, labels = exchangeable(8, 0)
    rule = fit(logits, labels, "marginal")
    assert rule.quantile == 1.0
    assert set(make_sets(logits, labels, rule, temperature=1.0).sizes) == {CLASSES}
