"""Bodies on their way: whole or not there, whatever happens between."""

import json
from pathlib import Path

import pytest

from tfpipe.core.errors import EnvironmentProblemError
from tfpipe.data.download import inbox as inbox_module
from tfpipe.data.download.answers import Answer, Reason
from tfpipe.data.download.inbox import Inbox, Tray

CAME = Answer(Reason.OK, status=200, etag='"é"', last_modified="Mon")
LINE = b"a photo"


def put(inbox: Inbox, url: str, *chunks: bytes) -> Tray:
    with inbox.receive(url, CAME) as tray:
        for chunk in chunks:
            tray.add(chunk)
        tray.finish()
    return tray


def test_a_body_that_came_whole_is_found_again(tmp_path: Path) -> None:
    with Inbox(tmp_path) as inbox:
        tray = put(inbox, "http://h.org/ü", LINE, b"", LINE * 1000)
        assert tray.read() == ("http://h.org/ü", CAME, LINE * 1001)
        put(inbox, "http://h.org/empty")
    # As after a kill: another inbox in the same folder.
    with Inbox(tmp_path) as inbox:
        found = {url: (came, body) for url, came, body in inbox.empty()}
        assert found == {"http://h.org/ü": (CAME, LINE * 1001), "http://h.org/empty": (CAME, b"")}
        assert list(inbox.empty()) == []
    assert not tmp_path.exists(), "nothing is left to keep it for"


def test_a_body_that_did_not_come_whole_is_not(tmp_path: Path) -> None:
    with Inbox(tmp_path) as inbox:
        with inbox.receive("http://h.org/x", CAME) as tray:
            tray.add(LINE)
        killed = Tray(tmp_path / "killed")
        killed.begin("http://h.org/y", CAME)
        killed.add(LINE)
        killed.close()
    with Inbox(tmp_path) as inbox:
        assert list(inbox.empty()) == []


def test_a_tray_is_used_again_and_shows_nothing_of_the_body_before(tmp_path: Path) -> None:
    with Inbox(tmp_path) as inbox:
        first = put(inbox, "http://h.org/long", LINE * 100)
        inbox.give_back(first)
        assert first.read() is None
        second = put(inbox, "http://h.org/x", LINE)
        assert second is first
        assert second.read() == ("http://h.org/x", CAME, LINE)
        third = put(inbox, "http://h.org/z", LINE)
        assert third is not first
        assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("damage", [30, -1])
def test_a_body_that_the_disk_lost_is_not_taken_for_whole(tmp_path: Path, damage: int) -> None:
    with Inbox(tmp_path) as inbox:
        path = put(inbox, "http://h.org/x", LINE * 10).path
    content = bytearray(path.read_bytes())
    if damage < 0:
        path.write_bytes(content[:damage])
    else:
        content[-damage] ^= 1
        path.write_bytes(content)
    with Inbox(tmp_path) as inbox:
        assert list(inbox.empty()) == []


def test_another_inboxs_bodies_can_be_adopted(tmp_path: Path) -> None:
    for name in ("one", "two"):
        with Inbox(tmp_path / name) as inbox:
            put(inbox, f"http://h.org/{name}", LINE)
    with Inbox(tmp_path / "all") as inbox:
        for name in ("one", "two", "none"):
            inbox.adopt(tmp_path / name)
        assert sorted(url for url, _, _ in inbox.empty()) == ["http://h.org/one", "http://h.org/two"]


def test_a_full_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def pwrite(file: int, content: bytes, offset: int) -> int:
        raise OSError(28, "No space left on device")

    with Inbox(tmp_path) as inbox:
        monkeypatch.setattr(inbox_module.os, "pwrite", pwrite)
        with (
            pytest.raises(EnvironmentProblemError, match=f"writing {tmp_path}/0000: no space left"),
            inbox.receive("http://h.org/x", CAME),
        ):
            pytest.fail("a tray was given out")


def test_an_answer_is_plain_json() -> None:
    assert json.loads(json.dumps(vars(CAME)))["reason"] == "ok"
