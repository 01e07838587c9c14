"""int8 graph models: what lies in the files, what the initializer makes of it, and what TensorFlow.js answers."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from graph_folders import load_weights, read_graph, read_weights, weight_bytes
from scipy.special import softmax

from tfpipe.core.errors import EnvironmentProblemError
from tfpipe.exporters.vendor import install_packages


def run_initializer(folder: Path) -> dict[str, np.ndarray]:
    """In NumPy, by the rules of the format: outputs by their resource's number."""
    document, values = read_graph(folder), load_weights(folder)
    for node in document["modelInitializer"]["node"]:
        if node["op"] == "Mul":
            first, second = node["input"]
            values[node["name"]] = values[first] * values[second]
        else:
            assert node["op"] == "Const"
            assert node["name"] in values
    outputs = document["initializerSignature"]["outputs"]
    return {tensor["resourceId"]: values[name] for name, tensor in outputs.items()}


def test_the_initializer_gives_the_kernels_of_the_rounded_network(exported: Any) -> None:
    products = run_initializer(exported.int8_dir)
    inputs = read_graph(exported.int8_dir)["signature"]["inputs"]
    captured = {name: products[tensor["resourceId"]] for name, tensor in inputs.items() if "resourceId" in tensor}
    assert len(captured) == len(products) == 53
    for name, kernel in captured.items():
        layer = exported.rounded.get_layer(re.sub(r"_1$", "", name.split("/")[0]))
        np.testing.assert_array_equal(kernel, layer.kernel.numpy(), err_msg=name)


def test_the_initializers_outputs_are_placeholders_of_the_graph_and_the_image_comes_first(exported: Any) -> None:
    document = read_graph(exported.int8_dir)
    placeholders = {node["name"] for node in document["modelTopology"]["node"] if node["op"] == "Placeholder"}
    assert next(iter(document["signature"]["inputs"])) == "inputs"
    assert placeholders == set(document["signature"]["inputs"])
    assert placeholders - {"inputs"} == set(document["initializerSignature"]["outputs"])
    constants = {node["name"] for node in document["modelTopology"]["node"] if node["op"] == "Const"}
    assert not constants & placeholders
    assert constants <= set(read_weights(exported.int8_dir))


def test_kernels_are_uint8_around_128_and_everything_else_is_float16(exported: Any) -> None:
    (group,) = read_graph(exported.int8_dir)["weightsManifest"]
    weights = read_weights(exported.int8_dir)
    for entry in group["weights"]:
        stored = entry.get("quantization", {})
        if entry["name"].endswith("/int8"):
            assert stored == {"dtype": "uint8", "scale": 1, "min": -128}
            assert weights[entry["name"]].min() >= 1
        else:
            assert stored == {"dtype": "float16"} or entry["dtype"] == "int32"


def test_int8_takes_little_more_than_a_quarter_of_the_bytes(exported: Any) -> None:
    assert weight_bytes(exported.int8_dir) / weight_bytes(exported.float32_dir) <= 0.27


def predict_in_node(folder: Path, images: np.ndarray, tmp_path: Path) -> dict[str, Any]:
    if not shutil.which("node"):
        pytest.skip("node is not installed")
    try:
        packages = install_packages()
    except EnvironmentProblemError as error:
        pytest.skip(f"TensorFlow.js cannot be had: {error}")
    (tmp_path / "images.f32").write_bytes(images.astype("<f4").tobytes())
    script = Path(__file__).with_name("load_graph_model.js")
    command = ["node", script, folder, tmp_path / "images.f32", str(images.shape[1])]
    environment = os.environ | {"NODE_PATH": str(packages.parent)}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    return json.loads(done.stdout.strip().splitlines()[-1])


def test_a_plain_load_graph_model_answers_as_the_rounded_network(
    exported: Any, images: np.ndarray, tmp_path: Path
) -> None:
    answer = predict_in_node(exported.int8_dir, images, tmp_path)
    expected = softmax(exported.rounded(images, training=False).numpy(), axis=-1)
    exact = softmax(exported.network(images, training=False).numpy(), axis=-1)
    found = softmax(np.reshape(answer["logits"], expected.shape), axis=-1)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert np.abs(found - exact).max() > 1e-3
    assert answer["leaked"] == 0
    assert answer["metadata"]["classes"][-1] == "Ähre"


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_a_plain_load_graph_model_reads_the_other_precisions_too(
    exported: Any, images: np.ndarray, tmp_path: Path, precision: str
) -> None:
    answer = predict_in_node(getattr(exported, f"{precision}_dir"), images, tmp_path)
    expected = softmax(exported.network(images, training=False).numpy(), axis=-1)
    found = softmax(np.reshape(answer["logits"], expected.shape), axis=-1)
    np.testing.assert_allclose(found, expected, atol=1e-5 if precision == "float32" else 2e-2)
