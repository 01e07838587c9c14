"""Who speaks for which example: by region, by class, with what weight."""

import numpy as np
import pytest

from tfpipe.core.errors import DataError, MismatchError
from tfpipe.labels.speaking import check_region, combine_weights, find_known, find_positions

CLASSES = ["bellis", "rosa", "viola"]


def combine(
    regions: list[str], weights: tuple[float, ...], filters: tuple[str | None, ...], known: np.ndarray | None = None
) -> np.ndarray:
    """Of examples of the classes 0, 1, 2, 0, …; `known` (teachers, classes)."""
    labels = np.arange(len(regions)) % 3
    known = np.full((len(weights), 3), True) if known is None else known
    heard = [np.array([region in (f, region if f is None else f) for region in regions]) for f in filters]
    speaks = np.stack([of & of_class[labels] for of, of_class in zip(heard, known, strict=True)], axis=1)
    return combine_weights(speaks, weights, np.array(regions), labels, filters, CLASSES)


def test_a_silent_teachers_share_goes_to_the_others() -> None:
    """The plan's weights, 0.7 for the global and 0.3 for the regional teacher, by hand."""
    found = combine(["alps", "coast", "alps", ""], (0.7, 0.3, 1.0), (None, "alps", "coast"))
    expected = [[0.7, 0.3, 0], [0.7 / 1.7, 0, 1 / 1.7], [0.7, 0.3, 0], [1, 0, 0]]
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_a_teacher_is_silent_on_a_class_that_it_never_saw() -> None:
    found = combine(["alps"] * 3, (0.5, 0.5), (None, None), np.array([[True, True, True], [True, False, True]]))
    np.testing.assert_allclose(found, [[0.5, 0.5], [1, 0], [0.5, 0.5]])


def test_weights_need_not_sum_to_one() -> None:
    np.testing.assert_allclose(combine(["a"], (6.0, 2.0), (None, None)), [[0.75, 0.25]])


def test_a_region_without_a_teacher_is_named() -> None:
    with pytest.raises(MismatchError, match=r"no teacher speaks for region coast, heath: add one"):
        combine(["alps", "coast", "heath", "alps"], (1.0,), ("alps",))


def test_a_teacher_without_weight_does_not_count() -> None:
    with pytest.raises(MismatchError, match=r"no teacher speaks for region coast: add one"):
        combine(["alps", "coast"], (1.0, 0.0), ("alps", None))


def test_a_class_that_nobody_was_trained_on_is_named() -> None:
    with pytest.raises(MismatchError, match=r"trained on the class rosa \(2 examples\): add one"):
        combine(["alps"] * 5, (1.0, 2.0), (None, "alps"), np.array([[True, False, True], [True, False, False]]))


def test_classes_are_found_by_name_in_any_order() -> None:
    positions = find_positions(CLASSES, ["viola", "bellis"], "t")
    np.testing.assert_array_equal(positions, [1, -1, 0])
    np.testing.assert_array_equal(find_known(positions, np.array([5, 0])), [False, False, True])


def test_a_class_that_only_the_teacher_knows_is_named() -> None:
    with pytest.raises(MismatchError, match=r"^the teacher t knows quercus, and the records have no such class"):
        find_positions(CLASSES, [*CLASSES, "quercus"], "t")


def test_a_region_that_no_row_has_is_told_with_those_there_are() -> None:
    with pytest.raises(DataError, match=r"^here: no row has region 'Atlantis'; there are: alps, coast\.$"):
        check_region("Atlantis", np.array(["coast", "alps", "coast"]), "here")
