"""The head of low rank, and the limit on a network's size."""

from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfpipe.core.errors import ConfigError
from tfpipe.core.inputs import ImageInput
from tfpipe.core.settings import ModelSettings
from tfpipe.models import build_model, head_layers, layer_depths
from tfpipe.models.pretrained import backbone_of
from tfpipe.models.saving import Card, load_model, save_model

FEATURES, SPECIES, RANK = 1280, 9000, 256
VIT = "vit_micro_patch8_32"


def build(name: str = "mobilenetv2", *, num_classes: int = 300, **settings: object) -> keras.Model:
    keras.utils.clear_session()
    return build_model(
        ModelSettings.model_validate({"name": name, "alpha": 0.35} | settings),
        num_classes=num_classes,
        model_input=ImageInput(32),
        dropout=0.1,
        stochastic_depth=0.0,
        rematerialize=False,
        seed=1,
    )


def megabytes(network: keras.Model) -> float:
    return sum(weight.nbytes for weight in network.get_weights()) / 1e6


def test_nine_thousand_species_cost_fifty_five_megabytes_and_with_a_rank_of_256_twenty() -> None:
    """Counted by hand: 2,257,984 weights below the head (Sandler 2018, without its classifier)."""
    below = 2_257_984
    plain, low = (build(alpha=1.0, num_classes=SPECIES, head_rank=rank) for rank in (None, RANK))
    assert plain.count_params() == below + FEATURES * SPECIES + SPECIES
    assert low.count_params() == below + FEATURES * RANK + RANK * SPECIES + SPECIES
    assert megabytes(plain) == pytest.approx(55.148, abs=1e-3)
    assert megabytes(low) == pytest.approx(19.595, abs=1e-3)


@pytest.mark.parametrize("name", ["mobilenetv2", VIT])
def test_logits_are_the_product_of_two_matrices(name: str) -> None:
    network = build(name, head_rank=7)
    assert [layer.name for layer in head_layers(network)] == ["head_projection", "logits"]
    features = keras.Model(network.input, network.get_layer("pool").output)
    images = np.random.default_rng(0).uniform(-1, 1, (2, 32, 32, 3)).astype(np.float32)
    down, up, bias = (weight.numpy() for layer in head_layers(network) for weight in layer.weights)
    assert np.linalg.matrix_rank(down @ up) == 7
    expected = features(images, training=False).numpy() @ down @ up + bias
    np.testing.assert_allclose(network(images, training=False), expected, atol=1e-5)


def test_both_layers_are_the_head_for_depths_and_for_who_takes_the_backbone() -> None:
    low, plain = build(head_rank=7), build()
    depths = layer_depths(low)
    assert {path for path, depth in depths.items() if depth == 0} == {
        *("head_projection/kernel", "logits/kernel", "logits/bias"),
    }
    others = {path: depth for path, depth in depths.items() if depth}
    assert others == {path: depth for path, depth in layer_depths(plain).items() if depth}
    assert backbone_of(low).count_params() == backbone_of(plain).count_params()


def test_it_is_saved_and_read_again(tmp_path: Path) -> None:
    network = build(VIT, head_rank=7)
    card = Card(VIT, [str(n) for n in range(300)], ImageInput(32), [1] * 300)
    save_model(network, card, tmp_path / "best.keras")
    loaded, _ = load_model(tmp_path / "best.keras")
    images = tf.random.stateless_uniform((2, 32, 32, 3), (1, 2))
    np.testing.assert_array_equal(loaded(images, training=False), network(images, training=False))
    assert [layer.name for layer in head_layers(loaded)] == ["head_projection", "logits"]


@pytest.mark.parametrize(
    ("num_classes", "rank", "told"),
    [
        # 128 · 300 / 428 is 89.7
        (300, 90, r"model\.head_rank: 90 saves nothing between 128 features and 300 classes; choose at most 89"),
        (5, 5, r"model\.head_rank: 5 saves nothing between 128 features and 5 classes; choose at most 4"),
        (1, 1, r"model\.head_rank: 1 saves nothing between 128 features and 1 classes; leave it out"),
    ],
)
def test_a_rank_that_saves_nothing_is_refused(num_classes: int, rank: int, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        build(VIT, num_classes=num_classes, head_rank=rank)


def test_the_highest_rank_that_is_not_refused_saves_something() -> None:
    assert build(VIT, head_rank=89).count_params() < build(VIT).count_params()


def test_a_network_above_the_limit_is_refused_with_what_would_help() -> None:
    size, head = megabytes(build(VIT)), 4 * 300 * 129 / 1e6
    told = rf"model\.max_mb: {VIT} has {size:.1f} MB of float32 weights, {head:.1f} of them in the head for 300"
    with pytest.raises(ConfigError, match=told + r" classes, and the limit is 1\. Set model\.head_rank, or raise"):
        build(VIT, max_mb=1)
    with pytest.raises(
        ConfigError, match=r"Set a smaller model\.head_rank or a smaller model\.alpha, or raise the limit"
    ):
        build(max_mb=0.1, head_rank=7)
    assert megabytes(build(VIT, max_mb=size)) == size
