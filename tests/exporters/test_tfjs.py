"""Exports that compute what Keras computes, of operations that browsers have."""

from collections import Counter
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from graph_folders import read_graph, read_weights, weight_bytes

from tfpipe.core.errors import TfpipeError
from tfpipe.exporters.graph_model import GraphModel, save_graph_model
from tfpipe.exporters.precisions import in_precisions
from tfpipe.exporters.saved_model import export_saved_model
from tfpipe.exporters.tfjs import convert
from tfpipe.models.batch_norm import FusedBatchNormalization
from tfpipe.models.folding import fold_batch_norms
from tfpipe.quantization.grid import to_int8

WASM_OPERATIONS = {
    "Placeholder",
    "Const",
    "Identity",
    "AddV2",
    "BiasAdd",
    "Mul",
    "Pad",
    "Relu6",
    "Mean",
    "MatMul",
    "Conv2D",
    "DepthwiseConv2dNative",
    "_FusedConv2D",
    "FusedDepthwiseConv2dNative",
    "_FusedMatMul",
}
"""Those of TensorFlow.js 4.22's wasm backend that a MobileNetV2 may need. More have kernels; a new one in the
graph should be looked up, and its speed, before it joins."""


def count_operations(folder: Path) -> Counter[str]:
    return Counter(node["op"] for node in read_graph(folder)["modelTopology"]["node"])


def test_a_saved_model_gives_the_logits_of_keras(exported: Any, images: np.ndarray) -> None:
    loaded = tf.saved_model.load(exported.saved_model_dir)
    expected = exported.network(images, training=False).numpy()
    assert np.ptp(expected) > 0.1
    np.testing.assert_allclose(loaded.serve(images), expected, rtol=1e-5, atol=5e-5)
    signature = loaded.signatures["serving_default"]
    ((_, answer),) = signature(tf.constant(images)).items()
    np.testing.assert_allclose(answer, expected, rtol=1e-5, atol=5e-5)


def test_a_saved_model_takes_any_number_of_images(exported: Any, images: np.ndarray) -> None:
    loaded = tf.saved_model.load(exported.saved_model_dir)
    assert loaded.serve(images[:1]).shape == (1, 5)
    assert loaded.serve(np.tile(images, (3, 1, 1, 1))).shape == (18, 5)


@pytest.mark.parametrize("precision", ["float32", "float16", "int8"])
def test_every_operation_has_a_kernel_in_wasm(exported: Any, precision: str) -> None:
    folder = getattr(exported, f"{precision}_dir")
    initializer = read_graph(folder).get("modelInitializer", {"node": []})
    found = {*count_operations(folder), *(node["op"] for node in initializer["node"])}
    assert found <= WASM_OPERATIONS, found - WASM_OPERATIONS


def test_batch_norm_is_folded_into_the_convolutions(exported: Any) -> None:
    """52 convolutions, each with its bias; nothing of the 52 norms is left."""
    operations = count_operations(exported.float32_dir)
    assert not [name for name in operations if "BatchNorm" in name]
    assert operations["Mul"] == operations["Rsqrt"] == operations["Sub"] == 0
    assert operations["_FusedConv2D"] == 1 + 1 + 16 * 2 + 1  # first, block 0, expand and project of 16 blocks, last
    assert operations["FusedDepthwiseConv2dNative"] == 17


def test_float16_takes_half_the_bytes(exported: Any) -> None:
    assert weight_bytes(exported.float16_dir) / weight_bytes(exported.float32_dir) == pytest.approx(0.5, abs=0.01)


def test_float32_takes_four_bytes_a_weight_and_no_more_weights_than_the_network(exported: Any) -> None:
    """Folded, a norm's four vectors become one bias: fewer weights than Keras has."""
    assert weight_bytes(exported.float32_dir) < 4 * exported.network.count_params()
    assert weight_bytes(exported.float32_dir) > 0.9 * 4 * sum(
        variable.numpy().size for variable in exported.network.trainable_variables if "kernel" in variable.path
    )


