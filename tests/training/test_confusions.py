"""Confusions, by hand and against scikit-learn's matrix."""

import numpy as np
from sklearn.metrics import confusion_matrix as sklearns_matrix

from tfpipe.training.confusions import confused_classes, confusion_matrix, most_confused, surest_right
from tfpipe.training.outcomes import Outcomes

LABELS = [0, 0, 0, 0, 1, 1, 2, 2, 3]
ANSWERS = [1, 1, 0, 2, 0, 1, 3, 3, 3]
CONFIDENCES = [0.5, 0.9, 0.8, 0.4, 0.7, 0.6, 0.3, 0.5, 0.9]


def outcomes_of(labels: list[int], answers: list[int], confidences: list[float], num_classes: int = 5) -> Outcomes:
    said, meant = np.array(answers), np.array(labels)
    losses = np.zeros(len(said))
    return Outcomes(
        num_classes, meant, (said != meant).astype(int), losses, said[:, None], np.array(confidences)[:, None]
    )


SOME = outcomes_of(LABELS, ANSWERS, CONFIDENCES)


def test_pairs_come_by_count_and_then_by_how_sure_the_model_was() -> None:
    found = most_confused(SOME, 3)
    assert [(each.label, each.answer, each.count) for each in found] == [(0, 1, 2), (2, 3, 2), (1, 0, 1)]
    assert [each.share for each in found] == [0.5, 1.0, 0.5]
    np.testing.assert_allclose([each.mean_confidence for each in found], [0.7, 0.4, 0.7])
    assert [each.example for each in found] == [1, 7, 4]


def test_there_are_no_more_pairs_than_mistakes_and_none_without() -> None:
    assert len(most_confused(SOME, 100)) == 4
    assert most_confused(outcomes_of([0, 1], [0, 1], [1.0, 1.0]), 5) == []
    assert most_confused(SOME, 0) == []


def test_the_photo_that_the_model_knows_best_is_a_right_one() -> None:
    assert surest_right(SOME, 3) == 8
    assert surest_right(SOME, 2) is None


def test_the_matrix_is_scikit_learns_with_all_others_in_the_last_column() -> None:
    rng = np.random.default_rng(0)
    labels, answers = rng.integers(0, 9, 500), rng.integers(0, 9, 500)
    outcomes = outcomes_of(labels.tolist(), answers.tolist(), [0.5] * 500, 9)
    whole = sklearns_matrix(labels, answers, labels=range(9))
    np.testing.assert_array_equal(confusion_matrix(outcomes, list(range(9)))[:, :-1], whole)
    some = confusion_matrix(outcomes, [2, 5, 7])
    np.testing.assert_array_equal(some[:, :-1], whole[np.ix_([2, 5, 7], [2, 5, 7])])
    np.testing.assert_array_equal(some.sum(axis=-1), whole.sum(axis=-1)[[2, 5, 7]])


def test_of_many_classes_those_of_the_most_confused_pairs_are_shown() -> None:
    assert confused_classes(SOME, 5) == [0, 1, 2, 3, 4]
    assert confused_classes(SOME, 3) == [0, 1, 2]
