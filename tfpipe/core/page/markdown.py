"""Markdown that names of any kind may stand in."""

import re

SPECIAL = re.compile(r"[\\`*_{}\[\]<>()#|~!&]")


def escaped(text: str) -> str:
    """The text in one line, as text: in it nothing is a link, a heading, a column or HTML (CommonMark 2.4)."""
    return SPECIAL.sub(r"\\\g<0>", " ".join(text.split()))
