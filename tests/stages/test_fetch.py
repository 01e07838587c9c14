"""`fetch` against a real server that misbehaves on purpose: what becomes of a URL, and that it is asked for once."""

import hashlib
from collections import Counter

import pytest
from fetch_place import Place
from photo_server import HOSTS, photo
from PIL import Image

from tfpipe.core.errors import CriterionError
from tfpipe.data.fetched import iter_fetched

# What becomes of a URL


@pytest.mark.parametrize(
    ("path", "reason", "detail", "status", "times"),
    [
        ("ok/1", "ok", "", 200, 1),
        ("slow/100/1", "ok", "", 200, 1),
        ("at-last/1", "ok", "", 200, 3),
        ("status/404/x", "http_error", "", 404, 1),
        ("status/403/x", "http_error", "", 403, 1),
        ("status/500/x", "http_error", "", 500, 3),
        ("status/429/x", "http_error", "", 429, 3),
        ("status/304/x", "http_error", "", 304, 1),
        ("reset/x", "unreachable", "no answer", None, 3),
        ("slow/900/x", "timeout", "", None, 3),
        ("drip/x", "timeout", "", None, 3),
        ("short/x", "broken", "cut short", 200, 3),
        ("cut/x", "broken", "does not decode", 200, 1),
        ("stub/x", "broken", "cut short", 200, 1),
        ("empty/x", "broken", "empty", 200, 1),
        ("html/x", "not_a_photo", "web page", 200, 1),
        ("animation/x", "not_a_photo", "animation", 200, 1),
        ("tiny/x", "too_small", "48 px", 200, 1),
        ("bomb/x", "too_large", "pixels", 200, 1),
        ("endless/x", "too_large", "bytes", 200, 1),
        ("huge/x", "too_large", "bytes", 200, 1),
        ("zipped-bomb/x", "too_large", "bytes", 200, 1),
        ("loop/a", "redirects", "in a circle", None, 1),
        ("on/0", "redirects", "too many", None, 1),
        ("redirect/x?to=http%3A%2F%2F10.0.0.1%2Fx", "refused", "private address", None, 1),
        ("redirect/x?to=http%3A%2F%2Flocalhost%2Fx", "refused", "loopback address", None, 1),
        ("redirect/x?to=file%3A%2F%2F%2Fetc%2Fpasswd", "redirects", "to nowhere", None, 1),
    ],
)
def test_every_misbehaviour_has_its_reason(
    place: Place, path: str, reason: str, detail: str, status: int | None, times: int
) -> None:
    place.write(path, retries=2, total_timeout_s=0.5, max_bytes=500_000)
    metrics = place.run()
    line, other = place.lines()
    assert other == line | {"id": "1"}
    assert (line["reason"], line.get("detail", ""), line.get("status")) == (reason, detail, status)
    assert place.server.paths()[path.partition("?")[0]] == times
    assert metrics["failure_rate"] == (reason != "ok")
    assert not place.journal.with_suffix(".inbox").exists()


@pytest.mark.parametrize(
    ("url", "reason", "detail"),
    [
        ("http://", "bad_url", ""),
        ("ftp://h.org/x", "bad_url", ""),
        ("http://photos.invalid/x", "unreachable", "no such host"),
        ("http://10.255.255.1/x", "refused", "private address"),
        ("http://[::ffff:127.0.0.1]:{port}/ok/1", "refused", "loopback address"),
        ("http://2130706433:{port}/ok/1", "refused", "a number in disguise"),
        ("http://localhost:{port}/ok/1", "refused", "loopback address"),
        ("http://127.0.0.9:{port}/ok/1", "refused", "loopback address"),
        ("http://127.0.0.1:1/x", "unreachable", "connection refused"),
    ],
)
def test_what_cannot_or_must_not_be_asked_is_not(place: Place, url: str, reason: str, detail: str) -> None:
    place.write(url.format(port=place.server.port), retries=1)
    place.run()
    assert place.told() == [(reason, detail)] * 2
    assert place.server.log == []


def test_rows_that_have_their_own_file_or_text_need_no_journal(place: Place) -> None:
    place.write({"path": "a.jpg"}, {"text": "dear diary"}, {"path": "b.jpg", "url": "http://10.0.0.1/b.jpg"}, {})
    metrics = place.run()
    assert place.told() == [("local", "")] * 3 + [("bad_url", "none")]
    assert (metrics["num_rows"], metrics["failure_rate"]) == (4, 0.25)
    assert not place.journal.exists()


def test_images_lie_under_the_hash_of_their_bytes_and_rows_point_at_them(place: Place) -> None:
    place.write("ok/1", {"path": "mine.jpg"}, "ok/2", "ok/1", "status/404/x")
    metrics = place.run()
    lines = place.lines()
    assert [line["id"] for line in lines] == ["0", "1", "2", "3", "4"]
    for line, name in ((lines[0], "1"), (lines[2], "2"), (lines[3], "1")):
        digest = hashlib.sha256(photo(name + "1")).hexdigest()
        assert line["path"] == f"data/d/images/{digest[:2]}/{digest}.jpg"
        assert (line["sha256"], line["bytes"]) == (digest, len(photo(name + "1")))
        assert (place.root / line["path"]).read_bytes() == photo(name + "1")
    assert metrics["per_reason"] == {"ok": 3, "local": 1, "http_error": 1}
    assert (metrics["num_rows"], metrics["num_urls"], metrics["num_hosts"], metrics["num_asked"]) == (5, 3, 1, 3)
    assert metrics["num_bytes"] == len(photo("11")) + len(photo("21"))
    assert metrics["per_host"] == {HOSTS[0]: {"urls": 3, "failed": 1, "mostly": "http_error"}}
    assert [fetched.id for fetched in iter_fetched(place.root / "data/d/fetch.jsonl")] == ["0", "1", "2", "3", "4"]


