"""`quantize` on three colours: its files and its table against the networks they are of."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
import yaml
from colours import MEANS, SIDE, SIZES, make_workspace, settings, write_teacher
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from tfpipe.core.config import Config
from tfpipe.core.errors import ConfigError, MismatchError, MissingArtifactError, TfpipeError
from tfpipe.core.inputs import ImageInput
from tfpipe.core.settings import SplitName
from tfpipe.core.steps import build_graph
from tfpipe.core.workspace import Workspace
from tfpipe.data.pipeline import evaluation_batches
from tfpipe.data.records import Records
from tfpipe.models.saving import Card, load_model, save_model
from tfpipe.quantization.grid import on_grid
from tfpipe.quantization.precisions import WITH_KERNEL, by_channel, compressed_bytes
from tfpipe.stages import STEPS, calibrate, label, quantize
from tfpipe.stages.quantize.report import NAMES, iter_sentences
from tfpipe.stages.taught import open_soft_labels

CLASSES = sorted(SIZES)
STUDENT: dict[str, Any] = {
    "data": {"config": "dataset.yaml", "image_size": SIDE, "augmentation": "moderate"},
    "model": {"name": "mobilenetv2"},
    "teachers": [{"config": "teacher.yaml"}],
    "label": {"views": 2},
    "training": {"epochs": 2, "batch_size": 16, "learning_rate": 1e-2},
    "calibrate": {"min_answers": 5, "resamples": 50},
    "quantize": {"method": "aware", "num_images": 8, "epochs": 2},
}
ROUNDED = "quantize.method=post_training"

layers = keras.layers


def build_student() -> keras.Model:
    """Knows the colours by the mean of sixteen pixels, and takes every other red for green."""
    rng = np.random.default_rng(3)
    inputs = keras.Input((SIDE, SIDE, 3), name="images")
    hidden = layers.Conv2D(3, 3, strides=3, padding="same", name="stem", use_bias=False)(inputs)
    hidden = layers.BatchNormalization(name="norm")(hidden)
    hidden = layers.DepthwiseConv2D(3, strides=3, padding="same", name="depthwise")(hidden)
    pooled = layers.Dropout(0.1)(layers.GlobalAveragePooling2D()(hidden))
    network = keras.Model(inputs, layers.Dense(3, name="logits")(pooled), name="student")
    middle = np.zeros((3, 3, 3, 3))
    middle[1, 1] = np.eye(3)
    kernels = {"stem": middle, "depthwise": middle.sum(axis=3, keepdims=True), "logits": 2.0 * np.array(MEANS)}
    for name, kernel in kernels.items():
        weights = network.get_layer(name).get_weights()
        network.get_layer(name).set_weights([kernel + 0.02 * rng.normal(size=kernel.shape), *weights[1:]])
    network.get_layer("logits").bias.assign([0.0, 4.2, 0.0])
    return network


def finish(workspace: Workspace, config: Config, network: keras.Model) -> None:
    """As `distill` leaves a student."""
    card = Card("mobilenetv2", CLASSES, ImageInput(SIDE), [3, 12, 40])
    save_model(network, card, workspace.best_path(config))


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """With a teacher's labels, and a student that is distilled and calibrated."""
    workspace = make_workspace(tmp_path_factory.mktemp("quantize"))
    (workspace.root / "student.yaml").write_text(yaml.safe_dump(STUDENT))
    write_teacher(workspace, settings(workspace, "teacher"), pixels=24)
    config = settings(workspace, "student")
    finish(workspace, config, build_student())
    label.run(config, workspace)
    calibrate.run(config, workspace)
    return workspace


@pytest.fixture(scope="module")
def config(workspace: Workspace) -> Config:
    return settings(workspace, "student")


@pytest.fixture(scope="module")
def metrics(workspace: Workspace, config: Config) -> dict[str, Any]:
    """Of the student rounded, and trained on the grid in a process of its own."""
    before = os.environ.copy()
    metrics = quantize.run(config, workspace)
    assert os.environ == before, "TF-MOT has been here"
    return metrics


