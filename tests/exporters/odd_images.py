"""Images as people have them: turned, transparent, of other colours and depths, moving, tiny, huge, broken."""

import io
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image, PngImagePlugin

WIDTH, HEIGHT = 91, 60
ORIENTATION = 0x0112

Array = np.ndarray


def scene(width: int = WIDTH, height: int = HEIGHT, seed: int = 0) -> Image.Image:
    """Six by six colours, blurred: nowhere the same."""
    colours = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), np.uint8)
    return Image.fromarray(colours).resize((width, height), Image.Resampling.BICUBIC)


def encode(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def exif(orientation: int) -> Image.Exif:
    tags = Image.Exif()
    tags[ORIENTATION] = orientation
    return tags


def ramp() -> Array:
    """(HEIGHT, WIDTH) uint8, from 0 to 255."""
    return np.linspace(0, 255, WIDTH * HEIGHT).reshape(HEIGHT, WIDTH).astype(np.uint8)


def transparent(image: Image.Image, mode: str) -> Image.Image:
    return Image.fromarray(np.dstack([np.asarray(image), ramp()]), mode)


def png_16_bits(values: Array, colour_type: int) -> bytes:
    """(height, width, channels) of 0..65535, which Pillow cannot write (PNG, 3rd edition, §11.2)."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    height, width, _ = values.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    head = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def deep(image: Image.Image) -> Array:
    """Sixteen bits whose lower eight are noise, (height, width, channels)."""
    values = np.atleast_3d(np.asarray(image)).astype(int)
    return values * 256 + np.random.default_rng(1).integers(0, 200, values.shape)


def cmyk() -> bytes:
    """As Adobe writes it, inverted; with black."""
    pixels = np.array(scene().convert("CMYK"))
    pixels[..., 3] = ramp() // 3
    return encode(Image.fromarray(pixels, "CMYK"), "JPEG", quality=95)


def adobe_segment(jpeg: bytes) -> slice:
    start = jpeg.index(b"\xff\xee")
    return slice(start, start + 2 + int.from_bytes(jpeg[start + 2 : start + 4], "big"))


def cmyk_without_adobe() -> bytes:
    jpeg, segment = cmyk(), adobe_segment(cmyk())
    return jpeg[: segment.start] + jpeg[segment.stop :]


def ycck() -> bytes:
    """The same numbers, said to be YCCK: its last byte names the transform."""
    jpeg, segment = bytearray(cmyk()), adobe_segment(cmyk())
    jpeg[segment.stop - 1] = 2
    return bytes(jpeg)


def moving(kind: str, **options: Any) -> bytes:
    frames = [scene(seed=seed) for seed in range(3)]
    return encode(frames[0], kind, save_all=True, append_images=frames[1:], duration=50, **options)


def gamma() -> bytes:
    """A PNG that asks for brighter colours, which training never looked at."""
    info = PngImagePlugin.PngInfo()
    info.add(b"gAMA", (100_000).to_bytes(4, "big"))
    return encode(scene(), "PNG", pnginfo=info)


def grey() -> Image.Image:
    return scene().convert("L")


def palette() -> Image.Image:
    return scene().quantize(64)


KEPT: dict[str, Callable[[], bytes]] = {
    "a JPEG": lambda: encode(scene(), "JPEG", quality=92),
    "a grey JPEG": lambda: encode(grey(), "JPEG", quality=92),
    "a progressive JPEG": lambda: encode(scene(), "JPEG", quality=90, progressive=True),
    "a JPEG without subsampling": lambda: encode(scene(), "JPEG", quality=90, subsampling=0),
    "a JPEG with something behind it": lambda: encode(scene(), "JPEG", quality=92) + bytes(100),
    "one pixel": lambda: encode(scene(1, 1), "JPEG"),
    "10,000 × 50": lambda: encode(scene(10_000, 50), "JPEG", quality=92),
    "50 × 10,000": lambda: encode(scene(50, 10_000), "JPEG", quality=92),
    "50 megapixels": lambda: encode(scene(866, 577).convert("L").resize((8660, 5774), Image.Resampling.BOX), "JPEG"),
}
"""Records hold their very bytes."""

ENCODED_ANEW: dict[str, Callable[[], bytes]] = {
    **{f"a JPEG turned, {n}": lambda n=n: encode(scene(), "JPEG", quality=92, exif=exif(n)) for n in range(2, 9)},
    **{
        f"a WebP turned, {n}": lambda n=n: encode(scene(), "WEBP", lossless=True, exif=exif(n).tobytes())
        for n in range(2, 9)
    },
    "a PNG turned": lambda: encode(scene(), "PNG", exif=exif(6)),
    "a PNG": lambda: encode(scene(), "PNG"),
    "a PNG with gamma": gamma,
    "a transparent PNG": lambda: encode(transparent(scene(), "RGBA"), "PNG"),
    "a transparent grey PNG": lambda: encode(transparent(grey(), "LA"), "PNG"),
    "a grey PNG": lambda: encode(grey(), "PNG"),
    "a grey PNG with a transparent grey": lambda: encode(grey(), "PNG", transparency=120),
    "a black and white PNG": lambda: encode(scene().convert("1"), "PNG"),
    "a PNG with a palette": lambda: encode(palette(), "PNG"),
    "a PNG with a palette and a hole": lambda: encode(palette(), "PNG", transparency=5),
    "a 16-bit PNG": lambda: png_16_bits(deep(scene()), 2),
    "a 16-bit grey PNG": lambda: png_16_bits(deep(grey()), 0),
    "a 16-bit transparent PNG": lambda: png_16_bits(deep(transparent(scene(), "RGBA")), 6),
    "a WebP": lambda: encode(scene(), "WEBP", quality=90),
    "a transparent WebP": lambda: encode(transparent(scene(), "RGBA"), "WEBP", lossless=True),
    "a transparent WebP turned": lambda: encode(
        transparent(scene(), "RGBA"), "WEBP", lossless=True, exif=exif(3).tobytes()
    ),
    "a moving WebP": lambda: moving("WEBP", lossless=True),
    "a GIF": lambda: encode(palette(), "GIF"),
    "a moving GIF": lambda: moving("GIF"),
    "a moving PNG": lambda: moving("PNG"),
    "a BMP": lambda: encode(scene(), "BMP"),
    "a CMYK JPEG": cmyk,
    "a CMYK JPEG that Adobe did not write": cmyk_without_adobe,
    "a YCCK JPEG": ycck,
    "one pixel of a PNG": lambda: encode(scene(1, 1), "PNG"),
}
"""Records hold them as a JPEG of quality 95."""

UNREADABLE: dict[str, Callable[[], bytes]] = {
    "a JPEG cut off": lambda: encode(scene(300, 200), "JPEG")[:2500],
    "a JPEG without its end": lambda: encode(scene(300, 200), "JPEG")[:-2],
    "a progressive JPEG cut off": lambda: encode(scene(300, 200), "JPEG", progressive=True)[:2500],
    "a PNG cut off": lambda: encode(scene(300, 200), "PNG")[:5000],
    "a WebP cut off": lambda: encode(scene(300, 200), "WEBP")[:800],
    "a GIF cut off": lambda: encode(scene(300, 200).quantize(64), "GIF")[:9000],
    "a text": lambda: b"not an image at all",
    "nothing": lambda: b"",
    "a drawing": lambda: b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>",
}
"""For Python and for browsers."""
