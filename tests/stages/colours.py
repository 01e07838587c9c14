"""Three colours of unequal frequency, in two regions, and networks that tell them apart by their mean."""

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import keras
import numpy as np
import yaml
from PIL import Image

from tfpipe.core.config import Config, load_config
from tfpipe.core.inputs import ImageInput
from tfpipe.core.workspace import Workspace
from tfpipe.data.records import write_records
from tfpipe.data.rows import Row, write_rows
from tfpipe.data.workers import Runner
from tfpipe.models.saving import Card, save_model

SIDE = 32
SIZES = {"blue": (3, 2, 4), "green": (12, 4, 6), "red": (40, 10, 20)}
"""Of train, validation and test."""
COLOURS = {"blue": (40, 60, 200), "green": (50, 180, 60), "red": (200, 60, 50)}


def photo(rng: np.random.Generator, colour: tuple[int, int, int]) -> bytes:
    pixels = np.clip(rng.normal(colour, 60, (SIDE, SIDE, 3)), 0, 255).astype(np.uint8)
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG")
    return buffer.getvalue()


def make_rows(folder: Path) -> list[Row]:
    rng = np.random.default_rng(0)
    rows = []
    for label, sizes in SIZES.items():
        for split, size in zip(("train", "validation", "test"), sizes, strict=True):
            for number in range(size):
                path = folder / f"{label}-{split}-{number}.jpg"
                path.write_bytes(photo(rng, COLOURS[label]))
                region = "EU" if number % 2 else "US"
                extra = {"num_bytes": path.stat().st_size}
                rows.append(Row(path.stem, label, region=region, path=str(path), split=split, extra=extra))
    return rows


DATASET: dict[str, Any] = {
    "dataset": "colours",
    "baseline": {"alpha": 0.35, "image_size": SIDE},
    "evaluate": {"many_above": 30, "few_below": 5},
}
TEACHER: dict[str, Any] = {
    "data": {"config": "dataset.yaml", "image_size": SIDE, "augmentation": "none"},
    "model": {"name": "vit_micro_patch8_32"},
    "evaluate": {"many_above": 30, "few_below": 5},
}
MEANS = ((-1, -1, 1), (-1, 1, -1), (1, -1, -1))
"""(channels, classes): how a network that knows the colours weighs them."""


def make_workspace(folder: Path) -> Workspace:
    """Settings, splits and records."""
    (folder / "photos").mkdir()
    for name, document in {"dataset": DATASET, "teacher": TEACHER, "other": TEACHER, "third": TEACHER}.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(document))
    workspace = Workspace(folder)
    config = load_config(folder / "dataset.yaml")
    write_rows(make_rows(folder / "photos"), workspace.splits_path(config))
    directory = workspace.records_dir(config)
    write_records(workspace.splits_path(config), directory, num_shards=1, title="pack", runner=Runner())
    return workspace


def settings(workspace: Workspace, name: str, *overrides: str) -> Config:
    return load_config(workspace.root / f"{name}.yaml", overrides)


def read_predictions(workspace: Workspace, config: Config, step: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    with np.load(workspace.step_dir(config, step) / "predictions.npz") as saved:
        return saved["ids"], saved["logits"], saved["labels"]


def write_teacher(
    workspace: Workspace,
    config: Config,
    weights: Sequence[Sequence[float]] = MEANS,
    pixels: int = SIDE,
) -> None:
    """A network that tells colours by the mean of some pixels: the fewer, the more mistakes."""
    images = keras.Input((SIDE, SIDE, 3))
    middle = keras.layers.CenterCrop(pixels, pixels)(images)
    hidden = keras.layers.GlobalAveragePooling2D(name="pool")(middle)
    kernel = keras.initializers.Constant(np.array(weights))
    network = keras.Model(images, keras.layers.Dense(3, kernel_initializer=kernel)(hidden))
    card = Card("mobilenetv2", sorted(SIZES), ImageInput(SIDE), [1] * len(SIZES))
    save_model(network, card, workspace.best_path(config))
