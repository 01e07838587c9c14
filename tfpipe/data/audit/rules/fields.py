"""Rules on the fields of rows: what is missing, repeated or malformed."""

import re
from typing import get_args
from urllib.parse import urlsplit

import numpy as np

from tfpipe.core.settings import SplitName
from tfpipe.data.audit.columns import Bools, Words
from tfpipe.data.audit.findings import Found, found_rows
from tfpipe.data.audit.letters import has_control_characters, has_markup, is_misread
from tfpipe.data.audit.sets import repeats
from tfpipe.data.audit.survey import Survey
from tfpipe.data.facts import Facts
from tfpipe.data.rows import Row

_NO_NAME = re.compile(
    r"(unknown|unidentified|undetermined|indet\.?|none|null|nan|n/?a|undefined|tbd|\W+|.*\s(sp|spp|indet)\.?)",
    re.IGNORECASE,
)


def has_empty_id(row: Row, _: Facts) -> bool:
    """No letter or digit to know it by."""
    return not row.id.strip()


def has_empty_label(row: Row, _: Facts) -> bool:
    """Nothing, or only white space."""
    return not row.label.strip()


def has_no_name(row: Row, _: Facts) -> bool:
    """A word for not knowing, such as `unknown` or `Bellis sp.`."""
    return bool(_NO_NAME.fullmatch(row.label.strip()))


def has_untidy_label(row: Row, _: Facts) -> bool:
    """Spare white space, or what only machines leave in a name."""
    label = row.label
    return label != " ".join(label.split()) or has_control_characters(label) or is_misread(label) or has_markup(label)


def has_malformed_url(row: Row, _: Facts) -> bool:
    """Not an address of the web that could be asked for."""
    if not row.url:
        return False
    try:
        parts = urlsplit(row.url)
        asked = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        return True
    return not asked or bool(re.search(r"\s", row.url))


def has_unknown_split(row: Row, _: Facts) -> bool:
    """Neither empty nor one of ours."""
    return bool(row.split) and row.split not in get_args(SplitName)


def repeated_ids(survey: Survey) -> Found:
    """Every row but the first of an id."""
    ids = survey.columns.ids.keys
    return found_rows(repeats(ids, np.ones(len(ids), np.bool_)))


def missing_regions(survey: Survey) -> Found:
    """Only if other rows have one."""
    return _missing(survey.columns.regions)


def missing_splits(survey: Survey) -> Found:
    """Only if other rows have one."""
    return _missing(survey.columns.splits)


def missing_groups(survey: Survey) -> Found:
    """Only if other rows have one."""
    return _partly(survey.columns.groups.keys == 0)


def _missing(column: Words) -> Found:
    return _partly(column.is_word(""))


def _partly(missing: Bools) -> Found:
    return Found() if missing.all() else found_rows(np.flatnonzero(missing))
