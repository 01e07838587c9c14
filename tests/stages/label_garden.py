"""Photos of three colours in two shards, teachers that know colours by their mean, and a student's settings."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import yaml
from colours import COLOURS, SIDE, photo

from tfpipe.core.cluster import Share
from tfpipe.core.inputs import ImageInput
from tfpipe.core.workspace import Workspace
from tfpipe.data.rows import Row, write_rows
from tfpipe.labels.header import LabelHeader
from tfpipe.labels.store import iter_shards
from tfpipe.models.saving import Card, save_model
from tfpipe.stages.runner import run_step

CLASSES = sorted(COLOURS)
NUM_TRAIN, NUM_VALIDATION = 40, 12
Teachers = list[dict[str, Any]]
STUDENT: dict[str, Any] = {
    "data": {"config": "dataset.yaml", "image_size": SIDE, "augmentation": "moderate"},
    "model": {"name": "mobilenetv2", "alpha": 0.35},
    "label": {"views": 2},
}


def pack_garden(folder: Path) -> Path:
    """Records of photos whose colour is their class; every third is of region EU_SW."""
    rng = np.random.default_rng(0)
    rows = []
    (folder / "photos").mkdir(parents=True)
    for number in range(NUM_TRAIN + NUM_VALIDATION):
        label = CLASSES[number % 3]
        path = folder / "photos" / f"{number}.jpg"
        path.write_bytes(photo(rng, COLOURS[label]))
        split = "train" if number < NUM_TRAIN else "validation"
        region = "EU_SW" if number // 3 % 3 == 0 else "EU"
        rows.append(Row(f"{number}", label, region=region, group=f"g{number}", path=str(path), split=split))
    write_rows(rows, folder / "rows.jsonl")
    dataset = {
        "dataset": "garden",
        "snapshot": {"source": "jsonl", "path": str(folder / "rows.jsonl")},
        "audit": {"min_side": 8, "near_duplicate_bits": 0},
        "pack": {"num_shards": 2},
    }
    (folder / "dataset.yaml").write_text(yaml.safe_dump(dataset))
    run_step("pack", folder / "dataset.yaml", workspace=Workspace(folder))
    return folder


def write_teacher(
    path: Path,
    *,
    classes: Sequence[str] = CLASSES,
    counts: Sequence[int] | None = None,
    sharpness: float = 3.0,
    tilt: Callable[[np.ndarray], np.ndarray] = lambda kernel: kernel,
) -> Path:
    """A network that knows colours by their mean: logits `sharpness` times the pixels' likeness to each colour."""
    means = np.array([[channel / 127.5 - 1 for channel in COLOURS.get(name, (0, 0, 0))] for name in classes]).T
    images = keras.Input((SIDE, SIDE, 3))
    hidden = keras.layers.GlobalAveragePooling2D()(images)
    kernel = keras.initializers.Constant(tilt(sharpness * means))
    network = keras.Model(images, keras.layers.Dense(len(classes), kernel_initializer=kernel)(hidden))
    save_model(network, Card("made", list(classes), ImageInput(SIDE), list(counts or [1] * len(classes))), path)
    return path


def write_student(folder: Path, name: str, teachers: list[dict[str, Any]], **sections: Any) -> Path:
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(STUDENT | {"teachers": teachers} | sections))
    return path


def teachers_of(garden: Path, *named: str, **more: Any) -> Teachers:
    return [{"path": str(garden / f"{name}.keras")} | more.get(name, {}) for name in named]


def label(garden: Path, name: str, teachers: Teachers, share: Share | None = None, **sections: Any) -> Any:
    """Ask anew; but a share of the work, which cannot be forced, and must have a seed that no other store has."""
    path = write_student(garden, name, teachers, **sections)
    return run_step("label", path, workspace=Workspace(garden), share=share, force=share is None)


def label_what_is_missing(garden: Path, name: str, teachers: Teachers, **sections: Any) -> Any:
    """Take what other stores have."""
    return run_step("label", write_student(garden, name, teachers, **sections), workspace=Workspace(garden))


def store_of(garden: Path, name: str) -> Path:
    return garden / "runs" / name / "label" / "store"


def stored(store: Path, header: LabelHeader, view: int, teacher: int = 0) -> np.ndarray:
    return np.concatenate([pieces[teacher] for _, pieces in iter_shards(store, header, view)])