def test_float16_weights_are_the_float32_ones_rounded(exported: Any) -> None:
    full, half = read_weights(exported.float32_dir), read_weights(exported.float16_dir)
    assert full.keys() == half.keys()
    assert {weight.dtype.name for weight in half.values()} <= {"float16", "int32"}
    for name, weight in full.items():
        expected = weight if weight.dtype == np.int32 else weight.astype(np.float16)
        np.testing.assert_array_equal(half[name], expected, err_msg=name)


def test_the_graph_takes_images_and_gives_logits(exported: Any) -> None:
    signature = read_graph(exported.float32_dir)["signature"]
    ((_, taken),) = signature["inputs"].items()
    ((_, given),) = signature["outputs"].items()
    assert [int(dim["size"]) for dim in taken["tensorShape"]["dim"]] == [-1, 32, 32, 3]
    assert [int(dim["size"]) for dim in given["tensorShape"]["dim"]] == [-1, 5]
    assert "Softmax" not in count_operations(exported.float32_dir)


def test_the_converter_runs_once_and_the_same_network_gives_the_same_bytes(tmp_path: Path) -> None:
    """Whatever was built before in the process: Keras counts the names it makes up."""
    inputs = keras.Input((8, 8, 3))
    hidden = keras.layers.ReLU(6)(FusedBatchNormalization()(keras.layers.Conv2D(4, 3, name="stem")(inputs)))
    network = keras.Model(inputs, keras.layers.Dense(2, name="logits")(keras.layers.Flatten()(hidden)))
    for name in ("first", "second"):
        export_saved_model(fold_batch_norms(network), tmp_path / name / "saved_model")
        graph = convert(tmp_path / name / "saved_model")
        assert graph.signature["inputs"].keys() == {"inputs"}
        assert graph.signature["outputs"].keys() == {"logits"}
        for precision, model in in_precisions(graph, graph, to_int8).items():
            save_graph_model(model, tmp_path / name / precision, {"classes": ["a", "b"]})
    for path in (tmp_path / "first").glob("*/*"):
        if path.suffix in (".json", ".bin"):
            again = tmp_path / "second" / path.relative_to(tmp_path / "first")
            assert again.read_bytes() == path.read_bytes()
    assert len(list((tmp_path / "second").glob("*/*.bin"))) == 3
    first, second = (
        {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        for folder in (tmp_path / name / "saved_model" for name in ("first", "second"))
    )
    assert first == second


def test_int8_takes_what_is_multiplied_column_by_column_alone() -> None:
    """The scales are those of the last axis, which of a transposed matrix is its inputs, and not its outputs."""
    rng = np.random.default_rng(0)
    weights = {name: rng.normal(size=(4, 3)).astype(np.float32) for name in ("plain", "turned")}
    nodes = [
        {"name": "images", "op": "Placeholder", "attr": {}},
        *({"name": name, "op": "Const", "attr": {}} for name in weights),
        {"name": "first", "op": "MatMul", "input": ["images", "plain"], "attr": {"transpose_b": {"b": False}}},
        {"name": "second", "op": "MatMul", "input": ["first", "turned"], "attr": {"transpose_b": {"b": True}}},
    ]
    model = GraphModel(nodes=nodes, signature={"inputs": {}}, weights=weights, generated_by={})
    found = in_precisions(model, model, to_int8)["int8"].weights
    assert {name: weight.dtype for name, weight in found.items()} == {
        "plain/int8": np.int8,
        "plain/scales": np.float16,
        "turned": np.float16,
    }


def test_float16_refuses_what_it_cannot_hold() -> None:
    weights = {"huge": np.array([7e4], np.float32)}
    model = GraphModel(nodes=[], signature={"inputs": {}}, weights=weights, generated_by={})
    with pytest.raises(TfpipeError, match=r"a weight of huge is 7e\+04: float16 holds 65504 at most"):
        in_precisions(model, model, to_int8)
