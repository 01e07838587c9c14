"""The soft-label store: writing against the teacher's bare predictions, reading, peak memory, bytes.

Each way is a process of its own: `python -m benchmarks.label_store <folder> <way>`.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.memory import peak_mib
from benchmarks.table import Table

NUM_IMAGES, IMAGE_SIDE, IMAGE_SIZE, RUNS = 2000, 160, 128, 3
KEPT, CLASSES, TEMPERATURE = 100, 9_000, 3.0
FEW, MANY, NUM_SHARDS = 10_000, 850_000, 16
BATCH, DIFFERENT = 256, 4096


def measure(folder: Path) -> list[Table]:
    """The best of some runs; rates as they follow each other in one process, memory in one of its own."""
    return [_measure_writing(folder / "writing"), _measure_reading(folder), _measure_memory(folder), _measure_bytes()]


def _measure_writing(folder: Path) -> Table:
    from benchmarks.input_pipeline import draw_records

    records = draw_records(folder, NUM_IMAGES, IMAGE_SIDE)
    found = _run(records.directory, {"write": True})
    how = (
        f"MobileNetV2 1.0 with {CLASSES:,} classes at {IMAGE_SIZE} px, moderate views from records, the {KEPT} best "
        f"classes of {records.num_examples} views, synced to the disk, the best of {RUNS} runs that take turns."
    )
    return Table("Soft labels, writing", how, "views/s", found)


def _measure_reading(folder: Path) -> Table:
    found = _run(folder / f"store{MANY}", {"make": MANY, "read": True, "core": 0})
    how = f"{MANY:,} made labels of {CLASSES:,} classes, k = {KEPT}: read, batched by {BATCH} and decoded, on one core."
    return Table("Soft labels, reading", how, "records/s", {"demanded": 50_000.0} | found)


def _measure_memory(folder: Path) -> Table:
    figures = {}
    for name, way in {"writing": {"sparsify": True}, "reading": {"read": True}}.items():
        for count in (FEW, MANY):
            store = {} if name == "writing" else {"make": count}
            _run(folder / f"store{count}", store)
            figures[f"{name} {count:,} views"] = _run(folder / f"store{count}", {"views": count} | way)["peak_mib"]
    how = f"Made labels of {CLASSES:,} classes, k = {KEPT}: dense logits to records on the disk, and back to batches."
    return Table("Soft labels, peak memory", how, "MiB", figures)


def _measure_bytes() -> Table:
    from tfpipe.labels.sparse import record_type

    how = f"{CLASSES:,} classes; dense float32 is what the plan's `.npz` holds."
    figures = {"dense float32": 4.0 * CLASSES, "dense float16": 2.0 * CLASSES}
    return Table("Soft labels, size", how, "bytes/view", figures | {f"k = {KEPT}": float(record_type(KEPT).itemsize)})


def _run(folder: Path, way: dict[str, Any]) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.label_store", str(folder), json.dumps(way)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def _main(
    folder: Path,
    *,
    write: bool = False,
    make: int | None = None,
    read: bool = False,
    sparsify: bool = False,
    views: int | None = None,
    core: int | None = None,
) -> dict[str, float]:
    if core is not None:
        # Before TensorFlow counts them.
        os.sched_setaffinity(0, {core})
    if write:
        return _write_rates(folder)
    if make and not (folder / "header.json").is_file():
        make_store(folder, make)
    if sparsify:
        write_records(folder / "again", views or make or FEW)
        return {"peak_mib": peak_mib()}
    if not read:
        return {}
    rate = max(_read_rate(folder) for _ in range(1 if views else RUNS))
    return {"peak_mib": peak_mib()} if views else {"ours": rate}


def make_store(folder: Path, num_views: int) -> None:
    """A closed store of random labels, quickly: the same few thousand records over and over."""
    from tfpipe.labels.header import LabelHeader
    from tfpipe.labels.store import close_store, shard_path, write_shard

    header = _teacher_header(num_views)
    records = np.concatenate(list(_made_records(DIFFERENT)))
    for shard, length in enumerate(header.shard_lengths):
        whole, rest = divmod(length, DIFFERENT)
        write_shard((*[records] * whole, records[:rest]), shard_path(folder / "made", 0, shard, NUM_SHARDS))
    close_store(LabelHeader(("made",), (header,), (1.0,)), np.ones((num_views, 1), np.float32), folder)


def write_records(folder: Path, num_views: int) -> None:
    """Dense made logits, batch by batch, to shards of records."""
    from tfpipe.labels.store import shard_path, write_shard

    for shard, length in enumerate(_shard_lengths(num_views)):
        write_shard(_made_records(length), shard_path(folder, 0, shard, NUM_SHARDS))


@cache
def _made() -> Callable[..., Any]:
    import tensorflow as tf

    from tfpipe.labels.sparse import sparsify

    @tf.function
    def made(seed: tf.Tensor, size: tf.Tensor) -> tuple[tf.Tensor, ...]:
        logits = tf.random.stateless_uniform((size, CLASSES), (seed, 0), -9.0, 9.0)
        return sparsify(tf.ensure_shape(logits, (None, CLASSES)), KEPT, TEMPERATURE).tensors()

    return made


def _made_records(num_views: int) -> Iterator[np.ndarray]:
    import tensorflow as tf

    from tfpipe.labels.sparse import Sparse, to_records

    made = _made()
    for begin in range(0, num_views, BATCH):
        size = min(BATCH, num_views - begin)
        tensors = made(tf.constant(begin), tf.constant(size))
        yield to_records(Sparse(*(tensor.numpy() for tensor in tensors)), np.arange(size), "made")


def _shard_lengths(num_views: int) -> tuple[int, ...]:
    return tuple(len(part) for part in np.array_split(np.empty(num_views, bool), NUM_SHARDS))


def _teacher_header(num_views: int) -> Any:
    from tfpipe.labels.header import TeacherHeader

    return TeacherHeader(
        model_sha256="", knowledge_sha256="", preprocessing_sha256="", augmentation="none", mixup_alpha=0.0,
        cutmix_alpha=0.0, view_seed=1, views=1, region=None, calibration_temperature=1.0, calibrated_on="",
        classes_sha256="", examples_sha256="", speaks_sha256="", num_classes=CLASSES,
        shard_lengths=_shard_lengths(num_views), kept=KEPT, temperature=TEMPERATURE,
    )  # fmt: skip


def _read_rate(folder: Path) -> float:
    import tensorflow as tf

    from tfpipe.labels.store import decode, labels_of_view, read_header

    header = read_header(folder)
    ds = labels_of_view(folder, header, 0).batch(BATCH)
    ds = ds.map(lambda batch: decode(batch["soft_labels"], header, TEMPERATURE)).prefetch(tf.data.AUTOTUNE)
    start, count = time.perf_counter(), 0
    for batch in ds:
        count += int(batch["teacher_ids"].shape[0])
    return count / (time.perf_counter() - start)


def _write_rates(records_dir: Path) -> dict[str, float]:
    """Bare predictions, and labelling of the same views of the same records, in turns."""
    from tfpipe.core.inputs import ImageInput
    from tfpipe.core.settings import ModelSettings
    from tfpipe.data.records import Records
    from tfpipe.models import build_model
    from tfpipe.models.saving import Card, save_model
    from tfpipe.stages.label.teachers import Facts, Teacher
    from tfpipe.stages.label.units import label_unit, list_units
    from tfpipe.training.reproducible import make_reproducible

    make_reproducible(1, deterministic=False)
    records = Records(records_dir, "train")
    network = build_model(
        ModelSettings(name="mobilenetv2"), num_classes=CLASSES, model_input=ImageInput(IMAGE_SIZE), dropout=0.0,
        stochastic_depth=0.0, rematerialize=False, seed=1,
    )  # fmt: skip
    path, count = records_dir.with_name("teacher.keras"), records.num_examples
    names = [f"{number}" for number in range(CLASSES)]
    save_model(network, Card("mobilenetv2", names, ImageInput(IMAGE_SIZE), [1] * CLASSES), path)
    header = _teacher_header(count)
    header = type(header)(**vars(header) | {"augmentation": "moderate", "shard_lengths": (count,)})
    every = np.arange(CLASSES)
    teacher = Teacher("made", path, header, ImageInput(IMAGE_SIZE), every, np.full(CLASSES, True))
    facts = Facts(np.arange(count).astype(str), np.full(count, ""), np.zeros(count, int), "", names, (count,))
    ways: dict[str, Callable[[], None]] = {"bare predict": _bare_predict(teacher, records)}

    def label() -> None:
        (unit,) = list_units(teacher, records_dir.with_name("labels"), None, records, facts, deterministic=False)
        unit.path.unlink(missing_ok=True)
        label_unit(unit)

    ways["label"] = label
    best = dict.fromkeys(ways, 0.0)
    for _ in range(RUNS + 1):
        # The first run of each traces its graph, and is never the best.
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            best[name] = max(best[name], count / (time.perf_counter() - start))
    return best


def _bare_predict(teacher: Any, records: Any) -> Callable[[], None]:
    from tfpipe.data.pipeline import view_batches
    from tfpipe.stages.label.teachers import BATCH as PREDICTED

    predict = teacher.load()

    def bare() -> None:
        batches = view_batches(
            records, teacher.model_input, augmentation="moderate", view=0, view_seed=1, batch_size=PREDICTED
        )
        for _, images in batches:
            predict(images).numpy()

    return bare


if __name__ == "__main__":
    print(json.dumps(_main(Path(sys.argv[1]), **json.loads(sys.argv[2]))))
