"""How deep each variable lies, against timm's rule worked out by hand."""

import re

import keras
import pytest

from tfpipe.core.inputs import ImageInput
from tfpipe.core.settings import ModelSettings
from tfpipe.models import build_model, layer_depths


def build(name: str, image_size: int = 32) -> keras.Model:
    keras.utils.clear_session()
    return build_model(
        ModelSettings(name=name, alpha=0.35),
        num_classes=5,
        model_input=ImageInput(image_size),
        dropout=0.1,
        stochastic_depth=0.0,
        rematerialize=False,
        seed=1,
    )


@pytest.mark.parametrize("name", ["vit_micro_patch8_32", "mobilenetv2", "mobilenet"])
def test_every_trainable_variable_has_one_depth_and_none_is_skipped(name: str) -> None:
    network = build(name)
    depths = layer_depths(network)
    paths = [variable.path for variable in network.trainable_variables]
    assert len(set(paths)) == len(paths)
    assert list(depths) == paths
    assert sorted(set(depths.values())) == list(range(max(depths.values()) + 1))
    assert {path for path, depth in depths.items() if depth == 0} == {"logits/kernel", "logits/bias"}


def test_a_vision_transformer_is_counted_as_timm_counts_it() -> None:
    """Head, blocks from the top with the last norm in the topmost, embeddings."""
    depths = layer_depths(build("vit_micro_patch8_32"))
    for path, depth in depths.items():
        block = re.search(r"transformer_block_(\d)", path)
        if block:
            assert depth == 5 - int(block[1]), path
    assert depths["vit_encoder/ln/gamma"] == 1
    embeddings = [depth for path, depth in depths.items() if "patching_and_embedding" in path]
    assert embeddings == [5] * 3


def test_mobilenetv2_is_counted_by_its_seventeen_blocks() -> None:
    depths = layer_depths(build("mobilenetv2"))
    assert depths["Conv1/kernel"] == depths["bn_Conv1/gamma"] == 18
    assert depths["expanded_conv_project/kernel"] == 17
    for number in range(1, 17):
        assert depths[f"block_{number}_project/kernel"] == 17 - number
    assert depths["Conv_1/kernel"] == 1


def test_a_network_without_named_blocks_is_counted_in_twelve_groups() -> None:
    depths = layer_depths(build("mobilenet"))
    assert max(depths.values()) == 12
    from_below = [depths[f"conv_pw_{number}/kernel"] for number in range(1, 14)]
    assert from_below == sorted(from_below, reverse=True)
    assert depths["conv1/kernel"] == 12


def test_what_is_frozen_moves_nothing() -> None:
    network = build("vit_micro_patch8_32")
    before = layer_depths(network)
    network.get_layer("logits").trainable = False
    after = layer_depths(network)
    assert after == {path: depth for path, depth in before.items() if not path.startswith("logits/")}
