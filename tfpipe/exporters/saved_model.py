"""SavedModel: what every other TensorFlow format is made from."""

from pathlib import Path

import keras

from tfpipe.core.files import atomic_path
from tfpipe.core.progress import native_silence


def export_saved_model(network: keras.Model, target: Path) -> None:
    """Write a model that maps (batch, size, size, 3) float32 to logits."""
    with atomic_path(target) as folder, native_silence():
        network.export(folder, verbose=False)
