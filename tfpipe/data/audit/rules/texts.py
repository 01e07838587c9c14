"""Rules on texts: what was lost or added on the way from the person who wrote them."""

import numpy as np

from tfpipe.data.audit.findings import Found, found_rows
from tfpipe.data.audit.letters import has_control_characters, has_markup, has_url, is_misread
from tfpipe.data.audit.survey import Survey
from tfpipe.data.facts import Facts
from tfpipe.data.rows import Row

SHORT_WORDS = 3
"""A text of fewer says little."""
LONG_WORDS = 350
"""About the 512 tokens at which text encoders stop reading."""


def text_has_url(row: Row, _: Facts) -> bool:
    """An address of the web in it."""
    return has_url(row.text)


def text_has_markup(row: Row, _: Facts) -> bool:
    """HTML in it."""
    return has_markup(row.text)


def text_is_misread(row: Row, _: Facts) -> bool:
    """Decoded with the wrong encoding."""
    return is_misread(row.text)


def text_has_control_characters(row: Row, _: Facts) -> bool:
    """Characters that nobody sees."""
    return has_control_characters(row.text)


def short_texts(survey: Survey) -> Found:
    """Usable, but of a word or two."""
    return found_rows(np.flatnonzero(survey.usable & (survey.columns.num_words.values < SHORT_WORDS)))


def long_texts(survey: Survey) -> Found:
    """Longer than an encoder reads."""
    return found_rows(np.flatnonzero(survey.columns.num_words.values > LONG_WORDS))


def other_script_texts(survey: Survey) -> Found:
    """Mostly in Latin letters where most texts are not, or the other way round."""
    letters, latin = survey.columns.num_letters.values, survey.columns.num_latin_letters.values
    is_latin = (2 * latin >= letters)[letters > 0]
    usual = is_latin.mean() >= 0.5 if len(is_latin) else True
    return found_rows(np.flatnonzero((letters > 0) & ((2 * latin >= letters) != usual)))
