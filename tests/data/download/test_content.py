"""What came is judged by its bytes: made by hand, and compared with Pillow, NumPy and hashlib."""

import hashlib
import random
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from photo_server import animation, bomb, photo
from PIL import Image

from tfpipe.core.errors import EnvironmentProblemError
from tfpipe.data.download import content
from tfpipe.data.download.answers import Answer, Reason
from tfpipe.data.download.content import Terms, is_kept, judge, pixel_limit

CAME = Answer(Reason.OK, status=200, etag='"x"')
LOOK = Terms(min_side=100, max_pixels=10**8, reencode_side=None, images_dir=None)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def gradient(width: int = 160, height: int = 120) -> Image.Image:
    """Smooth, so that JPEG hardly changes it, and different at each corner."""
    x, y = np.meshgrid(np.linspace(0, 200, width), np.linspace(0, 200, height))
    return Image.fromarray(np.stack([x, y, 255 - x], -1).astype(np.uint8))


WHOLE = {
    "jpg": photo("a"),
    "png": encoded(gradient(), "PNG"),
    "webp": encoded(gradient(), "WEBP"),
    "avif": encoded(gradient(), "AVIF"),
    "gif": encoded(gradient(), "GIF"),
    "bmp": encoded(gradient(), "BMP"),
    "tif": encoded(gradient(), "TIFF"),
}


@pytest.mark.parametrize("suffix", WHOLE)
def test_a_whole_photo_of_any_format_is_kept_under_its_hash(suffix: str, tmp_path: Path) -> None:
    terms = Terms(100, 10**8, None, tmp_path)
    answer = judge(WHOLE[suffix], CAME, terms)
    digest = hashlib.sha256(WHOLE[suffix]).hexdigest()
    assert (answer.reason, answer.sha256, answer.etag) == (Reason.OK, digest, '"x"')
    assert answer.path == f"{digest[:2]}/{digest}.{suffix}"
    assert (tmp_path / answer.path).read_bytes() == WHOLE[suffix]
    assert (answer.num_bytes, answer.short_side) == (len(WHOLE[suffix]), 120)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == [f"{digest}.{suffix}"]


def test_the_frames_of_a_phones_mpo_are_no_animation() -> None:
    views = encoded(gradient(), "MPO", save_all=True, append_images=[gradient()])
    assert judge(views, CAME, LOOK).reason is Reason.OK


