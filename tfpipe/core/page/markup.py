"""HTML that escapes by itself: what is not markup by type is text, whatever it holds."""

from collections.abc import Iterable
from html import escape

VOID = frozenset({"br", "hr", "img", "meta"})


class Html(str):
    """Markup; any other string is escaped where it meets it."""

    __slots__ = ()


def tag(name: str, /, *children: str | Iterable[str], **attributes: str | float | bool | None) -> Html:
    """An element.

    Args:
        name: of the element.
        children: markup, or text that will be escaped, or several of them.
        attributes: `class_` is `class`, `stroke_width` is `stroke-width`; False and None are left out.
    """
    written = "".join(_attribute(key, value) for key, value in attributes.items())
    end = "" if name in VOID else f"</{name}>"
    return Html(f"<{name}{written}>{together(*children)}{end}")


def together(*children: str | Iterable[str]) -> Html:
    """Several pieces, one after the other."""
    return Html("".join(_escaped(child) for child in children))


def prose(text: str) -> Html:
    """A sentence in which what stands between backquotes is code."""
    return together(tag("code", part) if place % 2 else part for place, part in enumerate(text.split("`")))


def _escaped(child: str | Iterable[str]) -> str:
    if isinstance(child, Html):
        return child
    return escape(child) if isinstance(child, str) else together(*child)


def _attribute(key: str, value: str | float | bool | None) -> str:
    if value is None or value is False:
        return ""
    name = key.rstrip("_").replace("_", "-")
    if value is True:
        return f" {name}"
    shown = f"{value:.6g}" if isinstance(value, float) else str(value)
    return f' {name}="{escape(shown)}"'
