"""Whatever people show it, the page sees what Python would see, or says that it cannot."""

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from odd_images import ENCODED_ANEW, KEPT, UNREADABLE, encode, scene
from playwright.sync_api import Browser, Error, Page
from sites import SIZE, SPEC, expected_probs, named_photo, serving, wait_until_ready

from tfpipe.data.checks import Fault, inspect_image
from tfpipe.data.photos import upright_jpeg
from tfpipe.data.views import centre_square, normalise

SENTENCE = "This could not be read as an image. A JPEG, PNG or WebP photo will do."

PIXELS = """async ([base64, size]) => {
    const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
    const bitmap = await decode(bytes.buffer);
    const square = centerSquare(bitmap.width, bitmap.height);
    return Array.from(resizeSquare(rowReader(bitmap, square), square.side, size));
}"""


@pytest.fixture(scope="module")
def page(browser: Browser, site_dir: Path) -> Iterator[Page]:
    """With the worker's decoding loaded beside it, so that pixels can be looked at."""
    context = browser.new_context(service_workers="block")
    page = context.new_page()
    with serving(site_dir) as server:
        page.goto(server.url)
        for name in ("decode.js", "preprocess.js"):
            page.add_script_tag(url=name)
        yield wait_until_ready(page)
        context.close()


def in_python(photo: bytes) -> np.ndarray:
    """(SIZE, SIZE, 3), 0..255: as the records hold the photo, and as models are trained on them."""
    return centre_square(tf.constant(upright_jpeg(photo)), SIZE, tf.zeros(2, tf.int32)).numpy()


def in_the_page(page: Page, photo: bytes) -> np.ndarray:
    pixels = page.evaluate(PIXELS, [base64.b64encode(photo).decode(), SIZE])
    return np.array(pixels).reshape(SIZE, SIZE, 3)


def probs_in_keras(pixels: np.ndarray, exported: Any) -> np.ndarray:
    return expected_probs(exported.network, normalise(tf.constant(pixels), SPEC).numpy()[None])[0]


@pytest.mark.parametrize("name", KEPT)
def test_a_photo_that_records_keep_is_the_same_in_the_page(page: Page, exported: Any, name: str) -> None:
    photo = KEPT[name]()
    pixels = in_python(photo)
    np.testing.assert_allclose(in_the_page(page, photo), pixels, atol=0.01)
    np.testing.assert_allclose(named_photo(page, photo), probs_in_keras(pixels, exported), atol=1e-4)


@pytest.mark.parametrize("name", ENCODED_ANEW)
def test_another_photo_differs_by_what_a_jpeg_of_quality_95_loses(page: Page, exported: Any, name: str) -> None:
    """Of 255 levels at most six, on average not one."""
    photo = ENCODED_ANEW[name]()
    pixels, found = in_python(photo), in_the_page(page, photo)
    assert np.abs(found - pixels).max() <= 6
    assert np.abs(found - pixels).mean() <= 1
    probs = named_photo(page, photo)
    np.testing.assert_allclose(probs, probs_in_keras(found, exported), atol=1e-4)
    # The network is fresh, and changes its mind more easily than a trained one.
    np.testing.assert_allclose(probs, probs_in_keras(pixels, exported), atol=0.1)


@pytest.mark.parametrize("name", UNREADABLE)
def test_what_python_cannot_read_the_page_cannot_either_and_says_so(page: Page, tmp_path: Path, name: str) -> None:
    content = UNREADABLE[name]()
    (tmp_path / "photo").write_bytes(content)
    facts, _ = inspect_image("photo", str(tmp_path / "photo"), min_side=1)
    assert facts.fault == Fault.UNREADABLE
    with pytest.raises(Error, match=SENTENCE):
        named_photo(page, content)


def test_what_only_python_reads_ends_in_the_same_sentence(page: Page) -> None:
    with pytest.raises(Error, match=SENTENCE):
        named_photo(page, encode(scene(), "TIFF"))
