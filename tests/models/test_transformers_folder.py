"""Folders that transformers wrote: the same pixels give the same tokens as in PyTorch."""

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from tfpipe.core.errors import ConfigError
from tfpipe.core.inputs import ImageInput
from tfpipe.core.settings import DataSettings, ModelSettings
from tfpipe.models import build_model, input_of
from tfpipe.models.pretrained import backbone_of

torch = pytest.importorskip("torch", reason="needs the extra `judge`")
transformers = pytest.importorskip("transformers", reason="needs the extra `judge`")

TOKENS = {"hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4, "image_size": 32, "patch_size": 8}
PERCEPTRON = {"intermediate_size": 80}
WINDOWS = {"embed_dim": 16, "depths": [2, 2], "num_heads": [2, 4], "window_size": 2, "image_size": 32, "patch_size": 4}

CASES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "vit": ("vit", "ViTModel", TOKENS | PERCEPTRON | {"layer_norm_eps": 1e-3}),
    "vit, a classifier": ("vit", "ViTForImageClassification", TOKENS | PERCEPTRON),
    "deit": ("deit", "DeiTModel", TOKENS | PERCEPTRON | {"layer_norm_eps": 1e-3}),
    "deit, a classifier": ("deit", "DeiTForImageClassificationWithTeacher", TOKENS | PERCEPTRON),
    "dinov2": ("dinov2", "Dinov2Model", TOKENS),
    "dinov2 with registers": ("dinov2", "Dinov2WithRegistersModel", TOKENS | {"num_register_tokens": 2}),
    "dinov3": ("dinov3", "DINOv3ViTModel", TOKENS | PERCEPTRON | {"num_register_tokens": 2}),
    "swin": ("swin", "SwinModel", WINDOWS),
}
"""What → name in the settings, class and config in transformers."""


def write(folder: Path, architecture: str, config: dict[str, Any]) -> Any:
    """A network of transformers with lively weights, in a folder."""
    torch.manual_seed(0)
    kind = getattr(transformers, architecture)
    network = kind(kind.config_class(**config)).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    network.save_pretrained(folder)
    return network


def build(name: str, folder: Path, image_size: int = 32) -> keras.Model:
    return build_model(
        ModelSettings(name=name, weights=str(folder)),
        num_classes=3,
        model_input=ImageInput(image_size),
        dropout=0.1,
        stochastic_depth=0.0,
        rematerialize=False,
        seed=1,
    )


def tokens_of(network: keras.Model, images: np.ndarray) -> np.ndarray:
    backbone = backbone_of(network)
    named = dict.fromkeys(backbone.input, images) if isinstance(backbone.input, dict) else images
    return backbone(named, training=False).numpy()


@pytest.mark.parametrize("case", CASES)
def test_tokens_are_those_of_transformers(case: str, tmp_path: Path) -> None:
    name, architecture, config = CASES[case]
    theirs = write(tmp_path, architecture, config)
    images = np.random.default_rng(0).uniform(-1, 1, (2, 32, 32, 3)).astype(np.float32)
    base = getattr(theirs, theirs.base_model_prefix) if "For" in architecture else theirs
    with torch.no_grad():
        expected = base(pixel_values=torch.tensor(images.transpose(0, 3, 1, 2))).last_hidden_state.numpy()
    assert expected.std() > 0.1
    network = build(name, tmp_path)
    np.testing.assert_allclose(tokens_of(network, images), expected, atol=1e-4)
    assert network(images).shape == (2, 3)


def test_normalisation_is_that_of_the_processor(tmp_path: Path) -> None:
    processor = transformers.ViTImageProcessor(image_mean=[0.1, 0.2, 0.3], image_std=[0.3, 0.2, 0.1])
    processor.save_pretrained(tmp_path)
    pixels = np.random.default_rng(0).integers(0, 256, (224, 224, 3)).astype(np.uint8)
    expected = np.asarray(processor(pixels, return_tensors="np")["pixel_values"])[0].transpose(1, 2, 0)
    spec = input_of(ModelSettings(name="vit", weights=str(tmp_path)), DataSettings(image_size=224))
    np.testing.assert_allclose((pixels - spec.mean) / spec.scale, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("case", "key", "value", "told"),
    [
        ("vit", "hidden_act", "relu", r"has the activation 'relu'; only gelu is known\.$"),
        ("dinov2", "layer_norm_eps", 0.1, r"has a layer_norm_eps of 0\.1; known is 1e-06\.$"),
        ("vit", "intermediate_size", 81, r"does not fit vit \(.*81.*\)\. Look into its config\.json\.$"),
    ],
)
def test_a_config_that_kerashub_would_misread_is_refused(
    case: str, key: str, value: Any, told: str, tmp_path: Path
) -> None:
    name, architecture, config = CASES[case]
    write(tmp_path, architecture, config)
    file = tmp_path / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {key: value}))
    with pytest.raises(ConfigError, match=told):
        build(name, tmp_path)
