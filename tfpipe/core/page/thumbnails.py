"""Small copies of images inside a page, within a budget of bytes."""

from base64 import b64encode
from io import BytesIO
from pathlib import Path

from PIL import Image, ImageOps

from tfpipe.core.formats import PHOTOS
from tfpipe.core.page.markup import Html, tag

LONG_SIDE = 240
"""Pixels: twice what is shown, for sharp screens."""
QUALITY = 60
"""WebP's."""


class Album:
    """Images that a page shows; once the budget is spent, frames without them."""

    def __init__(self, root: Path = Path(), *, max_bytes: int) -> None:
        self._root = root
        self._bytes_left = max_bytes

    def picture(self, source: str | bytes, *, alt: str) -> Html:
        """An `img` that holds the image, or an empty frame that says why there is none.

        Args:
            source: where the image lies, relative to the root, or its content.
            alt: what it shows.
        """
        if self._bytes_left <= 0:
            return _frame("not shown")
        content = _shrunk(self._root / source if isinstance(source, str) else BytesIO(source)) if source else b""
        if not content:
            return _frame("no picture")
        self._bytes_left -= len(content)
        return tag("img", src=f"data:image/webp;base64,{b64encode(content).decode()}", alt=alt)


def _frame(text: str) -> Html:
    return tag("span", text, class_="no-picture")


def _shrunk(source: Path | BytesIO) -> bytes:
    """A small WebP; of a file that breaks off, what there is; nothing, if it is no image."""
    buffer = BytesIO()
    try:
        with Image.open(source, formats=PHOTOS) as image:
            image.draft("RGB", (LONG_SIDE, LONG_SIDE))
            try:
                image.load()
            except OSError:
                # Cut short. What was decoded so far is there once Pillow believes that nothing is left to read.
                image.tile = []
            upright = ImageOps.exif_transpose(image).convert("RGB")
            upright.thumbnail((LONG_SIDE, LONG_SIDE))
            upright.save(buffer, "WEBP", quality=QUALITY)
    except Exception:  # noqa: BLE001 - Pillow raises a dozen kinds for a broken file, and all mean this one thing
        return b""
    return buffer.getvalue()
