"""`verify`: the page in a real browser against Python, on the same test images."""

from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import get_args

import numpy as np
import tensorflow as tf

from tfpipe.core.config import Config
from tfpipe.core.files import atomic_open, read_json
from tfpipe.core.progress import progress
from tfpipe.core.settings import Backend, Precision
from tfpipe.core.steps import Metrics
from tfpipe.core.workspace import Workspace
from tfpipe.data.pipeline import evaluation_batches
from tfpipe.data.records import Records
from tfpipe.exporters.browser import AbsentBackendError, find_chromium
from tfpipe.models.saving import load_card, load_model
from tfpipe.quantization.precisions import in_float16
from tfpipe.stages.portable import load_portable
from tfpipe.stages.verify import waterfall
from tfpipe.stages.verify.asking import REFERENCE, Answers, Asked
from tfpipe.stages.verify.comparing import agreement, compare, decision_agreement, worst_image
from tfpipe.stages.verify.report import to_markdown
from tfpipe.stages.verify.waterfall import iter_levels, iter_levels_in_browser
from tfpipe.training.reproducible import make_reproducible

Array = np.ndarray

BATCH = 32
FIRST: Backend = get_args(Backend)[0]
DIVERGED = 1e-3
"""Difference of a probability beyond which the layer is looked for that it begins in."""


@dataclass(frozen=True)
class Found:
    """What the page said, opened in every way."""

    by_precision: dict[Precision, Answers]
    """Of tensors, on the backend that the page tries first."""
    by_backend: dict[Backend, Answers | None]
    """Of tensors, in the page's own precision; None where the browser lacks the backend."""
    photos: Answers
    """Of JPEG bytes, by the page as it is."""


def run(config: Config, workspace: Workspace) -> Metrics:
    """Compare precisions and backends on equal tensors, and the page as it is on raw JPEG bytes.

    The limits stand in `tfpipe.core.criteria`; a page past them ends in exit 3.
    """
    make_reproducible(config.seed, deterministic=config.deterministic)
    chromium = find_chromium(config.verify.chromium)
    levels = list(iter_levels(config, workspace))
    images, jpegs = _draw_images(config, workspace)
    calibration = read_json(workspace.page_calibration_path(config))
    expected = _expected(config, workspace, images, calibration["temperature"])
    counts = _count_images(config, len(images))
    num_answers = (len(get_args(Precision)) + 1) * len(images) + sum(counts.values())
    with TemporaryDirectory() as folder, progress(f"verify {config.name}", num_answers) as advance:
        _write_inputs(images, jpegs, Path(folder))
        export_dir = workspace.step_dir(config, "export")
        asked = Asked(workspace.exported_dir(config), export_dir, Path(folder), chromium, advance)
        found = _ask(asked, len(images), counts)
        metrics = _measure(expected, found, config, calibration["threshold"])
        metrics["backends"] = _measure_backends(expected[config.export.precision], found, asked)
    metrics |= _summary(metrics, found)
    step_dir = workspace.step_dir(config, "verify")
    _save(expected, found, metrics, step_dir)
    present = {name: said for name, said in found.by_backend.items() if said}
    levels += iter_levels_in_browser(config, workspace, present)
    with atomic_open(step_dir / "waterfall.md") as file:
        file.write(waterfall.to_markdown(levels))
    return metrics | {"waterfall": [asdict(level) for level in levels]}


def _count_images(config: Config, num_images: int) -> dict[Backend, int]:
    """Of each backend; the first is the page's own, and gets all."""
    few = min(config.verify.backend_images, num_images)
    return {backend: num_images if backend == FIRST else few for backend in config.verify.backends}


def _draw_images(config: Config, workspace: Workspace) -> tuple[Array, list[bytes]]:
    """The first test images as the network sees them, (images, size, size, 3), and as they are stored."""
    card = load_card(workspace.best_path(config))
    records = Records(workspace.records_dir(config), "test")
    count = min(config.verify.num_images, records.num_examples)
    images, _ = next(iter(evaluation_batches(records, card.model_input, batch_size=count)))
    jpegs = [example["image"] for example in islice(records.examples().as_numpy_iterator(), count)]
    return images.numpy(), jpegs


