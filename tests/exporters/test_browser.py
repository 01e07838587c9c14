"""The page in a real browser: it answers as Keras does, and says in a sentence when it cannot."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from playwright.sync_api import Browser
from sites import CALIBRATION, CLASSES, SIZE, SPEC, expected_probs, make_jpeg, named_photo, named_tensor

from tfpipe.core.errors import EnvironmentProblemError, TfpipeError
from tfpipe.core.inputs import input_from_json
from tfpipe.data.views import centre_square, normalise
from tfpipe.exporters.browser import NAMES, find_chromium, open_browser, open_page


def copy_without(site_dir: Path, target: Path, missing: str) -> Path:
    shutil.copytree(site_dir, target)
    for path in target.glob(missing):
        path.unlink()
    return target


def test_a_browser_that_is_configured_is_taken_and_no_other(tmp_path: Path) -> None:
    mine = tmp_path / "chromium"
    mine.touch()
    assert find_chromium(mine) == mine
    with pytest.raises(EnvironmentProblemError, match=r"no browser \(.*/absent\).*verify\.chromium"):
        find_chromium(tmp_path / "absent")


def test_without_a_browser_it_says_how_to_get_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EnvironmentProblemError, match=r"no browser \(chromium, .*\).*apt-get install chromium"):
        find_chromium(None)


@pytest.mark.parametrize("name", NAMES)
def test_a_browser_is_found_by_each_of_its_names(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / name).touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_chromium(None) == tmp_path / name


def test_a_browser_that_does_not_start_is_named(tmp_path: Path) -> None:
    """Before the first page here: a process has one browser at a time."""
    (tmp_path / "chromium").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "chromium").chmod(0o755)
    with pytest.raises(TfpipeError, match=r"the browser .*/chromium failed: BrowserType\.launch: "):
        open_browser(tmp_path / "chromium").__enter__()


def test_a_site_has_all_that_its_model_needs(site_dir: Path, exported: Any) -> None:
    model = site_dir / "model"
    assert json.loads((model / "classes.json").read_text(encoding="utf-8"))["classes"] == CLASSES
    assert json.loads((model / "calibration.json").read_text()) == CALIBRATION
    assert (site_dir / "model.tflite").read_bytes() == b"TFL3"
    assert input_from_json(json.loads((model / "preprocessing.json").read_text())) == SPEC
    assert (model / "model.json").read_bytes() == (exported.float32_dir / "model.json").read_bytes()
    (example,) = json.loads((site_dir / "examples" / "index.json").read_text(encoding="utf-8"))["examples"]
    assert example["label"] == CLASSES[0]
    assert (site_dir / example["file"]).read_bytes() == make_jpeg()
    assert (site_dir / "model_card.md").read_text() == "# A card\n"
    assert (site_dir / "manifest.yaml").read_text() == "steps: {}\n"


@pytest.mark.parametrize(
    ("missing", "sentence"),
    [
        ("model/model.json", r"the page does not start: .*model/model\.json is missing \(the server answered 404\)"),
        ("model/*.bin", r"the page does not start: .*model/.*\.bin is missing"),
        ("model/calibration.json", r"the page does not start: .*model/calibration\.json is missing"),
        ("vendor/tf-core.min.js", r"the page does not start: .*vendor/tf-core\.min\.js could not be loaded"),
    ],
)
def test_a_site_that_lacks_something_says_what(
    site_dir: Path, browser: Browser, tmp_path: Path, missing: str, sentence: str
) -> None:
    broken = copy_without(site_dir, tmp_path / "broken", missing)
    with pytest.raises(TfpipeError, match=sentence), open_page(broken, {}, browser):
        pass


def test_the_page_answers_as_keras_does(site_dir: Path, browser: Browser, exported: Any, images: np.ndarray) -> None:
    """On tensors, and on a JPEG through the browser's decoder and the page's own crop and resize."""
    jpeg = make_jpeg()
    pixels = normalise(centre_square(tf.constant(jpeg), SIZE, tf.zeros(2, tf.int32)), SPEC).numpy()
    inputs = np.concatenate([images, pixels[None]])
    expected = expected_probs(exported.network, inputs)
    assert np.abs(np.diff(expected, axis=0)).max() > 1e-2
    with open_page(site_dir, {}, browser) as page:
        from_tensors = [named_tensor(page, image) for image in images]
        from_jpeg = named_photo(page, jpeg)
        assert page.title() == "Herbs <of> the field"
        assert page.evaluate("async () => (await tfpipe.ready).classes") == CLASSES
    np.testing.assert_allclose(from_tensors, expected[:-1], atol=1e-4)
    np.testing.assert_allclose(from_jpeg, expected[-1], atol=1e-4)


def test_the_page_answers_in_int8_as_the_rounded_network_does(
    site_dir: Path, browser: Browser, exported: Any, images: np.ndarray
) -> None:
    """On wasm, the multiplication done as the model loads."""
    expected = expected_probs(exported.rounded, images)
    exact = expected_probs(exported.network, images)
    with open_page(site_dir, {"model": exported.int8_dir}, browser) as page:
        found = [named_tensor(page, image) for image in images]
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert np.abs(expected - exact).max() > 1e-3


def test_another_folder_can_answer_for_a_part_of_the_site(
    site_dir: Path, browser: Browser, exported: Any, images: np.ndarray
) -> None:
    """`verify` shows the page the float16 weights so: near float32's answer, but not it."""
    with open_page(site_dir, {"model": exported.float16_dir}, browser) as page:
        found = named_tensor(page, images[0])
    expected = expected_probs(exported.network, images[:1])[0]
    assert 1e-6 < np.abs(np.array(found) - expected).max() < 2e-2


