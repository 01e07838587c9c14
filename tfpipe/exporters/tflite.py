"""TensorFlow Lite, for phones."""

from pathlib import Path

import tensorflow as tf

from tfpipe.core.files import atomic_open
from tfpipe.core.progress import native_silence


def export_tflite(saved_model_dir: Path, target: Path, *, float16: bool) -> None:
    """Convert a SavedModel, its weights in float16 or float32; it computes in float32 either way."""
    with native_silence():
        converter = tf.lite.TFLiteConverter.from_saved_model(str(saved_model_dir))
        if float16:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.target_spec.supported_types = [tf.float16]
        content = converter.convert()
    with atomic_open(target, "wb") as file:
        file.write(content)
