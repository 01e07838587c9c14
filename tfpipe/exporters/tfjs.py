"""TensorFlow.js graph models, by the one door to `tensorflowjs`."""

import base64
import json
import os
from collections.abc import Iterator
from pathlib import Path
from posixpath import commonpath
from tempfile import TemporaryDirectory

import numpy as np

from tfpipe.core.progress import native_silence
from tfpipe.exporters.graph_model import Array, GraphModel, Json

INPUT, OUTPUT = "inputs", "logits"

FUSED = ("num_args", "fused_ops", "leakyrelu_alpha")
MATMUL = ("transpose_a", "transpose_b")
CONVOLUTION = ("strides", "padding", "data_format", "dilations", "explicit_paddings")
NEVER_FUSED = ("Tanh",)
"""Activations that the wasm backend has by themselves, but not inside of a product of matrices."""
READ_ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "Placeholder": ("shape", "dtype"),
    "Const": ("dtype",),
    **dict.fromkeys(("Identity", "AddV2", "Mul", "Relu6", "Pad"), ()),
    "BiasAdd": ("data_format",),
    "Mean": ("keep_dims",),
    "MatMul": MATMUL,
    "_FusedMatMul": (*MATMUL, *FUSED),
    **dict.fromkeys(("Conv2D", "DepthwiseConv2dNative"), CONVOLUTION),
    **dict.fromkeys(("_FusedConv2D", "FusedDepthwiseConv2dNative"), (*CONVOLUTION, *FUSED)),
}
"""Operation → the attributes that TensorFlow.js 4.22 reads; those of any other operation all stay."""


def convert(saved_model_dir: Path) -> GraphModel:
    """Convert a SavedModel of one input and one output; takes seconds, and is the same for every precision.

    The names of nodes are those of the layers, so that nothing depends on what was built before in this process.
    """
    os.environ.setdefault("TFDF_DISABLE_WELCOME_MESSAGE", "1")
    with TemporaryDirectory() as folder, native_silence():
        # Imported here: it takes seconds.
        from tensorflowjs.converters import tf_saved_model_conversion_v2 as converter

        converter.convert_tf_saved_model(str(saved_model_dir), folder, control_flow_v2=True)
        return _tidy(*_read(Path(folder)))


def _read(folder: Path) -> tuple[Json, dict[str, Array]]:
    """`model.json` and the float32 weights beside it."""
    document = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    (group,) = document["weightsManifest"]
    content = b"".join((folder / path).read_bytes() for path in group["paths"])
    weights, at = {}, 0
    for entry in group["weights"]:
        weight = np.frombuffer(content, entry["dtype"], int(np.prod(entry["shape"])), at).reshape(entry["shape"])
        weights[entry["name"]] = weight
        at += weight.nbytes
    return document, weights


def _tidy(document: Json, weights: dict[str, Array]) -> GraphModel:
    nodes = [part for node in document["modelTopology"]["node"] for part in _iter_known(node)]
    ((_, taken),) = document["signature"]["inputs"].items()
    ((_, given),) = document["signature"]["outputs"].items()
    ends = {taken["name"].removesuffix(":0"): INPUT, given["name"].removesuffix(":0"): OUTPUT}
    names = _short_names([node["name"] for node in nodes], ends)
    return GraphModel(
        nodes=[_compact(node, names) for node in nodes],
        signature={
            "inputs": {INPUT: taken | {"name": f"{INPUT}:0"}},
            "outputs": {OUTPUT: given | {"name": f"{OUTPUT}:0"}},
        },
        weights={names[name]: weight for name, weight in weights.items()},
        generated_by={name: document[name] for name in ("generatedBy", "convertedBy")},
    )


def _iter_known(node: Json) -> Iterator[Json]:
    """A node as it is; or, where it is fused with an activation that wasm has only by itself, both."""
    fused = node.get("attr", {}).get("fused_ops", {}).get("list", {}).get("s", [])
    activation = base64.b64decode(fused[-1]).decode() if fused else ""
    if activation not in NEVER_FUSED:
        yield node
        return
    linear = f"{node['name']}/linear"
    yield node | {"name": linear, "attr": node["attr"] | {"fused_ops": {"list": {"s": fused[:-1]}}}}
    yield {"name": node["name"], "op": activation, "input": [linear], "attr": {"T": node["attr"]["T"]}}


def _short_names(names: list[str], ends: dict[str, str]) -> dict[str, str]:
    """Every node's name → the same without the scopes that are common to all but the two ends of the graph."""
    inner = [name for name in names if name not in ends]
    scope = commonpath(inner)
    return {name: name.removeprefix(f"{scope}/") for name in inner} | ends


def _compact(node: Json, names: dict[str, str]) -> Json:
    attributes = node.get("attr", {})
    read = READ_ATTRIBUTES.get(node["op"], tuple(attributes))
    compact = {
        "name": names[node["name"]],
        "op": node["op"],
        "input": [_short_reference(reference, names) for reference in node.get("input", ())],
        "attr": {name: value for name, value in sorted(attributes.items()) if name in read and value != {"list": {}}},
    }
    return {key: value for key, value in compact.items() if value}


def _short_reference(reference: str, names: dict[str, str]) -> str:
    """What a node reads: another's name, and of one with several outputs the number of the output."""
    name, colon, output = reference.partition(":")
    return f"{names[name]}{colon}{output}"
