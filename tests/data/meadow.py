"""Rows whose photos tell their number, so that a pixel says which row it came from."""

from collections.abc import Iterable
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from tfpipe.data.rows import Row, write_rows

CLASSES = ["Bellis perennis", "Rosa canina", "Viola × alba"]
NUM_TRAIN, NUM_VALIDATION = 23, 6
SIDE = 24


def photo(number: int) -> bytes:
    """A JPEG of one grey that tells the number: 8 * number + 20."""
    buffer = BytesIO()
    Image.new("RGB", (SIDE + 8, SIDE), (8 * number + 20,) * 3).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def number_of(pixels: np.ndarray) -> np.ndarray:
    """The numbers that `photo` drew, from (..., size, size, 3) values 0..255."""
    return np.rint((pixels.mean(axis=(-3, -2, -1)) - 20) / 8).astype(int)


def make_rows() -> list[Row]:
    """Rows whose photos are `photo(int(id))`; every third is of region EU_SW."""
    return [
        Row(
            id=f"{number:02d}",
            label=CLASSES[number % 3],
            region="EU_SW" if number % 3 == 0 else "EU",
            group=f"plant {number // 2}",
            path=f"{number}.jpg",
            split="train" if number < NUM_TRAIN else "validation",
        )
        for number in range(NUM_TRAIN + NUM_VALIDATION)
    ]


def write_splits(rows: Iterable[Row], folder: Path) -> Path:
    """The rows and their photos on disk, as the step `split` leaves them."""
    folder.mkdir(exist_ok=True)
    placed = []
    for row in rows:
        path = folder / row.path
        content = photo(int(row.id))
        path.write_bytes(content)
        placed.append(replace(row, path=str(path), extra={"num_bytes": len(content)}))
    write_rows(placed, folder / "splits.jsonl")
    return folder / "splits.jsonl"
