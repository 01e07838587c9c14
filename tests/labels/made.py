"""Stores of made logits, and what TensorFlow says of them as NumPy."""

from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tfpipe.labels.header import LabelHeader, TeacherHeader
from tfpipe.labels.sparse import Sparse, sparsify, to_records
from tfpipe.labels.store import close_store, shard_path, write_shard

LENGTHS, CLASSES, VIEWS, TEMPERATURE = (4, 5, 2), 9, 3, 2.5
EXAMPLES = sum(LENGTHS)
NAMES = ("global", "alps")
WEIGHTS = np.random.default_rng(9).dirichlet((1, 1), EXAMPLES).astype(np.float32)


def make_teacher_header(**changed: Any) -> TeacherHeader:
    fields: dict[str, Any] = {
        "model_sha256": "aa",
        "knowledge_sha256": "bb",
        "preprocessing_sha256": "cc",
        "augmentation": "moderate",
        "mixup_alpha": 0.0,
        "cutmix_alpha": 0.0,
        "view_seed": 1,
        "views": VIEWS,
        "region": None,
        "calibration_temperature": 1.0,
        "calibrated_on": "",
        "classes_sha256": "dd",
        "examples_sha256": "ee",
        "speaks_sha256": "ff",
        "num_classes": CLASSES,
        "shard_lengths": LENGTHS,
        "kept": CLASSES,
        "temperature": TEMPERATURE,
    }
    return TeacherHeader(**fields | changed)


def make_header(**changed: Any) -> LabelHeader:
    teachers = (make_teacher_header(**changed), make_teacher_header(**{"region": "alps"} | changed))
    return LabelHeader(NAMES, teachers, (0.7, 0.3))


def make_logits(teacher: int, view: int) -> np.ndarray:
    """(EXAMPLES, CLASSES), all different."""
    return np.random.default_rng([teacher, view]).normal(0, 4, (EXAMPLES, CLASSES)).astype(np.float32)


def to_numpy(logits: np.ndarray, kept: int, temperature: float) -> np.ndarray:
    """Records of dense logits, through the graph."""
    sparse = tf.function(lambda tensor: sparsify(tensor, kept, temperature).tensors())(tf.constant(logits, tf.float32))
    return to_records(Sparse(*sparse), np.array([f"photo {place}" for place in range(len(logits))]), "made")


def write_store(store: Path, *, kept: int = CLASSES) -> LabelHeader:
    header = make_header(kept=kept)
    for teacher, name in enumerate(NAMES):
        for view in range(VIEWS):
            records = to_numpy(make_logits(teacher, view), kept, TEMPERATURE)
            for shard, part in enumerate(np.split(records, np.cumsum(LENGTHS)[:-1])):
                write_shard(np.split(part, [1]), shard_path(store / name, view, shard, len(LENGTHS)))
    close_store(header, WEIGHTS, store)
    return header
