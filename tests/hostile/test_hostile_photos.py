"""Photos that mean no good: a photo's decoders alone see them, and what the audit passes stops no training."""

import io
import random
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from refusals import hostile

from tfpipe.core.page.thumbnails import Album
from tfpipe.data.checks import Fault, inspect_image
from tfpipe.data.photos import upright_jpeg

PIXELS = np.asarray(Image.effect_noise((160, 120), 60).convert("RGB"))


def encoded(kind: str, mode: str = "RGB", **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(PIXELS).convert(mode).save(file, kind, **options)
    return file.getvalue()


PHOTOS = {
    **{kind: encoded(kind) for kind in ("JPEG", "PNG", "WEBP", "AVIF", "GIF", "BMP", "TIFF")},
    "progressive": encoded("JPEG", progressive=True),
    "CMYK": encoded("JPEG", "CMYK"),
    "grey": encoded("JPEG", "L"),
    "16 bit": encoded("PNG", "I;16"),
    "palette": encoded("PNG", "P", transparency=3),
    "film": encoded("GIF", save_all=True, append_images=[Image.new("RGB", (160, 120))]),
}
OTHERS = {
    "EPS": encoded("EPS"),
    "PDF": encoded("PDF"),
    "PPM": encoded("PPM"),
    "ICO": encoded("ICO"),
    "SVG": b"<svg xmlns='http://www.w3.org/2000/svg' onload='window.__pwned=1'/>",
    "HTML": b"<script>window.__pwned=1</script>",
    "empty": b"",
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("photos") / "photo.jpg"


def damaged(content: bytes, seed: int) -> bytes:
    rng, changed = random.Random(seed), bytearray(content)
    for _ in range(rng.choice((0, 1, 1, 2, 4))):
        at = rng.randrange(len(changed) if rng.random() < 0.6 else min(700, len(changed)))
        how = rng.randrange(5)
        if how <= 1:
            changed[at] = rng.choice((0, 1, 0x7F, 0x80, 0xFF))
        elif how == 2:
            del changed[at : at + rng.randrange(1, 64)]
        elif how == 3:
            changed[at : at + 4] = rng.choice((b"\xff" * 4, bytes(4), b"\x7f\xff\xff\xff"))
        else:
            del changed[at + 1 :]
    return bytes(changed)


@given(st.sampled_from(sorted(PHOTOS)), st.integers(0, 10**6))
@hostile(100)
def test_what_the_audit_passes_is_a_photo_to_tensorflow(place: Path, kind: str, seed: int) -> None:
    import tensorflow as tf

    from tfpipe.data.views import centre_square

    content = damaged(PHOTOS[kind], seed)
    place.write_bytes(content)
    facts, thumbnail = inspect_image("1", str(place), min_side=1)
    assert (thumbnail is None) == bool(facts.fault)
    Album(max_bytes=10**6).picture(content, alt="")
    if not facts.fault:
        with warnings.catch_warnings(action="ignore"):
            jpeg = upright_jpeg(content)
        pixels = centre_square(tf.constant(jpeg), 32, tf.zeros(2, tf.int32))
        assert pixels.shape == (32, 32, 3)


@pytest.mark.parametrize("kind", OTHERS)
def test_what_is_no_photos_format_meets_no_decoder(place: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """EPS is read by a program, which Pillow would start."""
    monkeypatch.setattr("subprocess.check_call", lambda *_: pytest.fail("a program was started"))
    place.write_bytes(OTHERS[kind])
    assert inspect_image("1", str(place), min_side=1)[0].fault == Fault.UNREADABLE
    assert "no picture" in Album(max_bytes=10**6).picture(OTHERS[kind], alt="")
    with pytest.raises(OSError, match="cannot identify"):
        upright_jpeg(OTHERS[kind])


def test_a_bomb_does_not_go_off(place: Path) -> None:
    """A header that tells of 65,000 pixels a side."""
    jpeg = bytearray(PHOTOS["JPEG"])
    at = jpeg.index(b"\xff\xc0") + 5
    jpeg[at : at + 4] = b"\xfd\xe8\xfd\xe8"
    place.write_bytes(jpeg)
    assert inspect_image("1", str(place), min_side=1)[0].fault == Fault.UNREADABLE


def test_a_jpeg_whose_last_bytes_are_missing_does_not_stop_training(place: Path) -> None:
    import tensorflow as tf

    from tfpipe.data.views import AUGMENTATIONS, centre_square

    whole = PHOTOS["JPEG"]
    views = [centre_square, *AUGMENTATIONS.values()]
    for missing in (1, 2, 3, 5):
        place.write_bytes(whole[:-missing])
        if inspect_image("1", str(place), min_side=1)[0].fault:
            continue
        for view in views:
            assert view(tf.constant(whole[:-missing]), 32, tf.constant([1, 2])).shape == (32, 32, 3)
