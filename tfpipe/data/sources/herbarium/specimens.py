"""From a plant's number to its rows and image files; the work of one process.

Imported by worker processes, so it leans on numpy and Pillow only.
"""

import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from tfpipe.data.rows import Row
from tfpipe.data.sources.herbarium import faults
from tfpipe.data.sources.herbarium.drawing import draw_photo, encode_jpeg
from tfpipe.data.sources.herbarium.faults import Fault, Planted, Truth
from tfpipe.data.sources.herbarium.plants import grow
from tfpipe.data.sources.herbarium.species import Species, sisters

_FOLDERS = 1000
_TRAIT_STREAM, _PHOTO_STREAM = 1, 3
_QUALITIES = (62, 93)  # JPEG


@dataclass(frozen=True)
class Batch:
    """A few consecutive plants to photograph: (plant number, photos wanted) each, and where the files go."""

    seed: int
    plants: tuple[tuple[int, int], ...]
    image_side: int
    images_dir: Path
    with_faults: bool


@dataclass(frozen=True)
class Specimen:
    """A finished row, and the truth about its fault if it has one."""

    row: Row
    truth: Truth | None = None


def photograph(batch: Batch) -> list[Specimen]:
    """Draw, spoil and write the photos of a batch, in order."""
    return [_specimen(batch, number, photo) for number, photos in batch.plants for photo in range(photos)]


def photo_id(number: int, photo: int) -> str:
    """The id of a row."""
    return f"{plant_id(number)}-{photo}"


def plant_id(number: int) -> str:
    """The group of a row."""
    return f"plant{number:06d}"


def image_bytes(seed: int, number: int, photo: int, image_side: int) -> bytes:
    """The JPEG of one photo, before any fault."""
    plant = grow(faults.observe(seed, number), np.random.default_rng([seed, number, _TRAIT_STREAM]))
    rng = np.random.default_rng([seed, number, _PHOTO_STREAM, photo])
    return encode_jpeg(draw_photo(plant, rng, image_side), int(rng.integers(*_QUALITIES)))


def _specimen(batch: Batch, number: int, photo: int) -> Specimen:
    sighting = faults.observe(batch.seed, number)
    name = photo_id(number, photo)
    path = batch.images_dir / f"{number % _FOLDERS:03d}" / f"{name}.jpg"
    label = sighting.species.name
    row = Row(name, label, sighting.region.name, plant_id(number), str(path), extra={"latin_name": label})
    planted = faults.planted_at(batch.seed, number) if batch.with_faults else None
    if planted is None or planted.photo != photo:
        _write(image_bytes(batch.seed, number, photo, batch.image_side), path)
        return Specimen(row)
    return _spoiled(batch, number, row, sighting.species, planted)


def _spoiled(batch: Batch, number: int, row: Row, species: Species, planted: Planted) -> Specimen:
    """The row with its fault."""
    label, fault = _label(species, planted), planted.fault
    row = replace(row, label=label, extra={"latin_name": label})
    if fault is Fault.DEAD_URL:
        row = replace(row, path="", url=f"{faults.DEAD_HOST}/{row.id}.jpg")
    else:
        _write(_content(batch, number, planted), Path(row.path))
    other_id = photo_id(*planted.source) if planted.source else ""
    return Specimen(row, Truth(row.id, fault, label, species.name, row.path, row.url, other_id))


def _label(species: Species, planted: Planted) -> str:
    if planted.fault is Fault.SYNONYM:
        return species.synonyms[int(planted.choice * len(species.synonyms))]
    if planted.fault is Fault.WRONG_LABEL:
        return sisters(species)[int(planted.choice * 2)].name
    return species.name


def _content(batch: Batch, number: int, planted: Planted) -> bytes:
    """The bytes of a photo with a fault; other than those of the photo itself for some kinds."""
    content = image_bytes(batch.seed, *(planted.source or (number, planted.photo)), batch.image_side)
    match planted.fault:
        case Fault.NEAR_DUPLICATE:
            return faults.reencoded(content)
        case Fault.TINY:
            return faults.shrunk(content)
        case Fault.TRUNCATED:
            return faults.truncated(content)
        case _:
            return content


def _write(content: bytes, path: Path) -> None:
    """Write whole or not at all; without fsync, which costs more than to draw a lost image again."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sibling = path.with_suffix(f".{os.getpid()}")
    sibling.write_bytes(content)
    sibling.replace(path)
