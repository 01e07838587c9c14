"""What `export` refuses, in one sentence each, and what travels with the model."""

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import yaml

from tfpipe.core.config import Config, load_config
from tfpipe.core.errors import TfpipeError
from tfpipe.core.files import sha256_json
from tfpipe.core.inputs import ImageInput
from tfpipe.core.workspace import Workspace
from tfpipe.models.saving import Card, save_model
from tfpipe.stages import export

CLASSES = ["Acer", "Bellis", "Crocus"]
SETTINGS: dict[str, Any] = {
    "dataset": "meadow",
    "data": {"image_size": 8},
    "model": {"name": "mobilenetv2"},
    "teachers": [{"path": "runs/teacher/teach/best.keras"}],
}


def build(num_classes: int = 3, kernel: float = 0.5) -> keras.Model:
    inputs = keras.Input((8, 8, 3))
    pooled = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3, name="stem")(inputs))
    network = keras.Model(inputs, keras.layers.Dense(num_classes, name="logits")(pooled))
    network.get_layer("stem").set_weights([np.full((3, 3, 3, 4), kernel), np.zeros(4)])
    return network


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    monkeypatch.chdir(tmp_path)
    Path("student.yaml").write_text(yaml.safe_dump(SETTINGS))
    return load_config(Path("student.yaml"))


def finish(network: keras.Model, config: Config) -> None:
    """As `distill` leaves a model."""
    save_model(network, Card("mobilenetv2", CLASSES, ImageInput(8), [1, 1, 1]), Workspace().best_path(config))


def write_calibration(config: Config, classes: list[str]) -> dict[str, Any]:
    calibration = {"temperature": 1.5, "threshold": 0.6, "classes_sha256": sha256_json(classes)}
    path = Workspace().step_dir(config, "calibrate") / "page.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(calibration))
    return calibration


def refused(config: Config) -> str:
    with pytest.raises(TfpipeError) as caught:
        export.run(config, Workspace())
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_weights_that_are_no_numbers(config: Config) -> None:
    finish(build(kernel=np.nan), config)
    told = refused(config)
    assert told.startswith("runs/student/distill/best.keras: stem/kernel holds values that are not finite numbers")
    assert "learning_rate" in told


def test_a_list_of_classes_that_does_not_fit(config: Config) -> None:
    finish(build(num_classes=4), config)
    assert "its card names 3 classes, and its outputs are (None, 4)" in refused(config)


def test_a_calibration_of_other_classes(config: Config) -> None:
    finish(build(), config)
    write_calibration(config, ["Acer", "Bellis"])
    assert "page.json was made with another list of classes" in refused(config)


def test_classes_and_calibration_stand_in_the_metadata(config: Config) -> None:
    card = Card("mobilenetv2", CLASSES, ImageInput(8), [1, 1, 1])
    written = write_calibration(config, CLASSES)
    calibration = export.read_calibration(config, Workspace(), card)
    assert calibration == written
    assert export.metadata(card, calibration) == {"classes": CLASSES, "calibration": written}


@pytest.mark.parametrize(
    ("precision", "expected"),
    [("float32", "export/float32.tflite"), ("float16", "export/float16.tflite"), ("int8", "quantize/int8.tflite")],
)
def test_the_tflite_model_beside_the_page_is_of_the_pages_precision(
    config: Config, precision: str, expected: str
) -> None:
    Path("tflite.yaml").write_text(yaml.safe_dump(SETTINGS | {"export": {"precision": precision}}))
    assert export.tflite_path(load_config(Path("tflite.yaml")), Workspace()) == Path("runs/tflite") / expected
