"""TensorFlow.js graph models, by the one door to `tensorflowjs`."""

import os
from pathlib import Path

from tfpipe.core.files import atomic_path
from tfpipe.core.progress import native_silence
from tfpipe.core.settings import Precision

QUANTIZATION: dict[Precision, dict[str, bool]] = {"float32": {}, "float16": {"float16": True}}
"""Precision → the converter's `quantization_dtype_map`: which weights become what."""


def export_tfjs(saved_model_dir: Path, target: Path, precision: Precision) -> None:
    """Convert a SavedModel to `model.json` and weight shards, whole or not at all."""
    os.environ.setdefault("TFDF_DISABLE_WELCOME_MESSAGE", "1")
    with atomic_path(target) as folder, native_silence():
        # Imported here: it takes seconds.
        from tensorflowjs.converters import tf_saved_model_conversion_v2 as converter

        converter.convert_tf_saved_model(
            str(saved_model_dir),
            str(folder),
            control_flow_v2=True,
            quantization_dtype_map=QUANTIZATION[precision],
        )
