"""Graph models on disk: shards, names, metadata."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from graph_folders import load_weights, read_graph

from tfpipe.exporters.graph_model import GraphModel, save_graph_model


@pytest.fixture(scope="module")
def model() -> GraphModel:
    """9.5 MB in four types; no weight ends where a shard does."""
    rng = np.random.default_rng(0)
    weights = {
        "axes": np.array([1, 2], np.int32),
        "kernel": rng.normal(size=(1237, 1531)).astype(np.float32),
        "bias": rng.normal(size=1531).astype(np.float16),
        "whole": rng.integers(-127, 128, (1381, 1409)).astype(np.int8),
    }
    signature = {"inputs": {"images": {"name": "images:0"}}, "outputs": {"logits": {"name": "logits:0"}}}
    return GraphModel(
        nodes=[{"name": "images", "op": "Placeholder"}], signature=signature, weights=weights, generated_by={}
    )


def test_shards_are_cut_at_four_mebibytes_and_named_by_their_content(model: GraphModel, tmp_path: Path) -> None:
    save_graph_model(model, tmp_path / "saved", {})
    (group,) = read_graph(tmp_path / "saved")["weightsManifest"]
    shards = [(tmp_path / "saved" / path).read_bytes() for path in group["paths"]]
    assert [len(shard) for shard in shards] == [4194304, 4194304, model.weight_bytes - 2 * 4194304]
    assert group["paths"] == [f"{hashlib.sha256(shard).hexdigest()[:16]}.bin" for shard in shards]
    assert len(list((tmp_path / "saved").iterdir())) == 4


def test_weights_are_read_back_as_they_were(model: GraphModel, tmp_path: Path) -> None:
    save_graph_model(model, tmp_path / "saved", {})
    loaded = load_weights(tmp_path / "saved")
    assert list(loaded) == list(model.weights)
    for name, weight in model.weights.items():
        np.testing.assert_array_equal(loaded[name], weight, err_msg=name)


def test_another_weight_gives_its_shard_another_name_and_leaves_the_others(model: GraphModel, tmp_path: Path) -> None:
    save_graph_model(model, tmp_path / "before", {})
    changed = {**model.weights, "whole": model.weights["whole"] // 2}
    save_graph_model(GraphModel(model.nodes, model.signature, changed, {}), tmp_path / "after", {})
    before, after = ({path.name for path in (tmp_path / name).glob("*.bin")} for name in ("before", "after"))
    assert len(before & after) == 1
    assert len(after - before) == 2


def test_model_json_is_compact_and_carries_its_metadata(model: GraphModel, tmp_path: Path) -> None:
    metadata = {"classes": ["Ähre", "b"], "calibration": {"temperature": 1.5, "threshold": None}}
    save_graph_model(model, tmp_path / "saved", metadata)
    text = (tmp_path / "saved" / "model.json").read_text(encoding="utf-8")
    assert json.loads(text)["userDefinedMetadata"] == metadata
    assert text == json.dumps(json.loads(text), separators=(",", ":"), ensure_ascii=False)
    assert "Ähre" in text
    assert "modelInitializer" not in text