def _expected(config: Config, workspace: Workspace, images: Array, temperature: float) -> dict[Precision, Array]:
    """Probabilities (images, num_classes) of the network with its weights as each precision has them."""
    folded, _ = load_portable(config, workspace)
    rounded, _ = load_model(workspace.int8_path(config))
    networks = {"float32": folded, "float16": in_float16(folded), "int8": rounded}
    parts = [images[start : start + BATCH] for start in range(0, len(images), BATCH)]
    return {
        precision: np.concatenate(
            [tf.nn.softmax(networks[precision](part, training=False) / temperature).numpy() for part in parts]
        )
        for precision in get_args(Precision)
    }


def _write_inputs(images: Array, jpegs: list[bytes], folder: Path) -> None:
    for number, (image, jpeg) in enumerate(zip(images, jpegs, strict=True)):
        (folder / f"{number}.f32").write_bytes(image.astype("<f4").tobytes())
        (folder / f"{number}.jpg").write_bytes(jpeg)


def _ask(asked: Asked, num_images: int, counts: dict[Backend, int]) -> Found:
    by_precision = {
        precision: asked.ask("f32", num_images, precision=precision, backend=FIRST) for precision in get_args(Precision)
    }
    by_backend: dict[Backend, Answers | None] = {}
    for backend, count in counts.items():
        try:
            by_backend[backend] = asked.ask("f32", count, backend=backend)
        except AbsentBackendError:
            by_backend[backend] = None
            asked.advance(count)
    return Found(by_precision, by_backend, asked.ask("jpg", num_images))


def _measure(expected: dict[Precision, Array], found: Found, config: Config, threshold: float | None) -> Metrics:
    metrics: Metrics = {"num_images": len(found.photos.probs)}
    for precision, answers in found.by_precision.items():
        metrics[precision] = compare(expected[precision], answers)
        # How much a precision changes is told, not bounded: that is the network's, and not the page's.
        change = agreement(expected["float32"], answers.probs)
        metrics[precision]["float32_top1_agreement"] = change["top1_agreement"]
    of_page = expected[config.export.precision]
    metrics["jpeg"] = compare(of_page, found.photos) | {
        "decision_agreement": decision_agreement(of_page, found.photos.probs, threshold),
        "longest_block_ms": found.photos.longest_block_ms,
        "ready_ms": found.photos.about["readyMs"],
        "backends_left": found.photos.about["left"],
    }
    return metrics


def _measure_backends(expected: Array, found: Found, asked: Asked) -> Metrics:
    return {
        backend: _measure_backend(backend, expected[: len(answers.probs)], answers, asked) if answers else {"absent": 1}
        for backend, answers in found.by_backend.items()
    }


def _measure_backend(backend: Backend, expected: Array, answers: Answers, asked: Asked) -> Metrics:
    metrics = compare(expected, answers) | {
        "num_images": len(expected),
        "golden_difference": answers.about["difference"],
    }
    if metrics["max_probability_difference"] > DIVERGED and backend != REFERENCE:
        metrics["first_divergence"] = asked.find_divergence(worst_image(expected, answers.probs), backend)
    return metrics


def _summary(metrics: Metrics, found: Found) -> Metrics:
    """What the limits are held against, whichever backends there are."""
    present = [of for of in metrics["backends"].values() if "absent" not in of]
    every = [*found.by_precision.values(), *(answers for answers in found.by_backend.values() if answers), found.photos]
    return {
        "num_backends": len(present),
        "max_backend_difference": max((of["max_probability_difference"] for of in present), default=0.0),
        "num_leaked_tensors": max(answers.num_leaked_tensors for answers in every),
        "wasm_with_simd": int(all("SIMD" in of.about["description"] for of in found.by_precision.values())),
    }


def _save(expected: dict[Precision, Array], found: Found, metrics: Metrics, step_dir: Path) -> None:
    arrays = {f"python_{precision}": probs for precision, probs in expected.items()}
    arrays |= {precision: answers.probs for precision, answers in found.by_precision.items()}
    arrays |= {backend: answers.probs for backend, answers in found.by_backend.items() if answers}
    with atomic_open(step_dir / "differences.npz", "wb") as file:
        np.savez(file, jpeg=found.photos.probs, **arrays)
    with atomic_open(step_dir / "report.md") as file:
        file.write(to_markdown(metrics))
