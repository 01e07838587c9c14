"""What is wrong with a row's image or text, told in one word, and what else is known of it; without TensorFlow."""

import warnings
from dataclasses import replace
from enum import StrEnum
from io import BytesIO
from pathlib import Path

from PIL import Image

from tfpipe.core.files import sha256_bytes
from tfpipe.core.formats import PHOTOS
from tfpipe.data.facts import Facts, normalised_text
from tfpipe.data.perceptual import SIDE, Thumbnails, make_thumbnail, perceptual_hashes
from tfpipe.data.photos import is_animated, orientation, upright_rgb


class Fault(StrEnum):
    """Why a row cannot be used. If its image did not come, the word is the `Reason` that `fetch` gave."""

    NO_IMAGE = "no_image"
    """The row names none."""
    MISSING_FILE = "missing_file"
    """Nothing lies where it should."""
    UNREADABLE = "unreadable"
    """Cut short, broken, forbidden, or no image at all."""
    TOO_SMALL = "too_small"
    """A side shorter than `audit.min_side`."""
    ANIMATED = "animated"
    """A film rather than a photo."""
    NO_TEXT = "no_text"
    """Nothing but blanks."""


def inspect_image(row_id: str, path: str, *, min_side: int) -> tuple[Facts, Thumbnails | None]:
    """Read an image once and decode it, whole.

    Returns:
        Its facts and, if it has no fault, its thumbnail.
    """
    if not path:
        return Facts(row_id, fault=Fault.NO_IMAGE), None
    facts = Facts(row_id, path=path)
    try:
        if not Path(path).is_file():
            return replace(facts, fault=Fault.MISSING_FILE), None
        content = Path(path).read_bytes()
    except OSError:
        return replace(facts, fault=Fault.UNREADABLE), None
    facts = replace(facts, sha256=sha256_bytes(content), num_bytes=len(content))
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(BytesIO(content), formats=PHOTOS) as image:
            return _look_at(image, facts, min_side)
    except Exception:  # noqa: BLE001 - Pillow raises a dozen kinds for a broken file, and all mean this one thing
        return replace(facts, fault=Fault.UNREADABLE), None


def inspect_text(row_id: str, text: str) -> Facts:
    """What is known of a text."""
    normalised = normalised_text(text)
    if not normalised:
        return Facts(row_id, fault=Fault.NO_TEXT)
    return Facts(row_id, sha256=sha256_bytes(normalised.encode(errors="surrogatepass")), num_chars=len(text))


def _look_at(image: Image.Image, facts: Facts, min_side: int) -> tuple[Facts, Thumbnails | None]:
    facts = replace(
        facts,
        width=image.width,
        height=image.height,
        mode=image.mode,
        format=image.format or "",
        orientation=orientation(image),
    )
    short_side = min(image.size)
    # All of a JPEG's bytes are read even so, but the pixels of a large one are not worked out one by one.
    image.draft("L", (4 * SIDE, 4 * SIDE))
    image.load()
    if is_animated(image):
        return replace(facts, fault=Fault.ANIMATED), None
    if short_side < min_side:
        return replace(facts, fault=Fault.TOO_SMALL), None
    thumbnail = make_thumbnail(upright_rgb(image))
    return replace(facts, phash=f"{perceptual_hashes(thumbnail[None])[0]:016x}"), thumbnail
