"""A TensorFlow.js graph model in memory, and on disk: a compact `model.json` and shards named by their content."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tfpipe.core.files import atomic_path, sha256_bytes

Array = np.ndarray
Json = dict[str, Any]

SHARD_BYTES = 4 * 2**20
"""What a browser caches well, as the stock converter cuts."""

STORED: dict[str, Json] = {
    "float32": {"dtype": "float32"},
    "int32": {"dtype": "int32"},
    "bool": {"dtype": "bool"},
    "float16": {"dtype": "float32", "quantization": {"dtype": "float16"}},
    "int8": {"dtype": "float32", "quantization": {"dtype": "uint8", "scale": 1, "min": -128}},
}
"""Type of a weight here → how the manifest names it; the last two become float32 as they are loaded."""


@dataclass(frozen=True)
class GraphModel:
    """What `tf.loadGraphModel` reads."""

    nodes: list[Json]
    signature: Json
    """`inputs` and `outputs` by name. An input with a `resourceId` is no argument: the initializer gives it."""
    weights: dict[str, Array]
    """Name of each constant → its value, of a type of `STORED`."""
    generated_by: Json
    """The versions that the converter tells of."""
    initializer_nodes: list[Json] = field(default_factory=list)
    """A graph that runs once, as the model is loaded; its constants are weights, too."""
    initializer_signature: Json = field(default_factory=dict)

    @property
    def weight_bytes(self) -> int:
        """Of all shards."""
        return sum(weight.nbytes for weight in self.weights.values())


def save_graph_model(model: GraphModel, target: Path, metadata: Json) -> None:
    """Write a folder whose bytes depend on nothing but the model and its metadata, whole or not at all."""
    with atomic_path(target) as folder:
        folder.mkdir()
        paths = _write_shards(b"".join(_stored_bytes(weight) for weight in model.weights.values()), folder)
        document = _document(model, paths) | {"userDefinedMetadata": metadata}
        text = json.dumps(document, separators=(",", ":"), ensure_ascii=False)
        (folder / "model.json").write_text(text, encoding="utf-8")


def _document(model: GraphModel, paths: list[str]) -> Json:
    entries = [
        {"name": name, "shape": list(weight.shape), **STORED[weight.dtype.name]}
        for name, weight in model.weights.items()
    ]
    document = {
        "format": "graph-model",
        **model.generated_by,
        "signature": model.signature,
        "modelTopology": {"node": model.nodes, "versions": {}},
        "weightsManifest": [{"paths": paths, "weights": entries}],
    }
    if model.initializer_nodes:
        document["modelInitializer"] = {"node": model.initializer_nodes}
        document["initializerSignature"] = model.initializer_signature
    return document


def _stored_bytes(weight: Array) -> bytes:
    if weight.dtype == np.int8:
        # There is no int8 in a manifest: uint8 with 128 for 0.
        return (weight.astype(np.int16) + 128).astype(np.uint8).tobytes()
    return weight.astype(weight.dtype.newbyteorder("<")).tobytes()


def _write_shards(content: bytes, folder: Path) -> list[str]:
    """The shards' names, in order: by their content, so that a cache never takes an older one for them."""
    names = []
    for start in range(0, len(content), SHARD_BYTES):
        shard = content[start : start + SHARD_BYTES]
        names.append(f"{sha256_bytes(shard)[:16]}.bin")
        (folder / names[-1]).write_bytes(shard)
    return names
