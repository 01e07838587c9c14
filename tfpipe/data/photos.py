"""Photos as the records hold them: upright, opaque, without what a camera wrote beside the pixels."""

from io import BytesIO

from PIL import Image, ImageOps

from tfpipe.core.formats import PHOTOS

JPEG_QUALITY = 95
EXIF_ORIENTATION = 0x0112
UPRIGHT = 1

MOVING = ("PNG", "WEBP", "AVIF", "GIF")
"""Formats in which several frames are an animation. In an MPO they are views, in a TIFF pages."""


def upright_jpeg(content: bytes) -> bytes:
    """The bytes of an RGB or grey JPEG that needs no turning.

    Such a file comes back as it is; anything else (another format or colour
    mode, an EXIF orientation) is decoded, turned, laid on white and encoded anew.
    """
    with Image.open(BytesIO(content), formats=PHOTOS) as image:
        if image.format == "JPEG" and image.mode in ("RGB", "L") and orientation(image) == UPRIGHT:
            return content
        return to_jpeg(upright_rgb(image))


def check_decodes(content: bytes) -> None:
    """Raises what Pillow raises, of a dozen kinds, where an image is none, or cut short."""
    with Image.open(BytesIO(content), formats=PHOTOS) as image:
        image.load()


def upright_rgb(image: Image.Image) -> Image.Image:
    """The image turned as its EXIF says, in RGB, on white where it is transparent."""
    return _on_white(ImageOps.exif_transpose(image))


def to_jpeg(image: Image.Image) -> bytes:
    """Encoded nearly without loss, and with nothing beside the pixels."""
    buffer = BytesIO()
    # A comment is the one thing that Pillow would carry over by itself.
    image.save(buffer, "JPEG", quality=JPEG_QUALITY, subsampling=0, comment=b"")
    return buffer.getvalue()


def orientation(image: Image.Image) -> int:
    """How EXIF says that the image is to be turned, 1 to 8; nonsense means upright."""
    found = image.getexif().get(EXIF_ORIENTATION)
    return found if isinstance(found, int) and 1 <= found <= 8 else UPRIGHT


def is_animated(image: Image.Image) -> bool:
    """Whether it is no photo but a film."""
    return image.format in MOVING and getattr(image, "is_animated", False)


def _on_white(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        # Sixteen bits of grey; Pillow's own conversion would clip them.
        return image.point(lambda value: value * (1 / 257)).convert("L").convert("RGB")
    if not image.has_transparency_data:
        return image.convert("RGB")
    layer = image.convert("RGBA")
    white = Image.new("RGBA", layer.size, "white")
    return Image.alpha_composite(white, layer).convert("RGB")
