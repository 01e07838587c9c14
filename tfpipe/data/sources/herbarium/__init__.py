"""`herbarium`: photographs of invented plants, drawn from a seed; the data source that needs no network.

Every image depends on (seed, plant number, photo number) alone, on whatever x86-64 processor. Faults are planted on a
few rows and listed in `ground_truth.jsonl` beside the images, so that the steps that look for faults can be held
against it.
"""

import json
import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING

from tfpipe.core.files import atomic_open
from tfpipe.data.rows import Row
from tfpipe.data.sources.herbarium.faults import FEWEST_ROWS, observe
from tfpipe.data.sources.herbarium.species import SPECIES, SYNONYMS
from tfpipe.data.sources.herbarium.specimens import Batch, Specimen, photograph
from tfpipe.data.workers import worker_processes

if TYPE_CHECKING:
    from tfpipe.core.settings import SnapshotSettings

__all__ = ["GROUND_TRUTH", "SPECIES", "SYNONYMS", "count", "fingerprint", "iter_rows"]

GROUND_TRUTH = "ground_truth.jsonl"
DRAWING = 2  # raised when the same seed draws another picture
_BATCH_PLANTS = 16
_FEWEST_FOR_A_POOL = 200  # rows; below, starting processes takes longer than drawing


def iter_rows(settings: "SnapshotSettings", *, images_dir: Path, seed: int) -> Iterator[Row]:
    """Draw `settings.num_images` rows, those with faults counted.

    Images go to `images_dir`/(plant number modulo 1000)/(id).jpg. `ground_truth.jsonl` appears beside
    `images_dir` after the last row.
    """
    batches = _iter_batches(settings.num_images, settings.image_side, images_dir, seed)
    pooled = settings.num_images >= _FEWEST_FOR_A_POOL
    with atomic_open(images_dir.parent / GROUND_TRUTH) as truths:
        for specimens in _photograph_in_pool(batches) if pooled else map(photograph, batches):
            for specimen in specimens:
                if specimen.truth is not None:
                    truths.write(json.dumps(specimen.truth.to_document(), ensure_ascii=False) + "\n")
                yield specimen.row


def fingerprint(settings: "SnapshotSettings") -> str:
    """Changes with all that changes an image but the seed."""
    return f"drawing {DRAWING}, {settings.num_images} images of {settings.image_side} px"


def count(settings: "SnapshotSettings") -> int:
    """How many rows there will be."""
    return settings.num_images


def _iter_batches(num_images: int, image_side: int, images_dir: Path, seed: int) -> Iterator[Batch]:
    """Batches of plants that have `num_images` photos together; the last plant may fall short of its own."""
    number, missing = 0, num_images
    while missing > 0:
        plants: list[tuple[int, int]] = []
        while missing > 0 and len(plants) < _BATCH_PLANTS:
            photos = min(observe(seed, number).num_photos, missing)
            plants.append((number, photos))
            number, missing = number + 1, missing - photos
        yield Batch(seed, tuple(plants), image_side, images_dir, num_images >= FEWEST_ROWS)


def _photograph_in_pool(batches: Iterator[Batch]) -> Iterator[list[Specimen]]:
    """`photograph` on all cores, in order, with few batches under way at a time."""
    workers = os.cpu_count() or 1
    pending: deque[Future[list[Specimen]]] = deque()
    with worker_processes(workers) as pool:
        for batch in batches:
            pending.append(pool.submit(photograph, batch))
            if len(pending) >= 2 * workers:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
