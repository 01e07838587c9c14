"""PNG files and numbers for TensorBoard."""

from collections.abc import Mapping, Sequence
from pathlib import Path


def write_summaries(logs_dir: Path, *, numbers: Mapping[str, float], png_paths: Sequence[Path]) -> None:
    """Numbers under their names, pictures under their files'."""
    import tensorflow as tf

    with tf.summary.create_file_writer(str(logs_dir)).as_default(step=0):
        for name, value in numbers.items():
            tf.summary.scalar(name, value)
        for path in png_paths:
            tf.summary.image(path.stem, tf.io.decode_png(path.read_bytes())[None])
