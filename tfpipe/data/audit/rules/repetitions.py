"""Rules on images and texts that come more than once, and on what repeats them under another name."""

from dataclasses import replace

import numpy as np

from tfpipe.data.audit.columns import NONE, Ints
from tfpipe.data.audit.findings import MAX_EXAMPLES, Found
from tfpipe.data.audit.sets import first_to_appear, mixed, repeats, rows_by_value
from tfpipe.data.audit.survey import Survey

SHOWN_TOGETHER = 4
"""Rows of one example."""
PLACEHOLDER_CLASSES = 4
"""A picture under so many classes is none of them."""


def label_conflicts(survey: Survey) -> Found:
    """Sets of exact or near duplicates that have more than one class."""
    return _found_sets(survey.clusters, survey.classes)


def placeholders(survey: Survey) -> Found:
    """Pictures that stand under many classes."""
    return _found_sets(survey.contents, survey.classes, at_least=PLACEHOLDER_CLASSES)


def groups_across_labels(survey: Survey) -> Found:
    """Groups with more than one class. Where most have, a group is no single plant, and nothing is wrong."""
    found = _found_sets(survey.groups, survey.classes)
    num_larger = int((np.bincount(survey.groups[survey.groups != NONE]) > 1).sum())
    return replace(found, is_expected=found.count > num_larger / 2)


def exact_duplicates(survey: Survey) -> Found:
    """Rows whose bytes, or whose normalised text, an earlier row has."""
    again = repeats(survey.contents, survey.contents != NONE)
    chosen = first_to_appear(np.unique(survey.contents[again]), survey.contents)[:MAX_EXAMPLES]
    sets = [np.flatnonzero(survey.contents == code).tolist() for code in chosen]
    return Found(
        len(again),
        rows=tuple(tuple(rows[:SHOWN_TOGETHER]) for rows in sets),
        notes=tuple(f"and {len(rows) - SHOWN_TOGETHER} more" * (len(rows) > SHOWN_TOGETHER) for rows in sets),
    )


def near_duplicates(survey: Survey) -> Found:
    """Images that are nearly another's: each cluster's different images but one.

    Examples run from the least alike, which show whether the bound is right, to the most alike.
    """
    num_images, num_clusters = (len(np.unique(c[c != NONE])) for c in (survey.contents, survey.clusters))
    by_distance = survey.edges[np.argsort(-survey.edges[:, 2], kind="stable")]
    places = np.unique(np.linspace(0, len(by_distance) - 1, min(MAX_EXAMPLES, len(by_distance)), dtype=np.int64))
    shown = by_distance[places].tolist()
    return Found(
        num_images - num_clusters,
        rows=tuple((one, other) for one, other, _ in shown),
        notes=tuple(f"{distance} of 64 bits differ" for _, _, distance in shown),
    )


def duplicates_across_groups(survey: Survey) -> Found:
    """Sets of exact or near duplicates that stand in more than one group."""
    return _found_sets(survey.clusters, survey.groups)


def leaks_between_splits(survey: Survey) -> Found:
    """Groups, and sets of duplicates, with rows in more than one of the splits that the rows came with.

    What is joined transitively leaks only if one of these links does.
    """
    one, other = (_found_sets(sets, survey.splits) for sets in (survey.clusters, survey.groups))
    return Found(one.count + other.count, one.rows + other.rows, notes=one.notes + other.notes)


def _found_sets(sets: Ints, values: Ints, *, at_least: int = 2) -> Found:
    """Sets with several values, in the order of their first rows; each shown by a row of each value."""
    chosen = first_to_appear(mixed(sets, values, at_least=at_least), sets)
    examples = [rows_by_value(sets, values, code)[:SHOWN_TOGETHER] for code in chosen[:MAX_EXAMPLES].tolist()]
    return Found(
        len(chosen),
        rows=tuple(tuple(rows[0] for rows in example) for example in examples),
        notes=tuple(" against ".join(str(len(rows)) for rows in example) for example in examples),
    )
