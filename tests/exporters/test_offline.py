"""The page without a network, and from one version to the next."""

import base64
import hashlib
import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser, BrowserContext, Page
from sites import CLASSES, Server, expected_probs, make_site, named_tensor, serving, wait_until_ready

from tfpipe.exporters.offline import write_service_worker
from tfpipe.exporters.site import WEB_DIR

IS_WAITING = "async () => (await navigator.serviceWorker.getRegistration()).waiting !== null"
FETCH = "(path) => fetch(path).then((response) => response.text(), () => null)"
UPDATE = """async () => {
    const registration = await navigator.serviceWorker.getRegistration();
    await registration.update().catch(() => null);
    while (registration.installing) await new Promise((resolve) => setTimeout(resolve, 20));
}"""


@pytest.fixture
def site(site_dir: Path, tmp_path: Path) -> Path:
    """A copy, to be changed, with two files that few visits need."""
    site = Path(shutil.copytree(site_dir, tmp_path / "page"))
    for name in ("tf-webgl.js", "tf-webgpu.js"):
        (site / "vendor" / name).write_text(name)
    shutil.copyfile(WEB_DIR / "common" / "sw.js", site / "sw.js")
    write_service_worker(site)
    return site


@pytest.fixture
def server(site: Path) -> Iterator[Server]:
    """The site in a folder of the server's."""
    with serving(site.parent) as server:
        yield replace(server, url=f"{server.url}{site.name}/")


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    context = browser.new_context()
    yield context
    context.close()


def visit(context: BrowserContext, server: Server) -> Page:
    """The first visit, until the site is on the device."""
    page = context.new_page()
    page.goto(server.url)
    wait_until_ready(page)
    page.wait_for_selector("#kept", state="visible")
    return page


def reload(page: Page) -> Page:
    page.reload()
    return wait_until_ready(page)


def read_worker(folder: Path) -> dict[str, Any]:
    """The constants at the head of `sw.js`."""
    lines = re.findall(r"^const (\w+) = (.*?);$", (folder / "sw.js").read_text(), re.MULTILINE | re.DOTALL)
    return {name: json.loads(value) for name, value in lines if name in ("VERSION", "FILES", "LATER")}


