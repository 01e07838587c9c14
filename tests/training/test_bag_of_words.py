"""TF-IDF and logistic regression on made texts."""

import numpy as np
import pytest
from scipy.special import logsumexp

from tfpipe.training.bag_of_words import STRENGTHS, BagOfWords, iter_fitted

WORDS = {0: ["glad", "sunny", "laughing"], 1: ["weeping", "lonely", "grey"], 2: ["trembling", "dark", "afraid"]}
FILLERS = ["today", "i", "feel", "and", "the", "day", "was", "again"]


def make_texts(seed: int, count: int = 90) -> tuple[list[str], np.ndarray]:
    """A class's own word among words that say nothing."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(3, count, p=[0.6, 0.3, 0.1])
    words = [[*rng.choice(FILLERS, 4), rng.choice(WORDS[label]), *rng.choice(FILLERS, 2)] for label in labels]
    return [" ".join(parts) for parts in words], labels


@pytest.fixture(scope="module")
def fitted() -> list[BagOfWords]:
    return list(iter_fitted(*make_texts(0), STRENGTHS))


def test_each_strength_has_its_classifier(fitted: list[BagOfWords]) -> None:
    assert [model.strength for model in fitted] == list(STRENGTHS)
    sizes = [np.abs(model.classifier.coef_).max() for model in fitted]
    assert sizes == sorted(sizes)


def test_what_tells_classes_apart_is_found(fitted: list[BagOfWords]) -> None:
    texts, labels = make_texts(1)
    for model in fitted:
        assert (model.log_probs(texts).argmax(axis=-1) == labels).mean() > 0.95


def test_answers_are_logarithms_of_probabilities(fitted: list[BagOfWords]) -> None:
    log_probs = fitted[0].log_probs(make_texts(1)[0])
    assert log_probs.shape == (90, 3)
    np.testing.assert_allclose(logsumexp(log_probs, axis=-1), np.zeros(90), atol=1e-5)


def test_letters_of_a_word_speak_for_a_word_never_seen(fitted: list[BagOfWords]) -> None:
    answers = fitted[-1].log_probs(["tremblingly", "weepingly", "sunniest"]).argmax(axis=-1)
    assert answers.tolist() == [2, 1, 0]


def test_words_are_seen_with_their_neighbours() -> None:
    """Letters stay within words, so only pairs of words tell these apart."""
    texts = ["not bad was good", "not good was bad"] * 20
    model = next(iter_fitted(texts, np.array([0, 1] * 20), [10.0]))
    assert model.log_probs(["not bad", "not good"]).argmax(axis=-1).tolist() == [0, 1]


def test_a_rare_class_counts_as_much_as_a_frequent_one() -> None:
    """With balanced weights, a text that says nothing is no class's more than another's."""
    texts, labels = ["left"] * 90 + ["right"] * 10, np.repeat([0, 1], [90, 10])
    model = next(iter_fitted(texts, labels, [1.0]))
    np.testing.assert_allclose(model.log_probs(["?"]), np.log([[0.5, 0.5]]), atol=0.02)
