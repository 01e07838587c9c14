"""Networks of keras.applications, against what keras.applications itself does."""

import importlib
from typing import Any

import keras
import numpy as np
import pytest

from tfpipe.core.inputs import ImageInput
from tfpipe.core.settings import DataSettings, ModelSettings
from tfpipe.models import build_model, input_of
from tfpipe.models.applications import NAMES
from tfpipe.models.pretrained import backbone_of

MODULES = {
    **{name: "efficientnet_v2" for name in NAMES if name.startswith("efficientnetv2")},
    **{name: "efficientnet" for name in NAMES if name.startswith("efficientnetb")},
    **{name: "resnet_v2" if name.endswith("v2") else "resnet" for name in NAMES if name.startswith("resnet")},
    **{name: kind for kind in ("densenet", "convnext", "nasnet") for name in NAMES if name.startswith(kind)},
    **{name: "mobilenet_v3" for name in NAMES if name.startswith("mobilenetv3")},
    **{name: name for name in ("mobilenet", "vgg16", "vgg19", "xception")},
    **{"inceptionv3": "inception_v3", "inceptionresnetv2": "inception_resnet_v2"},
}
"""Where keras.applications keeps a network's `preprocess_input`."""


def build(name: str, **settings: Any) -> keras.Model:
    keras.utils.clear_session()
    keras.utils.set_random_seed(1)
    return build_model(
        ModelSettings(name=name, **settings),
        num_classes=3,
        model_input=ImageInput(32),
        dropout=0.0,
        stochastic_depth=0.0,
        rematerialize=False,
        seed=1,
    )


def test_all_but_mobilenetv2_are_there() -> None:
    constructors = {name for name in dir(keras.applications) if name[0].isupper()}
    assert constructors - set(NAMES.values()) == {"MobileNetV2"}


@pytest.mark.parametrize("name", NAMES)
def test_pixels_are_normalised_as_preprocess_input_does_it(name: str) -> None:
    """Where that turns to blue, green, red, the network does it: see below."""
    pixels = np.random.default_rng(0).uniform(0, 255, (2, 2, 2, 3)).astype(np.float32)
    preprocess = importlib.import_module(f"keras.applications.{MODULES[name]}").preprocess_input
    spec = input_of(ModelSettings(name=name), DataSettings(image_size=32))
    found = (pixels - spec.mean) / spec.scale
    if MODULES[name] in ("resnet", "vgg16", "vgg19"):
        found = found[..., ::-1]
    np.testing.assert_allclose(found, preprocess(pixels.copy()), atol=1e-4)


@pytest.mark.parametrize("name", ["vgg16", "mobilenet", "mobilenet_v3_small"])
def test_pixels_give_the_published_networks_features(name: str) -> None:
    """From 0..255 on: normalised once and only once, channels in order, batch norm fused, weights in their places."""
    network = build(name)
    rng = np.random.default_rng(2)
    published = getattr(keras.applications, NAMES[name.replace("_", "")])(
        input_shape=(32, 32, 3), include_top=False, weights=None, pooling="avg"
    )
    weights = [(weight * rng.uniform(0.5, 1.5, weight.shape)).astype("float32") for weight in published.get_weights()]
    published.set_weights(weights)
    backbone_of(network).set_weights(weights)
    pixels = rng.uniform(0, 255, (2, 32, 32, 3)).astype(np.float32)
    spec = input_of(ModelSettings(name=name), DataSettings(image_size=32))
    features = keras.Model(network.input, network.get_layer("pool").output)
    found = features(((pixels - spec.mean) / spec.scale).astype(np.float32), training=False)
    module = importlib.import_module(f"keras.applications.{MODULES[name.replace('_', '')]}")
    expected = published(module.preprocess_input(pixels.copy()), training=False).numpy()
    assert expected.std() > 0
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


def test_batch_norms_are_fused_and_forget_as_pytorchs_do() -> None:
    layers = [layer for layer in backbone_of(build("mobilenet")).layers if "_bn" in layer.name]
    assert len(layers) == 27
    assert {(type(layer).__name__, layer.momentum) for layer in layers} == {("FusedBatchNormalization", 0.9)}
