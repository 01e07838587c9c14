"""The exported page in a real browser, on loopback."""

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from playwright.sync_api import Error as PlaywrightError
from playwright.sync_api import Page, sync_playwright

from tfpipe.core.errors import EnvironmentProblemError, TfpipeError

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
ARGUMENTS = (
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
READY_MS = 120_000


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
def open_page(site_dir: Path, overlay: dict[str, Path], chromium: Path) -> Iterator[Page]:
    """Serve the site and open it, its model loaded.

    Args:
        site_dir: the exported site.
        overlay: first part of a URL's path → a folder that answers for it instead.
        chromium: the browser.

    Raises:
        TfpipeError: with the page's own sentence, when it does not get ready.
    """
    with _serve(site_dir, overlay) as url, sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(executable_path=chromium, args=list(ARGUMENTS))
            page = browser.new_page()
            page.set_default_timeout(READY_MS)
            page.goto(url)
            _wait_until_ready(page)
            yield page
            browser.close()
        except PlaywrightError as error:
            raise TfpipeError(f"the page failed in {chromium}: {error.message.splitlines()[0]}") from None


def _wait_until_ready(page: Page) -> None:
    page.wait_for_function("() => window.tfpipe")
    try:
        page.evaluate("() => tfpipe.ready.then(() => true)")
    except PlaywrightError as error:
        raise TfpipeError(f"the page does not start: {error.message.splitlines()[0]}") from None


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
