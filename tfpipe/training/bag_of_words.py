"""Texts by their words alone: TF-IDF and logistic regression, from scikit-learn. Held in memory."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import FeatureUnion, make_union

STRENGTHS = (1.0, 3.0, 10.0)
"""Scikit-learn's C, the inverse of a penalty: what the validation split chooses from."""

FEATURES = "TF-IDF of words, pairs of words, and 2 to 5 letters of a word"

Array = np.ndarray


@dataclass(frozen=True)
class BagOfWords:
    """A classifier of texts."""

    strength: float
    terms: FeatureUnion
    classifier: LogisticRegression

    def log_probs(self, texts: Sequence[str]) -> Array:
        """(batch, num_classes)."""
        found: Array = self.classifier.predict_log_proba(self.terms.transform(texts))
        return found


def iter_fitted(texts: Sequence[str], labels: Array, strengths: Sequence[float]) -> Iterator[BagOfWords]:
    """One classifier for each strength, over words and pairs of words, and 2 to 5 letters of a word.

    Args:
        texts: to learn from.
        labels: (texts,) class ids, each class at least once.
        strengths: scikit-learn's C.
    """
    terms = make_union(
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, dtype=np.float32),
        TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True, dtype=np.float32),
    )
    vectors = terms.fit_transform(texts)
    for strength in strengths:
        classifier = LogisticRegression(C=strength, class_weight="balanced", max_iter=1000)
        yield BagOfWords(strength, terms, classifier.fit(vectors, labels))
