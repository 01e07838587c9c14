"""Buckets of tokens, by hand."""

import pytest

from tfpipe.serving.limits import RateLimit


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_a_bucket_gives_its_tokens_and_is_filled_at_its_rate() -> None:
    clock = Clock()
    limit = RateLimit(2.0, 3, clock=clock)
    assert [limit.take("192.0.2.1") for _ in range(4)] == [0, 0, 0, 0.5]
    clock.now_s = 0.25
    assert limit.take("192.0.2.1") == pytest.approx(0.25)
    clock.now_s = 0.5
    assert [limit.take("192.0.2.1") for _ in range(2)] == [0, 0.5]
    # Never more than it holds, however long the rest.
    clock.now_s = 3600
    assert [limit.take("192.0.2.1") == 0 for _ in range(4)] == [True, True, True, False]


def test_over_an_hour_a_client_gets_its_rate_and_no_more() -> None:
    clock = Clock()
    limit = RateLimit(5.0, 10, clock=clock)
    taken = 0
    for tick in range(36_000):
        clock.now_s = tick / 10
        taken += sum(limit.take("192.0.2.1") == 0 for _ in range(3))
    assert taken == pytest.approx(5 * 3600 + 10, abs=2)


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("192.0.2.1", "192.0.2.2", False),
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
        ("testclient", "another", False),
    ],
)
def test_a_client_is_an_address_or_a_network_of_ipv6(one: str, other: str, is_same: bool) -> None:
    limit = RateLimit(1.0, 1, clock=Clock())
    assert limit.take(one) == 0
    assert (limit.take(other) > 0) == is_same


def test_a_million_clients_take_no_more_memory_than_the_last_of_them() -> None:
    clock = Clock()
    limit = RateLimit(1.0, 1, max_clients=100, clock=clock)
    assert limit.take("busy") == 0
    for number in range(10_000):
        limit.take(f"client {number}")
        # One who keeps asking is not forgotten.
        assert limit.take("busy") > 0
    assert len(limit) == 100
