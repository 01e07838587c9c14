"""How `fetch` treats hosts, by what a real server saw of it."""

import socket
from collections import Counter
from itertools import pairwise
from typing import Any

import pytest
from fetch_place import Place
from photo_server import HOSTS


def test_a_hosts_rate_holds_and_does_not_slow_the_others(place: Place) -> None:
    urls = [place.server.url(f"ok/{number}", host) for number in range(40) for host in HOSTS[:3]]
    place.write(*urls, per_host_rate=40)
    seconds = place.run()["seconds"]
    for host in HOSTS[:3]:
        times = place.server.times(host)
        assert len(times) == 40
        # The strict figure is the benchmark's; here others use the machine as well.
        assert 39 / (times[-1] - times[0]) == pytest.approx(40, rel=0.1)
    assert seconds < 2.5


def test_redirects_from_many_hosts_keep_the_rate_of_the_one_they_lead_to(place: Place) -> None:
    target = place.server.url("ok/", HOSTS[0])
    place.write(
        *(place.server.url(f"redirect/x?to={target}{host}{n}", host) for n in range(4) for host in HOSTS[1:]),
        per_host_rate=40,
    )
    place.run()
    times = place.server.times(HOSTS[0])
    assert len(times) == 28
    assert 27 / (times[-1] - times[0]) < 40 * 1.1


def test_no_more_requests_at_a_time_than_allowed_to_one_host_and_to_all(place: Place) -> None:
    place.write(*(f"slow/20/{number}" for number in range(30)), per_host_concurrency=3)
    place.run()
    assert place.server.most_under_way[HOSTS[0]] == 3
    place.write(*(place.server.url(f"slow/20/{number}", host) for number in range(12) for host in HOSTS), concurrency=5)
    place.server.most_at_a_time = 0
    place.run()
    assert place.server.most_at_a_time == 5
    assert place.told() == [("ok", "")] * 96


def test_a_slow_host_holds_up_no_other(place: Place) -> None:
    slow = [place.server.url(f"slow/250/{number}", HOSTS[0]) for number in range(24)]
    quick = [place.server.url(f"ok/{number}", host) for number in range(10) for host in HOSTS[1:]]
    place.write(*slow, *quick, per_host_concurrency=6)
    place.run()
    last_quick = max(entry.at_s for entry in place.server.log if entry.host != HOSTS[0])
    last_slow = max(entry.at_s for entry in place.server.log if entry.host == HOSTS[0])
    assert last_quick < last_slow - 0.4


@pytest.mark.parametrize(("path", "seconds"), [("busy/s", (1.0, 1.9)), ("busy/d", (1.0, 2.6))])
def test_retry_after_is_waited_for_by_the_whole_host(place: Place, path: str, seconds: tuple[float, float]) -> None:
    place.write(path, *(f"slow/10/{number}" for number in range(10)), per_host_rate=50, per_host_concurrency=1)
    place.run()
    assert {reason for reason, _ in place.told()} == {"ok"}
    times = place.server.times(HOSTS[0])
    longest = max(later - earlier for earlier, later in pairwise(times))
    assert seconds[0] <= longest < seconds[1]


def test_a_host_is_not_waited_for_longer_than_we_will(place: Place) -> None:
    place.write("busy/s", max_retry_after_s=0.1)
    assert place.run()["seconds"] < 0.9
    assert place.told() == [("ok", "")] * 2


def test_retries_wait_longer_each_time(place: Place) -> None:
    place.write("status/500/x", retries=5, backoff_s=0.05, max_backoff_s=0.2)
    place.run()
    times = place.server.times(HOSTS[0])
    waits = [later - earlier for earlier, later in pairwise(times)]
    assert len(waits) == 5
    assert all(wait < min(0.05 * 2**number, 0.2) + 0.15 for number, wait in enumerate(waits))


def test_a_dead_host_is_given_up_and_the_rest_of_its_urls_not_asked(place: Place) -> None:
    dead = [f"http://{HOSTS[1]}:1/{number}" for number in range(60)]
    place.write(*dead, "ok/1", retries=1, breaker_failures=5, breaker_pause_s=0.05, breaker_pauses=2)
    place.run()
    told = Counter(place.told())
    assert told["ok", ""] == 1
    unasked = told["unreachable", "given up after 7 failures in a row"]
    assert unasked > 30
    assert told["unreachable", "connection refused"] == 60 - unasked


def test_a_host_that_recovers_while_it_is_left_alone_loses_no_url(place: Place) -> None:
    place.write(*(f"outage/{number}" for number in range(30)), retries=4, breaker_failures=3, breaker_pause_s=0.3)
    place.run()
    assert place.told() == [("ok", "")] * 30


def test_a_name_is_looked_up_once_and_connected_to_where_it_was_judged(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that turns to another address once it has been judged (DNS rebinding) gains nothing."""
    answers = iter(["127.0.0.1", "127.0.0.2", "127.0.0.2"])
    names = []

    def getaddrinfo(host: str, port: int, *_: object) -> list[Any]:
        names.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (next(answers), port))]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    place.write(f"http://photos.example.org:{place.server.port}/ok/1", allow_hosts=["photos.example.org"])
    place.run()
    assert place.told() == [("ok", "")] * 2
    assert names == ["photos.example.org"]
