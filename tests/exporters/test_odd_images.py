"""Whatever people show it, the page sees what Python would see, or says that it cannot."""

import base64
from collections.abc import Iterator
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Seen:
    """One photo through both: pixels (SIZE, SIZE, 3) in 0..255, and probabilities (num_classes,)."""

    python: np.ndarray
    """As the records hold the photo, and as models are trained on it."""
    page: np.ndarray
    probs: np.ndarray
    """The page's, from the photo's bytes."""
    keras_of_python: np.ndarray
    keras_of_page: np.ndarray


@pytest.fixture(scope="module")
def seen(page: Page, exported: Any) -> dict[str, Seen]:
    """All of them, since Keras is asked faster at once."""
    photos = {name: make() for name, make in (KEPT | ENCODED_ANEW).items()}
    python = np.stack([in_python(photo) for photo in photos.values()])
    in_page = np.stack([in_the_page(page, photo) for photo in photos.values()])
    probs = np.stack([named_photo(page, photo) for photo in photos.values()])
    keras = [expected_probs(exported.network, normalise(tf.constant(each), SPEC)) for each in (python, in_page)]
    return {name: Seen(*rows) for name, *rows in zip(photos, python, in_page, probs, *keras, strict=True)}


def in_python(photo: bytes) -> np.ndarray:
    return centre_square(tf.constant(upright_jpeg(photo)), SIZE, tf.zeros(2, tf.int32)).numpy()


def in_the_page(page: Page, photo: bytes) -> np.ndarray:
    pixels = page.evaluate(PIXELS, [base64.b64encode(photo).decode(), SIZE])
    return np.array(pixels, np.float32).reshape(SIZE, SIZE, 3)


@pytest.mark.parametrize("name", KEPT)
def test_a_photo_that_records_keep_is_the_same_in_the_page(seen: dict[str, Seen], name: str) -> None:
    photo = seen[name]
    np.testing.assert_allclose(photo.page, photo.python, atol=0.01)
    np.testing.assert_allclose(photo.probs, photo.keras_of_python, atol=1e-4)


@pytest.mark.parametrize("name", ENCODED_ANEW)
def test_another_photo_differs_by_what_a_jpeg_of_quality_95_loses(seen: dict[str, Seen], name: str) -> None:
    """Of 255 levels at most six, on average not one."""
    photo = seen[name]
    assert np.abs(photo.page - photo.python).max() <= 6
    assert np.abs(photo.page - photo.python).mean() <= 1
    np.testing.assert_allclose(photo.probs, photo.keras_of_page, atol=1e-4)
    # The network is fresh, and changes its mind more easily than a trained one.
    np.testing.assert_allclose(photo.probs, photo.keras_of_python, atol=0.1)


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
