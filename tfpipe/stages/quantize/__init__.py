"""`quantize`: the student with its weights on the int8 grid, for browser and phone, and what each precision costs."""

from pathlib import Path
from tempfile import TemporaryDirectory

import keras
import numpy as np

from tfpipe.core.config import Config
from tfpipe.core.errors import ConfigError
from tfpipe.core.files import atomic_open
from tfpipe.core.inputs import ModelInput, TextInput
from tfpipe.core.progress import say
from tfpipe.core.steps import Metrics
from tfpipe.core.workspace import Workspace
from tfpipe.data.pipeline import evaluation_batches
from tfpipe.data.records import Records
from tfpipe.exporters.saved_model import export_saved_model
from tfpipe.exporters.tflite import export_int8_tflite, load_tflite
from tfpipe.models import find_family
from tfpipe.models.saving import load_model, save_model
from tfpipe.quantization.precisions import compressed_bytes, in_float16, weight_bytes
from tfpipe.quantization.rounding import round_weights
from tfpipe.stages.evaluate.predictions import compiled
from tfpipe.stages.own_process import run_in_own_process
from tfpipe.stages.portable import load_portable
from tfpipe.stages.quantize.comparison import Contender, compare
from tfpipe.stages.quantize.report import iter_sentences, to_markdown
from tfpipe.stages.quantize.scale import match_scale
from tfpipe.stages.quantize.validation import build_validation
from tfpipe.training.reproducible import make_reproducible

Array = np.ndarray

POST_TRAINING, AWARE = "post_training", "aware"
TRAINING = "tfpipe.stages.quantize.aware"
"""Runs in a process of its own."""
NUM_RANGE_IMAGES = 128
"""Training photos that show TensorFlow Lite the ranges of activations."""
TEXTS_AN_IMAGE, PLACES_AN_IMAGE = 64, 2048
"""Texts that show the rounding as much as a photo does, whose every place counts; and at most so many sub-words."""


def vet(config: Config) -> None:
    """Refuse a network that no page can have."""
    if not find_family(config.network.name).in_browser:
        raise ConfigError(
            f"{config.path}: model.name: {config.network.name} uses operations that browsers lack. Distil a student "
            "that has none, such as mobilenetv2, and export that."
        )


def run(config: Config, workspace: Workspace) -> Metrics:
    """Take the student rounded, or, if asked and better, trained on the grid; measure every precision on test."""
    make_reproducible(config.seed, deterministic=config.deterministic)
    folded, card = load_portable(config, workspace)
    step_dir = workspace.step_dir(config, "quantize")
    shown = _training_inputs(config, workspace, card.model_input)
    in_int8 = {POST_TRAINING: round_weights(folded, shown)}
    metrics: Metrics = {"chosen": POST_TRAINING}
    if config.quantize.method == AWARE:
        metrics["training"] = run_in_own_process(TRAINING, config, workspace)
        in_int8[AWARE], _ = load_model(step_dir / "aware.keras")
        metrics["training"]["logit_factor"] = match_scale(in_int8[AWARE], card.model_input, config, workspace)
        metrics |= _choose(in_int8, card.model_input, config, workspace)
    network = in_int8[metrics["chosen"]]
    save_model(network, card, workspace.int8_path(config))
    contenders = _contenders(folded, in_int8)
    if config.dataset_config.task == "image":
        contenders["tflite"] = _in_tflite(network, card.model_input, config, workspace)
    metrics |= compare(contenders, metrics["chosen"], card, config, workspace)
    with atomic_open(step_dir / "quantized.md") as file:
        file.write(to_markdown(metrics, config))
    for sentence in iter_sentences(metrics, config):
        say(f"  {sentence}")
    for path in step_dir.glob("aware*"):
        path.unlink()
    return metrics


def _training_inputs(config: Config, workspace: Workspace, model_input: ModelInput) -> Array:
    """Of the first training examples, which stand in no order, what the rounding looks at.

    Images (images, size, size, 3); or texts end to end in rows (rows, max_length), of which no place is padding.
    """
    count = config.quantize.num_images
    if not isinstance(model_input, TextInput):
        return _first_inputs(config, workspace, model_input, count)
    ids = _first_inputs(config, workspace, model_input, TEXTS_AN_IMAGE * count)
    tokens = ids[ids != model_input.pad_id][: PLACES_AN_IMAGE * count]
    length = min(model_input.max_length, len(tokens))
    return tokens[: len(tokens) // length * length].reshape(-1, length)


def _first_inputs(config: Config, workspace: Workspace, model_input: ModelInput, count: int) -> Array:
    records = Records(workspace.records_dir(config), "train", config.data.region)
    inputs, _ = next(iter(evaluation_batches(records, model_input, batch_size=count)))
    return inputs.numpy()


def _choose(in_int8: dict[str, keras.Model], model_input: ModelInput, config: Config, workspace: Workspace) -> Metrics:
    """The best on validation, by top-1, and among equals by loss; of equals in both, the first. Or the pruned one."""
    if config.quantize.sparsity:
        return {"chosen": AWARE, "compressed_bytes": {name: compressed_bytes(of) for name, of in in_int8.items()}}
    validate = build_validation(config, workspace, model_input)
    scores = {name: validate(network) for name, network in in_int8.items()}
    best = max(scores, key=lambda name: (scores[name]["val_top1"], -scores[name]["val_loss"]))
    return {"chosen": best, "validation": scores}


def _contenders(folded: keras.Model, in_int8: dict[str, keras.Model]) -> dict[str, Contender]:
    """The lines of the table; the first is what the others are compared with."""
    return {
        "float32": Contender(compiled(folded), weight_bytes(folded, "float32")),
        "float16": Contender(compiled(in_float16(folded)), weight_bytes(folded, "float16")),
        **{name: Contender(compiled(network), weight_bytes(network, "int8")) for name, network in in_int8.items()},
    }


def _in_tflite(network: keras.Model, model_input: ModelInput, config: Config, workspace: Workspace) -> Contender:
    """Write `int8.tflite`."""
    path = workspace.step_dir(config, "quantize") / "int8.tflite"
    images = _first_inputs(config, workspace, model_input, NUM_RANGE_IMAGES)
    with TemporaryDirectory() as folder:
        export_saved_model(network, Path(folder) / "saved_model")
        export_int8_tflite(Path(folder) / "saved_model", path, images)
    return Contender(load_tflite(path), path.stat().st_size)
