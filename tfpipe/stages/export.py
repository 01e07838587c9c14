"""`export`: the model for TensorFlow.js, TensorFlow Lite and TensorFlow, and the page around it."""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import keras
import numpy as np

from tfpipe.core.config import Config
from tfpipe.core.errors import MismatchError
from tfpipe.core.files import atomic_path, read_json, sha256_json, write_json
from tfpipe.core.inputs import TextInput
from tfpipe.core.lineage import Lineage
from tfpipe.core.manifest import write_provenance
from tfpipe.core.settings import Precision, Task
from tfpipe.core.steps import Metrics, Node, build_graph
from tfpipe.core.workspace import Workspace
from tfpipe.data.records import Records
from tfpipe.exporters.golden import make_golden, make_golden_texts, make_thumbnail
from tfpipe.exporters.graph_model import save_graph_model
from tfpipe.exporters.precisions import in_precisions
from tfpipe.exporters.saved_model import export_saved_model
from tfpipe.exporters.site import Example, Site, build_site
from tfpipe.exporters.tfjs import convert
from tfpipe.exporters.tflite import export_tflite
from tfpipe.models.saving import Card, load_model
from tfpipe.models.text import kind_of
from tfpipe.models.text_folder import write_folder
from tfpipe.models.tokenizer import vocabulary_size
from tfpipe.quantization.grid import on_grid
from tfpipe.quantization.precisions import in_float16
from tfpipe.stages import STEPS
from tfpipe.stages.model_card import build_model_card
from tfpipe.stages.portable import load_portable
from tfpipe.stages.region_choice import count_training_regions, measure_regions, regions_of_page
from tfpipe.training.reproducible import make_reproducible

Json = dict[str, Any]

TITLES: dict[Task, str] = {"image": "What is in the picture?", "text": "What does the text say?"}
"""Of pages whose settings give them none."""
NUM_GOLDEN = 2
"""Photos by which the page tries the backends of TensorFlow.js."""


def run(config: Config, workspace: Workspace) -> Metrics:
    """Convert in every precision; the page gets the one that the settings name."""
    make_reproducible(config.seed, deterministic=False)
    if not config.has_page:
        return _export_folder(config, workspace)
    folded, card = load_portable(config, workspace)
    calibration = read_calibration(config, workspace, card)
    sizes = _convert(config, workspace, (folded, card), calibration)
    step_dir = workspace.step_dir(config, "export")
    manifest_path = step_dir / "manifest.yaml"
    write_provenance(_node(config, workspace), manifest_path)
    of_photos = config.dataset_config.task == "image"
    seen = count_training_regions(config, workspace, card.classes)
    site = Site(
        task=config.dataset_config.task,
        title=_title(config),
        description=config.export.description,
        classes=card.classes,
        model_input=card.model_input,
        tfjs_dir=step_dir / config.export.precision,
        tflite_path=tflite_path(config, workspace) if of_photos else None,
        calibration=calibration,
        regions=regions_of_page(seen, config.export.regions if of_photos else "none"),
        examples=_first_of_classes(config, workspace, config.export.num_examples) if of_photos else [],
        model_card=build_model_card(_title(config), card, Lineage(config, workspace), sizes),
        manifest_path=manifest_path,
    )
    build_site(site, workspace.exported_dir(config))
    return {
        "weight_bytes": sizes,
        "page": (workspace.exported_dir(config) / "index.html").as_posix(),
    } | ({"regions": measure_regions(seen, calibration["temperature"], config, workspace)} if of_photos else {})


def _export_folder(config: Config, workspace: Workspace) -> Metrics:
    """What `AutoModelForSequenceClassification` and `AutoTokenizer` read, with the calibration beside it."""
    network, card = load_model(workspace.best_path(config))
    assert isinstance(card.model_input, TextInput)
    calibration, target = read_calibration(config, workspace, card), workspace.exported_dir(config)
    with atomic_path(target) as folder:
        folder.mkdir()
        kind = kind_of(card.name)
        write_folder(network, folder, kind=kind, classes=card.classes, text_input=card.model_input)
        write_json(calibration, folder / "calibration.json")
        write_provenance(_node(config, workspace), folder / "manifest.yaml")
        model_card = build_model_card(config.name, card, Lineage(config, workspace), {})
        (folder / "README.md").write_text(model_card, encoding="utf-8")
    return {"folder": target.as_posix(), "num_bytes": sum(file.stat().st_size for file in target.iterdir())}


def _node(config: Config, workspace: Workspace) -> Node:
    return build_graph(STEPS, config, "export", workspace)


def tflite_path(config: Config, workspace: Workspace) -> Path:
    """What becomes `exported/<config>/model.tflite`: of the page's precision, in int8 with int8 activations too."""
    if config.export.precision == "int8":
        return workspace.step_dir(config, "quantize") / "int8.tflite"
    return workspace.step_dir(config, "export") / f"{config.export.precision}.tflite"


def _convert(
    config: Config, workspace: Workspace, model: tuple[keras.Model, Card], calibration: Json
) -> dict[Precision, int]:
    """Write every format; returns the weights' bytes of each TensorFlow.js precision."""
    step_dir = workspace.step_dir(config, "export")
    folded, card = model
    rounded, _ = load_model(workspace.int8_path(config))
    export_saved_model(folded, step_dir / "saved_model")
    with TemporaryDirectory() as folder:
        export_saved_model(rounded, Path(folder) / "rounded")
        of_rounded = convert(Path(folder) / "rounded")
    models = in_precisions(convert(step_dir / "saved_model"), of_rounded, on_grid)
    networks: dict[Precision, keras.Model] = {"float32": folded, "float16": in_float16(folded), "int8": rounded}
    golden_of = _golden_maker(config, workspace, card, calibration["temperature"])
    for precision, graph in models.items():
        save_graph_model(graph, step_dir / precision, metadata(card, calibration))
        write_json(golden_of(networks[precision]), step_dir / precision / "golden.json")
    if config.dataset_config.task == "image":
        export_tflite(step_dir / "saved_model", step_dir / "float32.tflite", float16=False)
        export_tflite(step_dir / "saved_model", step_dir / "float16.tflite", float16=True)
    return {precision: graph.weight_bytes for precision, graph in models.items()}


def _golden_maker(
    config: Config, workspace: Workspace, card: Card, temperature: float
) -> Callable[[keras.Model], Json]:
    """A function of a network: what it says of inputs that travel with it. Nobody's texts are among them."""
    if isinstance(card.model_input, TextInput):
        size, length = vocabulary_size(card.model_input), card.model_input.max_length
        return lambda network: make_golden_texts(network, size, length, temperature)
    image_input = card.model_input
    thumbnails = np.stack([make_thumbnail(photo.jpeg) for photo in _first_of_classes(config, workspace, NUM_GOLDEN)])
    return lambda network: make_golden(network, thumbnails, image_input, temperature)


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


def _title(config: Config) -> str:
    return config.export.title or TITLES[config.dataset_config.task]