@pytest.mark.parametrize(("threshold", "verdict"), [(0.999, "Not conclusive: "), (0.0, ""), (None, "")])
def test_below_the_threshold_the_page_says_that_it_is_not_conclusive(
    site_dir: Path, browser: Browser, tmp_path: Path, exported: Any, threshold: float | None, verdict: str
) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "calibration.json").write_text(json.dumps(CALIBRATION | {"threshold": threshold}))
    pixels = normalise(centre_square(tf.constant(make_jpeg()), SIZE, tf.zeros(2, tf.int32)), SPEC).numpy()
    (probs,) = expected_probs(exported.network, pixels[None])
    with open_page(site_dir, {"model": tmp_path / "model"}, browser) as page:
        page.click("#example-list button")
        page.wait_for_selector("#results li")
        assert page.text_content("#verdict").startswith(verdict)
        assert page.is_visible("#verdict") == bool(verdict)
        # Of 0.9 each class with a tenth, but of the second only what is certain.
        names = [name for number, name in enumerate(CLASSES) if number != 1 and probs[number] >= 0.1]
        assert page.text_content("#set") == f"Of 90.0 % of photos the true name is among: {', '.join(names)}."


def with_keys(**changes: Any) -> Callable[[bytes], bytes]:
    """Other values in a JSON document."""
    return lambda content: json.dumps(json.loads(content) | changes).encode()


@pytest.mark.parametrize(
    ("file", "spoil", "sentence"),
    [
        ("*.bin", lambda content: content[:-1], r"The weights are incomplete: \d+ bytes arrived, model\.json names"),
        ("*.bin", lambda content: content + b"\0", r"The weights are incomplete: \d+ bytes arrived, model\.json names"),
        ("classes.json", with_keys(classes=CLASSES[1:]), "has 5 outputs, but model/classes.json names 4 classes"),
        (
            "classes.json",
            with_keys(classes=[*CLASSES, "Rosa"]),
            "has 5 outputs, but model/classes.json names 6 classes",
        ),
        ("classes.json", lambda content: content[:-2], r"model/classes\.json is not valid JSON"),
        ("calibration.json", with_keys(classes_sha256="0"), "is of other classes than"),
        ("calibration.json", with_keys(temperature=0), "has the temperature 0"),
    ],
)
def test_files_that_do_not_fit_together_are_told(
    site_dir: Path, browser: Browser, tmp_path: Path, file: str, spoil: Callable[[bytes], bytes], sentence: str
) -> None:
    (path,) = (site_dir / "model").glob(file)
    (tmp_path / path.name).write_bytes(spoil(path.read_bytes()))
    with pytest.raises(TfpipeError, match=sentence), open_page(site_dir, {"model": tmp_path}, browser):
        pass