def on_test(workspace: Workspace, config: Config, network: Any) -> tuple[np.ndarray, np.ndarray]:
    """Logits and labels."""
    return on_split("test", workspace, config, network)


def on_split(split: SplitName, workspace: Workspace, config: Config, network: Any) -> tuple[np.ndarray, np.ndarray]:
    """Logits and labels."""
    records = Records(workspace.records_dir(config), split)
    ((images, targets),) = evaluation_batches(records, ImageInput(SIDE), batch_size=64)
    return np.asarray(network(images)), targets.numpy().argmax(axis=-1)


def test_the_int8_network_has_no_batch_norm_and_lies_on_the_grid(
    workspace: Workspace, config: Config, metrics: dict[str, Any]
) -> None:
    network, card = load_model(workspace.int8_path(config))
    assert card.classes == CLASSES
    assert "norm" not in [layer.name for layer in network.layers]
    for layer in network.layers:
        if isinstance(layer, WITH_KERNEL):
            on_grid(by_channel(layer, layer.kernel.numpy()))


@pytest.mark.filterwarnings("ignore:.*tf.lite.Interpreter is deprecated:UserWarning")
def test_the_table_tells_of_each_precision_what_its_network_does(
    workspace: Workspace, config: Config, metrics: dict[str, Any]
) -> None:
    assert list(metrics["precisions"]) == ["float32", "float16", "post_training", "aware", "tflite"]
    exact, labels = on_test(workspace, config, load_model(workspace.best_path(config))[0])
    in_int8, _ = on_test(workspace, config, load_model(workspace.int8_path(config))[0])
    runner = tf.lite.Interpreter(str(workspace.step_dir(config, "quantize") / "int8.tflite")).get_signature_runner()
    on_phone, _ = on_test(workspace, config, lambda images: next(iter(runner(images=images).values())))
    for name, logits in {"float32": exact, metrics["chosen"]: in_int8, "tflite": on_phone}.items():
        line = metrics["precisions"][name]
        assert line["top1_accuracy"] == pytest.approx((logits.argmax(-1) == labels).mean()), name
        assert line["agreement"] == pytest.approx((logits.argmax(-1) == exact.argmax(-1)).mean()), name
        assert line["top5_accuracy"] == 1
    assert np.abs(on_phone - in_int8).max() < 0.1 * np.abs(in_int8).max()
    assert metrics["top1_accuracy"] == metrics["precisions"][metrics["chosen"]]["top1_accuracy"]
    assert metrics["num_examples"] == len(labels)


def test_a_reader_finds_the_table_as_markdown(workspace: Workspace, config: Config, metrics: dict[str, Any]) -> None:
    table = (workspace.step_dir(config, "quantize") / "quantized.md").read_text()
    line = metrics["precisions"]["post_training"]
    assert f"| int8, post-training | {100 * line['top1_accuracy']:.2f} [" in table
    assert f"| {line['bytes']:,} |" in table
    assert f"What is exported in int8 is {NAMES[metrics['chosen']]}, the better on validation:" in table


def test_nothing_else_is_left(workspace: Workspace, config: Config, metrics: dict[str, Any]) -> None:
    found = {path.name for path in workspace.step_dir(config, "quantize").iterdir()}
    assert found == {"int8.keras", "int8.tflite", "quantized.md", "logs"}


