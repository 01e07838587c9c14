"""The page as people use it: by keyboard, with a screen reader, on a phone, and telling where a photo was taken."""

import base64
import json
import re
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from playwright.sync_api import Page
from sites import CLASSES, as_shown, make_jpeg, shown, wait_until_ready

import tfpipe.exporters

STYLE = Path(tfpipe.exporters.__file__).parent / "web" / "common" / "style.css"
TEXT_ON_GROUND = [
    *product(("ink", "quiet", "green"), ("paper", "sheet")),
    ("warn", "warn-sheet"),
    ("sheet", "green"),  # a pressed button
]
"""Colours of `style.css` in which something is written, each with what it stands on."""

FOCUSED = """() => {
    const { activeElement: focused } = document;
    const { outlineStyle, outlineWidth } = getComputedStyle(focused);
    return { id: focused.id, name: focused.tagName, outline: outlineStyle === "solid" ? parseFloat(outlineWidth) : 0 };
}"""
COPY_IMAGE = """async (base64) => {
    const png = await (await fetch(`data:image/png;base64,${base64}`)).blob();
    await navigator.clipboard.write([new ClipboardItem({ "image/png": png })]);
}"""
EU, US = (0, 1, 2), (1, 3, 4)
"""Classes of the site's two regions."""


def tab_to(page: Page, target: str) -> None:
    """Press Tab until an element (by id or tag) has the focus, which must be seen everywhere on the way."""
    for _ in range(20):
        page.keyboard.press("Tab")
        focused = page.evaluate(FOCUSED)
        assert focused["outline"] >= 2, f"{focused} has the focus, and it does not show"
        if target in (focused["id"], focused["name"]):
            return
    raise AssertionError(f"Tab does not lead to {target}")


def test_a_photo_is_chosen_by_keyboard(page: Page, probs: np.ndarray) -> None:
    photo = {"name": "a.jpg", "mimeType": "image/jpeg", "buffer": make_jpeg()}
    # Listened for before the first key, since browsers are told of it only then.
    page.on("filechooser", lambda chooser: chooser.set_files(photo))
    tab_to(page, "drop")
    page.keyboard.press("Enter")
    page.wait_for_selector("#results li")
    assert shown(page) == as_shown(probs)
    first, share = next(iter(shown(page).items()))
    status = page.get_by_role("status").filter(has_text=first)
    assert status.text_content().strip().startswith(f"{page.text_content('#verdict')} ".lstrip())
    assert f"{100 * share:.1f} %, then" in status.text_content()
    assert page.get_by_role("button", name="Choose another photo").is_visible()


def test_examples_regions_and_names_are_reached_by_keyboard(page: Page, probs: np.ndarray) -> None:
    tab_to(page, "region")
    page.keyboard.type("US")
    tab_to(page, "SUMMARY")
    page.keyboard.press("Enter")
    assert page.get_by_text(CLASSES[4], exact=True).is_visible()
    tab_to(page, "BUTTON")
    page.keyboard.press("Space")
    page.wait_for_selector("#results li")
    here = np.where(np.isin(np.arange(5), US), probs, 0)
    assert shown(page) == as_shown(here / here.sum())
    tab_to(page, "A")
    assert page.evaluate("() => document.activeElement.textContent") == "Model card"


def test_a_photo_is_pasted(page: Page, probs: np.ndarray) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    png = tf.io.encode_png(tf.io.decode_jpeg(make_jpeg(), dct_method="INTEGER_ACCURATE")).numpy()
    # The page itself may not fetch data: addresses, and another one of the same browser may.
    other = page.context.new_page()
    other.goto(page.url + "model_card.md")
    other.evaluate(COPY_IMAGE, base64.b64encode(png).decode())
    page.bring_to_front()
    page.keyboard.press("Control+V")
    page.wait_for_selector("#results li")
    assert shown(page) == as_shown(probs)


def test_a_screen_reader_is_told_what_everything_is(page: Page) -> None:
    assert page.get_by_role("button", name="Choose a photo or drop it here, or paste it").is_visible()
    assert page.get_by_role("combobox", name="Where was it taken?", exact=True).is_visible()
    assert page.locator("#region").get_attribute("aria-describedby") == "region-hint"
    assert page.get_by_role("button", name="Example 1").is_visible()
    assert page.get_by_role("button", name="Use the camera").is_visible()
    assert page.get_by_role("heading", level=1).text_content() == page.title()
    assert {"banner", "main", "contentinfo"} <= set(re.findall(r"- (\w+)", page.locator("body").aria_snapshot()))
    page.set_input_files("#file", {"name": "a.txt", "mimeType": "text/plain", "buffer": b"no image"})
    page.wait_for_selector("#notice", state="visible")
    assert page.get_by_role("alert").text_content().strip().startswith("This could not be read as an image.")
    unnamed = (
        "() => [...document.querySelectorAll('button, select, a, img, input')].filter((node) => node.checkVisibility()"
    )
    unnamed += " && !(node.textContent.trim() || node.ariaLabel || node.alt || node.querySelector('img[alt]')))"
    assert page.evaluate(f"{unnamed}.map((node) => node.outerHTML)") == []


