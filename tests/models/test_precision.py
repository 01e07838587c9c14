"""Mixed precision: logits stay float32, files keep their policy, and float32 comes back."""

from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
import pytest

from tfpipe.core.inputs import ImageInput
from tfpipe.core.settings import ModelSettings
from tfpipe.models import as_float32, build_model
from tfpipe.models.saving import Card, load_model, save_model

NAMES = ["vit_micro_patch8_32", "mobilenet"]
POLICIES = ["mixed_bfloat16", "mixed_float16"]


@pytest.fixture(autouse=True)
def float32_after() -> Iterator[None]:
    """What one test sets globally, no other sees."""
    yield
    keras.config.set_dtype_policy("float32")


def build(name: str, policy: str) -> keras.Model:
    keras.utils.clear_session()
    keras.utils.set_random_seed(1)
    keras.config.set_dtype_policy(policy)
    return build_model(
        ModelSettings(name=name, alpha=0.35),
        num_classes=5,
        model_input=ImageInput(32),
        dropout=0.0,
        stochastic_depth=0.0,
        rematerialize=False,
        seed=1,
    )


def make_images() -> np.ndarray:
    return np.random.default_rng(0).uniform(-1, 1, (3, 32, 32, 3)).astype(np.float32)


def policies(network: keras.Model) -> dict[str, str]:
    """Of all layers, those of backbones within too; a network computes nothing by itself."""
    layers = network._flatten_layers(include_self=False)
    return {layer.path: layer.dtype_policy.name for layer in layers if not isinstance(layer, keras.Model)}


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("name", NAMES)
def test_logits_and_weights_are_float32_and_the_rest_is_not(name: str, policy: str) -> None:
    network = build(name, policy)
    logits = network(make_images(), training=False)
    assert logits.dtype == "float32"
    assert {variable.dtype for variable in network.trainable_variables} == {"float32"}
    assert network.get_layer("pool").compute_dtype == policy.removeprefix("mixed_")
    assert set(policies(network).values()) == {policy, "float32"}


@pytest.mark.parametrize("name", NAMES)
def test_a_file_keeps_its_precision_whatever_the_global_one_is(name: str, tmp_path: Path) -> None:
    network = build(name, "mixed_bfloat16")
    save_model(network, Card(name, list("abcde"), ImageInput(32), [1] * 5), tmp_path / "mixed.keras")
    keras.config.set_dtype_policy("float32")
    loaded, _ = load_model(tmp_path / "mixed.keras")
    assert policies(loaded) == policies(network)
    np.testing.assert_array_equal(loaded(make_images()), network(make_images()))


@pytest.mark.parametrize("name", NAMES)
def test_float32_comes_back_with_the_same_weights(name: str) -> None:
    """The answers differ by what bfloat16 cannot tell apart, and are those of a network that never was mixed."""
    mixed, never_mixed = build(name, "mixed_bfloat16"), build(name, "float32")
    never_mixed.set_weights(mixed.get_weights())
    keras.config.set_dtype_policy("mixed_bfloat16")
    plain = as_float32(mixed)
    assert keras.config.dtype_policy().name == "mixed_bfloat16"
    assert set(policies(plain).values()) == {"float32"}
    assert as_float32(plain) is plain
    images = make_images()
    answers = plain(images, training=False).numpy()
    np.testing.assert_allclose(answers, never_mixed(images, training=False), atol=1e-6)
    rough = mixed(images, training=False).numpy()
    np.testing.assert_allclose(answers, rough, atol=0.05 * max(1, np.abs(answers).max()))
    for left, right in zip(plain.get_weights(), mixed.get_weights(), strict=True):
        np.testing.assert_array_equal(left, right)