@pytest.mark.filterwarnings("ignore:.*tf.lite.Interpreter is deprecated:UserWarning")
def test_the_tflite_model_computes_in_int8_between_float32_images_and_logits(
    workspace: Workspace, config: Config, metrics: dict[str, Any]
) -> None:
    interpreter = tf.lite.Interpreter(str(workspace.step_dir(config, "quantize") / "int8.tflite"))
    (taken,), (given,) = interpreter.get_input_details(), interpreter.get_output_details()
    assert taken["dtype"] == given["dtype"] == np.float32
    ends = {taken["index"], given["index"]}
    inner = {tensor["dtype"] for tensor in interpreter.get_tensor_details() if tensor["index"] not in ends}
    assert np.float32 not in inner
    assert {np.int8, np.int32} <= inner
    scales = [len(tensor["quantization_parameters"]["scales"]) for tensor in interpreter.get_tensor_details()]
    assert max(scales) == 3


def test_the_calibration_of_float32_is_checked_on_int8(
    workspace: Workspace, config: Config, metrics: dict[str, Any]
) -> None:
    document = json.loads(workspace.calibration_path(config).read_text())
    logits, labels = on_test(workspace, config, load_model(workspace.int8_path(config))[0])
    confidences = tf.nn.softmax(logits / document["temperature"]).numpy().max(axis=-1)
    answered = confidences >= document["threshold"]
    found = metrics["calibration"]["int8"]
    assert found["coverage"] == pytest.approx(answered.mean())
    assert found["precision"] == pytest.approx((logits.argmax(-1) == labels)[answered].mean())
    of_float32 = metrics["calibration"]["float32"]
    assert of_float32["coverage"] == document["test"]["threshold"]["coverage"]
    assert of_float32["ece"] == document["test"]["after"]["ece"]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, None),
        ({"ece": 0.09}, "warning: int8 is less well calibrated: ECE 0.090, where float32 has 0.050"),
        (
            {"precision": 0.94},
            "warning: at the threshold of float32, 94.00 % of its answers are right in int8; in float32 96.00 %, "
            "and calibrate.precision asks for 95.00 %",
        ),
        ({"precision": 0.955}, None),
        ({"coverage": 0.7}, "warning: at the threshold of float32, 70.00 % of the photos are answered in int8"),
        ({"precision": None}, None),
    ],
)
def test_a_word_is_said_where_the_calibration_no_longer_holds(
    config: Config, metrics: dict[str, Any], changes: dict[str, Any], told: str | None
) -> None:
    before = {"ece": 0.05, "precision": 0.96, "coverage": 0.85}
    # The tiny network's TensorFlow Lite model is another matter.
    lines = metrics["precisions"] | {"tflite": metrics["precisions"]["float32"]}
    changed = metrics | {"calibration": {"float32": before, "int8": before | changes}, "precisions": lines}
    warnings = [sentence for sentence in iter_sentences(changed, config) if sentence.startswith("warning")]
    assert [warning.startswith(told or "") for warning in warnings] == ([True] if told else [])


def test_a_word_is_said_where_a_phone_would_lose_much(config: Config, metrics: dict[str, Any]) -> None:
    lines = metrics["precisions"]
    changed = metrics | {"precisions": lines | {"tflite": lines["tflite"] | {"top1_difference": -0.031}}}
    assert "int8.tflite, whose activations are int8 too, loses 3.10 pp" in list(iter_sentences(changed, config))[1]


def test_the_better_one_on_validation_is_taken(workspace: Workspace, config: Config, metrics: dict[str, Any]) -> None:
    assert [epoch["epoch"] for epoch in metrics["training"]["epochs"]] == [1, 2]
    scores = {name: (found["val_top1"], -found["val_loss"]) for name, found in metrics["validation"].items()}
    assert list(scores) == ["post_training", "aware"]
    assert metrics["chosen"] == max(scores, key=lambda name: scores[name])
    best = metrics["training"]["epochs"][metrics["training"]["best_epoch"] - 1]
    assert metrics["validation"]["aware"]["val_top1"] == best["val_top1"]


