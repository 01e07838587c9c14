"""`.npz` labels that mean no good: no pickle is opened, headers that lie take no memory, and all is told."""

import io
import struct
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from refusals import hostile, refusal

from tfpipe.labels.npz import NpzLabels

IDS = np.array(["a", "b", "c"])
CLASSES = 4


def npy(array: np.ndarray, **header: Any) -> bytes:
    """A member, whose header may say something else than is in it."""
    file = io.BytesIO()
    np.lib.format.write_array(file, array, allow_pickle=True)
    if not header:
        return file.getvalue()
    said = {"descr": np.lib.format.dtype_to_descr(array.dtype), "fortran_order": False, "shape": array.shape} | header
    return with_header(repr(said).encode("latin1"), array.tobytes())


def with_header(header: bytes, content: bytes, version: bytes = b"\x01\x00") -> bytes:
    length = struct.pack("<H", len(header)) if version[0] == 1 else struct.pack("<I", len(header))
    return b"\x93NUMPY" + version + length + header + content


def npz(members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def read(path: Path, content: bytes) -> str | None:
    """What is said of a file from its first look to its last row."""
    path.write_bytes(content)
    labels = NpzLabels(path)

    def whole() -> None:
        labels.check(CLASSES)
        for _, logits in labels.iter_logits(IDS, 2):
            assert logits.dtype == np.float32
            assert logits.shape[1] == CLASSES

    start = time.monotonic()
    said = refusal(whole, path.name)
    assert time.monotonic() - start < 10
    return said


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("npz") / "labels.npz"


LOGITS = np.arange(12, dtype=np.float32).reshape(3, CLASSES)
BEYOND = np.full(12, sys.maxunicode + 1, np.uint32)
GOOD = npz({"logits.npy": npy(LOGITS), "indices.npy": npy(IDS)})


class Pwned:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("pwned"),))


SHAPES = st.one_of(
    st.lists(st.sampled_from([0, 1, 3, 4, -1, -3, 2**31, 2**62, 10**30, True]), max_size=4).map(tuple),
    st.just((3.5, 4)),
    st.just([3, 4]),
    st.just("3"),
)
DTYPES = st.sampled_from(
    ["<f4", "<f8", ">f4", "<f2", "<f16", "|O", "<U0", "<U9", "|S1", "|V0", "|V8", "<M8[s]", "<c8", "|b1", "f4,f4"]
)
VERSIONS = st.sampled_from([b"\1\0", b"\2\0", b"\3\0", b"\x09\x09"])
MEMBERS = st.one_of(
    st.builds(npy, st.sampled_from([LOGITS, IDS]), shape=SHAPES),
    st.builds(npy, st.sampled_from([LOGITS, IDS]), descr=DTYPES, shape=SHAPES),
    st.builds(npy, st.just(LOGITS), fortran_order=st.sampled_from([True, 1, None])),
    st.sampled_from([npy(LOGITS), npy(IDS), npy(IDS.astype("S1")), npy(np.array([b"\xff", b"b", b"c"]))]),
    st.builds(with_header, st.binary(max_size=20), st.binary(max_size=9), VERSIONS),
    st.binary(max_size=30),
)
NAMES = st.sampled_from(["logits.npy", "soft_probs.npy", "indices.npy", "../../x.npy", "/etc/x.npy", "a.txt"])


@given(st.dictionaries(NAMES, MEMBERS, max_size=4), st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]))
@hostile(200)
def test_no_member_is_more_than_a_sentence(place: Path, members: Any, compression: int) -> None:
    read(place, npz(members, compression))


@given(st.lists(st.tuples(st.floats(0, 1), st.binary(max_size=8), st.integers(0, 9)), min_size=1, max_size=5))
@hostile(200)
def test_no_damage_is_more_than_a_sentence(place: Path, changes: list[tuple[float, bytes, int]]) -> None:
    content = GOOD
    for share, put, cut in changes:
        at = int(share * len(content))
        content = content[:at] + put + content[at + cut :]
    read(place, content)


def test_a_good_file_is_read(tmp_path: Path) -> None:
    assert read(tmp_path / "labels.npz", GOOD) is None


@pytest.mark.parametrize(
    ("members", "why"),
    [
        ({"logits.npy": npy(LOGITS), "indices.npy": npy(np.array([Pwned()] * 3, object))}, "pickled Python objects"),
        ({"logits.npy": npy(LOGITS, shape=(3, 2**40)), "indices.npy": npy(IDS)}, "more than the file holds"),
        ({"logits.npy": npy(LOGITS), "indices.npy": npy(IDS, shape=(2**40,))}, "more than the file holds"),
        ({"logits.npy": npy(LOGITS), "indices.npy": npy(IDS, shape=(-1,))}, "more than the file holds"),
        ({"logits.npy": npy(LOGITS), "indices.npy": npy(IDS, descr="<U0", shape=(3,))}, "no ids"),
        ({"logits.npy": npy(LOGITS), "indices.npy": npy(np.array([b"\xff", b"b", b"c"]))}, "no text"),
        (
            {"logits.npy": npy(LOGITS), "indices.npy": npy(BEYOND, descr="<U4", shape=(3,))},
            "no text",
        ),
        ({"logits.npy": npy(LOGITS), "indices.npy": with_header(b"(" * 9000, b"")}, "cut off"),
    ],
    ids=["pickle", "wide", "long", "negative", "empty names", "not UTF-8", "no letters", "deep header"],
)
def test_what_is_wrong_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, members: dict[str, bytes], why: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert why in (read(tmp_path / "labels.npz", npz(members)) or "")
    assert not (tmp_path / "pwned").exists()
