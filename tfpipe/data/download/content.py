"""What came, judged by its bytes; what the server says of it counts for nothing."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from uuid import uuid4

from PIL import Image

from tfpipe.core.errors import EnvironmentProblemError
from tfpipe.core.files import explain, sha256_bytes
from tfpipe.core.formats import PHOTOS
from tfpipe.data.download.answers import Answer, Reason
from tfpipe.data.photos import is_animated, to_jpeg, upright_rgb

SUFFIXES = {
    "JPEG": "jpg",
    "MPO": "jpg",
    "PNG": "png",
    "WEBP": "webp",
    "AVIF": "avif",
    "GIF": "gif",
    "BMP": "bmp",
    "TIFF": "tif",
}
"""Of the formats that photos come in."""

FORMATS = PHOTOS

BEGINNINGS = (b"\xff\xd8", b"\x89PNG", b"GIF8", b"RIFF", b"BM", b"II*\0", b"MM\0*")


@dataclass(frozen=True)
class Terms:
    """What an image must be, and how it is kept."""

    min_side: int
    max_pixels: int
    reencode_side: int | None
    images_dir: Path | None
    """None: it is only looked at."""


def judge(content: bytes, came: Answer, terms: Terms) -> Answer:
    """Look at the bytes that came with an answer, and keep them if they are a whole photo.

    Raises:
        EnvironmentProblemError: when the disk is full or refuses.
    """
    if not content:
        return replace(came, reason=Reason.BROKEN, detail="empty")
    try:
        image = Image.open(BytesIO(content), formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        return replace(came, reason=Reason.TOO_LARGE, detail="pixels")
    except Exception:  # noqa: BLE001 - Pillow raises a dozen kinds for a file it cannot read
        return _unidentified(content, came)
    with image:
        return _judge_image(image, content, came, terms)


@contextmanager
def pixel_limit(max_pixels: int) -> Iterator[None]:
    """Let Pillow's own guard, which is the process's, stand at our limit for a while."""
    before = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = max_pixels
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


def is_kept(answer: Answer, terms: Terms) -> bool:
    """Whether an earlier answer's image is still there, and as the terms want it.

    The size is looked at since the file is not forced to disk before its answer is written down: a machine that
    lost its power may have kept the one and not the other.
    """
    if not answer.is_ok or answer.short_side < terms.min_side:
        return False
    if terms.images_dir is None:
        return True
    if answer.reencode_side != terms.reencode_side or not answer.path:
        return False
    path = terms.images_dir / answer.path
    return path.is_file() and path.stat().st_size == answer.num_bytes


def _judge_image(image: Image.Image, content: bytes, came: Answer, terms: Terms) -> Answer:
    short_side = min(image.size)
    if image.width * image.height > terms.max_pixels:
        return replace(came, reason=Reason.TOO_LARGE, detail="pixels")
    try:
        if is_animated(image):
            return replace(came, reason=Reason.NOT_A_PHOTO, detail="animation")
        kept = _decoded(image, content, terms.reencode_side)
    except Exception:  # noqa: BLE001 - again, and all mean this one thing
        return replace(came, reason=Reason.BROKEN, detail="does not decode")
    if short_side < terms.min_side:
        return replace(came, reason=Reason.TOO_SMALL, detail=f"{short_side} px")
    digest = sha256_bytes(kept)
    suffix = SUFFIXES[str(image.format)] if terms.reencode_side is None else "jpg"
    path = f"{digest[:2]}/{digest}.{suffix}" if terms.images_dir else ""
    if terms.images_dir:
        _keep(kept, terms.images_dir / path)
    return replace(
        came,
        path=path,
        sha256=digest,
        num_bytes=len(kept),
        short_side=short_side,
        reencode_side=terms.reencode_side,
    )


def _decoded(image: Image.Image, content: bytes, side: int | None) -> bytes:
    """The bytes to keep, once the image has been decoded whole."""
    if image.format == "GIF" and not content.rstrip(b"\0\r\n").endswith(b";"):
        raise EOFError("no trailer")  # Pillow fills up a GIF that is cut short.
    if side is None:
        image.load()
        return content
    # A JPEG can be decoded at a fraction of its size; twice the wanted one leaves the resize enough to work with.
    image.draft(None, (2 * side, 2 * side))
    upright = upright_rgb(image)
    scale = side / min(upright.size)
    if scale < 1:
        upright = upright.resize(
            (round(upright.width * scale), round(upright.height * scale)), Image.Resampling.LANCZOS
        )
    return to_jpeg(upright)


def _unidentified(content: bytes, came: Answer) -> Answer:
    if content.startswith(BEGINNINGS) or content[4:12] == b"ftypavif":
        return replace(came, reason=Reason.BROKEN, detail="cut short")
    is_page = content[:1024].lstrip().lower().startswith((b"<!doctype html", b"<html", b"<head", b"<?xml"))
    return replace(came, reason=Reason.NOT_A_PHOTO, detail="web page" if is_page else "unknown format")


def _keep(content: bytes, path: Path) -> None:
    """Write a file whole or not at all; what stands there already has the same hash."""
    sibling = path.with_name(f".{path.name}.{uuid4().hex[:8]}")
    try:
        if path.is_file() and path.stat().st_size == len(content):
            return
        try:
            sibling.write_bytes(content)
        except FileNotFoundError:
            path.parent.mkdir(parents=True, exist_ok=True)
            sibling.write_bytes(content)
        sibling.replace(path)
    except OSError as error:
        sibling.unlink(missing_ok=True)
        raise EnvironmentProblemError(f"writing {path}: {explain(error)}") from error
