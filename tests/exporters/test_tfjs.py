"""Exports that compute what Keras computes, of operations that browsers have."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

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


def read_graph(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "model.json").read_text())


def count_operations(folder: Path) -> Counter[str]:
    return Counter(node["op"] for node in read_graph(folder)["modelTopology"]["node"])


def read_weights(folder: Path) -> dict[str, np.ndarray]:
    """As the page does: shards one after the other, cut by the manifest."""
    (group,) = read_graph(folder)["weightsManifest"]
    content = b"".join((folder / path).read_bytes() for path in group["paths"])
    weights, at = {}, 0
    for entry in group["weights"]:
        stored = np.dtype(entry.get("quantization", entry)["dtype"])
        count = int(np.prod(entry["shape"]))
        weights[entry["name"]] = np.frombuffer(content, stored, count, at).reshape(entry["shape"])
        at += count * stored.itemsize
    assert at == len(content)
    return weights


def weight_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("*.bin"))


def test_a_saved_model_gives_the_logits_of_keras(exported: Any, images: np.ndarray) -> None:
    loaded = tf.saved_model.load(exported.saved_model_dir)
    expected = exported.network(images, training=False).numpy()
    assert np.ptp(expected) > 0.1
    np.testing.assert_allclose(loaded.serve(images), expected, rtol=1e-5, atol=1e-5)
    signature = loaded.signatures["serving_default"]
    ((_, answer),) = signature(tf.constant(images)).items()
    np.testing.assert_allclose(answer, expected, rtol=1e-5, atol=1e-5)


def test_a_saved_model_takes_any_number_of_images(exported: Any, images: np.ndarray) -> None:
    loaded = tf.saved_model.load(exported.saved_model_dir)
    assert loaded.serve(images[:1]).shape == (1, 5)
    assert loaded.serve(np.tile(images, (3, 1, 1, 1))).shape == (18, 5)


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_every_operation_has_a_kernel_in_wasm(exported: Any, precision: str) -> None:
    found = set(count_operations(getattr(exported, f"{precision}_dir")))
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
