"""Frozen features, against keras.applications."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from tfpipe.core.errors import ConfigError
from tfpipe.core.settings import BaselineSettings
from tfpipe.models.mobilenet import build_features

SIZE = 32


def make_published(**options: Any) -> keras.Model:
    return keras.applications.MobileNetV2(
        input_shape=(SIZE, SIZE, 3), alpha=0.35, include_top=False, weights=None, **options
    )


@pytest.fixture(scope="module")
def weights_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fresh weights of a backbone."""
    keras.utils.set_random_seed(1)
    path = tmp_path_factory.mktemp("weights") / "backbone.weights.h5"
    make_published().save_weights(path)
    return path


def test_features_are_those_of_the_published_network(weights_path: Path) -> None:
    published = make_published(pooling="avg")
    published.load_weights(weights_path)
    features = build_features(BaselineSettings(alpha=0.35, weights=str(weights_path), image_size=SIZE))
    images = np.random.default_rng(0).uniform(-1, 1, (3, SIZE, SIZE, 3)).astype(np.float32)
    np.testing.assert_allclose(features(images, training=False), published(images, training=False), atol=1e-5)
    assert features.output_shape == (None, 1280)
    assert not features.trainable_variables


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"weights": "nowhere.h5"}, r"^baseline\.weights: nowhere\.h5 is no file"),
        ({"alpha": 0.5}, r"^baseline\.weights: .* does not fit mobilenetv2 with alpha 0\.5"),
    ],
)
def test_weights_that_cannot_be_used_are_told_in_a_sentence(
    weights_path: Path, changes: dict[str, object], told: str
) -> None:
    settings = {"alpha": 0.35, "weights": str(weights_path), "image_size": SIZE} | changes
    with pytest.raises(ConfigError, match=told):
        build_features(BaselineSettings.model_validate(settings))
