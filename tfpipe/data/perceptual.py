"""What an image looks like: 64 bits to search by, and a thumbnail to be sure by.

The hash has the signs of the thumbnail's lowest frequencies. Another size, quality or brightness turns a few of them, a
crop of 3 % six on average and 13 in the worst hundredth; so few differ between two of a million photos by chance,
too. So the hash finds candidates, and `are_alike` lays their thumbnails over each other.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tfpipe.data.clusters import Pairs

SIDE = 32
"""Of a thumbnail, in pixels."""
NUM_BITS = 64

# Measured on 1,500 real photos and 14,000 drawn ones: each against itself cropped by 3 % on all sides, 8 % darker or
# brighter and encoded anew, and against all others whose hashes differ in at most 16 bits. The first two let the
# former pass and spare nine in ten of the latter the last, which is dear.
LARGEST_DISTANCE = 0.9
"""Between halved thumbnails as they are; of one photo up to 0.83."""
COARSE_MISFIT = 0.55
"""Between halved thumbnails, moved; of one photo up to 0.5."""
LARGEST_MISFIT = 0.18
"""Between thumbnails, moved; of one photo 0.17 in the worst hundredth, of two photos of one scene from 0.19 on."""
LARGEST_FACTOR = 1.6
"""Between the brightness, and the contrast, of two images that are alike; of one photo up to 1.5."""
FAINT = 3.0
"""Grey levels of contrast below which an image is blank, and like no other."""
NOISE = 2.0
"""A coefficient below it is rounding; a blank page must not get bits from that."""

LARGEST_MOVE = 0.15
"""Stretch or shift, as a part of the side."""
CHUNK = 512
"""Pairs compared at a time, so that their arrays stay in the processor's cache."""

Thumbnails = NDArray[np.uint8]
"""(n, SIDE, SIDE) grey."""
Floats = NDArray[np.float32]


def make_thumbnail(image: Image.Image) -> Thumbnails:
    """(SIDE, SIDE): the upright image in grey, whatever its proportions."""
    return np.asarray(image.convert("L").resize((SIDE, SIDE), Image.Resampling.BILINEAR), np.uint8)


def perceptual_hashes(thumbnails: Thumbnails) -> NDArray[np.uint64]:
    """(n,): a bit for each of the lowest frequencies but the constant, set where the cosine transform is positive."""
    waves, vertical, horizontal = _waves()
    coefficients = waves @ thumbnails.astype(np.float32) @ waves.T
    bits = coefficients[:, vertical, horizontal] > NOISE
    hashes: NDArray[np.uint64] = bits @ (np.uint64(1) << np.arange(NUM_BITS, dtype=np.uint64))
    return hashes


def are_alike(thumbnails: Thumbnails, pairs: Pairs) -> NDArray[np.bool_]:
    """(num_pairs,): which pairs show one photo, be it cropped a little, brighter, smaller or coarser."""
    parts = [pairs[start : start + CHUNK] for start in range(0, len(pairs), CHUNK)]
    # Threads, since NumPy works without the interpreter's lock.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        alike = list(pool.map(partial(_are_alike, thumbnails), parts))
    return np.concatenate([np.zeros(0, np.bool_), *alike])


def _are_alike(thumbnails: Thumbnails, pairs: Pairs) -> NDArray[np.bool_]:
    """A cheap look at all pairs, a closer one at what is left."""
    ones, others = (_halve(thumbnails[pairs[:, side]]) for side in (0, 1))
    left = np.flatnonzero(_have_like_light(ones, others))
    ones, others = _standardise(ones[left]), _standardise(others[left])
    near = np.sqrt(((ones - others) ** 2).sum(axis=(1, 2))) <= LARGEST_DISTANCE
    left, ones, others = left[near], ones[near], others[near]
    misfits, moves = _fit(ones, others)
    near = misfits <= COARSE_MISFIT
    left, moves = left[near], moves[near]
    ones, others = (_soften(thumbnails[pairs[left, side]]) for side in (0, 1))
    misfits, _ = _fit(_standardise(_move(ones, moves)), _standardise(others))
    alike = np.zeros(len(pairs), np.bool_)
    alike[left[misfits <= LARGEST_MISFIT]] = True
    return alike


def _have_like_light(ones: Floats, others: Floats) -> NDArray[np.bool_]:
    contrasts = np.stack([ones.std(axis=(1, 2)), others.std(axis=(1, 2))])
    lights = np.stack([contrasts, [ones.mean(axis=(1, 2)), others.mean(axis=(1, 2))]])
    like = (lights.max(axis=1) <= LARGEST_FACTOR * lights.min(axis=1)).all(axis=0)
    return like & (contrasts.min(axis=0) > FAINT)


