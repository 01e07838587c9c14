"""Rules on the images: what cannot be used, and what will be changed on the way."""

import numpy as np

from tfpipe.data.audit.findings import MAX_EXAMPLES, Found, found_rows
from tfpipe.data.audit.survey import Survey
from tfpipe.data.facts import Facts
from tfpipe.data.rows import Row

LONGEST_STRIP = 3
"""Long side over short side; beyond it a square crop shows less than a third."""
PLAIN_MODES = ("RGB", "L")


def unusable(survey: Survey) -> Found:
    """Rows with a fault; examples of every kind, the rarest kinds not crowded out."""
    faults = survey.columns.faults
    kinds = [name for name in faults.names if name]
    each = [np.flatnonzero(faults.is_word(kind))[:MAX_EXAMPLES].tolist() for kind in kinds]
    examples = [(row, kind) for kind, rows in zip(kinds, each, strict=True) for row in rows]
    return Found(
        int((~survey.usable).sum()),
        rows=tuple((row,) for row, _ in examples),
        notes=tuple(kind for _, kind in examples),
    )


def turned_by_exif(_: Row, facts: Facts) -> bool:
    """Stored lying or mirrored, with a note how to turn it."""
    return facts.orientation != 1


def has_other_mode(_: Row, facts: Facts) -> bool:
    """Neither colour nor grey of eight bits."""
    return not facts.fault and facts.mode not in PLAIN_MODES


def long_strips(survey: Survey) -> Found:
    """Usable images much longer than wide, or wider than long."""
    sides = np.stack([survey.columns.widths.values, survey.columns.heights.values])
    return found_rows(np.flatnonzero(survey.usable & (sides.max(axis=0) > LONGEST_STRIP * sides.min(axis=0))))
