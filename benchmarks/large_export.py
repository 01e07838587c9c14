"""The page of a student of many classes: bytes of its weights, and how long a browser takes for a photo.

Weights are made up, since neither bytes nor time depend on them. Each model is exported in a process of its own.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.table import Table

NUM_CLASSES, IMAGE_SIZE, RANK, NUM_PREDICTIONS = 9000, 224, 256, 30
HEADS = {"full head": None, f"rank {RANK}": RANK}
PREDICT = """async ([count, size]) => {
    const values = new Float32Array(size * size * 3).map((_, i) => Math.sin(i / 500));
    const times = [];
    for (let i = 0; i < count; i++) times.push((await tfpipe.predict({ type: "tensor", values })).milliseconds);
    return times.sort((a, b) => a - b)[Math.floor(count / 2)];
}"""


def measure(folder: Path) -> list[Table]:
    """Bytes, and the median time of predictions on wasm, of both heads in every precision."""
    found = {head: _run(folder / head.replace(" ", "-"), rank) for head, rank in HEADS.items()}
    figures = {
        name: {f"{head}, {precision}": of[name] for head, by in found.items() for precision, of in by.items()}
        for name in ("megabytes", "milliseconds")
    }
    how = f"MobileNetV2 1.0, {IMAGE_SIZE} px, {NUM_CLASSES:,} classes."
    return [
        Table("Weights of a page with many classes", how, "MB", figures["megabytes"]),
        Table(
            "Prediction of a page with many classes",
            f"{how} wasm in headless Chromium, the median of {NUM_PREDICTIONS}.",
            "ms",
            figures["milliseconds"],
        ),
    ]


def _run(folder: Path, rank: int | None) -> dict[str, dict[str, float]]:
    command = [sys.executable, "-m", "benchmarks.large_export", str(folder), json.dumps(rank)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, dict[str, float]] = json.loads(done.stdout.splitlines()[-1])
    return found


def _main(folder: Path, rank: int | None) -> dict[str, dict[str, float]]:
    from tfpipe.exporters.browser import find_chromium, open_browser, open_page

    megabytes = _export(folder, rank)
    found = {}
    with open_browser(find_chromium(None)) as browser:
        for precision, of_weights in megabytes.items():
            with open_page(folder / "page", {"model": folder / precision}, browser, backend="wasm") as page:
                milliseconds = page.evaluate(PREDICT, [NUM_PREDICTIONS, IMAGE_SIZE])
            found[precision] = {"megabytes": of_weights, "milliseconds": milliseconds}
    return found


def _export(folder: Path, rank: int | None) -> dict[str, float]:
    """Write a page, and its model in every precision beside it; returns the megabytes of the weights."""
    import numpy as np

    from tfpipe.core.files import sha256_json, write_json
    from tfpipe.core.inputs import ImageInput
    from tfpipe.exporters.golden import SIDE, make_golden
    from tfpipe.exporters.graph_model import save_graph_model
    from tfpipe.exporters.precisions import in_precisions
    from tfpipe.exporters.saved_model import export_saved_model
    from tfpipe.exporters.site import Site, build_site
    from tfpipe.exporters.tfjs import convert
    from tfpipe.models.folding import fold_batch_norms
    from tfpipe.quantization.grid import on_grid
    from tfpipe.quantization.precisions import in_float16
    from tfpipe.quantization.rounding import round_weights

    folded = fold_batch_norms(_build(rank))
    rounded = round_weights(folded, np.random.default_rng(1).normal(size=(2, IMAGE_SIZE, IMAGE_SIZE, 3)).astype("f4"))
    networks = {"float32": folded, "float16": in_float16(folded), "int8": rounded}
    export_saved_model(folded, folder / "saved_model")
    export_saved_model(rounded, folder / "rounded")
    models = in_precisions(convert(folder / "saved_model"), convert(folder / "rounded"), on_grid)
    thumbnails = np.random.default_rng(2).integers(0, 256, (2, SIDE, SIDE, 3), np.uint8)
    model_input = ImageInput(IMAGE_SIZE)
    for precision, model in models.items():
        save_graph_model(model, folder / precision, {})
        write_json(make_golden(networks[precision], thumbnails, model_input, 1.0), folder / precision / "golden.json")
    classes = [f"species {number}" for number in range(NUM_CLASSES)]
    nothing: dict[str, Any] = {"temperature": 1.0, "threshold": None, "sets": None}
    for name in ("model.tflite", "manifest.yaml"):
        (folder / name).touch()
    site = Site(
        task="image",
        title="Many classes",
        description="",
        classes=classes,
        model_input=model_input,
        tfjs_dir=folder / "float32",
        tflite_path=folder / "model.tflite",
        calibration=nothing | {"classes_sha256": sha256_json(classes)},
        regions={"mode": "none", "smoothing": 1.0, "regions": {}},
        examples=[],
        model_card="",
        manifest_path=folder / "manifest.yaml",
    )
    build_site(site, folder / "page")
    return {precision: model.weight_bytes / 1e6 for precision, model in models.items()}


def _build(rank: int | None) -> Any:
    from tfpipe.core.inputs import ImageInput
    from tfpipe.core.settings import ModelSettings
    from tfpipe.models import build_model

    return build_model(
        ModelSettings(name="mobilenetv2", alpha=1.0, head_rank=rank),
        num_classes=NUM_CLASSES,
        model_input=ImageInput(IMAGE_SIZE),
        dropout=0.0,
        stochastic_depth=0.0,
        rematerialize=False,
        seed=1,
    )


if __name__ == "__main__":
    print(json.dumps(_main(Path(sys.argv[1]), json.loads(sys.argv[2]))))
