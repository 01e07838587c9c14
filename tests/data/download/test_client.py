"""What the client says and understands; how it fares with servers is told in tests/stages/test_fetch.py."""

from datetime import UTC, datetime

import pytest

from tfpipe import __version__
from tfpipe.data.download.client import parse_retry_after, user_agent
from tfpipe.data.download.watch import Watch

NOW = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120),
        (" 0 ", 0),
        ("Sun, 22 Nov 2026 12:01:30 GMT", 90),
        ("Sun, 22 Nov 2026 13:01:30 +0100", 90),
        ("Sun, 22 Nov 2026 11:00:00 GMT", 0),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("1.5", None),
        ("Sun, 99 Nov 2026 11:00:00 GMT", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(value: str, seconds: float | None) -> None:
    assert parse_retry_after(value, NOW) == seconds


def test_the_user_agent_says_who_asks_and_how_to_reach_them() -> None:
    assert user_agent("") == f"tfpipe/{__version__}"
    assert user_agent("me@example.org") == f"tfpipe/{__version__} (+me@example.org)"


def test_the_hosts_that_take_longest_are_named_with_their_time() -> None:
    now, notes = [0.0], []
    watch = Watch(lambda steps, note: notes.append((steps, note)), 10.0, clock=lambda: now[0])
    for host, urls in (("many.org", 6000), ("slow.org", 100), ("few.org", 50), ("one.org", 1), ("done.org", 1)):
        watch.begin(host, urls)
    for second in range(1, 11):
        now[0] = float(second)
        watch.count("slow.org")
    # 90 left at one a second; 6000 and 50 not yet asked for, at ten a second.
    assert watch.slowest() == [("many.org", 600.0), ("slow.org", 90.0), ("few.org", 5.0)]
    assert notes[-1] == (1, "slowest: many.org 10 min, slow.org 2 min, few.org 5 s")
    watch.count("done.org")
    watch.end("done.org")
    watch.end("many.org")
    assert [host for host, _ in watch.slowest()] == ["slow.org", "few.org", "one.org"]
