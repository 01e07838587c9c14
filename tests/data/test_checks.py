"""Checks: what is wrong with an image is told, and what is right comes out upright, opaque and RGB."""

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tfpipe.core.files import sha256_bytes
from tfpipe.data.checks import inspect_image, inspect_text
from tfpipe.data.facts import Facts
from tfpipe.data.perceptual import SIDE
from tfpipe.data.photos import upright_jpeg

ORIENTATION = 0x0112


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def decoded(content: bytes) -> NDArray[np.int16]:
    with Image.open(BytesIO(content)) as image:
        assert image.format == "JPEG"
        assert image.mode == "RGB"
        return np.asarray(image).astype(np.int16)


def quadrants(width: int = 48, height: int = 32) -> NDArray[np.uint8]:
    """Red, green over blue, white, so that any turn or flip shows."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[: height // 2, : width // 2] = (255, 0, 0)
    pixels[: height // 2, width // 2 :] = (0, 255, 0)
    pixels[height // 2 :, : width // 2] = (0, 0, 255)
    pixels[height // 2 :, width // 2 :] = (255, 255, 255)
    return pixels


def check(tmp_path: Path, content: bytes, min_side: int = 10) -> Facts:
    path = tmp_path / "x"
    path.write_bytes(content)
    facts, thumbnail = inspect_image("1", str(path), min_side=min_side)
    assert (thumbnail is None) == bool(facts.fault)
    return facts


# What is wrong


@pytest.mark.parametrize(("kind", "mode"), [("JPEG", "RGB"), ("PNG", "RGBA"), ("GIF", "P"), ("WEBP", "RGB")])
def test_a_whole_image_is_known_by_the_hash_of_its_bytes(tmp_path: Path, kind: str, mode: str) -> None:
    content = encoded(Image.fromarray(quadrants()).convert(mode), kind)
    facts = check(tmp_path, content)
    assert (facts.fault, facts.sha256, facts.num_bytes) == ("", sha256_bytes(content), len(content))
    assert (facts.width, facts.height, facts.format, facts.mode) == (48, 32, kind, mode)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "BMP"])
def test_an_image_cut_in_half_is_unreadable(tmp_path: Path, kind: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    content = encoded(Image.fromarray(noise), kind)
    assert check(tmp_path, content).fault == ""
    assert check(tmp_path, content[: len(content) // 2]).fault == "unreadable"


@pytest.mark.parametrize("content", [b"", b"<html>404 Not Found</html>", b"\xff\xd8\xff\xe0", bytes(1000)])
def test_what_is_no_image_is_unreadable(tmp_path: Path, content: bytes) -> None:
    assert check(tmp_path, content).fault == "unreadable"


@pytest.mark.parametrize(
    ("size", "fault"), [((10, 30), ""), ((30, 10), ""), ((9, 30), "too_small"), ((30, 9), "too_small")]
)
def test_an_image_is_too_small_by_its_shorter_side(tmp_path: Path, size: tuple[int, int], fault: str) -> None:
    assert check(tmp_path, encoded(Image.new("RGB", size), "PNG"), min_side=10).fault == fault


def test_a_missing_file_and_a_row_without_one_are_told_apart(tmp_path: Path) -> None:
    for path, fault in ((str(tmp_path / "gone"), "missing_file"), (str(tmp_path), "missing_file"), ("", "no_image")):
        assert inspect_image("1", path, min_side=1) == (Facts("1", fault=fault, path=path), None)


def test_an_image_that_would_fill_the_memory_is_unreadable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Pillow refuses more than twice this many pixels: a "decompression bomb".
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert check(tmp_path, encoded(Image.new("1", (50, 50)), "PNG")).fault == "unreadable"
    assert check(tmp_path, encoded(Image.new("1", (12, 12)), "PNG")).fault == ""


def test_an_animation_is_told(tmp_path: Path) -> None:
    buffer = BytesIO()
    frames = [Image.new("L", (20, 20), shade) for shade in (0, 90, 200)]
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:])
    assert check(tmp_path, buffer.getvalue()).fault == "animated"


@pytest.mark.parametrize("kind", ["TIFF", "MPO"])
def test_pages_and_views_are_no_animation(tmp_path: Path, kind: str) -> None:
    buffer = BytesIO()
    Image.fromarray(quadrants()).save(buffer, kind, save_all=True, append_images=[Image.new("RGB", (48, 32))])
    facts = check(tmp_path, buffer.getvalue())
    assert (facts.fault, facts.format) == ("", kind)


@pytest.mark.parametrize("progressive", [False, True])
def test_a_large_jpeg_cut_anywhere_is_told_as_a_full_decode_tells_it(tmp_path: Path, progressive: bool) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    image = Image.fromarray(noise).resize((900, 600))
    content = encoded(image, "JPEG", progressive=progressive)

    def decodes(part: bytes) -> bool:
        try:
            Image.open(BytesIO(part)).load()
        except OSError:
            return False
        return True

    for share in (0.1, 0.5, 0.9, 0.99, 0.999, 1):
        part = content[: round(share * len(content))]
        assert (check(tmp_path, part).fault == "") == decodes(part)
    assert not decodes(content[: len(content) // 2])


@pytest.mark.parametrize("size", [(900, 600), (120, 80)])
def test_a_thumbnail_is_the_same_at_any_size(tmp_path: Path, size: tuple[int, int]) -> None:
    coarse = Image.fromarray(np.random.default_rng(0).integers(0, 256, (10, 15, 3), np.uint8))
    expected = (
        coarse.resize((900, 600), Image.Resampling.BICUBIC).convert("L").resize((SIDE, SIDE), Image.Resampling.BOX)
    )
    (tmp_path / "x.jpg").write_bytes(encoded(coarse.resize(size, Image.Resampling.BICUBIC), "JPEG", quality=95))
    _, thumbnail = inspect_image("1", str(tmp_path / "x.jpg"), min_side=1)
    assert thumbnail is not None
    assert np.abs(thumbnail - np.asarray(expected, float)).mean() < 6


@pytest.mark.parametrize(("said", "facts_say"), [(0, 1), (9, 1), (3, 3)])
def test_an_orientation_that_means_nothing_is_upright(tmp_path: Path, said: int, facts_say: int) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = said
    content = encoded(Image.fromarray(quadrants()), "JPEG", exif=exif)
    assert check(tmp_path, content).orientation == facts_say
    assert (upright_jpeg(content) == content) == (facts_say == 1)


def test_a_file_that_may_not_be_read_is_unreadable(tmp_path: Path) -> None:
    assert inspect_image("1", str(tmp_path / ("x" * 300)), min_side=1)[0].fault == "unreadable"


def test_a_turned_image_is_looked_at_upright(tmp_path: Path) -> None:
    upright = Image.fromarray(quadrants())
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    (tmp_path / "turned.png").write_bytes(encoded(upright.transpose(Image.Transpose.ROTATE_90), "PNG", exif=exif))
    (tmp_path / "upright.png").write_bytes(encoded(upright, "PNG"))
    (turned, seen), (plain, expected) = (
        inspect_image("1", str(tmp_path / f"{name}.png"), min_side=1) for name in ("turned", "upright")
    )
    assert (turned.orientation, plain.orientation) == (6, 1)
    np.testing.assert_array_equal(seen, expected)


@pytest.mark.parametrize("text", ["  I felt\u00a0 JOY ", "i felt joy", "I ｆｅｌｔ joy\n"])
def test_texts_that_read_the_same_are_the_same(text: str) -> None:
    facts = inspect_text("1", text)
    assert facts == Facts("1", sha256=sha256_bytes(b"i felt joy"), num_chars=len(text))


@pytest.mark.parametrize("text", ["", " \n\u00a0"])
def test_a_text_of_blanks_is_none(text: str) -> None:
    assert inspect_text("1", text) == Facts("1", fault="no_text")


def test_what_passes_the_check_can_be_decoded_by_tensorflow(tmp_path: Path) -> None:
    # A download that broke off shortly before its end must not pass here and stop training later.
    import tensorflow as tf

    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    content = encoded(Image.fromarray(noise), "JPEG")
    passed = [n for n in (0, 1, 2, 3, 5, 9, 30, 99) if not check(tmp_path, content[: len(content) - n]).fault]
    assert 0 in passed
    for cut in passed:
        pixels = tf.io.decode_jpeg(upright_jpeg(content[: len(content) - cut]), channels=3)
        assert pixels.shape == (32, 32, 3)


# What comes out


def test_a_plain_jpeg_keeps_its_bytes() -> None:
    for mode in ("RGB", "L"):
        content = encoded(Image.fromarray(quadrants()).convert(mode), "JPEG", quality=71)
        assert upright_jpeg(content) == content


def test_a_jpeg_that_says_it_stands_upright_keeps_its_bytes() -> None:
    image = Image.fromarray(quadrants())
    exif = image.getexif()
    exif[ORIENTATION] = 1
    content = encoded(image, "JPEG", exif=exif)
    assert upright_jpeg(content) == content


# How a camera held in each of the eight ways of the EXIF standard stores an upright scene.
STORED = {
    2: lambda upright: upright[:, ::-1],
    3: lambda upright: upright[::-1, ::-1],
    4: lambda upright: upright[::-1],
    5: lambda upright: upright.transpose(1, 0, 2),
    6: lambda upright: np.rot90(upright, 1),
    7: lambda upright: np.rot90(upright, 2).transpose(1, 0, 2),
    8: lambda upright: np.rot90(upright, -1),
}


@pytest.mark.parametrize("orientation", STORED)
def test_a_photo_is_turned_the_right_way_up(orientation: int) -> None:
    upright = quadrants()
    image = Image.fromarray(np.ascontiguousarray(STORED[orientation](upright)))
    exif = image.getexif()
    exif[ORIENTATION] = orientation
    content = upright_jpeg(encoded(image, "JPEG", exif=exif, quality=95, subsampling=0))
    assert decoded(content).shape == upright.shape
    assert np.abs(decoded(content) - upright).mean() < 3
    with Image.open(BytesIO(content)) as turned:
        assert turned.getexif().get(ORIENTATION, 1) == 1


def test_a_transparent_image_is_laid_on_white() -> None:
    pixels = np.zeros((16, 48, 4), np.uint8)
    pixels[:, :16] = (0, 0, 255, 255)
    pixels[:, 16:32] = (0, 0, 255, 0)
    pixels[:, 32:] = (0, 0, 255, 51)
    result = decoded(upright_jpeg(encoded(Image.fromarray(pixels, "RGBA"), "PNG")))
    # One fifth blue, four fifths white: 255 * 0.8 = 204.
    for middle, expected in ((8, (0, 0, 255)), (24, (255, 255, 255)), (40, (204, 204, 255))):
        np.testing.assert_allclose(result[8, middle], expected, atol=4)


def test_a_palette_with_a_transparent_colour_is_laid_on_white() -> None:
    image = Image.new("P", (32, 16))
    image.putpalette([0, 0, 0, 255, 0, 0])
    image.paste(1, (16, 0, 32, 16))
    result = decoded(upright_jpeg(encoded(image, "GIF", transparency=0)))
    np.testing.assert_allclose(result[8, 6], (255, 255, 255), atol=4)
    np.testing.assert_allclose(result[8, 26], (255, 0, 0), atol=4)


def test_cmyk_becomes_the_colours_it_stands_for() -> None:
    # Without ink white, with cyan alone no red, with black alone black.
    inks = np.zeros((16, 48, 4), np.uint8)
    inks[:, 16:32] = (255, 0, 0, 0)
    inks[:, 32:] = (0, 0, 0, 255)
    content = encoded(Image.fromarray(inks, "CMYK"), "JPEG", quality=95, subsampling=0)
    result = decoded(upright_jpeg(content))
    for middle, expected in ((8, (255, 255, 255)), (24, (0, 255, 255)), (40, (0, 0, 0))):
        np.testing.assert_allclose(result[8, middle], expected, atol=6)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "BMP", "TIFF"])
def test_other_formats_come_out_as_the_same_picture(kind: str) -> None:
    options = {"lossless": True} if kind == "WEBP" else {}
    result = decoded(upright_jpeg(encoded(Image.fromarray(quadrants()), kind, **options)))
    assert np.abs(result - quadrants()).mean() < 3


def test_sixteen_bits_of_grey_come_out_as_the_same_picture() -> None:
    ramp = np.linspace(0, 65535, 64).astype(np.uint16)
    result = decoded(upright_jpeg(encoded(Image.fromarray(np.tile(ramp, (16, 1))), "PNG")))
    np.testing.assert_allclose(result[8, :, 0], ramp / 257, atol=4)
