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
from tfpipe.labels.store import LabelHeader, labels_of_view, sparsify, write_header, write_view
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
    write_view([sparsify(logits, header.kept, TEMPERATURE)], store, teacher=0, view=0)
    write_header(header, np.ones((records.num_examples, 1), np.float32), store)
    return store


def _header(records: Records) -> LabelHeader:
    return LabelHeader(
        teachers=("made",),
        teacher_weights=(1.0,),
        region_filters=(None,),
        teacher_sha256s=("",),
        preprocessing_sha256="",
        classes_sha256="",
        examples_sha256="",
        view_seed=1,
        views=1,
        top_k=100,
        num_classes=len(records.classes),
        num_examples=records.num_examples,
        temperature=TEMPERATURE,
    )


def _images_per_second(model: keras.Model, batches: tf.data.Dataset, steps: int) -> float:
    model.fit(batches, steps_per_epoch=steps, verbose=0, shuffle=False)
    best = 0.0
    for _ in range(EPOCHS):
        start = time.perf_counter()
        model.fit(batches, steps_per_epoch=steps, verbose=0, shuffle=False)
        best = max(best, steps * BATCH / (time.perf_counter() - start))
    return best
