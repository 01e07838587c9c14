"""Looking at every row: a line of facts each, in order, whatever was interrupted."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tfpipe.core.errors import DataError
from tfpipe.core.files import sha256_file
from tfpipe.core.settings import Task
from tfpipe.data import inspection
from tfpipe.data.duplicates import NearDuplicate
from tfpipe.data.facts import Facts, iter_facts
from tfpipe.data.inspection import find_near_duplicates, inspect_rows
from tfpipe.data.workers import Runner


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Seven rows in pieces of three: two of one photo, one nearly it, and one whose download failed."""
    # One worker: the others would have pieces of the usual size.
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    monkeypatch.setattr(inspection, "ROWS", 3)
    for name in "abcd":
        picture(ord(name)).save(tmp_path / f"{name}.png")
    picture(ord("a")).resize((90, 90)).save(tmp_path / "near.jpg", quality=80)
    (tmp_path / "broken.png").write_bytes(b"no image")
    (tmp_path / "again.png").write_bytes((tmp_path / "a.png").read_bytes())
    names = ["a.png", "b.png", "again.png", "near.jpg", "broken.png", "", "c.png"]
    rows = [{"id": f"r{n}", "label": "x", "path": str(tmp_path / name) if name else ""} for n, name in enumerate(names)]
    write(tmp_path / "raw.jsonl", rows)
    reasons = ["local" if row["path"] else "http_error" for row in rows]
    reasons[6] = "ok"
    fetched = [{"id": row["id"], "reason": reason} for row, reason in zip(rows, reasons, strict=True)]
    # Downloaded, so the path is in what `fetch` wrote.
    fetched[6]["path"] = rows[6].pop("path")
    write(tmp_path / "raw.jsonl", rows)
    write(tmp_path / "fetch.jsonl", fetched)
    return tmp_path


def picture(seed: int) -> Image.Image:
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), np.uint8)
    return Image.fromarray(coarse).resize((120, 120), Image.Resampling.BICUBIC)


def write(path: Path, documents: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(document) + "\n" for document in documents))


def inspect(folder: Path, task: Task = "image") -> list[Facts]:
    inspect_rows(
        folder / "raw.jsonl",
        folder / "fetch.jsonl",
        folder / "facts.jsonl",
        task=task,
        min_side=20,
        folder=folder / "pieces",
        runner=Runner(),
    )
    return list(iter_facts(folder / "facts.jsonl"))


def test_there_is_a_line_a_row_in_the_rows_order(photos: Path) -> None:
    facts = inspect(photos)
    assert [fact.id for fact in facts] == [f"r{n}" for n in range(7)]
    assert [fact.fault for fact in facts] == ["", "", "", "", "unreadable", "http_error", ""]
    assert facts[6].sha256 == sha256_file(photos / "c.png")
    assert facts[0].sha256 == facts[2].sha256 != facts[3].sha256


def test_near_duplicates_are_found_once_and_equals_not_repeated(photos: Path) -> None:
    inspect(photos)
    (edge,) = find_near_duplicates(photos / "facts.jsonl", photos / "pieces", max_bits=14)
    assert isinstance(edge, NearDuplicate)
    assert {edge.one, edge.other} == {"r0", "r3"}


def test_an_interrupted_look_goes_on_with_the_pieces_that_are_left(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = inspect(photos)
    last = sorted((photos / "pieces").glob("*.jsonl"))[-1]
    last.unlink()
    looked: list[str] = []
    look = inspection.inspect_image
    monkeypatch.setattr(
        inspection,
        "inspect_image",
        lambda row_id, path, min_side: looked.append(row_id) or look(row_id, path, min_side=min_side),
    )
    assert inspect(photos) == whole
    assert looked == ["r6"]


def test_texts_have_facts_and_no_near_duplicates(tmp_path: Path) -> None:
    texts = ["Joy", "joy ", "", "sorrow"]
    write(tmp_path / "raw.jsonl", [{"id": str(n), "label": "x", "text": text} for n, text in enumerate(texts)])
    write(tmp_path / "fetch.jsonl", [{"id": str(n), "reason": "local"} for n in range(4)])
    facts = inspect(tmp_path, task="text")
    assert [fact.fault for fact in facts] == ["", "", "no_text", ""]
    assert facts[0].sha256 == facts[1].sha256 != facts[3].sha256
    assert list(find_near_duplicates(tmp_path / "facts.jsonl", tmp_path / "pieces", max_bits=14)) == []


@pytest.mark.parametrize(
    "change", [lambda lines: lines[:-1], lambda lines: [*lines, lines[0]], lambda lines: lines[:3]]
)
def test_files_of_different_length_are_told(photos: Path, change: Callable[[list[str]], list[str]]) -> None:
    path = photos / "fetch.jsonl"
    path.write_text("".join(change(path.read_text().splitlines(keepends=True))))
    with pytest.raises(DataError, match=r"raw\.jsonl and .*fetch\.jsonl have not the same number of lines"):
        inspect(photos)


def test_what_fetch_says_of_another_row_is_told(photos: Path) -> None:
    path = photos / "fetch.jsonl"
    path.write_text(path.read_text().replace('"r4"', '"r5"'))
    with pytest.raises(DataError, match=r"fetch\.jsonl:5 is of 'r5', the row of 'r4'"):
        inspect(photos)


def test_a_broken_line_is_told(photos: Path) -> None:
    path = photos / "raw.jsonl"
    path.write_text(path.read_text().replace('{"id": "r4"', '{"id" "r4"'))
    with pytest.raises(DataError, match=r"raw\.jsonl:5: not JSON"):
        inspect(photos)


REAL_PAIRS = {
    # Each one photo: cropped, coarser, in other colours.
    ("7630517248_98fb8bee1f_n", "9204730092_a7f2182347"),
    ("4278757393_bca8415ed4_n", "4654848357_9549351e0b_n"),
    ("506659320_6fac46551e", "506660896_c903cca1f0"),
    ("5635347336_bc1400e939_n", "5700394524_dc6f8fa9cd_n"),
    ("10993710036_2033222c91", "10993818044_4c19b86c82"),
}


def test_among_real_photos_those_that_show_one_photo_are_found_and_no_others(shared: Path, tmp_path: Path) -> None:
    paths = sorted((shared / "data" / "flowers").glob("*/*.jpg"))
    write(tmp_path / "raw.jsonl", [{"id": path.stem, "label": "x", "path": str(path)} for path in paths])
    write(tmp_path / "fetch.jsonl", [{"id": path.stem, "reason": "local"} for path in paths])
    assert {fact.fault for fact in inspect(tmp_path)} == {""}
    found = find_near_duplicates(tmp_path / "facts.jsonl", tmp_path / "pieces", max_bits=14)
    assert {(edge.one, edge.other) for edge in found} == REAL_PAIRS
