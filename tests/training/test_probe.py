"""Classifiers on frozen features, against scikit-learn and by hand."""

from collections.abc import Iterator

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from tfpipe.training import probe
from tfpipe.training.probe import LinearLayers, fit_class_means, fit_linear_layers, fit_scaler

EXAMPLES, COLUMNS, CLASSES = 300, 12, 4


@pytest.fixture(scope="module")
def features() -> np.ndarray:
    """Of different scales, around class means that overlap; one never changes."""
    rng = np.random.default_rng(0)
    means = rng.normal(0, 1, (CLASSES, COLUMNS))[make_labels()]
    scales = np.geomspace(0.1, 10, COLUMNS)
    scales[3] = 0
    return (5 + scales * (means + rng.normal(0, 1.5, (EXAMPLES, COLUMNS)))).astype(np.float32)


def make_labels() -> np.ndarray:
    """Of unequal classes."""
    return np.random.default_rng(1).choice(CLASSES, EXAMPLES, p=[0.5, 0.3, 0.15, 0.05])


def fit(features: np.ndarray, penalties: tuple[float, ...], seed: int = 0) -> LinearLayers:
    steps: list[int] = []
    layers = fit_linear_layers(
        features, make_labels(), CLASSES, penalties=penalties, seed=seed, advance=lambda: steps.append(1)
    )
    assert len(steps) == probe.num_steps(EXAMPLES)
    return layers


def all_logits(parts: Iterator[np.ndarray]) -> np.ndarray:
    return np.concatenate(list(parts))


@pytest.fixture(params=[probe.CHUNK, 7], ids=["in one part", "in many parts"])
def _chunk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "CHUNK", request.param)


@pytest.mark.usefixtures("_chunk")
def test_scaler_is_scikit_learns(features: np.ndarray) -> None:
    expected = StandardScaler().fit_transform(features.astype(np.float64))
    np.testing.assert_allclose(fit_scaler(features)(features), expected, atol=1e-4)


@pytest.mark.usefixtures("_chunk")
def test_a_layer_for_each_penalty_is_scikit_learns_logistic_regression(features: np.ndarray) -> None:
    penalties = (1.0, 0.01)
    layers = fit(features, penalties)
    scaled = StandardScaler().fit_transform(features.astype(np.float64))
    for number, penalty in enumerate(penalties):
        # Its loss is a sum where ours is a mean: C = 1 / (examples · penalty).
        judge = LogisticRegression(C=1 / (EXAMPLES * penalty), tol=1e-6, max_iter=1000).fit(scaled, make_labels())
        np.testing.assert_allclose(layers.kernels[number].T, judge.coef_, atol=0.02)
        logits = all_logits(layers.iter_logits(features, number))
        expected = judge.decision_function(scaled)
        # Logits are free up to a constant in each row.
        np.testing.assert_allclose(
            logits - logits.mean(axis=1, keepdims=True), expected - expected.mean(axis=1, keepdims=True), atol=0.05
        )


def test_layers_do_not_know_of_each_other(features: np.ndarray) -> None:
    both, alone = fit(features, (0.1, 0.001)), fit(features, (0.001,))
    np.testing.assert_allclose(both.kernels[1], alone.kernels[0], atol=1e-4)


def test_the_same_seed_gives_the_same_layers(features: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "BATCH", 32)
    monkeypatch.setattr(probe, "LEAST_STEPS", 20)
    first, again, other = fit(features, (0.1,)), fit(features, (0.1,)), fit(features, (0.1,), seed=1)
    np.testing.assert_array_equal(first.kernels, again.kernels)
    assert np.abs(first.kernels - other.kernels).max() > 1e-4


@pytest.mark.parametrize(("examples", "steps"), [(100, 3), (100, 30), (32, 5), (10, 4)])
def test_batches_are_whole_and_pass_over_all_before_any_comes_again(
    examples: int, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe, "BATCH", 32)
    batches = list(probe._batches(examples, steps, seed=0))
    size = min(32, examples)
    assert [len(batch) for batch in batches] == [size] * steps
    for start in range(0, steps, examples // size):
        once = np.concatenate(batches[start : start + examples // size])
        assert len(set(once)) == len(once)


@pytest.mark.usefixtures("_chunk")
def test_class_means_by_hand(features: np.ndarray) -> None:
    labels = make_labels()
    means = fit_class_means(features, labels, CLASSES)
    exact = features.astype(np.float64)
    seen = exact - exact.mean(axis=0)
    seen /= np.sqrt((seen**2).sum(axis=1))[:, None]
    of_class = np.stack([seen[labels == number].mean(axis=0) for number in range(CLASSES)])
    cosines = seen @ of_class.T / np.sqrt((of_class**2).sum(axis=1))
    np.testing.assert_allclose(all_logits(means.iter_cosines(features)), cosines, atol=1e-4)


def test_a_class_without_examples_is_near_to_nothing(features: np.ndarray) -> None:
    means = fit_class_means(features, make_labels(), CLASSES + 1)
    cosines = all_logits(means.iter_cosines(features))
    np.testing.assert_array_equal(cosines[:, CLASSES], np.zeros(EXAMPLES))