def test_nothing_is_wider_than_a_phone(page: Page) -> None:
    page.click("#example-list button")
    page.wait_for_selector("#results li")
    page.select_option("#region", "EU")
    page.evaluate("() => document.querySelectorAll('[hidden]').forEach((node) => (node.hidden = false))")
    assert page.evaluate("() => document.documentElement.scrollWidth") == 360
    assert page.evaluate("() => matchMedia('(width: 360px)').matches")


def test_a_region_leaves_its_names_and_is_remembered(page: Page, url: str, probs: np.ndarray) -> None:
    page.click("#example-list button")
    page.wait_for_selector("#results li")
    seen = page.text_content("#set")
    for name, classes in {"EU": EU, "US": US}.items():
        page.select_option("#region", name)
        here = np.where(np.isin(np.arange(5), classes), probs, 0)
        page.wait_for_function(
            "(first) => document.querySelector('.name').textContent === first", arg=CLASSES[here.argmax()]
        )
        assert shown(page) == as_shown(here / here.sum())
        assert page.text_content("#set") == seen.replace(" of photos ", " of photos from anywhere ")
    page.goto(url)
    wait_until_ready(page)
    page.wait_for_selector("#region-choice", state="visible")
    assert page.input_value("#region") == "US"
    assert page.text_content("#region-hint") == "Only the names that training saw there are left."


def test_a_region_does_not_make_an_answer_conclusive(page: Page, probs: np.ndarray) -> None:
    """Where it leaves another first name than the photo alone, however likely that is then."""
    page.evaluate("() => tfpipe.ready.then(({ calibration }) => (calibration.threshold = 0.0))")
    page.click("#example-list button")
    page.wait_for_selector("#results li")
    assert page.is_hidden("#verdict")
    without = "EU" if probs.argmax() in US else "US"
    alone = probs[list(EU if without == "EU" else US)].max()
    page.evaluate("(value) => tfpipe.ready.then((facts) => (facts.calibration.threshold = value))", float(alone + 1e-3))
    page.select_option("#region", without)
    page.wait_for_selector("#verdict", state="visible")
    assert page.text_content("#verdict").startswith(
        f"Not conclusive: by the photo alone the first name has {100 * alone:.1f} %"
    )
    assert page.text_content("#results-title") == "Perhaps"


def test_a_site_without_regions_does_not_ask(page: Page) -> None:
    nothing = json.dumps({"mode": "filter", "smoothing": 1.0, "regions": {}})
    page.route("**/regions.json", lambda route: route.fulfill(body=nothing, content_type="application/json"))
    page.reload()
    wait_until_ready(page)
    page.click("#example-list button")
    page.wait_for_selector("#results li")
    assert page.is_hidden("#region-choice")
    assert len(shown(page)) == 5


def colours(scheme: str) -> dict[str, tuple[int, int, int]]:
    """Custom properties of `style.css` that are colours; those of the dark scheme stand over the others."""
    light, dark = re.findall(r":root \{(.*?)\}", STYLE.read_text(), re.DOTALL)
    found = dict(re.findall(r"--([\w-]+): #([0-9a-f]{6});", light + (dark if scheme == "dark" else "")))
    return {name: tuple(bytes.fromhex(value)) for name, value in found.items()}


def luminance(colour: tuple[int, int, int]) -> float:
    """WCAG 2.2, relative luminance."""
    shares = (value / 255 for value in colour)
    linear = [share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares]
    return float(np.dot([0.2126, 0.7152, 0.0722], linear))


def contrast(one: tuple[int, int, int], other: tuple[int, int, int]) -> float:
    """WCAG 2.2, contrast ratio."""
    low, high = sorted([luminance(one), luminance(other)])
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_what_is_written_can_be_read(scheme: str) -> None:
    assert contrast((0, 0, 0), (255, 255, 255)) == pytest.approx(21)
    of = colours(scheme)
    ratios = {pair: contrast(of[pair[0]], of[pair[1]]) for pair in TEXT_ON_GROUND}
    assert {pair: ratio for pair, ratio in ratios.items() if ratio < 4.5} == {}
    # Edges of buttons, and the focus, which are no text (WCAG 1.4.11).
    edges = {
        (line, ground): contrast(of[line], of[ground]) for line in ("edge", "green") for ground in ("paper", "sheet")
    }
    assert {pair: ratio for pair, ratio in edges.items() if ratio < 3} == {}
