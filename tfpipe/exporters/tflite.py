"""TensorFlow Lite, for phones."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tfpipe.core.files import atomic_open
from tfpipe.core.progress import native_silence

Array = np.ndarray


def export_tflite(saved_model_dir: Path, target: Path, *, float16: bool) -> None:
    """Convert a SavedModel, its weights in float16 or float32; it computes in float32 either way."""

    def in_float16(converter: Any) -> None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_types = [tf.float16]

    _convert(saved_model_dir, target, in_float16 if float16 else lambda converter: None)


def export_int8_tflite(saved_model_dir: Path, target: Path, images: Array) -> None:
    """Convert a SavedModel such that all its layers compute in int8: activations too, in ranges that photos show.

    Images go in and logits come out as float32, as with the other files, so that the same code runs each; the first
    operation and the last convert.

    Args:
        saved_model_dir: what to convert.
        target: the file.
        images: (images, size, size, 3) as the network wants them, some hundred.
    """

    def in_int8(converter: Any) -> None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.representative_dataset = lambda: ([image[None]] for image in images)

    _convert(saved_model_dir, target, in_int8)


def load_tflite(path: Path) -> Callable[[tf.Tensor], tf.Tensor]:
    """A model's answers: images (batch, size, size, 3) → logits (batch, num_classes)."""
    with warnings.catch_warnings():
        # Its successor is a package of its own, and TensorFlow 2.19 has this one.
        warnings.filterwarnings("ignore", ".*tf.lite.Interpreter is deprecated", UserWarning)
        with native_silence():
            interpreter = tf.lite.Interpreter(str(path))
            interpreter.allocate_tensors()
    runner = interpreter.get_signature_runner()
    (taken,), (given,) = runner.get_input_details(), runner.get_output_details()
    return lambda images: tf.constant(runner(**{taken: images})[given])


def _convert(saved_model_dir: Path, target: Path, prepare: Callable[[Any], None]) -> None:
    with native_silence():
        converter = tf.lite.TFLiteConverter.from_saved_model(str(saved_model_dir))
        prepare(converter)
        content = converter.convert()
    with atomic_open(target, "wb") as file:
        file.write(content)
