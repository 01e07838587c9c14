"""`verify`: the page in a real browser against Python, on the same test images."""

from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, get_args

import keras
import numpy as np
import tensorflow as tf

from tfpipe.core.config import Config
from tfpipe.core.files import atomic_open, read_json
from tfpipe.core.progress import Advance, progress
from tfpipe.core.settings import Precision
from tfpipe.core.steps import Metrics
from tfpipe.core.workspace import Workspace
from tfpipe.data.pipeline import evaluation_batches
from tfpipe.data.records import Records
from tfpipe.exporters.browser import find_chromium, open_page
from tfpipe.models.saving import load_model
from tfpipe.training.reproducible import make_reproducible

Array = np.ndarray
Calls = list[tuple[str, Any]]
"""Scripts for the page, each with its argument."""

BACKEND = "() => tfpipe.ready.then(({backend, simd}) => backend + (simd ? ' with SIMD' : ''))"

PREDICT_TENSOR = """async ([index, size]) => {
    window.tensors ??= await (await fetch("verify/tensors.bin")).arrayBuffer();
    const values = new Float32Array(window.tensors, index * size * 4, size);
    const { probs, milliseconds } = await tfpipe.predictTensor(values);
    return { probs: Array.from(probs), milliseconds };
}"""

PREDICT_JPEG = """async (index) => {
    const photo = await (await fetch(`verify/${index}.jpg`)).arrayBuffer();
    const { probs, milliseconds } = await tfpipe.predictImage(photo);
    return { probs: Array.from(probs), milliseconds };
}"""


def run(config: Config, workspace: Workspace) -> Metrics:
    """Compare all precisions on equal tensors, and the page as it is on raw JPEG bytes.

    The limits stand in `tfpipe.core.criteria`; a page past them ends in exit 3.
    """
    make_reproducible(config.seed, deterministic=config.deterministic)
    chromium = find_chromium(config.verify.chromium)
    network, card = load_model(workspace.best_path(config))
    records = Records(workspace.records_dir(config), "test")
    count = min(config.verify.num_images, records.num_examples)
    batches = evaluation_batches(records, card.image_input, batch_size=count)
    images = next(iter(batches))[0].numpy()
    rounded, _ = load_model(workspace.step_dir(config, "export") / "int8.keras")
    temperature = read_json(workspace.page_calibration_path(config))["temperature"]
    expected = _expected(network, rounded, images, temperature)
    answers: dict[str, Array] = {}
    metrics: Metrics = {"num_images": count}
    backends: list[str] = []
    with TemporaryDirectory() as folder, progress(f"verify {config.name}", 4 * count) as advance:
        inputs = Path(folder)
        _write_inputs(images, records, inputs)
        for precision in get_args(Precision):
            model_dir = workspace.step_dir(config, "export") / precision
            with open_page(workspace.exported_dir(config), {"model": model_dir, "verify": inputs}, chromium) as page:
                backends.append(page.evaluate(BACKEND))
                size = images[0].size
                calls: Calls = [(PREDICT_TENSOR, [number, size]) for number in range(count)]
                answers[precision], metrics[precision] = _compare(page, calls, expected[precision], advance)
        with open_page(workspace.exported_dir(config), {"verify": inputs}, chromium) as page:
            backends.append(page.evaluate(BACKEND))
            calls = [(PREDICT_JPEG, number) for number in range(count)]
            answers["jpeg"], metrics["jpeg"] = _compare(page, calls, expected[config.export.precision], advance)
    # How much int8 changes is told, not bounded: that is the network's, and not the page's.
    metrics["int8"]["float32_top1_agreement"] = agreement(expected["float32"], answers["int8"])["top1_agreement"]
    with atomic_open(workspace.step_dir(config, "verify") / "differences.npz", "wb") as file:
        np.savez(file, python=expected["float32"], python_int8=expected["int8"], **answers)
    metrics["wasm_with_simd"] = int(all(name == "wasm with SIMD" for name in backends))
    return metrics


def _expected(network: keras.Model, rounded: keras.Model, images: Array, temperature: float) -> dict[Precision, Array]:
    """Probabilities (batch, num_classes) that each precision ought to give; int8 those of the rounded network."""
    logits = (model(images, training=False) for model in (network, rounded))
    exact, of_rounded = (tf.nn.softmax(each / temperature).numpy() for each in logits)
    return {"float32": exact, "float16": exact, "int8": of_rounded}


def agreement(expected: Array, found: Array) -> Metrics:
    """How far two sets of probabilities (batch, num_classes) are apart."""
    difference = np.abs(expected - found)
    return {
        "max_probability_difference": float(difference.max()),
        "mean_probability_difference": float(difference.mean()),
        "top1_agreement": float((expected.argmax(axis=-1) == found.argmax(axis=-1)).mean()),
        "correlation": float(np.corrcoef(expected.ravel(), found.ravel())[0, 1]),
    }


def _write_inputs(images: Array, records: Records, folder: Path) -> None:
    (folder / "tensors.bin").write_bytes(images.astype("<f4").tobytes())
    for number, example in enumerate(islice(records.examples().as_numpy_iterator(), len(images))):
        (folder / f"{number}.jpg").write_bytes(example["image"])


def _compare(page: Any, calls: Calls, expected: Array, advance: Advance) -> tuple[Array, Metrics]:
    answers = []
    for script, argument in calls:
        answers.append(page.evaluate(script, argument))
        advance()
    found = np.array([answer["probs"] for answer in answers], np.float32)
    p50, p95 = np.percentile([answer["milliseconds"] for answer in answers], [50, 95])
    return found, agreement(expected, found) | {"latency_p50_ms": float(p50), "latency_p95_ms": float(p95)}
