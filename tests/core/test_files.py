"""Files: whole or not at all, and known by hashes of what is in them."""

import errno
import hashlib
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tfpipe.core import files
from tfpipe.core.errors import EnvironmentProblemError
from tfpipe.core.files import (
    atomic_open,
    atomic_path,
    explain,
    locked,
    read_json,
    sha256_bytes,
    sha256_file,
    sha256_json,
    sha256_path,
    write_json,
)


class StopError(Exception):
    """Stands for anything that may go wrong."""


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_only_when_its_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "er" / "x.txt"
    with atomic_open(path) as file:
        file.write("ä")
        file.flush()
        assert not path.exists()
    assert path.read_bytes() == "ä".encode()
    assert names(path.parent) == ["x.txt"]


def test_bytes_are_written_as_they_are(tmp_path: Path) -> None:
    with atomic_open(tmp_path / "x.bin", "wb") as file:
        file.write(b"\xff\r\n")
    assert (tmp_path / "x.bin").read_bytes() == b"\xff\r\n"


@pytest.mark.parametrize("error", [StopError, KeyboardInterrupt])
def test_what_stood_there_stays_when_the_block_raises(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "x.txt"
    path.write_text("old")
    with pytest.raises(error), atomic_open(path) as file:
        file.write("half")
        raise error
    assert path.read_text() == "old"
    assert names(tmp_path) == ["x.txt"]


def test_nothing_is_left_where_nothing_stood(tmp_path: Path) -> None:
    with pytest.raises(StopError), atomic_open(tmp_path / "x.txt") as file:
        file.write("half")
        raise StopError
    assert names(tmp_path) == []


def test_a_folder_takes_the_place_of_the_one_before_it(tmp_path: Path) -> None:
    folder = tmp_path / "site"
    (folder / "old").mkdir(parents=True)
    with atomic_path(folder) as sibling:
        sibling.mkdir()
        (sibling / "new.txt").write_text("new")
        assert names(folder) == ["old"]
    assert names(folder) == ["new.txt"]
    assert names(tmp_path) == ["site"]


def test_the_folder_that_stood_there_stays_when_the_block_raises(tmp_path: Path) -> None:
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "old.txt").write_text("old")
    with pytest.raises(StopError), atomic_path(folder) as sibling:
        (sibling / "deep").mkdir(parents=True)
        raise StopError
    assert (folder / "old.txt").read_text() == "old"
    assert names(tmp_path) == ["site"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_told_as_such(tmp_path: Path, number: int) -> None:
    path = tmp_path / "x.txt"
    path.write_text("old")
    with pytest.raises(EnvironmentProblemError, match="no space left") as caught, atomic_open(path) as file:
        file.write("half")
        raise OSError(number, os.strerror(number))
    assert str(path) in str(caught.value)
    assert path.read_text() == "old"
    assert names(tmp_path) == ["x.txt"]


def test_a_disk_that_fills_up_at_fsync_is_told_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Network disks accept the bytes and refuse them only when they must be safe.
    def refuse(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    (tmp_path / "x.txt").write_text("old")
    monkeypatch.setattr(files.os, "fsync", refuse)
    with pytest.raises(EnvironmentProblemError, match="no space left"), atomic_open(tmp_path / "x.txt") as file:
        file.write("new")
    assert (tmp_path / "x.txt").read_text() == "old"
    assert names(tmp_path) == ["x.txt"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of one megabyte."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("only root can mount a small disk")
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder]
    mounted = subprocess.run(command, check=False, capture_output=True)
    if mounted.returncode:
        pytest.skip(f"cannot mount a small disk here: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_on_a_really_full_disk_the_old_file_stays_and_the_space_comes_back(small_disk: Path) -> None:
    path = small_disk / "rows.jsonl"
    path.write_text("old")
    before = shutil.disk_usage(small_disk).free
    with pytest.raises(EnvironmentProblemError, match="no space left"), atomic_open(path, "wb") as file:
        for _ in range(40):
            file.write(bytes(50_000))
    assert path.read_text() == "old"
    assert names(small_disk) == ["rows.jsonl"]
    assert shutil.disk_usage(small_disk).free == before


def test_a_folder_on_a_really_full_disk_leaves_nothing(small_disk: Path) -> None:
    with pytest.raises(EnvironmentProblemError, match="no space left"), atomic_path(small_disk / "site") as sibling:
        sibling.mkdir()
        for number in range(40):
            (sibling / f"{number}.bin").write_bytes(bytes(50_000))
    assert names(small_disk) == []


def test_what_the_machine_refuses_is_told_with_the_file_it_was_refused_for(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        (tmp_path / "gone").read_text()
    assert explain(caught.value) == f"{tmp_path / 'gone'}: No such file or directory."


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "x.txt"),
        RuntimeError("x.keras; No space left on device [Op:WriteFile]"),
    ],
)
def test_a_full_disk_is_known_in_any_librarys_words(error: Exception) -> None:
    assert str(explain(error)).startswith("no space left on the disk")


@pytest.mark.parametrize("error", [ValueError("3 is not 4"), ZeroDivisionError(), KeyError("x")])
def test_what_is_no_fault_of_the_machine_is_not_explained_away(error: Exception) -> None:
    assert explain(error) is None


def test_equal_json_is_equal_bytes(tmp_path: Path) -> None:
    write_json({"b": [1, 2.5], "a": {"y": "ä", "x": None}}, tmp_path / "1.json")
    write_json({"a": {"x": None, "y": "ä"}, "b": [1, 2.5]}, tmp_path / "2.json")
    assert (tmp_path / "1.json").read_bytes() == (tmp_path / "2.json").read_bytes()
    assert read_json(tmp_path / "1.json") == {"a": {"x": None, "y": "ä"}, "b": [1, 2.5]}


def test_hashes_are_the_standard_ones(tmp_path: Path) -> None:
    # "abc" is the first test vector of FIPS 180-2.
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    (tmp_path / "x").write_bytes(b"abc")
    assert sha256_bytes(b"abc") == sha256_file(tmp_path / "x") == sha256_path(tmp_path / "x") == expected


def test_equal_json_values_have_equal_hashes_and_others_not() -> None:
    assert sha256_json({"a": 1, "b": 2}) == sha256_json({"b": 2, "a": 1})
    assert sha256_json({"a": 1}) == hashlib.sha256(b'{"a": 1}').hexdigest()
    assert len({sha256_json(value) for value in ([1, 2], [2, 1], "12", [12], {"1": 2}, None)}) == 6


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "folder"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.txt").write_text("one")
    (folder / "sub" / "b.txt").write_text("two")
    return folder


def test_a_folders_hash_is_of_names_and_contents_not_of_times_or_place(folder: Path, tmp_path: Path) -> None:
    before = sha256_path(folder)
    os.utime(folder / "a.txt", (1, 1))
    (folder / "a.txt").chmod(0o600)
    assert sha256_path(folder) == before
    assert sha256_path(folder.rename(tmp_path / "other")) == before


def test_a_folders_hash_changes_with_a_name_a_content_or_a_place_within(folder: Path) -> None:
    hashes = [sha256_path(folder)]
    (folder / "a.txt").write_text("One")
    hashes.append(sha256_path(folder))
    (folder / "a.txt").rename(folder / "c.txt")
    hashes.append(sha256_path(folder))
    (folder / "c.txt").rename(folder / "sub" / "c.txt")
    hashes.append(sha256_path(folder))
    (folder / "empty.txt").touch()
    hashes.append(sha256_path(folder))
    (folder / "empty.txt").unlink()
    assert sha256_path(folder) == hashes[-2]
    assert len(set(hashes)) == len(hashes)


def test_contents_that_move_from_one_file_to_the_next_change_the_hash(folder: Path) -> None:
    before = sha256_path(folder)
    (folder / "a.txt").write_text("two")
    (folder / "sub" / "b.txt").write_text("one")
    assert sha256_path(folder) != before


def test_a_lock_lets_one_at_a_time_and_leaves_nothing(tmp_path: Path) -> None:
    count, lock = tmp_path / "count", tmp_path / "place" / ".lock"
    count.write_text("0")

    def add_one() -> None:
        for _ in range(20):
            with locked(lock):
                value = int(count.read_text())
                time.sleep(1e-4)
                count.write_text(str(value + 1))

    threads = [threading.Thread(target=add_one) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert count.read_text() == "120"
    assert names(tmp_path / "place") == []