def test_who_asks_is_told(place: Place) -> None:
    place.write("ok/1", contact="https://example.org/bot")
    place.run()
    headers = place.server.log[0].headers
    assert headers["User-Agent"].startswith("tfpipe/")
    assert headers["User-Agent"].endswith(" (+https://example.org/bot)")
    assert headers["Accept-Encoding"] == "identity"


def test_too_many_failures_exit_with_a_criterion(place: Place) -> None:
    place.write("ok/1", "status/404/x", failure_rate="< 0.05")
    with pytest.raises(CriterionError, match=r"failure_rate is 0\.5, wanted < 0\.05"):
        place.run()


def test_photos_are_kept_small_if_wanted(place: Place) -> None:
    place.write("ok/1", reencode_side=64)
    place.run()
    path = place.root / place.lines()[0]["path"]
    with Image.open(path) as image:
        assert (image.format, min(image.size)) == ("JPEG", 64)
    assert hashlib.sha256(path.read_bytes()).hexdigest() == path.stem == place.lines()[0]["sha256"]


# Once


def test_redirects_are_followed_and_their_end_is_asked_for_once(place: Place) -> None:
    ways = [f"redirect/{number}?to=/ok/1" for number in range(5)]
    far = f"redirect/far?to={place.server.url('redirect/0', HOSTS[1])}?to=/ok/1"
    place.write(*ways, "ok/1", *ways, far)
    place.run()
    assert {line["sha256"] for line in place.lines()} == {hashlib.sha256(photo("11")).hexdigest()}
    assert Counter(entry.host for entry in place.server.log if entry.path == "ok/1") == {HOSTS[0]: 1, HOSTS[1]: 1}


def test_two_circles_that_meet_do_not_wait_for_each_other(place: Place) -> None:
    place.write("loop/a", "loop/b", "redirect/x?to=/loop/a")
    place.run()
    assert place.told() == [("redirects", "in a circle")] * 3


def test_another_run_asks_only_for_what_failed(place: Place) -> None:
    paths = ["ok/1", "redirect/1?to=/ok/2", "status/404/x", "at-last/1"]
    place.write(*paths, retries=1)
    place.run()
    assert [line["reason"] for line in place.lines()] == ["ok", "ok", "http_error", "http_error"]
    before = place.server.paths()
    assert place.run(force=True)["num_asked"] == 2
    assert place.server.paths() - before == {"status/404/x": 1, "at-last/1": 1}
    assert [line["reason"] for line in place.lines()] == ["ok", "ok", "http_error", "ok"]
    # Other settings, and more rows.
    place.write(*paths, "ok/3", retries=0)
    before = place.server.paths()
    place.run()
    assert place.server.paths() - before == {"status/404/x": 1, "ok/3": 1}


def test_an_image_that_has_gone_is_fetched_again(place: Place) -> None:
    place.write("ok/1", "ok/2")
    place.run()
    (place.root / place.lines()[0]["path"]).unlink()
    place.run(force=True)
    assert place.server.paths() == {"ok/1": 2, "ok/2": 1}
    assert (place.root / place.lines()[0]["path"]).is_file()


def test_a_recheck_takes_only_what_has_changed(place: Place) -> None:
    place.write("ok/1", "status/404/x", "redirect/r?to=/ok/2", "at-last/3")
    place.run()
    first = place.lines()
    place.write("ok/1", "status/404/x", "redirect/r?to=/ok/2", "at-last/3", recheck=True)
    place.run()
    assert place.server.paths(304) == {"ok/1": 1, "ok/2": 1, "at-last/3": 1}
    assert place.lines() == first
    sent = [entry.headers for entry in place.server.log if entry.path == "ok/1"][-1]
    assert (sent["If-None-Match"], "If-Modified-Since" in sent) == ('"1-1"', True)
    place.server.version = "2"
    place.run(force=True)
    assert place.lines()[0]["sha256"] == hashlib.sha256(photo("12")).hexdigest()
    assert place.lines()[2]["sha256"] == hashlib.sha256(photo("22")).hexdigest()


def test_an_image_outlives_its_url(place: Place) -> None:
    place.write("once/1")
    place.run()
    first = place.lines()[0]
    place.write("once/1", recheck=True)
    metrics = place.run()
    assert place.lines()[0] == first | {"detail": "kept; asked again: http_error"}
    assert metrics["failure_rate"] == 0


def test_check_only_keeps_nothing_and_a_later_run_does(place: Place) -> None:
    place.write("ok/1", "tiny/x", check_only=True)
    assert place.run()["per_reason"] == {"ok": 1, "too_small": 1}
    assert not (place.root / "data/d/images").exists()
    assert "path" not in place.lines()[0]
    place.write("ok/1", "tiny/x")
    place.run()
    assert (place.root / place.lines()[0]["path"]).is_file()
