"""Rules on the classes: how many photos each has, and by how many names it goes."""

from collections.abc import Mapping

from tfpipe.data.audit.findings import MAX_EXAMPLES, Found
from tfpipe.data.audit.survey import Survey
from tfpipe.data.audit.variants import Variant


def lost_classes(survey: Survey) -> Found:
    """Classes all of whose rows have faults."""
    return _found_labels([label for label, size in survey.class_sizes.items() if size == 0])


def single_photo_classes(survey: Survey) -> Found:
    """Classes of one usable row."""
    return _found_labels([label for label, size in survey.class_sizes.items() if size == 1])


def few_classes(survey: Survey) -> Found:
    """Classes of more than one usable row, but not many."""
    few = survey.settings.few_below
    return _found_labels([label for label, size in survey.class_sizes.items() if 1 < size < few])


def label_variants(survey: Survey) -> Found:
    """Labels that are surely another's variant."""
    return _found_variants(survey.variants.sure)


def label_typos(survey: Survey) -> Found:
    """Labels that may be another's variant."""
    return _found_variants(survey.variants.unsure)


def _found_labels(labels: list[str]) -> Found:
    return Found(len(labels), labels=tuple((label,) for label in labels[:MAX_EXAMPLES]))


def _found_variants(variants: Mapping[str, Variant]) -> Found:
    first = list(variants.items())[:MAX_EXAMPLES]
    return Found(
        len(variants),
        labels=tuple((old, new.label) for old, new in first),
        notes=tuple(new.kind for _, new in first),
    )
