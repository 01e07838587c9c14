"""An epoch of distillation, against a plain `fit` of the same student on the same records, and against a live teacher.

Each way is a process of its own: `python -m benchmarks.distillation_epoch <folder of records> <way as JSON>`.
"""

import json
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.table import Table

NUM_IMAGES, IMAGE_SIDE, IMAGE_SIZE, BATCH, EPOCHS, RUNS = 1500, 128, 96, 64, 3, 2
TEMPERATURE, SEED = 3.0, 1
TEACHER = "vit_micro_patch12_96"
"""Herbarium's own. Its weights make no difference to the time that it takes."""
MIXED = {"mixup_alpha": 0.8, "cutmix_alpha": 1.0}
WAYS: dict[str, dict[str, Any]] = {
    "plain fit": {},
    "distillation from stored labels": {"labels": "stored"},
    "… of two photos each": {"labels": "stored", **MIXED},
    "distillation from a live ViT": {"labels": "live"},
}


def measure(folder: Path) -> list[Table]:
    """Images a second, the best of some epochs after a first that traces the graphs."""
    from benchmarks.input_pipeline import draw_records

    records = draw_records(folder / "distillation", NUM_IMAGES, IMAGE_SIDE)
    # In turns: a machine that others share is faster in one minute than in the next.
    runs = [{name: _run(records.directory, way) for name, way in WAYS.items()} for _ in range(RUNS)]
    figures = {name: max(run[name] for run in runs) for name in WAYS}
    how = f"MobileNetV2 0.35 at {IMAGE_SIZE} px, batches of {BATCH}, the best of {EPOCHS} epochs, {RUNS} runs in turns."
    live, stored = "distillation from a live ViT", "distillation from stored labels"
    against = {live: figures[live], stored: figures[stored]}
    return [
        Table("Distillation epoch", how, "images/s", figures),
        Table("Distillation epoch, against a live teacher", f"{how} The teacher is {TEACHER}.", "images/s", against),
    ]


def _run(records_dir: Path, way: dict[str, Any]) -> float:
    command = [sys.executable, "-m", "benchmarks.distillation_epoch", str(records_dir), json.dumps(way)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return float(json.loads(done.stdout))


def _main(records_dir: Path, *, labels: str = "", **mixing: float) -> float:
    import keras

    from tfpipe.core.inputs import ImageInput
    from tfpipe.data.pipeline import Epochs, distillation_batches, training_batches
    from tfpipe.data.records import Records

    records, epochs = Records(records_dir, "train"), Epochs(BATCH, 1 + EPOCHS, SEED)
    student, model_input = _build(records, "mobilenetv2"), ImageInput(IMAGE_SIZE)
    if not labels:
        student.compile("adam", keras.losses.CategoricalCrossentropy(from_logits=True))
        batches = training_batches(records, model_input, epochs, augmentation="moderate")
        return _images_per_second(student, batches, epochs.steps_per_epoch(records.num_examples))
    with TemporaryDirectory() as store:
        distiller, source = LABELS[labels](student, records, Path(store))
        distiller.compile("adam")
        batches = distillation_batches(
            records, model_input, epochs, source, augmentation="moderate", view_seed=SEED, **mixing
        )
        return _images_per_second(distiller, batches, epochs.steps_per_epoch(records.num_examples))


def _stored(student: Any, records: Any, store: Path) -> tuple[Any, Any]:
    import numpy as np
    import tensorflow as tf

    from tfpipe.data.pipeline import StoredLabels
    from tfpipe.labels.header import LabelHeader, TeacherHeader
    from tfpipe.labels.sparse import sparsify, to_records
    from tfpipe.labels.store import close_store, decode, labels_of_view, shard_paths, write_shard

    classes, lengths = len(records.classes), records.shard_lengths()
    made = TeacherHeader(
        model_sha256="",
        knowledge_sha256="",
        preprocessing_sha256="",
        augmentation="moderate",
        mixup_alpha=0.0,
        cutmix_alpha=0.0,
        view_seed=SEED,
        views=1,
        region=None,
        calibration_temperature=1.0,
        calibrated_on="",
        classes_sha256="",
        examples_sha256="",
        speaks_sha256="",
        num_classes=classes,
        shard_lengths=lengths,
        kept=min(100, classes),
        temperature=TEMPERATURE,
    )
    header = LabelHeader(("made",), (made,), (1.0,))
    logits = np.random.default_rng(0).normal(size=(records.num_examples, classes))
    sparse = sparsify(tf.constant(logits, tf.float32), made.kept, TEMPERATURE)
    labels = to_records(sparse, np.arange(records.num_examples), "made")
    for part, path in zip(np.split(labels, np.cumsum(lengths)[:-1]), shard_paths(store / "made", made), strict=True):
        write_shard([part], path)
    close_store(header, np.ones((records.num_examples, 1), np.float32), store)
    stored = StoredLabels(
        lambda view: labels_of_view(store, header, view),
        lambda soft_labels: decode(soft_labels, header, TEMPERATURE),
        1,
    )
    return _distiller(student), stored


def _live(student: Any, records: Any, store: Path) -> tuple[Any, Any]:
    import tensorflow as tf

    from tfpipe.core.inputs import ImageInput
    from tfpipe.data.pipeline import LiveLabels
    from tfpipe.training.live_teachers import LiveTeachers

    teachers = LiveTeachers([_build(records, TEACHER)], [1.0])
    labels = LiveLabels((ImageInput(IMAGE_SIZE),), tf.ones((records.num_examples, 1)))
    return _distiller(student, teachers), labels


def _distiller(student: Any, teachers: Any = None) -> Any:
    from tfpipe.core.settings import LossWeights
    from tfpipe.training.distiller import Distiller

    return Distiller(
        student, loss="kl_divergence", temperature=TEMPERATURE, loss_weights=LossWeights(), teachers=teachers
    )


def _build(records: Any, name: str) -> Any:
    from tfpipe.core.inputs import ImageInput
    from tfpipe.core.settings import ModelSettings
    from tfpipe.models import build_model

    return build_model(
        ModelSettings(name=name, alpha=0.35),
        num_classes=len(records.classes),
        model_input=ImageInput(IMAGE_SIZE),
        dropout=0.0,
        stochastic_depth=0.0,
        rematerialize=False,
        seed=SEED,
    )


def _images_per_second(model: Any, batches: Any, steps: int) -> float:
    import keras

    ends: list[float] = []
    note_end = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: ends.append(time.perf_counter()))
    model.fit(batches, epochs=1 + EPOCHS, steps_per_epoch=steps, verbose=0, shuffle=False, callbacks=[note_end])
    return steps * BATCH / min(after - before for before, after in pairwise(ends))


LABELS = {"stored": _stored, "live": _live}
"""Students with what stands beside their images."""

if __name__ == "__main__":
    print(json.dumps(_main(Path(sys.argv[1]), **json.loads(sys.argv[2]))))
