"""The ways that photos come to the page, and what it does when something goes wrong or a newer photo comes."""

import base64
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Page, Route
from sites import CLASSES, SIZE, as_shown, make_jpeg, shown

DROP = """(base64) => {
    const dataTransfer = new DataTransfer();
    const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
    if (base64) dataTransfer.items.add(new File([bytes], "a.jpg", { type: "image/jpeg" }));
    else dataTransfer.setData("text/plain", "no file");
    document.body.dispatchEvent(new DragEvent("drop", { dataTransfer, bubbles: true, cancelable: true }));
}"""
KEEP_TRACK = "() => { [window.track] = document.getElementById('video').srcObject.getTracks(); }"
FOCUSED = "() => document.activeElement.id"
KEEP_BUSY = """([count, size]) => {
    for (let i = 0; i < count; i++) tfpipe.predict({ type: "tensor", values: new Float32Array(size) });
}"""
RACE = """async ([base64, size]) => {
    const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0)).buffer;
    const done = [];
    const photo = tfpipe.predict({ type: "image", bytes }).then(() => done.push("photo"));
    const tensor = tfpipe.predict({ type: "tensor", values: new Float32Array(size) }).then(() => done.push("tensor"));
    await Promise.all([photo, tensor]);
    return done;
}"""


@pytest.fixture
def photo() -> dict[str, Any]:
    return {"name": "a.jpg", "mimeType": "image/jpeg", "buffer": make_jpeg()}


@pytest.fixture
def camera(page: Page) -> Page:
    """Open, its one track in `window.track`."""
    page.click("#camera-open")
    page.wait_for_selector("#camera-capture", state="visible")
    page.evaluate(KEEP_TRACK)
    return page


def hold_examples(page: Page) -> list[Route]:
    """Leave the page waiting for its examples: the requests, to be answered."""
    late: list[Route] = []

    def hold(route: Route) -> None:
        late.append(route)

    page.route("**/examples/0.jpg", hold)
    return late


def test_a_photo_is_dropped(page: Page, probs: np.ndarray) -> None:
    page.evaluate(DROP, base64.b64encode(make_jpeg()).decode())
    page.wait_for_selector("#results li")
    assert shown(page) == as_shown(probs)
    page.evaluate(DROP, "")
    page.wait_for_selector("#notice", state="visible")
    assert page.get_by_role("alert").text_content().strip().startswith("What was dropped is not an image file.")


def test_the_same_file_can_be_chosen_again(page: Page, photo: dict[str, Any]) -> None:
    page.set_input_files("#file", photo)
    page.wait_for_selector("#results li")
    assert page.input_value("#file") == ""


@pytest.mark.parametrize("agrees", [True, False])
def test_of_an_example_the_page_says_whether_the_model_agrees(page: Page, probs: np.ndarray, agrees: bool) -> None:
    first = CLASSES[probs.argmax()]
    label = first if agrees else CLASSES[probs.argmin()]
    index = {"examples": [{"file": "examples/0.jpg", "label": label}]}
    page.route("**/examples/index.json", lambda route: route.fulfill(json=index))
    page.reload()
    page.click("#example-list button")
    page.wait_for_selector("#results li")
    verdict = "agrees" if agrees else "differs"
    assert page.text_content("#true-label") == f"This photo is labelled “{label}”. The model {verdict}."
    marked = page.locator("#results .is-true .name").all_text_contents()
    assert marked == [label]


def test_an_older_photo_that_comes_late_changes_nothing(page: Page, photo: dict[str, Any], probs: np.ndarray) -> None:
    late = hold_examples(page)
    page.click("#example-list button")
    page.set_input_files("#file", photo)
    page.wait_for_selector("#results li")
    page.wait_for_function("() => !document.body.classList.contains('is-busy')")
    with page.expect_response("**/examples/0.jpg"):
        late[0].fulfill(body=make_jpeg(50, 75), content_type="image/jpeg")
    page.wait_for_load_state("networkidle")
    page.evaluate("() => tfpipe.numTensors()")  # answered after whatever the late photo asked for
    assert shown(page) == as_shown(probs)
    assert page.text_content("#true-label") == ""


def test_an_answer_that_comes_after_a_newer_choice_is_not_shown(page: Page) -> None:
    hold_examples(page)
    page.evaluate(KEEP_BUSY, [300, SIZE * SIZE * 3])
    page.evaluate(DROP, base64.b64encode(make_jpeg()).decode())
    page.wait_for_selector("#photo-frame", state="visible")
    page.click("#example-list button")
    page.evaluate("() => tfpipe.numTensors()")  # answered after the photo
    assert page.is_hidden("#results")
    assert page.text_content("#waiting") == "One moment …"


def test_the_model_answers_in_the_order_of_asking(page: Page) -> None:
    """A photo takes longer than a tensor."""
    photo = base64.b64encode(make_jpeg(3000, 2000)).decode()
    assert page.evaluate(RACE, [photo, SIZE * SIZE * 3]) == ["photo", "tensor"]


def test_what_the_camera_shows_is_captured_and_the_camera_let_go(camera: Page) -> None:
    assert camera.evaluate(FOCUSED) == "camera-capture"
    camera.keyboard.press("Enter")
    camera.wait_for_selector("#results li")
    assert sum(shown(camera).values()) == pytest.approx(1, abs=3e-3)
    assert camera.evaluate("() => track.readyState") == "ended"
    assert camera.is_visible("#photo-frame")
    assert camera.is_hidden("#camera-view")
    assert camera.evaluate(FOCUSED) == "drop"


def test_frame_after_frame_is_named_until_it_is_stopped(camera: Page) -> None:
    camera.click("#camera-live")
    assert camera.get_attribute("#camera-live", "aria-pressed") == "true"
    camera.wait_for_selector("#results li")
    # What changes with the next frame is the answer, or the milliseconds that it took.
    camera.evaluate("() => { window.said = document.body.innerText; }")
    camera.wait_for_function("() => document.body.innerText !== said")
    camera.click("#camera-stop")
    assert camera.evaluate("() => track.readyState") == "ended"
    assert camera.get_attribute("#camera-live", "aria-pressed") == "false"
    assert camera.evaluate(FOCUSED) == "camera-open"


def test_a_camera_that_is_unplugged_is_told(camera: Page) -> None:
    camera.evaluate("() => track.stop()")
    camera.click("#camera-live")
    camera.wait_for_selector("#notice", state="visible")
    assert camera.get_by_role("alert").text_content().strip().startswith("The camera is gone.")
    assert camera.get_attribute("#camera-live", "aria-pressed") == "false"


def test_choosing_a_photo_lets_the_camera_go(camera: Page, photo: dict[str, Any], probs: np.ndarray) -> None:
    camera.set_input_files("#file", photo)
    camera.wait_for_selector("#results li")
    assert camera.evaluate("() => track.readyState") == "ended"
    assert shown(camera) == as_shown(probs)


def test_a_worker_that_broke_down_is_told_for_this_photo_and_the_next(page: Page, photo: dict[str, Any]) -> None:
    page.workers[0].evaluate("() => { setTimeout(() => { throw new Error('no memory'); }); }")
    for _ in range(2):
        page.set_input_files("#file", photo)
        page.wait_for_selector("#notice", state="visible")
        told = page.get_by_role("alert").text_content().strip()
        assert told == "The model stopped working. Reload the page to start it again."
        assert page.is_hidden("#results")
