"""Images a second from records to batches, against the barest pipeline over the same photos."""

import time
from pathlib import Path

import tensorflow as tf

from benchmarks.table import Table
from tfpipe.core.config import load_config
from tfpipe.core.inputs import ImageInput
from tfpipe.core.settings import Augmentation
from tfpipe.core.workspace import Workspace
from tfpipe.data.pipeline import Epochs, evaluation_batches, training_batches
from tfpipe.data.records import Records
from tfpipe.stages.runner import run_step

NUM_IMAGES, IMAGE_SIDE, IMAGE_SIZE, BATCH, EPOCHS = 1500, 256, 224, 64, 3


def measure(folder: Path) -> Table:
    """The best of some passes; the first starts threads and fills caches."""
    records = draw_records(folder / "pipeline", NUM_IMAGES, IMAGE_SIDE)
    jpegs = [example["image"] for example in records.examples().as_numpy_iterator()]
    figures = {"bare decode_and_crop_jpeg + resize": _images_per_second(_bare(jpegs))}
    names: tuple[Augmentation, ...] = ("none", "moderate", "aggressive")
    for name in names:
        epochs = Epochs(BATCH, 1, seed=1)
        ds = training_batches(records, ImageInput(IMAGE_SIZE), epochs, augmentation=name)
        figures[f"training batches, {name}"] = _images_per_second(ds)
    ds = evaluation_batches(records, ImageInput(IMAGE_SIZE), batch_size=BATCH)
    figures["evaluation batches"] = _images_per_second(ds)
    how = f"{NUM_IMAGES} photos of {IMAGE_SIDE} px to {IMAGE_SIZE} px, batches of {BATCH}, the best of {EPOCHS} passes."
    return Table("Input pipeline", how, "images/s", figures)


def draw_records(root: Path, num_images: int, image_side: int) -> Records:
    """A herbarium of that size, packed."""
    root.mkdir(parents=True)
    path = root / "dataset.yaml"
    synonyms = Path("configs/herbarium_synonyms.csv").resolve()
    path.write_text(
        f"snapshot: {{num_images: {num_images}, image_side: {image_side}, label_map: {synonyms}}}\n"
        "split: {train: 0.9, validation: 0.05, test: 0.05}\n"
    )
    workspace = Workspace(root)
    run_step("pack", path, workspace=workspace)
    return Records(workspace.records_dir(load_config(path)), "train")


def _bare(jpegs: list[bytes]) -> tf.data.Dataset:
    def decode(jpeg: tf.Tensor) -> tf.Tensor:
        image = tf.image.decode_and_crop_jpeg(jpeg, [16, 16, 200, 200], channels=3)
        return tf.image.resize(image, (IMAGE_SIZE, IMAGE_SIZE))

    ds = tf.data.Dataset.from_tensor_slices(jpegs).map(decode, tf.data.AUTOTUNE)
    return ds.batch(BATCH).prefetch(tf.data.AUTOTUNE)


def _images_per_second(ds: tf.data.Dataset) -> float:
    best = 0.0
    for _ in range(EPOCHS):
        start, count = time.perf_counter(), 0
        for batch in ds:
            count += int((batch[0] if isinstance(batch, tuple) else batch).shape[0])
        best = max(best, count / (time.perf_counter() - start))
    return best
