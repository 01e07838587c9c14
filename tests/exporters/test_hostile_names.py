"""Names that mean no good: in reports, in the exported page and in the model card they stay what they are, text."""

import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from playwright.sync_api import Browser, Page
from sites import CALIBRATION, SIZE, make_jpeg, make_site, named_tensor, serving, wait_until_ready

from tfpipe.cli import main
from tfpipe.core.files import sha256_json
from tfpipe.core.page import build_document
from tfpipe.core.page.markdown import escaped
from tfpipe.core.page.markup import tag
from tfpipe.exporters.site import Example

RUN = "window.__pwned=1"
EVIL = [
    f"<script>{RUN}</script>",
    f'"><img src=x onerror="{RUN}">',
    f"'><svg onload='{RUN}'>",
    f"</title></style></script><script>{RUN}</script>",
    f"`-->]]><iframe srcdoc='<script>parent.{RUN}</script>'>",
    f"javascript:{RUN}",
    f'" autofocus onfocus="{RUN}" x="',
    f"${{{RUN}}}{{{{constructor.constructor('{RUN}')()}}}}",
    "__proto__",
    "constructor",
    "\u202egnp.exe\u2028\u0000",
]
"""Out of text, an attribute, a title, a comment, a template; and names that JavaScript's objects have already."""


def assert_nothing_ran(page: Page) -> None:
    page.wait_for_timeout(200)
    assert page.evaluate("() => window.__pwned") is None
    assert page.locator("iframe").count() == 0


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(service_workers="block")
    page = context.new_page()
    page.on("dialog", lambda dialog: pytest.fail(dialog.message))
    yield page
    context.close()


def write_rows(folder: Path) -> None:
    """Photos of classes, regions and plants with such names."""
    rng, rows = np.random.default_rng(0), []
    for number in range(4 * len(EVIL)):
        name = EVIL[number % len(EVIL)]
        pixels = rng.integers(0, 256, (120, 120, 3), np.uint8)
        # The first of each class are one photo, so that there are duplicates with conflicting labels to show.
        Image.fromarray(pixels if number >= len(EVIL) else 0 * pixels).save(folder / f"{number}.png")
        rows.append({"id": f"{name} {number}", "label": name, "region": name, "group": name, "path": f"{number}.png"})
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (folder / "x.yaml").write_text("dataset: x\nsnapshot: {source: jsonl, path: rows.jsonl}")


def test_the_audits_report_runs_nothing(page: Page, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_rows(tmp_path)
    main(["audit", "--config", "x.yaml"])
    page.goto((tmp_path / "runs" / "x" / "audit" / "report.html").as_uri())
    page.evaluate("() => document.querySelectorAll('details').forEach((part) => (part.open = true))")
    assert_nothing_ran(page)
    words = page.locator("body").text_content() or ""
    assert all(name.strip("\u0000\u2028") in words for name in EVIL[:-1])


class Heard(HTMLParser):
    """Texts and attributes of a page, as a browser reads them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, name: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((name, dict(attributes)))

    def handle_data(self, text: str) -> None:
        self.texts.append(text)


LETTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\r\0")
ANY = st.one_of(st.text(LETTERS), st.sampled_from(EVIL[:-1]))


@given(ANY, ANY)
@settings(derandomize=True, database=None, deadline=None, max_examples=300)
def test_any_text_comes_back_as_it_was(text: str, attribute: str) -> None:
    """All pages are made of `tag`."""
    heard = Heard(tag("p", text, tag("img", alt=attribute), title=attribute))
    assert "".join(heard.texts) == text
    assert heard.tags == [("p", {"title": attribute}), ("img", {"alt": attribute})]


def test_a_document_of_such_names_runs_nothing(page: Page) -> None:
    parts = [tag("p", name, tag("img", alt=name), title=name, id=name, class_=name) for name in EVIL]
    page.set_content(build_document(EVIL[3], *parts, remark=EVIL[0]))
    assert_nothing_ran(page)
    assert page.title() == EVIL[3]


def test_the_exported_page_runs_nothing(page: Page, exported: Any, tmp_path: Path) -> None:
    classes = EVIL[:5]
    regions = {
        "mode": "filter",
        "smoothing": 1.0,
        "regions": {name: {"classes": [0, 1, 2], "counts": [1, 2, 3]} for name in EVIL},
    }
    site = make_site(
        tmp_path / "site",
        exported.float32_dir,
        title=EVIL[0],
        description=EVIL[1],
        classes=classes,
        regions=regions,
        calibration=CALIBRATION | {"classes_sha256": sha256_json(classes)},
        examples=[Example(make_jpeg(), EVIL[1])],
    )
    with serving(site) as server:
        page.goto(server.url)
        wait_until_ready(page)
        assert page.title() == EVIL[0]
        assert page.locator("#description").text_content() == EVIL[1]
        page.locator("#example-list button").first.click()
        page.locator("#results li").first.wait_for()
        assert EVIL[1] in (page.locator("#true-label").text_content() or "")
        for name in EVIL:
            page.locator("#region").select_option(value=name)
            assert page.locator("#results li").count() >= 3
        assert len(named_tensor(page, np.zeros((SIZE, SIZE, 3)))) == len(classes)
        assert_nothing_ran(page)
        names = page.locator("#known-names li").all_text_contents()
        assert names == classes


@given(ANY)
@settings(derandomize=True, database=None, deadline=None, max_examples=200)
def test_names_in_markdown_are_a_line_without_markup(text: str) -> None:
    line = escaped(text)
    assert "\n" not in line
    assert not re.search(r"(?<!\\)(?:\\\\)*[<>\[\]`*_|#&!]", line)
    assert re.sub(r"\\(.)", r"\1", line) == " ".join(text.split())
