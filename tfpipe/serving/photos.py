"""Photos as they come in JSON: judged before they are decoded, and decoded before the model sees them."""

import binascii
import warnings
from base64 import b64decode
from io import BytesIO

from PIL import Image

from tfpipe.core.errors import DataError
from tfpipe.data.download.content import FORMATS
from tfpipe.data.photos import is_animated


def read_photo(encoded: str, max_pixels: int) -> bytes:
    """A photo's file, whole and of a bearable size.

    Args:
        encoded: base64, of a bearable length.
        max_pixels: of the photo, decoded.

    Raises:
        DataError: saying what it is instead.
    """
    try:
        content = b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        raise DataError("not base64") from None
    try:
        with warnings.catch_warnings():
            # Pillow warns of what we judge below.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(BytesIO(content), formats=FORMATS)
    except Image.DecompressionBombError:
        raise DataError(f"too many pixels; at most {max_pixels} are decoded") from None
    except Exception:  # noqa: BLE001 - Pillow raises a dozen kinds for a file it cannot read
        raise DataError("not an image that can be read") from None
    with image:
        _check(image, max_pixels)
    return content


def _check(image: Image.Image, max_pixels: int) -> None:
    """By its header first: a bomb never goes off."""
    if image.width * image.height > max_pixels:
        raise DataError(f"{image.width} × {image.height} pixels; at most {max_pixels} are decoded")
    try:
        moving = is_animated(image)
        image.load()
    except Exception:  # noqa: BLE001 - again
        raise DataError("an image that does not decode") from None
    if moving:
        raise DataError("an animation, and no photo")