def _fit(ones: Floats, others: Floats) -> tuple[Floats, Floats]:
    """How far standardised pictures are apart once moved, and the moves.

    The moves are linearised: what a small stretch or shift changes is the picture's slope (tangent distance,
    Simard 1993), here that of both pictures' mean, which halves the error.

    Returns:
        (n,) between 0 and √2, and (n, 4): stretch and shift, vertical and horizontal, from `ones` to `others`.
    """
    count, side, _ = ones.shape
    middle = (ones + others) / 2
    down, right = (slope * side for slope in np.gradient(middle, axis=(1, 2)))
    places = _places(side)
    changes = np.stack([down * places[:, None], down, right * places, right, middle, np.ones_like(middle)], axis=1)
    changes = changes.reshape(count, 6, side * side)
    difference = (others - ones).reshape(count, side * side, 1)
    products = changes @ changes.transpose(0, 2, 1) + 1e-6 * np.eye(6, dtype=np.float32)
    along = changes @ difference
    steps = np.linalg.solve(products, along)
    left = (difference**2).sum(axis=1) - (steps * along).sum(axis=1)
    return np.sqrt(np.maximum(left[:, 0], 0)), steps[:, :4, 0]


def _move(pictures: Floats, moves: Floats) -> Floats:
    """Stretch and shift each picture, by cubic interpolation."""
    vertical, horizontal = (_sampling(moves[:, way], moves[:, way + 1], pictures.shape[1]) for way in (0, 2))
    return vertical @ pictures @ horizontal.transpose(0, 2, 1)


def _sampling(stretch: Floats, shift: Floats, side: int) -> Floats:
    """(n, side, side): how much each new pixel takes of each old one (Keys 1981)."""
    stretch, shift = (np.clip(move, -LARGEST_MOVE, LARGEST_MOVE)[:, None] for move in (stretch, shift))
    places = _places(side)
    from_places = np.clip(places * (1 + stretch) + shift, places[0], places[-1])
    far = side * np.abs(from_places[:, :, None] - places)
    near = (1.5 * far - 2.5) * far * far + 1
    beyond = ((-0.5 * far + 2.5) * far - 4) * far + 2
    weights: Floats = np.where(far < 1, near, np.where(far < 2, beyond, 0))
    # At the edge, a part of the old pixels would lie outside.
    return weights / weights.sum(axis=2, keepdims=True)


def _places(side: int) -> Floats:
    """Of the pixels, as parts of the side, from the middle."""
    return (np.arange(side, dtype=np.float32) - (side - 1) / 2) / side


def _halve(thumbnails: Thumbnails) -> Floats:
    """(n, SIDE / 2, SIDE / 2): the means of two by two."""
    rows = thumbnails[:, ::2].astype(np.uint16) + thumbnails[:, 1::2]
    return (rows[:, :, ::2] + rows[:, :, 1::2]).astype(np.float32) / 4


def _soften(thumbnails: Thumbnails) -> Floats:
    """Without the finest detail, which no linear move can follow: weights 1 2 1."""
    pictures = np.pad(thumbnails.astype(np.float32), ((0, 0), (1, 1), (1, 1)), mode="edge")
    pictures = (pictures[:, :-2] + 2 * pictures[:, 1:-1] + pictures[:, 2:]) / 4
    return (pictures[:, :, :-2] + 2 * pictures[:, :, 1:-1] + pictures[:, :, 2:]) / 4


def _standardise(pictures: Floats) -> Floats:
    """Mean 0 and length 1."""
    pictures = pictures - pictures.mean(axis=(1, 2), keepdims=True)
    return pictures / np.maximum(np.sqrt((pictures**2).sum(axis=(1, 2), keepdims=True)), 1e-6)


@cache
def _waves() -> tuple[Floats, NDArray[np.intp], NDArray[np.intp]]:
    """The cosine transform, (frequencies, SIDE), and the vertical and the horizontal frequency of each bit."""
    both = sorted(np.ndindex(SIDE, SIDE), key=lambda pair: (sum(pair), pair))
    vertical, horizontal = np.array(both[1 : NUM_BITS + 1]).T
    frequencies = np.arange(max(vertical.max(), horizontal.max()) + 1)[:, None]
    waves = np.sqrt(2 / SIDE) * np.cos(np.pi * frequencies * (np.arange(SIDE) + 0.5) / SIDE)
    waves[0] /= np.sqrt(2)
    return waves.astype(np.float32), vertical, horizontal
