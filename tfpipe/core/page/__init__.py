"""Pages for a person to look at: one file that needs no network, light or dark as its reader likes it."""

from collections.abc import Iterable
from pathlib import Path

import tfpipe
from tfpipe.core.page.markup import Html, tag

STYLE_PATH = Path(__file__).with_name("style.css")


def build_document(title: str, *body: str | Iterable[str], remark: str, style: str = "") -> str:
    """The whole page, as text.

    Args:
        title: of the window.
        body: its content.
        remark: what the last line says beside the version.
        style: CSS of this kind of page, behind what all have.
    """
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", title),
        tag("style", Html(STYLE_PATH.read_text(encoding="utf-8") + style)),
    )
    footer = tag("footer", f"tfpipe {tfpipe.__version__} · {remark}")
    return f"<!doctype html>\n{tag('html', head, tag('body', *body, footer), lang='en')}\n"