def write_files(folder: Path, **contents: str) -> Path:
    for name, content in ({"sw__js": "run();\n", "index__html": "<p>", "model__tflite": "TFL3"} | contents).items():
        path = folder / name.replace("___", "/").replace("__", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return folder


def test_the_service_worker_names_what_the_page_needs_with_hashes_and_a_version(tmp_path: Path) -> None:
    folder = write_files(tmp_path, app__js="1", vendor___tf_webgl__js="2", vendor___tf_core__js="3")
    version = write_service_worker(folder)
    found = read_worker(folder)
    assert found["VERSION"] == version
    assert set(found["FILES"]) == {"index.html", "app.js", "vendor/tf_core.js"}
    assert set(found["LATER"]) == {"vendor/tf_webgl.js"}
    assert found["FILES"]["app.js"] == "sha256-" + base64.b64encode(hashlib.sha256(b"1").digest()).decode()
    assert (folder / "sw.js").read_text().endswith("\nrun();\n")


@pytest.mark.parametrize("change", [{"app__js": "2"}, {"model__tflite": "4"}, {"sw__js": "walk();"}, {"b__js": ""}])
def test_whatever_changes_makes_another_version(tmp_path: Path, change: dict[str, str]) -> None:
    first = write_service_worker(write_files(tmp_path / "first", app__js="1"))
    assert write_service_worker(write_files(tmp_path / "same", app__js="1")) == first
    assert write_service_worker(write_files(tmp_path / "other", **({"app__js": "1"} | change))) != first


def test_after_a_visit_the_page_works_without_its_server(
    server: Server, context: BrowserContext, exported: Any, images: np.ndarray
) -> None:
    page = visit(context, server)
    assert not page.evaluate("() => crossOriginIsolated")
    assert reload(page).evaluate(FETCH, "vendor/tf-webgl.js") == "tf-webgl.js"
    server.stop()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    reload(page)
    np.testing.assert_allclose(
        named_tensor(page, images[0]), expected_probs(exported.network, images[:1])[0], atol=1e-4
    )
    page.click("#example-list button")
    page.wait_for_selector("#results li")
    assert page.text_content("#true-label").startswith(f"This photo is labelled “{CLASSES[0]}”.")
    assert page.evaluate(FETCH, "model_card.md") == "# A card\n"
    assert page.evaluate(FETCH, "vendor/tf-webgl.js") == "tf-webgl.js"
    assert page.evaluate(FETCH, "vendor/tf-webgpu.js") is None  # asked for by nobody while there was a server
    assert all(url.startswith((server.url, "blob:", "data:")) for url in asked), asked


def test_what_the_device_answers_is_isolated_and_nothing_breaks_by_it(
    server: Server, context: BrowserContext, images: np.ndarray
) -> None:
    """Threads of wasm, blob images and the camera; and nothing leaks."""
    page = visit(context, server)
    reload(page)
    assert page.evaluate("() => crossOriginIsolated")
    assert page.evaluate("async () => (await tfpipe.ready).backend") == "wasm"
    before = page.evaluate("() => tfpipe.numTensors()")
    for _ in range(100):
        named_tensor(page, images[0])
    assert page.evaluate("() => tfpipe.numTensors()") == before
    page.click("text=Use the camera")
    page.click("text=Capture")
    page.wait_for_selector("#results li")
    assert page.evaluate("() => document.getElementById('photo').naturalWidth") > 0


def test_a_newer_version_is_offered_and_taken_in_all_tabs(
    server: Server, context: BrowserContext, site: Path, exported: Any, images: np.ndarray
) -> None:
    page = visit(context, server)
    neighbour = f"tfpipe {server.url}neighbour/ 1"
    page.evaluate("(name) => caches.open(name)", neighbour)
    other = context.new_page()
    other.goto(server.url)
    make_site(site.parent, exported.int8_dir, title="Herbs, second edition")
    reload(page)
    page.wait_for_selector("text=A newer version is here.")
    old, new = (expected_probs(network, images[:1])[0] for network in (exported.network, exported.rounded))
    assert page.title() == "Herbs <of> the field"
    np.testing.assert_allclose(named_tensor(page, images[0]), old, atol=1e-4)
    page.click("#update-reload")
    for tab in (page, other):
        tab.wait_for_function("() => document.title === 'Herbs, second edition'")
        np.testing.assert_allclose(named_tensor(wait_until_ready(tab), images[0]), new, atol=1e-5)
    assert np.abs(old - new).max() > 1e-3
    assert page.is_hidden("#update")
    kept = page.evaluate("() => caches.keys()")
    assert len(kept) == 2
    assert neighbour in kept


def test_half_of_a_newer_version_is_not_taken(
    server: Server, context: BrowserContext, site: Path, site_dir: Path, exported: Any, images: np.ndarray
) -> None:
    """Its files came, but for one that still is the old one."""
    page = visit(context, server)
    make_site(site.parent, exported.int8_dir, title="Herbs, second edition")
    shutil.copyfile(site_dir / "model" / "model.json", site / "model" / "model.json")
    reload(page)
    page.evaluate(UPDATE)
    assert not page.evaluate(IS_WAITING)
    assert page.title() == "Herbs <of> the field"
    np.testing.assert_allclose(
        named_tensor(page, images[0]), expected_probs(exported.network, images[:1])[0], atol=1e-4
    )
    shutil.copyfile(exported.int8_dir / "model.json", site / "model" / "model.json")
    page.evaluate(UPDATE)
    assert page.evaluate(IS_WAITING)


@pytest.mark.parametrize("where", ["another host, without https", "a browser that refuses"])
def test_where_it_cannot_be_kept_the_page_works_all_the_same(
    server: Server, browser: Browser, images: np.ndarray, where: str
) -> None:
    is_foreign = where.startswith("another")
    context = browser.new_context(service_workers="allow" if is_foreign else "block")
    page = context.new_page()
    page.goto(server.url.replace("127.0.0.1", "foreign.test") if is_foreign else server.url)
    assert sum(named_tensor(wait_until_ready(page), images[0])) == pytest.approx(1)
    assert page.is_hidden("#kept")
    context.close()
