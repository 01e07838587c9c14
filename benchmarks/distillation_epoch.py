"""An epoch of distillation from stored labels, against a plain `fit` of the same student on the same records."""

import time
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from benchmarks.input_pipeline import draw_records
from benchmarks.table import Table
from tfpipe.core.inputs import ImageInput
from tfpipe.core.settings import LossWeights, ModelSettings
from tfpipe.data.pipeline import Epochs, distillation_batches, training_batches
from tfpipe.data.records import Records
from tfpipe.labels.header import LabelHeader, TeacherHeader
from tfpipe.labels.sparse import sparsify, to_records
from tfpipe.labels.store import close_store, decode, labels_of_view, shard_paths, write_shard
from tfpipe.models import build_model
from tfpipe.training.distiller import Distiller

IMAGE_SIZE, BATCH, TEMPERATURE, EPOCHS = 96, 64, 3.0, 3
INPUT = ImageInput(IMAGE_SIZE)
WHOLE = Epochs(BATCH, 1, seed=1)


def measure(folder: Path) -> Table:
    """Images a second, the best of some epochs after a first that traces the graphs."""
    records = draw_records(folder / "distillation", 1500, 128)
    store = _made_labels(records, folder / "store")
    plain = _student(records)
    plain.compile("adam", keras.losses.CategoricalCrossentropy(from_logits=True))
    distiller = Distiller(_student(records), loss="kl_divergence", temperature=TEMPERATURE, loss_weights=LossWeights())
    distiller(tf.zeros((1, IMAGE_SIZE, IMAGE_SIZE, 3)))
    distiller.compile("adam")
    plain_batches = training_batches(records, INPUT, WHOLE, augmentation="moderate")
    soft_batches = distillation_batches(
        records,
        INPUT,
        WHOLE,
        lambda view: labels_of_view(store, _header(records), view),
        augmentation="moderate",
        views=1,
        view_seed=1,
        decode_labels=lambda soft_labels: decode(soft_labels, _header(records), TEMPERATURE),
    )
    steps = WHOLE.steps_per_epoch(records.num_examples)
    figures = {
        "plain fit": _images_per_second(plain, plain_batches, steps),
        "distillation from stored labels": _images_per_second(distiller, soft_batches, steps),
    }
    how = f"MobileNetV2 0.35 at {IMAGE_SIZE} px, batches of {BATCH}, the best of {EPOCHS} epochs."
    return Table("Distillation epoch", how, "images/s", figures)


def _student(records: Records) -> keras.Model:
    settings = ModelSettings(name="mobilenetv2", alpha=0.35)
    return build_model(
        settings,
        num_classes=len(records.classes),
        image_size=IMAGE_SIZE,
        dropout=0.0,
        stochastic_depth=0.0,
        rematerialize=False,
        seed=1,
    )


def _made_labels(records: Records, store: Path) -> Path:
    header = _header(records)
    logits = np.random.default_rng(0).normal(size=(records.num_examples, header.num_classes))
    sparse = sparsify(tf.constant(logits, tf.float32), header.kept, TEMPERATURE)
    labels = to_records(sparse, np.arange(records.num_examples), "made")
    parts = np.split(labels, np.cumsum(header.shard_lengths)[:-1])
    for part, path in zip(parts, shard_paths(store / "made", header.teachers[0]), strict=True):
        write_shard([part], path)
    close_store(header, np.ones((records.num_examples, 1), np.float32), store)
    return store


def _header(records: Records) -> LabelHeader:
    num_classes = len(records.classes)
    made = TeacherHeader(
        model_sha256="",
        knowledge_sha256="",
        preprocessing_sha256="",
        augmentation="moderate",
        mixup_alpha=0.0,
        cutmix_alpha=0.0,
        view_seed=1,
        views=1,
        region=None,
        calibration_temperature=1.0,
        calibrated_on="",
        classes_sha256="",
        examples_sha256="",
        speaks_sha256="",
        num_classes=num_classes,
        shard_lengths=records.shard_lengths(),
        kept=min(100, num_classes),
        temperature=TEMPERATURE,
    )
    return LabelHeader(("made",), (made,), (1.0,))


def _images_per_second(model: keras.Model, batches: tf.data.Dataset, steps: int) -> float:
    model.fit(batches, steps_per_epoch=steps, verbose=0, shuffle=False)
    best = 0.0
    for _ in range(EPOCHS):
        start = time.perf_counter()
        model.fit(batches, steps_per_epoch=steps, verbose=0, shuffle=False)
        best = max(best, steps * BATCH / (time.perf_counter() - start))
    return best