@pytest.mark.parametrize(
    ("body", "reason", "detail"),
    [
        (b"", Reason.BROKEN, "empty"),
        (b"<html><body>Log in</body></html>", Reason.NOT_A_PHOTO, "web page"),
        (b"\n  <!DOCTYPE HTML>\n<title>404</title>", Reason.NOT_A_PHOTO, "web page"),
        (b"{}", Reason.NOT_A_PHOTO, "unknown format"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 200 200\n", Reason.NOT_A_PHOTO, "unknown format"),
        (animation(), Reason.NOT_A_PHOTO, "animation"),
        (encoded(gradient(), "PNG", save_all=True, append_images=[Image.new("RGB", (160, 120))]), *("", "")),
        (encoded(gradient(), "WEBP", save_all=True, append_images=[Image.new("RGB", (160, 120))]), *("", "")),
        (photo("a")[:10], Reason.BROKEN, "cut short"),
        (bomb(), Reason.TOO_LARGE, "pixels"),
        (encoded(gradient(99, 500), "PNG"), Reason.TOO_SMALL, "99 px"),
        (encoded(gradient(500, 99), "JPEG"), Reason.TOO_SMALL, "99 px"),
    ],
)
def test_what_is_no_usable_photo_is_told_apart(body: bytes, reason: str, detail: str) -> None:
    answer = judge(body, CAME, LOOK)
    assert (answer.reason, answer.detail) == (reason or Reason.NOT_A_PHOTO, detail or "animation")
    assert (answer.path, answer.sha256, answer.status) == ("", "", 200)


@pytest.mark.parametrize("suffix", WHOLE)
@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_a_photo_that_is_cut_short_is_broken(suffix: str, share: float) -> None:
    cut = WHOLE[suffix][: int(share * len(WHOLE[suffix]))]
    assert judge(cut, CAME, LOOK).reason is Reason.BROKEN


def test_no_bytes_at_all_can_make_it_fail() -> None:
    """Photos with some bytes overwritten, and noise behind every beginning."""
    generator = random.Random(0)
    for _ in range(300):
        body = bytearray(generator.choice(list(WHOLE.values())))
        for _ in range(generator.randint(1, 20)):
            body[generator.randrange(len(body) // 4)] = generator.randrange(256)
        assert judge(bytes(body), CAME, LOOK).reason in Reason
    for beginning in content.BEGINNINGS:
        answer = judge(beginning + generator.randbytes(300), CAME, LOOK)
        assert answer.reason in (Reason.BROKEN, Reason.TOO_LARGE, Reason.TOO_SMALL)


def test_the_pixel_limit_stands_for_pillows_own_while_it_holds() -> None:
    before = Image.MAX_IMAGE_PIXELS
    with pixel_limit(1000):
        # Pillow warns above its limit and refuses above twice that; both are ours to tell.
        assert judge(WHOLE["jpg"], CAME, Terms(10, 1000, None, None)).detail == "pixels"
    assert before == Image.MAX_IMAGE_PIXELS
    exactly = Terms(10, 130 * 120, None, None)
    assert judge(WHOLE["jpg"], CAME, exactly).reason is Reason.OK


# Re-encoding


@pytest.mark.parametrize("orientation", range(1, 9))
def test_reencoding_turns_scales_and_strips(orientation: int, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010E] = "where I live"
    upright = gradient(600, 400)
    # How a camera that was held so would have stored it (EXIF 2.3, table 6).
    stored = {
        1: lambda a: a,
        2: np.fliplr,
        3: lambda a: np.rot90(a, 2),
        4: np.flipud,
        5: lambda a: a.swapaxes(0, 1),
        6: lambda a: np.rot90(a, 1),
        7: lambda a: np.rot90(a, 2).swapaxes(0, 1),
        8: lambda a: np.rot90(a, 3),
    }[orientation](np.asarray(upright))
    body = encoded(
        Image.fromarray(np.ascontiguousarray(stored)), "JPEG", exif=exif, quality=95, comment=b"secret", dpi=(300, 300)
    )
    answer = judge(body, CAME, Terms(100, 10**8, 128, tmp_path))
    kept = (tmp_path / answer.path).read_bytes()
    with Image.open(BytesIO(kept)) as image:
        assert image.size == (192, 128)
        assert not image.getexif()
        assert not {"exif", "comment", "icc_profile", "xmp"} & set(image.info)
        wanted = np.asarray(upright.resize((192, 128), Image.Resampling.BOX), float)
        assert np.abs(np.asarray(image, float) - wanted).mean() < 2
    assert (answer.short_side, answer.reencode_side) == (400, 128)
    assert answer.sha256 == hashlib.sha256(kept).hexdigest()
    assert b"where I live" not in kept
    assert b"secret" not in kept


def test_reencoding_never_enlarges_and_lays_transparency_on_white(tmp_path: Path) -> None:
    body = encoded(Image.new("RGBA", (130, 120), (255, 0, 0, 0)), "PNG")
    answer = judge(body, CAME, Terms(100, 10**8, 256, tmp_path))
    with Image.open(tmp_path / answer.path) as image:
        assert (image.format, image.size, image.getpixel((5, 5))) == ("JPEG", (130, 120), (255, 255, 255))


def test_reencoding_gives_the_same_bytes_each_time(tmp_path: Path) -> None:
    terms = Terms(100, 10**8, 64, tmp_path)
    assert judge(WHOLE["png"], CAME, terms) == judge(WHOLE["png"], CAME, terms)
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == 1


# Kept


def test_an_image_is_kept_while_it_stands_as_the_terms_want_it(tmp_path: Path) -> None:
    terms = Terms(100, 10**8, None, tmp_path)
    answer = judge(WHOLE["jpg"], CAME, terms)
    assert is_kept(answer, terms)
    assert is_kept(answer, Terms(120, 1, None, tmp_path))
    assert is_kept(judge(WHOLE["jpg"], CAME, LOOK), LOOK)
    assert not is_kept(answer, Terms(121, 10**8, None, tmp_path)), "too small now"
    assert not is_kept(answer, Terms(100, 10**8, 64, tmp_path)), "wanted smaller now"
    assert not is_kept(judge(WHOLE["jpg"], CAME, LOOK), terms), "was only looked at"
    assert not is_kept(judge(b"", CAME, terms), terms)
    (tmp_path / answer.path).write_bytes(b"half")
    assert not is_kept(answer, terms)
    assert is_kept(judge(WHOLE["jpg"], CAME, terms), terms), "written anew"
    (tmp_path / answer.path).unlink()
    assert not is_kept(answer, terms)


def test_a_full_disk_is_told_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write_bytes(path: Path, content: bytes) -> int:
        with path.open("wb") as file:
            file.write(content[:100])
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(Path, "write_bytes", write_bytes)
    with pytest.raises(EnvironmentProblemError, match="no space left on the disk"):
        judge(WHOLE["jpg"], CAME, Terms(100, 10**8, None, tmp_path))
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
