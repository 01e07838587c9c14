"""A site around the small student, a server that can be stopped, and what the page says of tensors and photos."""

import base64
import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page
from scipy.special import softmax

from tfpipe.core.files import sha256_json
from tfpipe.core.inputs import ImageInput
from tfpipe.exporters.site import Example, Site, build_site

SIZE = 32
CLASSES = ["Acer campestre", "Bellis perennis", "Crocus", "Digitalis", "Ähre <b>"]
SPEC = ImageInput(SIZE)
TEMPERATURE = 1.5
CALIBRATION = {
    "temperature": TEMPERATURE,
    "threshold": 0.6,
    "sets": {"level": 0.9, "quantile": 0.9, "of_class": {"1": 0.0}},
    "classes_sha256": sha256_json(CLASSES),
}
REGIONS = {
    "mode": "filter",
    "smoothing": 1.0,
    "regions": {"EU": {"classes": [0, 1, 2], "counts": [3, 1, 2]}, "US": {"classes": [1, 3, 4], "counts": [4, 1, 5]}},
}

Array = np.ndarray


def make_jpeg(width: int = 75, height: int = 50) -> bytes:
    """A smooth picture with a bright corner, so that a wrong crop or a mirrored one would show."""
    rows, columns = np.mgrid[0:height, 0:width]
    pixels = np.stack([rows * 255 / height, columns * 255 / width, 255 * (rows + columns < 30)], axis=-1)
    file = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(file, "JPEG", quality=92)
    return file.getvalue()


def make_site(folder: Path, tfjs_dir: Path, **changes: Any) -> Path:
    """Build a site in `folder / "page"`, or build it anew."""
    folder.mkdir(exist_ok=True)
    (folder / "manifest.yaml").write_text("steps: {}\n")
    (folder / "float16.tflite").write_bytes(b"TFL3")
    values: dict[str, Any] = {
        "task": "image",
        "title": "Herbs <of> the field",
        "description": "A test.",
        "classes": CLASSES,
        "model_input": SPEC,
        "tfjs_dir": tfjs_dir,
        "tflite_path": folder / "float16.tflite",
        "calibration": CALIBRATION,
        "regions": REGIONS,
        "examples": [Example(make_jpeg(), CLASSES[0])],
        "model_card": "# A card\n",
        "manifest_path": folder / "manifest.yaml",
    }
    build_site(Site(**(values | changes)), folder / "page")
    return folder / "page"


def expected_probs(network: keras.Model, images: Array) -> Array:
    return softmax(network(images, training=False).numpy().astype(np.float64) / TEMPERATURE, axis=-1)


@dataclass(frozen=True)
class Server:
    """A folder on loopback."""

    url: str
    http: ThreadingHTTPServer

    def stop(self) -> None:
        self.http.shutdown()
        self.http.server_close()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def serving(folder: Path) -> Iterator[Server]:
    http = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder)))
    threading.Thread(target=http.serve_forever, daemon=True).start()
    server = Server(f"http://127.0.0.1:{http.server_address[1]}/", http)
    try:
        yield server
    finally:
        server.stop()


def wait_until_ready(page: Page) -> Page:
    page.wait_for_function("() => window.tfpipe")
    page.evaluate("() => tfpipe.ready.then(() => true)")
    return page


def named_tensor(page: Page, image: Array) -> list[float]:
    """The page's probabilities of a preprocessed image (SIZE, SIZE, 3)."""
    script = """async (values) =>
        Array.from((await tfpipe.predict({ type: "tensor", values: Float32Array.from(values) })).probs)"""
    return page.evaluate(script, image.ravel().tolist())


def named_photo(page: Page, photo: bytes) -> list[float]:
    """The page's probabilities of an encoded photo."""
    script = """async (base64) => {
        const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
        return Array.from((await tfpipe.predict({ type: "image", bytes: bytes.buffer })).probs);
    }"""
    return page.evaluate(script, base64.b64encode(photo).decode())


def shown(page: Page) -> dict[str, float]:
    """Names and per cents, as they stand on the page, the likeliest first."""
    rows = page.locator("#results li").all()
    return {row.locator(".name").text_content(): _number(row.locator(".percent").text_content()) for row in rows}


def _number(percent: str) -> float:
    return float(percent.strip("<> %")) / 100


def as_shown(probs: Array) -> dict[str, float]:
    """What ought to stand there; to half of a thousandth, as it is rounded."""
    return {CLASSES[number]: pytest.approx(probs[number], abs=1.1e-3) for number in np.argsort(-probs)}
