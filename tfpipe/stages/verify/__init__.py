"""`verify`: the page in a real browser against Python, on the same test photos or texts."""

from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import get_args

import numpy as np
import tensorflow as tf

from tfpipe.core.config import Config
from tfpipe.core.files import atomic_open, read_json
from tfpipe.core.inputs import ImageInput
from tfpipe.core.progress import progress
from tfpipe.core.settings import Backend, Precision, Task
from tfpipe.core.steps import Metrics
from tfpipe.core.workspace import Workspace
from tfpipe.data.pipeline import evaluation_batches
from tfpipe.data.records import Records
from tfpipe.exporters.browser import AbsentBackendError, find_chromium, open_browser
from tfpipe.models.saving import load_card, load_model
from tfpipe.quantization.precisions import in_float16
from tfpipe.stages.portable import load_portable
from tfpipe.stages.verify import waterfall
from tfpipe.stages.verify.asking import REFERENCE, Answers, Asked, InputKind
from tfpipe.stages.verify.comparing import agreement, compare, decision_agreement, worst_example
from tfpipe.stages.verify.report import to_markdown
from tfpipe.stages.verify.waterfall import iter_levels, iter_levels_in_browser
from tfpipe.training.reproducible import make_reproducible

Array = np.ndarray

BATCH = 32
KINDS: dict[Task, tuple[InputKind, InputKind]] = {"image": ("f32", "jpg"), "text": ("i32", "txt")}
"""What the page is given: tensors, and what a visitor has."""
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
    as_it_is: Answers
    """Of photos or texts themselves, by the page as it is."""


@dataclass(frozen=True)
class Examples:
    """The first of the test split."""

    inputs: Array
    """(examples, …) as the network takes them; texts filled up to the longest."""
    contents: list[bytes]
    """JPEG bytes, or texts in UTF-8."""
    tensors: list[Array]
    """Each input by itself, texts without padding."""


def run(config: Config, workspace: Workspace) -> Metrics:
    """Compare precisions and backends on equal tensors, and the page as it is on photos or texts themselves.

    The limits stand in `tfpipe.core.criteria`; a page past them ends in exit 3.
    """
    make_reproducible(config.seed, deterministic=config.deterministic)
    chromium = find_chromium(config.verify.chromium)
    levels = list(iter_levels(config, workspace))
    examples = _first_examples(config, workspace)
    calibration = read_json(workspace.page_calibration_path(config))
    expected = _expected(config, workspace, examples.inputs, calibration["temperature"])
    count = len(examples.tensors)
    few, others = min(config.verify.backend_images, count), [name for name in config.verify.backends if name != FIRST]
    num_answers = (len(get_args(Precision)) + 1) * count + few * len(others)
    with (
        TemporaryDirectory() as folder,
        progress(f"verify {config.name}", num_answers) as advance,
        open_browser(chromium) as browser,
    ):
        kinds = KINDS[config.dataset_config.task]
        _write_inputs(examples, kinds, Path(folder))
        export_dir = workspace.step_dir(config, "export")
        asked = Asked(workspace.exported_dir(config), export_dir, Path(folder), browser, advance)
        found = _ask(asked, config, count, few)
        metrics = _measure(expected, found, config, calibration["threshold"])
        metrics["backends"] = _measure_backends(expected[config.export.precision], found, asked, kinds[0])
    metrics |= _summary(metrics, found)
    step_dir = workspace.step_dir(config, "verify")
    _save(expected, found, step_dir)
    with atomic_open(step_dir / "report.md") as file:
        file.write(to_markdown(metrics, config.things))
    present = {name: said for name, said in found.by_backend.items() if said}
    levels += iter_levels_in_browser(config, workspace, present)
    with atomic_open(step_dir / "waterfall.md") as file:
        file.write(waterfall.to_markdown(levels, config.things))
    return metrics | {"waterfall": [asdict(level) for level in levels]}


def _first_examples(config: Config, workspace: Workspace) -> Examples:
    card = load_card(workspace.best_path(config))
    records = Records(workspace.records_dir(config), "test")
    count = min(config.verify.num_images, records.num_examples)
    batch, _ = next(iter(evaluation_batches(records, card.model_input, batch_size=count)))
    inputs = batch.numpy()
    contents = [example[records.task] for example in islice(records.examples().as_numpy_iterator(), count)]
    if isinstance(card.model_input, ImageInput):
        return Examples(inputs, contents, [image.astype("<f4") for image in inputs])
    lengths = [1 + int(np.flatnonzero(ids != card.model_input.pad_id)[-1]) for ids in inputs]
    tensors = [ids[:length].astype("<i4") for ids, length in zip(inputs, lengths, strict=True)]
    return Examples(inputs, contents, tensors)


