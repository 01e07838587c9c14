"""Hashes of the pixels of views, as the teacher's pipeline makes them and as the student's does."""

import hashlib
from collections.abc import Iterable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from PIL import Image

from tfpipe.core.inputs import ImageInput
from tfpipe.data.pipeline import Epochs, StoredLabels, distillation_batches, view_batches
from tfpipe.data.records import Records, write_records
from tfpipe.data.rows import Row, write_rows
from tfpipe.data.workers import Runner

SIZE, VIEWS, VIEW_SEED = 32, 2, 5
INPUT = ImageInput(SIZE)
KINDS: dict[str, Any] = {
    "one photo": {"augmentation": "aggressive"},
    "two photos": {"augmentation": "moderate", "mixup_alpha": 0.8, "cutmix_alpha": 1.0},
}
"""Of views."""
Hashes = dict[str, str]
"""`<id> <view>` → hash."""


def write_scenes(folder: Path, count: int) -> Records:
    """That many photos, coloured and nowhere the same, under ids that tell nothing of their order."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for number in range(count):
        height, width = rng.integers(36, 60, 2)
        noise = Image.fromarray(rng.integers(0, 256, (5, 5, 3), np.uint8))
        buffer = BytesIO()
        noise.resize((int(width), int(height)), Image.Resampling.BICUBIC).save(buffer, "JPEG")
        path = folder / f"{number}.jpg"
        path.write_bytes(buffer.getvalue())
        extra = {"num_bytes": path.stat().st_size}
        label, region = f"class {number % 4}", f"region {number % 3}"
        name = f"{rng.integers(2**40):x} ñ"
        rows.append(Row(name, label, region=region, path=str(path), split="train", extra=extra))
    write_rows(rows, folder / "splits.jsonl")
    directory = folder / "scenes" / "1.0.0"
    write_records(folder / "splits.jsonl", directory, num_shards=3, title="pack", runner=Runner())
    return Records(directory, "train")


def of_teacher(records: Records, **options: Any) -> Hashes:
    """Of all views of all examples, as they are labelled; `options` are one of `KINDS`."""
    hashes = {}
    for view in range(VIEWS):
        ds = view_batches(records, INPUT, view=view, view_seed=VIEW_SEED, batch_size=64, **options)
        for ids, images in ds.as_numpy_iterator():
            hashes |= {f"{i.decode()} {view}": sha256(image) for i, image in zip(ids, images, strict=True)}
    return hashes


def student_batches(records: Records, epochs: Epochs, views: Any = VIEWS, **options: Any) -> tf.data.Dataset:
    """As `distill` makes them; `teacher_ids` are the place of an example in the canonical order, and its view."""

    def labels_of_view(view: tf.Tensor) -> tf.data.Dataset:
        return tf.data.Dataset.range(records.num_examples).map(
            lambda place: {"soft_labels": tf.strings.as_string([place, view]), "teacher_weights": [1.0, 0.0]}
        )

    def decode(soft_labels: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"teacher_ids": tf.strings.to_number(soft_labels, tf.int64)}

    labels = StoredLabels(labels_of_view, decode, views)
    return distillation_batches(records, INPUT, epochs, labels, view_seed=VIEW_SEED, **options)


def of_student(ids: Iterable[str], batches: Iterable[Any]) -> Hashes:
    """Of what `student_batches` made, as it trains."""
    ids = list(ids)
    return {
        f"{ids[place]} {view}": sha256(image)
        for images, labels in batches
        for image, (place, view) in zip(np.asarray(images), np.asarray(labels["teacher_ids"]), strict=True)
    }


def sha256(image: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(image).tobytes()).hexdigest()[:16]
