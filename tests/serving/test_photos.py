"""Photos in JSON: whole ones reach the model as they are; bombs, films and cut ones do not."""

import asyncio
import struct
import zlib
from base64 import b64encode
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from oracle import Oracle, as_json, build_service, predict, serving
from PIL import Image


def photo(form: str = "JPEG", size: tuple[int, int] = (40, 30), **options: Any) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 255, (size[1], size[0], 3), np.uint8)
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, form, **options)
    return buffer.getvalue()


def png_header(width: int, height: int) -> bytes:
    """A PNG of a few bytes that says it is huge: black, deflated some thousand times."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    rows = zlib.compress(bytes(2**20))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def film() -> bytes:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "green")]
    buffer = BytesIO()
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:])
    return buffer.getvalue()


def encoded(content: bytes) -> str:
    return b64encode(content).decode()


def ask(*inputs: str) -> tuple[Any, Oracle]:
    oracle = Oracle()

    async def run() -> Any:
        service = build_service(oracle, "image", max_photo_bytes=50_000, max_pixels=100_000)
        async with serving(service) as client:
            return await predict(client, *inputs)

    return asyncio.run(run()), oracle


def test_photos_of_many_formats_reach_the_model_as_they_are() -> None:
    photos = [photo("JPEG"), photo("PNG"), photo("WEBP"), photo("BMP"), photo("TIFF"), photo("GIF")]
    response, oracle = ask(*map(encoded, photos))
    assert response.status_code == 200
    assert oracle.asked == photos
    assert response.json() == [as_json(content) for content in photos]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "at least 1 character"),
        (bytes(50_003), "at most 66668 characters"),
        (b"no photo at all", "not an image"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not an image"),
        (photo()[:700], "does not decode"),
        (photo("PNG", (400, 300), compress_level=9)[:9000], "pixels; at most 100000"),
        (png_header(10_000, 10_000), "10000 × 10000 pixels; at most 100000"),
        (png_header(200_000, 200_000), "too many pixels; at most 100000"),
        (film(), "an animation"),
    ],
    ids=["empty", "long", "text", "svg", "cut", "cut and large", "bomb", "large bomb", "film"],
)
def test_what_is_no_bearable_photo_is_refused_before_the_model_sees_it(content: bytes, told: str) -> None:
    response, oracle = ask(encoded(photo()), encoded(content))
    assert response.status_code == 422
    (fault,) = response.json()["detail"]
    assert fault["loc"] == ["body", "inputs", 1]
    assert told in fault["msg"]
    assert oracle.calls == []


@pytest.mark.parametrize("text", ["%%%%", "abc", "aGk=\n", "data:image/png;base64,aGk="])
def test_what_is_no_base64_is_refused(text: str) -> None:
    response, _ = ask(text)
    assert response.status_code == 422
    assert "base64" in response.json()["detail"][0]["msg"]
