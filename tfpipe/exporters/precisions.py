"""A converted model in the precisions that a page can have: they differ in their weights, not in what they compute.

int8 has a scale for each output channel, which TensorFlow.js itself does not know. So the weights are loaded
as whole numbers from -127 to 127, and multiplied by their scales in the model's *initializer*, a graph of its own
that runs once. The main graph takes the products as inputs that the caller does not give.

TensorFlow.js 4.22 runs the initializer at the first prediction, and that must not stand inside a `tf.tidy`, which
would dispose of the products: the next prediction would fail.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Literal, get_args

import numpy as np

from tfpipe.core.errors import TfpipeError
from tfpipe.core.settings import Precision
from tfpipe.exporters.graph_model import Array, GraphModel, Json

Quantize = Callable[[Array], tuple[Array, Array]]
"""Weights (…, channels) → int8 (…, channels) and scales (channels,)."""

Kind = Literal["kernel", "depthwise", "table"]
KINDS: dict[str, tuple[Kind, int]] = {
    **dict.fromkeys(("Conv2D", "_FusedConv2D", "MatMul", "_FusedMatMul"), ("kernel", 1)),
    **dict.fromkeys(("DepthwiseConv2dNative", "FusedDepthwiseConv2dNative"), ("depthwise", 1)),
    "GatherV2": ("table", 0),
}
"""Operation → what int8 takes of its inputs, and which one that is."""

INTEGERS, SCALES = "int8", "scales"
FLOAT: Json = {"type": "DT_FLOAT"}


def in_precisions(model: GraphModel, rounded: GraphModel, quantize: Quantize) -> dict[Precision, GraphModel]:
    """The model in every precision.

    Args:
        model: with float32 weights.
        rounded: the same with those weights that int8 is to have, in float32.
        quantize: the grid of int8.
    """
    made = {"float32": model, "float16": _in_float16(model), "int8": _in_int8(rounded, quantize)}
    return {precision: made[precision] for precision in get_args(Precision)}


def _in_float16(model: GraphModel) -> GraphModel:
    return replace(model, weights={name: _halve(name, weight) for name, weight in model.weights.items()})


def _halve(name: str, weight: Array) -> Array:
    if weight.dtype != np.float32 or not weight.shape:
        # Scalars are no weights but constants, such as an epsilon, of which float16 would leave nothing.
        return weight
    largest = float(np.abs(weight).max(initial=0))
    if not largest <= float(np.finfo(np.float16).max):
        raise TfpipeError(f"a weight of {name} is {largest:.3g}: float16 holds 65504 at most. Export float32.")
    return weight.astype(np.float16)


def _in_int8(model: GraphModel, quantize: Quantize) -> GraphModel:
    """Kernels in int8 with float16 scales, everything else in float16."""
    kernels = _find_kernels(model)
    weights: dict[str, Array] = {}
    for name, weight in model.weights.items():
        if name in kernels:
            integers, scales = _quantize_kernel(weight, quantize, kernels[name])
            weights |= {f"{name}/{INTEGERS}": integers, f"{name}/{SCALES}": scales}
        else:
            weights[name] = _halve(name, weight)
    captured = {name: {"name": f"{name}:0", "resourceId": number} for number, name in enumerate(kernels)}
    return replace(
        model,
        weights=weights,
        nodes=[_placeholder(node["name"]) if node["name"] in kernels else node for node in model.nodes],
        signature=model.signature | {"inputs": model.signature["inputs"] | captured},
        initializer_nodes=[node for name in kernels for node in _multiplication(name)],
        initializer_signature={"outputs": captured},
    )


def _find_kernels(model: GraphModel) -> dict[str, Kind]:
    """Name of each constant that int8 takes → what it is."""
    found = {}
    for node in model.nodes:
        if node["op"] in KINDS and not node.get("attr", {}).get("transpose_b", {}).get("b"):
            kind, place = KINDS[node["op"]]
            name = node["input"][place]
            if name in model.weights and model.weights[name].dtype == np.float32:
                found[name] = kind
    return found


def _quantize_kernel(kernel: Array, quantize: Quantize, kind: Kind) -> tuple[Array, Array]:
    """int8 values and float16 scales of a shape that multiplies them.

    A kernel is (…, channels); a depthwise one (height, width, channels, multiplier), each with a scale of its own;
    a table (entries, dim), with one for each entry.
    """
    if kind == "table":
        integers, scales = quantize(kernel.T)
        return integers.T, scales.astype(np.float16)[:, None]
    integers, scales = quantize(kernel.reshape(*kernel.shape[:2], -1) if kind == "depthwise" else kernel)
    shape = kernel.shape[2:] if kind == "depthwise" else scales.shape
    return integers.reshape(kernel.shape), scales.astype(np.float16).reshape(shape)


def _multiplication(name: str) -> list[Json]:
    """The initializer's nodes for one kernel; their product has the kernel's name."""
    constants = [f"{name}/{INTEGERS}", f"{name}/{SCALES}"]
    return [
        *({"name": constant, "op": "Const", "attr": {"dtype": FLOAT}} for constant in constants),
        {"name": name, "op": "Mul", "input": constants},
    ]


def _placeholder(name: str) -> Json:
    return {"name": name, "op": "Placeholder", "attr": {"dtype": FLOAT}}