def test_trained_logits_are_brought_to_the_scale_that_the_calibration_knows(
    workspace: Workspace, config: Config, metrics: dict[str, Any]
) -> None:
    """SciPy finds the same best temperature for both."""
    assert metrics["chosen"] == "aware"
    assert abs(metrics["training"]["logit_factor"] - 1) > 0.01
    document = json.loads(workspace.calibration_path(config).read_text())
    logits, labels = on_split("validation", workspace, config, load_model(workspace.int8_path(config))[0])

    def loss(temperature: float) -> float:
        return -float(log_softmax(logits / temperature, axis=-1)[np.arange(len(labels)), labels].mean())

    found = minimize_scalar(loss, bounds=(0.05, 5), method="bounded").x
    assert found == pytest.approx(document["fitted_temperature"], rel=0.02)


def test_a_pruned_network_is_taken_and_what_it_saves_is_told(workspace: Workspace, tmp_path: Path) -> None:
    elsewhere = Workspace(shutil.copytree(workspace.root, tmp_path / "pruned"))
    config = settings(elsewhere, "student", "quantize.sparsity=0.5", "quantize.epochs=1")
    metrics = quantize.run(config, elsewhere)
    assert metrics["chosen"] == "aware"
    network, _ = load_model(elsewhere.int8_path(config))
    for name in ("stem", "logits"):
        assert (network.get_layer(name).kernel.numpy() == 0).mean() == pytest.approx(0.5, abs=0.08)
    assert set(metrics["compressed_bytes"]) == {"post_training", "aware"}
    size = compressed_bytes(network)
    told = f"pruned: compressed by gzip, as hosts send them, all weights take {size} bytes"
    assert told in (elsewhere.step_dir(config, "quantize") / "quantized.md").read_text()
    assert told in " ".join(iter_sentences(metrics, config))


def test_pruning_without_training_is_refused(workspace: Workspace) -> None:
    with pytest.raises(ConfigError, match="set `method: aware`"):
        settings(workspace, "student", ROUNDED, "quantize.sparsity=0.5")


def test_training_needs_the_labels_and_rounding_does_not(workspace: Workspace) -> None:
    def needed(*overrides: str) -> list[str]:
        graph = build_graph(STEPS, settings(workspace, "student", *overrides), "quantize", workspace)
        return [need.title for need in graph.needs]

    rounding = ["pack dataset", "distill student", "calibrate student"]
    assert needed(ROUNDED) == rounding
    assert needed() == [*rounding, "label student"]
    assert needed("label.views=live") == [*rounding, "teach teacher"]


def test_a_teacher_cannot_train_on_the_grid(workspace: Workspace) -> None:
    with pytest.raises(ConfigError, match=r"teacher\.yaml: quantize\.method: aware keeps distilling, and a teacher"):
        build_graph(STEPS, settings(workspace, "teacher", "quantize.method=aware"), "quantize", workspace)


def test_weights_that_are_no_numbers_end_in_one_sentence(workspace: Workspace, tmp_path: Path) -> None:
    (workspace.root / "broken.yaml").write_text(yaml.safe_dump(STUDENT))
    config, network = settings(workspace, "broken"), build_student()
    network.get_layer("stem").kernel.assign(np.full((3, 3, 3, 3), np.nan))
    finish(workspace, config, network)
    with pytest.raises(TfpipeError, match=r"best\.keras: stem/kernel holds values that are not finite numbers") as told:
        quantize.run(config, workspace)
    assert "\n" not in str(told.value)


def test_labels_that_are_missing_or_another_teachers_are_told(workspace: Workspace, config: Config) -> None:
    records = Records(workspace.records_dir(config), "train")
    other = settings(workspace, "student", "teachers=[{config: other.yaml}]")
    write_teacher(workspace, settings(workspace, "other"), pixels=4)
    with pytest.raises(MismatchError, match="teacher"):
        open_soft_labels(other, workspace, records)
    header = workspace.step_dir(config, "label") / "store" / "header.json"
    header.rename(header.with_suffix(".away"))
    try:
        with pytest.raises(MissingArtifactError, match="no soft labels"):
            open_soft_labels(config, workspace, records)
    finally:
        header.with_suffix(".away").rename(header)
