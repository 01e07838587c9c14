"""A student's page beside Python, over thousands of texts, and how long it takes from a key to the answer.

    python -m benchmarks.text_page configs/emotions_student.yaml --count 5000

Every text of the source is given to the page as its field would give it: read by the page's tokenizer, answered by its
model on wasm. Python answers the same with the int8 network. Then a person's typing: each text grows key by key, and
what counts is the time from the key to the moment at which all names have moved. The table is written to
benchmarks/TEXT_PAGE.md. The student is trained if it is not.
"""

import argparse
import json
from datetime import date
from itertools import islice
from pathlib import Path

import numpy as np
from playwright.sync_api import Page

KEYS = 2000
ANSWER = """async (texts) => {
    const answers = [];
    for (const text of texts) {
        const { probs, shape } = await tfpipe.predict({ type: "text", text });
        answers.push([shape[1], ...probs]);
    }
    return answers;
}"""
TYPE = """async (texts) => {
    const field = document.getElementById("text");
    const isIdle = () => !document.body.classList.contains("is-busy");
    const times = [];
    for (const text of texts) {
        for (let end = 1; end <= text.length; end++) {
            field.value = text.slice(0, end);
            if (!field.value.trim()) continue;
            const begin = performance.now();
            field.dispatchEvent(new Event("input"));
            await new Promise((resolve) => {
                const observer = new MutationObserver(() => isIdle() && (observer.disconnect(), resolve()));
                observer.observe(document.body, { attributeFilter: ["class"] });
            });
            times.push(performance.now() - begin);
        }
    }
    return times;
}"""


def main() -> None:
    """Compare, type, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path)
    parser.add_argument("--count", type=int, default=5000)
    parser.add_argument("--output", type=Path, default=Path(__file__).with_name("TEXT_PAGE.md"))
    arguments = parser.parse_args()
    arguments.output.write_text(measure(arguments.config, arguments.count), encoding="utf-8")
    print(arguments.output.read_text(encoding="utf-8"))


def measure(path: Path, count: int) -> str:
    """The table of a student's page."""
    from tfpipe.core.config import load_config
    from tfpipe.core.workspace import Workspace
    from tfpipe.data.rows import iter_rows
    from tfpipe.exporters.browser import find_chromium, open_browser, open_page
    from tfpipe.stages.runner import run_step

    run_step("export", path)
    config, workspace = load_config(path), Workspace()
    texts = list(islice((row.text for row in iter_rows(workspace.raw_path(config)) if row.text), count))
    with (
        open_browser(find_chromium(None)) as browser,
        open_page(workspace.exported_dir(config), {}, browser, backend="wasm") as page,
    ):
        answers = np.array([answer for part in _parts(texts, 100) for answer in page.evaluate(ANSWER, part)])
        times = _type(page, texts)
        backend = page.evaluate("async () => (await tfpipe.ready).description")
    lengths, probs = answers[:, 0].astype(int), answers[:, 1:]
    expected_lengths, expected = _expected(path, texts)
    difference = np.abs(probs - expected).max(axis=1)
    p50, p95, p99 = np.percentile(times, [50, 95, 99])
    metrics = json.loads((workspace.step_dir(config, "export") / "metrics.json").read_text(encoding="utf-8"))
    rows = {
        "texts": f"{len(texts):,}",
        "texts with as many sub-words as in Python": f"{(lengths == expected_lengths).sum():,}",
        "texts with the same likeliest class": f"{(probs.argmax(1) == expected.argmax(1)).sum():,}",
        "largest difference of a probability": f"{difference.max():.1e}",
        "bytes of the int8 weights": f"{metrics['weight_bytes']['int8']:,}",
        f"from a key to the answer, {len(times):,} keys, p50": f"{p50:.1f} ms",
        "p95": f"{p95:.1f} ms",
        "p99": f"{p99:.1f} ms",
    }
    table = "\n".join(f"| {name} | {value} |" for name, value in rows.items())
    return (
        f"# The page of {config.name}\n\n{date.today().isoformat()}, headless Chromium, {backend}; int8 weights there "
        f"and in Python.\n\n| | |\n|---|---:|\n{table}\n"
    )


def _parts(texts: list[str], size: int) -> list[list[str]]:
    return [texts[start : start + size] for start in range(0, len(texts), size)]


def _type(page: Page, texts: list[str]) -> list[float]:
    """Milliseconds of each of the first `KEYS` keys."""
    times: list[float] = []
    for text in texts:
        times += page.evaluate(TYPE, [text])
        if len(times) >= KEYS:
            break
    return times[:KEYS]


def _expected(path: Path, texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Sub-words (texts,) and probabilities (texts, num_classes) of the int8 network in Python."""
    import tensorflow as tf

    from tfpipe.core.config import load_config
    from tfpipe.core.files import read_json
    from tfpipe.core.inputs import TextInput
    from tfpipe.core.workspace import Workspace
    from tfpipe.data.tokens import build_encode_array
    from tfpipe.models.saving import load_model
    from tfpipe.stages.evaluate.predictions import compiled

    config, workspace = load_config(path), Workspace()
    network, card = load_model(workspace.int8_path(config))
    assert isinstance(card.model_input, TextInput)
    temperature = read_json(workspace.page_calibration_path(config))["temperature"]
    ask, encode = compiled(network), build_encode_array(card.model_input)
    batches = [encode(np.array([text.encode() for text in part], object)) for part in _parts(texts, 64)]
    probs = [tf.nn.softmax(ask(tf.constant(ids)) / temperature).numpy() for ids in batches]
    lengths = [(ids != card.model_input.pad_id).sum(axis=1) for ids in batches]
    return np.concatenate(lengths), np.concatenate(probs)


if __name__ == "__main__":
    main()
