"""One small student, exported once for all tests here."""

from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import pytest

from tfpipe.core.settings import ModelSettings
from tfpipe.exporters.saved_model import export_saved_model
from tfpipe.exporters.tfjs import export_tfjs
from tfpipe.models import build_model

SIZE, CLASSES = 32, 5


@dataclass(frozen=True)
class Exported:
    """A network and the folders that it was exported to."""

    network: keras.Model
    saved_model_dir: Path
    float32_dir: Path
    float16_dir: Path


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    keras.utils.clear_session()
    keras.utils.set_random_seed(2)
    settings = ModelSettings(name="mobilenetv2", alpha=0.35)
    network = enlivened(
        build_model(
            settings,
            num_classes=CLASSES,
            image_size=SIZE,
            dropout=0.2,
            stochastic_depth=0.0,
            rematerialize=False,
            seed=2,
        )
    )
    folder = tmp_path_factory.mktemp("exported")
    result = Exported(network, folder / "saved_model", folder / "float32", folder / "float16")
    export_saved_model(network, result.saved_model_dir)
    export_tfjs(result.saved_model_dir, result.float32_dir, "float32")
    export_tfjs(result.saved_model_dir, result.float16_dir, "float16")
    return result


def enlivened(network: keras.Model) -> keras.Model:
    """Weights as after training: fresh ones let the signal fade, and every image gets the same answer."""
    rng = np.random.default_rng(1)

    def fresh(variable: keras.Variable) -> np.ndarray:
        shape = variable.shape
        if len(shape) == 4:
            fan_in = np.prod(shape[:-1] if shape[-1] > 1 else shape[:2])
            return rng.normal(0, np.sqrt(2 / fan_in), shape)
        return variable.numpy() + (rng.uniform(0, 0.1, shape) if len(shape) == 1 else rng.normal(0, 0.05, shape))

    network.set_weights([fresh(variable) for variable in network.weights])
    return network


@pytest.fixture(scope="session")
def images() -> np.ndarray:
    return np.random.default_rng(0).uniform(-1, 1, (6, SIZE, SIZE, 3)).astype(np.float32)
