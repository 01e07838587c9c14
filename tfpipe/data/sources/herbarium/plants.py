"""The plants of the herbarium, each drawn from (seed, plant number) alone."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tfpipe.data.sources.herbarium.species import REGIONS, RGB, SPECIES, Region, Species, sisters

MAX_PHOTOS = 6
_PHOTO_ODDS = 0.4  # 1 + binomial(5, 0.4): three photos a plant on average
_PLANT_STREAM = 0


@dataclass(frozen=True)
class Sighting:
    """What grows where, and how often it was photographed."""

    species: Species
    region: Region
    num_photos: int


@dataclass(frozen=True)
class Plant:
    """The traits that all photos of one plant share.

    `petal_width` and `petal_count` change those of the species, as factor and as summand; `marking` in
    [0, 1] is how strongly the pattern of the petals shows; `shape_seed` fixes every irregularity of shape.
    """

    species: Species
    region: Region
    petal_colour: RGB
    leaf_colour: RGB
    petal_width: float
    petal_count: int
    marking: float
    flower_size: float
    shape_seed: int


def sighting_at(seed: int, number: int) -> Sighting:
    """Species, region and number of photos of one plant, without its finer traits."""
    rng = np.random.default_rng([seed, number, _PLANT_STREAM])
    region_index = _choose(rng, [region.share for region in REGIONS])
    species = SPECIES[_choose(rng, [species.abundance[region_index] for species in SPECIES])]
    return Sighting(species, REGIONS[region_index], 1 + int(rng.binomial(MAX_PHOTOS - 1, _PHOTO_ODDS)))


def grow(sighting: Sighting, rng: np.random.Generator) -> Plant:
    """One plant of its species and region, with its individual variation."""
    species, region = sighting.species, sighting.region
    colour = np.array(species.petal_colour)
    colour += region.palette_turn * (np.array(sisters(species)[0].petal_colour) - colour)
    colour *= rng.normal(1.0, 0.06, 3)
    leaf = np.array(species.leaves.colour) * np.array(region.leaf_tone) * rng.normal(1.0, 0.10, 3)
    return Plant(
        species=species,
        region=region,
        petal_colour=_rgb(colour),
        leaf_colour=_rgb(leaf),
        petal_width=region.petal_width * float(rng.normal(1.0, 0.08)),
        petal_count=int(rng.choice((-1, 0, 1), p=(0.05, 0.9, 0.05))),
        marking=float(rng.uniform(0.45, 1.0)),
        flower_size=region.flower_size * float(rng.normal(1.0, 0.06)),
        shape_seed=int(rng.integers(2**31)),
    )


def _rgb(colour: NDArray[np.float64]) -> RGB:
    red, green, blue = np.clip(colour, 0.02, 0.98)
    return float(red), float(green), float(blue)


def _choose(rng: np.random.Generator, weights: list[float]) -> int:
    steps = np.cumsum(weights)
    return int(np.searchsorted(steps, rng.random() * steps[-1], side="right"))
