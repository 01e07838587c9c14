"""`export`: the model for TensorFlow.js, TensorFlow Lite and TensorFlow, and the page around it."""

from typing import Any

import keras
import numpy as np

from tfpipe.core.config import Config
from tfpipe.core.errors import ConfigError, MismatchError, TfpipeError
from tfpipe.core.files import read_json, sha256_json, write_json
from tfpipe.core.settings import Precision
from tfpipe.core.steps import Metrics
from tfpipe.core.workspace import Workspace
from tfpipe.data.pipeline import evaluation_batches
from tfpipe.data.records import Records
from tfpipe.exporters.golden import make_golden, make_thumbnail
from tfpipe.exporters.graph_model import save_graph_model
from tfpipe.exporters.precisions import in_precisions
from tfpipe.exporters.saved_model import export_saved_model
from tfpipe.exporters.site import Example, Site, build_site
from tfpipe.exporters.tfjs import convert
from tfpipe.exporters.tflite import export_tflite
from tfpipe.models import find_family
from tfpipe.models.folding import fold_batch_norms
from tfpipe.models.saving import Card, load_model, save_model
from tfpipe.quantization.rounding import halve_weights, kernels_on_grid, round_weights
from tfpipe.stages.region_choice import count_training_regions, measure_regions, regions_of_page
from tfpipe.training.reproducible import make_reproducible

Json = dict[str, Any]

NUM_GOLDEN = 2
"""Photos by which the page tries the backends of TensorFlow.js."""
NUM_IMAGES = 16
"""Photos that the rounding to int8 looks at; 48 give hardly more."""


def run(config: Config, workspace: Workspace) -> Metrics:
    """Convert in every precision; the page gets the one that the settings name."""
    make_reproducible(config.seed, deterministic=False)
    network, card = load_model(workspace.best_path(config))
    _check(config, workspace, network, card)
    calibration = read_calibration(config, workspace, card)
    sizes = _convert(config, workspace, (network, card), calibration)
    step_dir = workspace.step_dir(config, "export")
    seen = count_training_regions(config, workspace, card.classes)
    site = Site(
        title=config.export.title,
        description=config.export.description,
        classes=card.classes,
        image_input=card.image_input,
        tfjs_dir=step_dir / config.export.precision,
        tflite_path=step_dir / f"{tflite_precision(config)}.tflite",
        calibration=calibration,
        regions=regions_of_page(seen, config.export.regions),
        examples=_first_of_classes(config, workspace, config.export.num_examples),
        model_card=_model_card(config, card, sizes),
        manifest_path=workspace.run_dir(config) / "manifest.yaml",
    )
    build_site(site, workspace.exported_dir(config))
    return {
        "weight_bytes": sizes,
        "page": (workspace.exported_dir(config) / "index.html").as_posix(),
        "regions": measure_regions(seen, calibration["temperature"], config, workspace),
    }


def tflite_precision(config: Config) -> Precision:
    """That of `exported/<config>/model.tflite`: the page's, but int8 for phones takes calibration data."""
    return "float32" if config.export.precision == "float32" else "float16"


def _convert(
    config: Config, workspace: Workspace, model: tuple[keras.Model, Card], calibration: Json
) -> dict[Precision, int]:
    """Write every format; returns the weights' bytes of each TensorFlow.js precision."""
    step_dir = workspace.step_dir(config, "export")
    network, card = model
    thumbnails = np.stack([make_thumbnail(photo.jpeg) for photo in _first_of_classes(config, workspace, NUM_GOLDEN)])
    folded = fold_batch_norms(network)
    rounded = round_weights(folded, _images_to_round_by(config, workspace, card))
    save_model(rounded, card, step_dir / "int8.keras")
    export_saved_model(folded, step_dir / "saved_model")
    models = in_precisions(convert(step_dir / "saved_model"), kernels_on_grid(folded, rounded))
    networks: dict[Precision, keras.Model] = {"float32": folded, "float16": halve_weights(folded), "int8": rounded}
    for precision, graph in models.items():
        golden = make_golden(networks[precision], thumbnails, card.image_input, calibration["temperature"])
        save_graph_model(graph, step_dir / precision, metadata(card, calibration))
        write_json(golden, step_dir / precision / "golden.json")
    export_tflite(step_dir / "saved_model", step_dir / "float32.tflite", float16=False)
    export_tflite(step_dir / "saved_model", step_dir / "float16.tflite", float16=True)
    return {precision: graph.weight_bytes for precision, graph in models.items()}


def _images_to_round_by(config: Config, workspace: Workspace, card: Card) -> np.ndarray:
    """(images, size, size, 3): the first training photos, as the network sees them."""
    records = Records(workspace.records_dir(config), "train")
    images, *_ = next(iter(evaluation_batches(records, card.image_input, batch_size=NUM_IMAGES)))
    return images.numpy()


def _check(config: Config, workspace: Workspace, network: keras.Model, card: Card) -> None:
    """Refuse what would be a page that does not work."""
    path = workspace.best_path(config)
    if not find_family(card.name).in_browser:
        raise ConfigError(
            f"{config.path}: {card.name} uses operations that browsers lack. Distil a student and export that."
        )
    if network.output_shape[-1] != len(card.classes):
        raise MismatchError(
            f"{path}: the model has {network.output_shape[-1]} outputs, but its list of classes has "
            f"{len(card.classes)}. Train it again with `--force`."
        )
    broken = [weight.path for weight in network.weights if not np.isfinite(weight.numpy()).all()]
    if broken:
        raise TfpipeError(
            f"{path}: {broken[0]} holds values that are not finite numbers: the training went astray. "
            "Lower training.learning_rate and train it again with `--force`."
        )


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


def _first_of_classes(config: Config, workspace: Workspace, count: int) -> list[Example]:
    """The first test photos of different classes; fewer than asked for, where there are fewer classes."""
    records = Records(workspace.records_dir(config), "test")
    found: dict[int, bytes] = {}
    if count:
        for example in records.examples().as_numpy_iterator():
            found.setdefault(int(example["label"]), example["image"])
            if len(found) == count:
                break
    return [Example(jpeg, records.classes[label]) for label, jpeg in found.items()]


def _model_card(config: Config, card: Card, sizes: dict[Precision, int]) -> str:
    classes = "\n".join(f"- {name}" for name in card.classes)
    return (
        f"# {config.export.title}\n\n{config.export.description}\n\n"
        f"{card.name}, {card.image_input.size} px, {config.export.precision}, "
        f"{sizes[config.export.precision]:,} bytes of weights.\n\n## Classes\n\n{classes}\n"
    )
