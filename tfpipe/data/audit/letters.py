"""What texts are written with: letters of which script, and what no one wrote by hand."""

import re

_LETTER = re.compile(r"[^\W\d_]")
_LATIN_LETTER = re.compile(r"[A-Za-zªºÀ-ÖØ-öø-ɏḀ-ỿ]")
_URL = re.compile(r"https?://|www\.\w", re.IGNORECASE)
_MARKUP = re.compile(r"</?[a-zA-Z][^<>]{0,200}>|&(?:[a-zA-Z]{2,8}|#\d{1,6});")
_MISREAD = re.compile(r"\ufffd|[ÃÂ][\u0080-\u00bf]|â€|ðŸ")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\u200b\u2060\ufeff]")


def count_letters(text: str) -> tuple[int, int]:
    """All letters, and the Latin ones among them."""
    if text.isascii():
        letters = sum(map(str.isalpha, text))
        return letters, letters
    return len(_LETTER.findall(text)), len(_LATIN_LETTER.findall(text))


def has_url(text: str) -> bool:
    """Whether an address of the web stands in it."""
    return bool(_URL.search(text))


def has_markup(text: str) -> bool:
    """Whether an HTML tag or entity stands in it."""
    return bool(_MARKUP.search(text))


def is_misread(text: str) -> bool:
    """Whether it was once decoded with the wrong encoding: `cafÃ©`, `itâ€™s`, replacement characters."""
    return bool(_MISREAD.search(text))


def has_control_characters(text: str) -> bool:
    """Whether it holds characters that nobody sees, line breaks and tabs aside."""
    return bool(_CONTROL.search(text))