def _expected(config: Config, workspace: Workspace, inputs: Array, temperature: float) -> dict[Precision, Array]:
    """Probabilities (examples, num_classes) of the network with its weights as each precision has them."""
    folded, _ = load_portable(config, workspace)
    rounded, _ = load_model(workspace.int8_path(config))
    networks = {"float32": folded, "float16": in_float16(folded), "int8": rounded}
    parts = [inputs[start : start + BATCH] for start in range(0, len(inputs), BATCH)]
    return {
        precision: np.concatenate(
            [tf.nn.softmax(networks[precision](part, training=False) / temperature).numpy() for part in parts]
        )
        for precision in get_args(Precision)
    }


def _write_inputs(examples: Examples, kinds: tuple[InputKind, InputKind], folder: Path) -> None:
    for number, (tensor, content) in enumerate(zip(examples.tensors, examples.contents, strict=True)):
        for kind, written in zip(kinds, (tensor.tobytes(), content), strict=True):
            (folder / f"{number}.{kind}").write_bytes(written)


def _ask(asked: Asked, config: Config, count: int, few: int) -> Found:
    """All backends but the first, in which a photo can take a second in software, answer `few` examples."""
    tensor, content = KINDS[config.dataset_config.task]
    own = config.export.precision
    by_precision = {
        precision: asked.ask(tensor, count, precision=None if precision == own else precision, backend=FIRST)
        for precision in get_args(Precision)
    }
    by_backend: dict[Backend, Answers | None] = {}
    for backend in config.verify.backends:
        try:
            by_backend[backend] = by_precision[own] if backend == FIRST else asked.ask(tensor, few, backend=backend)
        except AbsentBackendError:
            by_backend[backend] = None
            asked.advance(few)
    return Found(by_precision, by_backend, asked.ask(content, count))


def _measure(expected: dict[Precision, Array], found: Found, config: Config, threshold: float | None) -> Metrics:
    metrics: Metrics = {"num_examples": len(found.as_it_is.probs)}
    for precision, answers in found.by_precision.items():
        metrics[precision] = compare(expected[precision], answers)
        # How much a precision changes is told, not bounded: that is the network's, and not the page's.
        change = agreement(expected["float32"], answers.probs)
        metrics[precision]["float32_top1_agreement"] = change["top1_agreement"]
    of_page = expected[config.export.precision]
    metrics["page"] = compare(of_page, found.as_it_is) | {
        "decision_agreement": decision_agreement(of_page, found.as_it_is.probs, threshold),
        "longest_block_ms": found.as_it_is.longest_block_ms,
        "ready_ms": found.as_it_is.about["readyMs"],
        "backends_left": found.as_it_is.about["left"],
    }
    return metrics


def _measure_backends(expected: Array, found: Found, asked: Asked, kind: InputKind) -> Metrics:
    measured: Metrics = {}
    for backend, answers in found.by_backend.items():
        measured[backend] = _measure_backend(expected, answers) if answers else {"absent": 1}
        is_wrong = measured[backend].get("max_probability_difference", 0.0) > DIVERGED
        if answers and is_wrong and backend != REFERENCE:
            worst = worst_example(expected[: len(answers.probs)], answers.probs)
            measured[backend]["first_divergence"] = asked.find_divergence(kind, worst, backend)
    return measured


def _measure_backend(expected: Array, answers: Answers) -> Metrics:
    return compare(expected[: len(answers.probs)], answers) | {
        "num_examples": len(answers.probs),
        "golden_difference": answers.about["difference"],
    }


def _summary(metrics: Metrics, found: Found) -> Metrics:
    """What the limits are held against, whichever backends there are."""
    present = [of for of in metrics["backends"].values() if "absent" not in of]
    of_backends = (answers for answers in found.by_backend.values() if answers)
    every = [*found.by_precision.values(), *of_backends, found.as_it_is]
    return {
        "num_backends": len(present),
        "max_backend_difference": max((of["max_probability_difference"] for of in present), default=0.0),
        "num_leaked_tensors": max(answers.num_leaked_tensors for answers in every),
        "wasm_with_simd": int(all("SIMD" in of.about["description"] for of in found.by_precision.values())),
    }


def _save(expected: dict[Precision, Array], found: Found, step_dir: Path) -> None:
    arrays = {f"python_{precision}": probs for precision, probs in expected.items()}
    arrays |= {precision: answers.probs for precision, answers in found.by_precision.items()}
    arrays |= {backend: answers.probs for backend, answers in found.by_backend.items() if answers}
    with atomic_open(step_dir / "differences.npz", "wb") as file:
        np.savez(file, page=found.as_it_is.probs, **arrays)
