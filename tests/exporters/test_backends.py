"""The backends of TensorFlow.js: each answers as Keras does, or is found out."""

import json
import shutil
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from broken_backend import WITHOUT_ACTIVATION
from playwright.sync_api import Browser
from scipy.special import softmax

from tfpipe.core.errors import TfpipeError
from tfpipe.core.settings import Backend
from tfpipe.exporters.browser import AbsentBackendError, open_page

PREDICT = """async (values) =>
    Array.from((await tfpipe.predict({ type: "tensor", values: Float32Array.from(values) })).probs)"""
TEMPERATURE = 1.5


@pytest.fixture
def broken_dir(site_dir: Path, tmp_path: Path) -> Path:
    """Scripts of TensorFlow.js with a wasm that is wrong."""
    shutil.copytree(site_dir / "vendor", tmp_path / "vendor")
    with (tmp_path / "vendor" / "tf-backend-wasm.min.js").open("a") as file:
        file.write(WITHOUT_ACTIVATION)
    return tmp_path / "vendor"


def copy_vendor_without(site_dir: Path, target: Path, *backends: str) -> Path:
    shutil.copytree(site_dir / "vendor", target / "vendor")
    for backend in backends:
        (target / "vendor" / f"tf-backend-{backend}.min.js").write_text("")
    return target / "vendor"


@pytest.mark.parametrize("backend", get_args(Backend))
def test_every_backend_answers_in_int8_as_the_rounded_network_does(
    backend: str, site_dir: Path, browser: Browser, exported: Any, images: np.ndarray
) -> None:
    expected = softmax(exported.rounded(images[:2], training=False).numpy() / TEMPERATURE, axis=-1)
    try:
        with open_page(site_dir, {"model": exported.int8_dir}, browser, backend=backend) as page:
            about = page.evaluate("() => tfpipe.ready")
            found = [page.evaluate(PREDICT, image.ravel().tolist()) for image in images[:2]]
    except AbsentBackendError:
        pytest.skip(f"this browser has no {backend}")
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert about["backend"] == backend
    assert about["difference"] < 1e-4


def test_the_page_leaves_a_backend_that_is_wrong_and_says_so(
    site_dir: Path, browser: Browser, exported: Any, images: np.ndarray, broken_dir: Path
) -> None:
    expected = softmax(exported.network(images[:1], training=False).numpy() / TEMPERATURE, axis=-1)
    with open_page(site_dir, {"vendor": broken_dir}, browser) as page:
        about = page.evaluate("() => tfpipe.ready")
        (found,) = [page.evaluate(PREDICT, image.ravel().tolist()) for image in images[:1]]
        told = page.text_content("#timing")
    assert [left["backend"] for left in about["left"]] == ["wasm"]
    assert about["backend"] != "wasm"
    np.testing.assert_allclose(found, expected[0], atol=1e-4)
    assert "not wasm: its answers are off by 0." in told


def test_of_a_backend_that_is_wrong_the_first_wrong_layer_is_found(
    site_dir: Path, browser: Browser, exported: Any, images: np.ndarray, broken_dir: Path
) -> None:
    script = "async (values) => tfpipe.findDivergence({ type: 'tensor', values: Float32Array.from(values) }, 'cpu')"
    with open_page(site_dir, {"vendor": broken_dir}, browser, backend="wasm") as page:
        assert page.evaluate("async () => (await tfpipe.ready).difference") > 0.02
        found = page.evaluate(script, images[0].ravel().tolist())
    assert found["node"].startswith("expanded_conv_depthwise")
    assert found["difference"] > 0.01
    with open_page(site_dir, {}, browser, backend="wasm") as page:
        assert page.evaluate(script, images[0].ravel().tolist()) is None


def test_a_backend_that_there_is_not_is_told(site_dir: Path, browser: Browser) -> None:
    with (
        pytest.raises(TfpipeError, match=r"no backend “abacus”; there are wasm, webgl, webgpu, cpu"),
        open_page(site_dir, {}, browser, backend="abacus"),
    ):
        pass


def test_a_backend_that_this_browser_lacks_is_absent(site_dir: Path, browser: Browser, tmp_path: Path) -> None:
    """As where there is no graphics card: the script registers nothing."""
    vendor = copy_vendor_without(site_dir, tmp_path, "webgpu")
    with pytest.raises(AbsentBackendError), open_page(site_dir, {"vendor": vendor}, browser, backend="webgpu"):
        pass


def test_when_all_are_wrong_the_page_names_nothing(
    site_dir: Path, browser: Browser, tmp_path: Path, exported: Any
) -> None:
    golden = json.loads((exported.float32_dir / "golden.json").read_text())
    golden["expected"][0]["probs"][0] -= 0.5
    (tmp_path / "golden.json").write_text(json.dumps(golden))
    with (
        pytest.raises(TfpipeError, match=r"No backend of TensorFlow\.js answers rightly .*wasm: its answers are off"),
        open_page(site_dir, {"model": tmp_path}, browser),
    ):
        pass
