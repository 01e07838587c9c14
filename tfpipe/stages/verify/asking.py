"""The exported page in a browser, and what it answers."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from playwright.sync_api import Browser

from tfpipe.core.progress import Advance
from tfpipe.core.settings import Precision
from tfpipe.exporters.browser import open_page

Array = np.ndarray
InputKind = Literal["f32", "jpg", "i32", "txt"]
"""Ending of a file: a tensor of a photo, a photo, a tensor of a text, a text."""

REFERENCE = "cpu"
"""The backend that others are compared with, layer by layer: plain JavaScript, nothing clever."""

ABOUT = """async () => {
    const { backend, description, difference, left, firstPredictionMs } = await tfpipe.ready;
    return { backend, description, difference, left, firstPredictionMs, readyMs: performance.now() };
}"""

OBSERVE = """() => {
    window.blocks = [];
    const observer = new PerformanceObserver((list) => blocks.push(...list.getEntries().map((task) => task.duration)));
    observer.observe({ type: "longtask", buffered: true });
}"""

LONGEST_BLOCK = "() => new Promise((resolve) => setTimeout(() => resolve(Math.max(0, ...blocks)), 100))"

READ = """async (url) => {
    const bytes = await (await fetch(url)).arrayBuffer();
    const readers = {
        f32: () => ({ type: "tensor", values: new Float32Array(bytes) }),
        i32: () => ({ type: "tensor", values: new Int32Array(bytes) }),
        jpg: () => ({ type: "image", bytes }),
        txt: () => ({ type: "text", text: new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes) }),
    };
    return readers[url.split(".").pop()]();
}"""

PREDICT = f"""async (url) => {{
    const {{ probs, milliseconds }} = await tfpipe.predict(await ({READ})(url));
    return {{ probs: Array.from(probs), milliseconds }};
}}"""

DIVERGENCE = f"""async ([url, reference]) => tfpipe.findDivergence(await ({READ})(url), reference)"""


@dataclass(frozen=True)
class Answers:
    """What the page said of all inputs."""

    probs: Array
    """(inputs, num_classes), calibrated."""
    latency_ms: Array
    """(inputs,), from input to answer."""
    about: dict[str, Any]
    """The backend it took, those it left and why, its own check's largest error, and how long it took to start."""
    num_leaked_tensors: int
    longest_block_ms: float
    """For which the page's main thread did nothing else; 0 below the 50 ms from which browsers tell."""


@dataclass(frozen=True)
class Asked:
    """A page, and the inputs that it is asked about."""

    site_dir: Path
    export_dir: Path
    """With the model in each precision."""
    inputs_dir: Path
    """`<number>.<kind>`; tensors are little-endian."""
    browser: Browser
    advance: Advance

    def ask(self, kind: InputKind, count: int, *, precision: Precision | None = None, backend: str = "") -> Answers:
        """Open the page afresh and let it answer the first inputs.

        Args:
            kind: of the inputs.
            count: of them.
            precision: of the model; unset, the site's own.
            backend: to take; unset, the page chooses.

        Raises:
            AbsentBackendError: when the browser does not have the backend.
        """
        with open_page(self.site_dir, self._overlay(precision), self.browser, backend=backend) as page:
            about = page.evaluate(ABOUT)
            page.evaluate(OBSERVE)
            num_tensors = page.evaluate("() => tfpipe.numTensors()")
            answers = []
            for number in range(count):
                answers.append(page.evaluate(PREDICT, f"verify/{number}.{kind}"))
                self.advance()
            return Answers(
                probs=np.array([answer["probs"] for answer in answers], np.float32),
                latency_ms=np.array([answer["milliseconds"] for answer in answers]),
                about=about,
                num_leaked_tensors=page.evaluate("() => tfpipe.numTensors()") - num_tensors,
                longest_block_ms=page.evaluate(LONGEST_BLOCK),
            )

    def find_divergence(self, kind: InputKind, number: int, backend: str) -> dict[str, Any] | None:
        """The first node that a backend computes otherwise than the reference does: its name and relative difference.

        Args:
            kind: of the input.
            number: of the input.
            backend: that is wrong.
        """
        with open_page(self.site_dir, self._overlay(None), self.browser, backend=backend) as page:
            found: dict[str, Any] | None = page.evaluate(DIVERGENCE, [f"verify/{number}.{kind}", REFERENCE])
            return found

    def _overlay(self, precision: Precision | None) -> dict[str, Path]:
        model = {"model": self.export_dir / precision} if precision else {}
        return {"verify": self.inputs_dir, **model}
