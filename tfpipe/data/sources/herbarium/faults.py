"""Planted faults, for the steps that must find them: which photo has one, and what it does to its bytes.

Plants come in blocks of `_BLOCK`. In each block every kind of fault befalls one plant, in a stretch of
numbers of its own, and there one photo: about 0.33 % of the rows a kind. The stretches lie early, so that
200 rows hold one of each; wrong labels come last, so that they stay within 0.5 % from 200 rows on.
"""

import io
from dataclasses import asdict, dataclass
from enum import StrEnum
from functools import lru_cache

import numpy as np
from PIL import Image, ImageEnhance

from tfpipe.data.sources.herbarium.plants import Sighting, sighting_at

FEWEST_ROWS = 60  # smaller snapshots have no faults
TINY_SIDE = 48  # px, short side
DEAD_HOST = "https://herbarium.invalid"
_BLOCK = 100  # plants
_FIRST, _STRETCH = 8, 6  # kind k befalls one of the plants 8 + 6 * k … 13 + 6 * k of a block
_REACH = 4  # a duplicate's source is one of so many plants before it
_FAULT_STREAM = 2


class Fault(StrEnum):
    """The kinds, in the order of their stretches."""

    EXACT_DUPLICATE = "exact_duplicate"
    NEAR_DUPLICATE = "near_duplicate"
    TINY = "tiny"
    TRUNCATED = "truncated"
    DEAD_URL = "dead_url"
    SYNONYM = "synonym"
    WRONG_LABEL = "wrong_label"


DUPLICATES = (Fault.EXACT_DUPLICATE, Fault.NEAR_DUPLICATE)


@dataclass(frozen=True)
class Planted:
    """A fault on one photo of a plant.

    `choice` in [0, 1) settles which synonym or sister; `source` (plant, photo) is what a duplicate repeats.
    """

    fault: Fault
    photo: int
    choice: float
    source: tuple[int, int] | None = None


@dataclass(frozen=True)
class Truth:
    """One line of `ground_truth.jsonl`, the fault of row `id`; what does not fit the kind is left out."""

    id: str
    fault: str
    label: str
    true_label: str
    path: str = ""
    url: str = ""
    other_id: str = ""

    def to_document(self) -> dict[str, str]:
        """The fields that are not empty."""
        return {name: value for name, value in asdict(self).items() if value}


def observe(seed: int, number: int) -> Sighting:
    """The sighting of a plant; one with a duplicate takes species and region from the plant it repeats.

    So a duplicate is what it is in the wild, one photo uploaded under two observations, and no wrong label.
    """
    sighting = sighting_at(seed, number)
    if _fault_at(seed, number) not in DUPLICATES:
        return sighting
    repeated = sighting_at(seed, _repeated_plant(seed, number))
    return Sighting(repeated.species, repeated.region, sighting.num_photos)


def planted_at(seed: int, number: int) -> Planted | None:
    """The fault of plant `number`, if it has one."""
    fault = _fault_at(seed, number)
    if fault is None:
        return None
    rng = np.random.default_rng([seed, number, _FAULT_STREAM])
    photo, choice = int(rng.integers(sighting_at(seed, number).num_photos)), float(rng.random())
    if fault not in DUPLICATES:
        return Planted(fault, photo, choice)
    plant = _repeated_plant(seed, number)
    return Planted(fault, photo, choice, (plant, int(choice * sighting_at(seed, plant).num_photos)))


def reencoded(content: bytes) -> bytes:
    """The same JPEG a little cropped, brighter and coarser: a near duplicate."""
    image = Image.open(io.BytesIO(content))
    trim = round(0.03 * min(image.size))
    cropped = image.crop((trim, trim, image.width - trim, image.height - trim))
    return _jpeg(ImageEnhance.Brightness(cropped).enhance(1.08))


def shrunk(content: bytes) -> bytes:
    """The same JPEG with a short side of `TINY_SIDE` px."""
    image = Image.open(io.BytesIO(content))
    factor = TINY_SIDE / min(image.size)
    return _jpeg(image.resize((round(image.width * factor), round(image.height * factor))))


def truncated(content: bytes) -> bytes:
    """The first part of a JPEG, as an interrupted download leaves it."""
    return content[: len(content) * 3 // 5]


def _jpeg(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=75)
    return buffer.getvalue()


def _fault_at(seed: int, number: int) -> Fault | None:
    block, place = divmod(number, _BLOCK)
    kind, offset = divmod(place - _FIRST, _STRETCH)
    if 0 <= kind < len(Fault) and offset == _offsets(seed, block)[kind]:
        return list(Fault)[kind]
    return None


@lru_cache(maxsize=8)
def _offsets(seed: int, block: int) -> tuple[int, ...]:
    """Where in its stretch each kind strikes."""
    rng = np.random.default_rng([seed, block, _FAULT_STREAM, _BLOCK])
    return tuple(rng.integers(_STRETCH, size=len(Fault)).tolist())


def _repeated_plant(seed: int, number: int) -> int:
    """A plant just before `number`, itself without fault."""
    sound = [plant for plant in range(number - _REACH, number) if _fault_at(seed, plant) is None]
    return sound[number % len(sound)]
