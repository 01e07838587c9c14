"""Exported folders as a reader of the format finds them, with nothing of ours."""

import json
from pathlib import Path
from typing import Any

import numpy as np


def read_graph(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "model.json").read_text(encoding="utf-8"))


def read_weights(folder: Path) -> dict[str, np.ndarray]:
    """As stored: shards one after the other, cut by the manifest."""
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


def load_weights(folder: Path) -> dict[str, np.ndarray]:
    """As TensorFlow.js makes them of what is stored: `value * scale + min` (tfjs-core, io/io_utils.ts)."""
    (group,) = read_graph(folder)["weightsManifest"]
    stored, loaded = read_weights(folder), {}
    for entry in group["weights"]:
        quantization = entry.get("quantization", {})
        scale, least = quantization.get("scale", 1), quantization.get("min", 0)
        loaded[entry["name"]] = (stored[entry["name"]] * np.float32(scale) + least).astype(entry["dtype"])
    return loaded


def weight_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("*.bin"))
