"""`report.html` of `report`: a whole run on one page that needs no network."""

from pathlib import Path

from tfpipe.core.page import build_document
from tfpipe.core.page.markup import Html, tag
from tfpipe.plots import page
from tfpipe.plots.run.chapters import CHAPTERS
from tfpipe.plots.run.story import Story

STYLE_PATH = Path(__file__).with_name("style.css")


def build_run_page(story: Story) -> str:
    """The page, as text."""
    style = "".join(path.read_text(encoding="utf-8") for path in (page.STYLE_PATH, STYLE_PATH))
    return build_document(
        f"{story.name} · run",
        _header(story),
        tag("main", [chapter(story) for chapter in CHAPTERS]),
        remark="every number is in the metrics.json of its step, every hash in manifest.yaml.",
        style=style,
    )


def _header(story: Story) -> Html:
    numbers = [tag("div", tag("dt", name), tag("dd", value, tag("small", note))) for name, value, note in story.numbers]
    return tag(
        "header",
        tag("p", "Run", class_="kicker"),
        tag("h1", story.name),
        tag("p", story.verdict, class_="verdict"),
        tag("dl", numbers, class_="numbers"),
    )
