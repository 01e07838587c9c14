"""The exported page in a real browser, on loopback."""

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright
from playwright.sync_api import Error as PlaywrightError

from tfpipe.core.errors import EnvironmentProblemError, TfpipeError

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
ARGUMENTS = (
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    # WebGL and WebGPU in software, the same on every machine.
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--enable-unsafe-webgpu",
    "--use-webgpu-adapter=swiftshader",
    "--enable-features=Vulkan",
)
READY_MS = 120_000

READY = "() => tfpipe.ready.then(() => true, (error) => error.isAbsent ? false : Promise.reject(error))"


class AbsentBackendError(TfpipeError):
    """The browser does not have the backend that was asked for."""


def find_chromium(configured: Path | None) -> Path:
    """The browser to use.

    Raises:
        EnvironmentProblemError: saying how to get one.
    """
    found = configured or next((Path(path) for name in NAMES if (path := shutil.which(name))), None)
    if found is None or not found.is_file():
        looked_for = str(configured) if configured else ", ".join(NAMES)
        raise EnvironmentProblemError(
            f"no browser ({looked_for}): `verify` runs the page in Chromium. Install it (Debian, Ubuntu: "
            "`apt-get install chromium`), or set `verify.chromium` to its path."
        )
    return found


@contextmanager
def open_browser(chromium: Path) -> Iterator[Browser]:
    """Start the browser.

    Raises:
        TfpipeError: when it does not start.
    """
    with _in_a_sentence(f"the browser {chromium} failed"), sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=list(ARGUMENTS))
        yield browser
        # Not after Ctrl-C, which has ended the driver already: it would complain of that on standard error.
        browser.close()


@contextmanager
def open_page(site_dir: Path, overlay: dict[str, Path], browser: Browser, *, backend: str = "") -> Iterator[Page]:
    """Serve the site and open it, its model loaded.

    Args:
        site_dir: the exported site.
        overlay: first part of a URL's path → a folder that answers for it instead.
        browser: its profile is a fresh one for this page.
        backend: of TensorFlow.js, to be taken even if it is wrong; else the page chooses.

    Raises:
        AbsentBackendError: when the browser does not have it.
        TfpipeError: with the page's own sentence, when it does not get ready.
    """
    with _in_a_sentence("the page failed in the browser"), _serve(site_dir, overlay) as url:
        # What is served changes from page to page: nothing may answer in the server's place.
        page = browser.new_page(service_workers="block")
        page.set_default_timeout(READY_MS)
        page.goto(f"{url}?backend={backend}" if backend else url)
        _wait_until_ready(page)
        yield page
        page.close()


@contextmanager
def _in_a_sentence(what: str) -> Iterator[None]:
    try:
        yield
    except PlaywrightError as error:
        raise TfpipeError(f"{what}: {error.message.splitlines()[0]}") from None


def _wait_until_ready(page: Page) -> None:
    page.wait_for_function("() => window.tfpipe")
    try:
        is_there = page.evaluate(READY)
    except PlaywrightError as error:
        raise TfpipeError(f"the page does not start: {error.message.splitlines()[0]}") from None
    if not is_there:
        raise AbsentBackendError("the browser does not have the backend that was asked for.")


class _Handler(SimpleHTTPRequestHandler):
    """Files of one folder, or of another where a path begins with its name."""

    def __init__(self, *args: Any, overlay: dict[str, Path], **kwargs: Any) -> None:
        self.overlay = overlay
        super().__init__(*args, **kwargs)

    def translate_path(self, path: str) -> str:
        """The file that answers for a URL's path."""
        first, _, rest = path.lstrip("/").partition("/")
        if first in self.overlay and (self.overlay[first] / rest).is_file():
            return str(self.overlay[first] / rest)
        return super().translate_path(path)

    def end_headers(self) -> None:
        """Isolate the page, without which wasm has no threads."""
        self.send_header("Cross-Origin-Opener-Policy", "same-origin")
        self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
        super().end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@contextmanager
def _serve(site_dir: Path, overlay: dict[str, Path]) -> Iterator[str]:
    handler = partial(_Handler, directory=str(site_dir), overlay=overlay)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/"
        finally:
            server.shutdown()
