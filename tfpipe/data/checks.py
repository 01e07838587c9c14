"""What is wrong with a row's image, told in one word, without TensorFlow."""

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from PIL import Image, ImageOps

from tfpipe.core.files import sha256_bytes
from tfpipe.data.rows import Row

EXIF_ORIENTATION = 0x0112
JPEG_QUALITY = 95


@dataclass(frozen=True)
class ImageCheck:
    """The verdict on one row: a reason to leave it out, or the hash of its content."""

    fault: str = ""
    """`no_image`, `missing_file`, `unreadable`, `too_small`, or empty."""
    sha256: str = ""


def check_image(row: Row, *, min_side: int) -> ImageCheck:
    """Read and decode the row's image, whole."""
    if not row.path:
        return ImageCheck("no_image")
    path = Path(row.path)
    if not path.is_file():
        return ImageCheck("missing_file")
    content = path.read_bytes()
    try:
        with Image.open(BytesIO(content)) as image:
            image.load()
            short_side = min(image.size)
    except Exception:  # noqa: BLE001 - Pillow raises a dozen kinds for a broken file, and all mean this one thing
        return ImageCheck("unreadable")
    if short_side < min_side:
        return ImageCheck("too_small")
    return ImageCheck(sha256=sha256_bytes(content))


def upright_jpeg(content: bytes) -> bytes:
    """The bytes of an RGB or grey JPEG that needs no turning.

    Such a file comes back as it is; anything else (another format or colour
    mode, an EXIF orientation) is decoded, turned, laid on white and encoded anew.
    """
    with Image.open(BytesIO(content)) as image:
        upright = image.getexif().get(EXIF_ORIENTATION, 1) == 1
        if image.format == "JPEG" and image.mode in ("RGB", "L") and upright:
            return content
        buffer = BytesIO()
        _on_white(ImageOps.exif_transpose(image)).save(buffer, "JPEG", quality=JPEG_QUALITY, subsampling=0)
        return buffer.getvalue()


def _on_white(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        # Sixteen bits of grey; Pillow's own conversion would clip them.
        return image.point(lambda value: value * (1 / 257)).convert("L").convert("RGB")
    if not image.has_transparency_data:
        return image.convert("RGB")
    layer = image.convert("RGBA")
    white = Image.new("RGBA", layer.size, "white")
    return Image.alpha_composite(white, layer).convert("RGB")
