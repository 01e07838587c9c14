"""`export`: the model for TensorFlow.js, TensorFlow Lite and TensorFlow, and the page around it."""

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import keras

from tfpipe.core.config import Config
from tfpipe.core.errors import MismatchError
from tfpipe.core.files import atomic_path, read_json, sha256_json
from tfpipe.core.settings import Precision
from tfpipe.core.steps import Metrics
from tfpipe.core.workspace import Workspace
from tfpipe.data.records import Records
from tfpipe.exporters.graph_model import save_graph_model
from tfpipe.exporters.precisions import in_precisions
from tfpipe.exporters.saved_model import export_saved_model
from tfpipe.exporters.site import Example, Site, build_site
from tfpipe.exporters.tfjs import convert
from tfpipe.exporters.tflite import export_tflite
from tfpipe.models.saving import Card, load_model
from tfpipe.quantization.grid import on_grid
from tfpipe.stages.portable import load_portable
from tfpipe.training.reproducible import make_reproducible

Json = dict[str, Any]


def run(config: Config, workspace: Workspace) -> Metrics:
    """Convert in every precision; the page gets the one that the settings name."""
    make_reproducible(config.seed, deterministic=False)
    folded, card = load_portable(config, workspace)
    calibration = read_calibration(config, workspace, card)
    sizes = _convert(config, workspace, folded, metadata(card, calibration))
    step_dir = workspace.step_dir(config, "export")
    site = Site(
        title=config.export.title,
        description=config.export.description,
        classes=card.classes,
        image_input=card.image_input,
        tfjs_dir=step_dir / config.export.precision,
        tflite_path=tflite_path(config, workspace),
        calibration=calibration,
        examples=_examples(config, workspace),
        model_card=_model_card(config, card, sizes),
        manifest_path=workspace.run_dir(config) / "manifest.yaml",
    )
    build_site(site, workspace.exported_dir(config))
    return {"weight_bytes": sizes, "page": (workspace.exported_dir(config) / "index.html").as_posix()}


def tflite_path(config: Config, workspace: Workspace) -> Path:
    """What becomes `exported/<config>/model.tflite`: of the page's precision, in int8 with int8 activations too."""
    if config.export.precision == "int8":
        return workspace.step_dir(config, "quantize") / "int8.tflite"
    return workspace.step_dir(config, "export") / f"{config.export.precision}.tflite"


def _convert(config: Config, workspace: Workspace, folded: keras.Model, about: Json) -> dict[Precision, int]:
    """Write every format; returns the weights' bytes of each TensorFlow.js precision."""
    step_dir = workspace.step_dir(config, "export")
    # What the export is to be compared with stands beside it.
    with atomic_path(step_dir / "int8.keras") as copy:
        shutil.copyfile(workspace.int8_path(config), copy)
    rounded, _ = load_model(step_dir / "int8.keras")
    export_saved_model(folded, step_dir / "saved_model")
    with TemporaryDirectory() as folder:
        export_saved_model(rounded, Path(folder) / "rounded")
        of_rounded = convert(Path(folder) / "rounded")
    models = in_precisions(convert(step_dir / "saved_model"), of_rounded, on_grid)
    for precision, graph in models.items():
        save_graph_model(graph, step_dir / precision, about)
    export_tflite(step_dir / "saved_model", step_dir / "float32.tflite", float16=False)
    export_tflite(step_dir / "saved_model", step_dir / "float16.tflite", float16=True)
    return {precision: graph.weight_bytes for precision, graph in models.items()}


def read_calibration(config: Config, workspace: Workspace, card: Card) -> Json:
    """The short form of what `calibrate` found, which travels with the model."""
    path = workspace.page_calibration_path(config)
    calibration: Json = read_json(path)
    if calibration["classes_sha256"] != sha256_json(card.classes):
        raise MismatchError(
            f"{path} was made with another list of classes than the model has. "
            f"Run `tfpipe calibrate --config {config.path} --force`."
        )
    return calibration


def metadata(card: Card, calibration: Json) -> Json:
    """What stands in `model.json` beside the model, for those who take the model alone."""
    return {"classes": card.classes, "calibration": calibration}


def _examples(config: Config, workspace: Workspace) -> list[Example]:
    """The first test photos of different classes."""
    records = Records(workspace.records_dir(config), "test")
    found: dict[int, bytes] = {}
    if config.export.num_examples:
        for example in records.examples().as_numpy_iterator():
            found.setdefault(int(example["label"]), example["image"])
            if len(found) == config.export.num_examples:
                break
    return [Example(jpeg, records.classes[label]) for label, jpeg in found.items()]


def _model_card(config: Config, card: Card, sizes: dict[Precision, int]) -> str:
    classes = "\n".join(f"- {name}" for name in card.classes)
    return (
        f"# {config.export.title}\n\n{config.export.description}\n\n"
        f"{card.name}, {card.image_input.size} px, {config.export.precision}, "
        f"{sizes[config.export.precision]:,} bytes of weights.\n\n## Classes\n\n{classes}\n"
    )
