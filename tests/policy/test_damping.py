"""Failures of an address: so many a minute are answered, memory is bounded."""

from __future__ import annotations

import pytest

from kurolproxy.policy.damping import Damping, neighbourhood

HERE = "203.0.113.7"
LIMIT = 30


def test_so_many_failures_a_minute_are_answered_and_no_more() -> None:
    damping = Damping()
    answers = [damping.failed(HERE, 100.0 + each / 10, LIMIT) for each in range(300)]
    assert answers == [False] * LIMIT + [True] * (300 - LIMIT)


def test_minute_begins_with_the_first_failure_and_ends() -> None:
    damping = Damping()
    assert [damping.failed(HERE, 100.0, 1), damping.failed(HERE, 159.9, 1)] == [False, True]
    assert [damping.failed(HERE, 160.0, 1), damping.failed(HERE, 160.0, 1)] == [False, True]


def test_failures_of_one_address_are_not_those_of_another() -> None:
    damping = Damping()
    assert damping.failed(HERE, 0.0, 0)
    assert not damping.failed("203.0.113.8", 0.0, 1)


def test_owner_of_an_ipv6_network_has_one_count() -> None:
    damping = Damping()
    assert not damping.failed("2001:db8:0:1::1", 0.0, 1)
    assert damping.failed("2001:db8:0:1:ffff::2", 0.0, 1)
    assert not damping.failed("2001:db8:0:2::1", 0.0, 1)


def test_who_failed_too_often_is_told_how_long_to_wait_and_nothing_is_counted() -> None:
    damping = Damping()
    assert damping.blocked(HERE, 100.0, 2) == 0.0
    damping.failed(HERE, 100.0, 2)
    assert damping.blocked(HERE, 130.0, 2) == 0.0
    damping.failed(HERE, 130.0, 2)
    assert [damping.blocked(HERE, 130.0, 2) for _ in range(3)] == [30.0] * 3
    assert damping.blocked("203.0.113.8", 130.0, 2) == 0.0
    assert damping.blocked(HERE, 160.0, 2) == 0.0
    assert not damping.failed(HERE, 160.0, 1)


def test_forgiven_failure_was_none() -> None:
    damping = Damping()
    for _ in range(5):
        damping.failed(HERE, 0.0, 2)
        damping.forgive(HERE)
    assert len(damping) == 0
    damping.failed(HERE, 0.0, 2)
    damping.failed(HERE, 0.0, 2)
    damping.forgive(HERE)
    assert damping.blocked(HERE, 0.0, 2) == 0.0
    assert damping.blocked(HERE, 0.0, 1) == 60.0
    damping.forgive("203.0.113.8")


def test_window_is_as_long_as_was_asked_for() -> None:
    damping = Damping(window_s=3_600.0)
    damping.failed(HERE, 0.0, 1)
    assert damping.blocked(HERE, 3_599.0, 1) == 1.0
    assert damping.blocked(HERE, 3_600.0, 1) == 0.0


def test_memory_holds_the_addresses_that_failed_last() -> None:
    damping = Damping(max_addresses=100)
    for each in range(1_000):
        damping.failed(HERE, 0.0, 2)
        damping.failed(f"10.0.{each // 256}.{each % 256}", 0.0, 2)
    assert len(damping) == 100
    # The one that goes on failing is not pushed out by the others.
    assert damping.failed(HERE, 0.0, 2)
    assert not damping.failed("10.0.0.0", 0.0, 2)


NEIGHBOURS = [
    ("10.1.2.3", "10.1.2.3"),
    ("::ffff:10.1.2.3", "10.1.2.3"),
    ("2001:db8::1", "2001:db8::/64"),
    ("fe80::1%eth0", "fe80::/64"),
    ("", ""),
    ("no address" * 20, ("no address" * 20)[:64]),
]


@pytest.mark.parametrize(("address", "expected"), NEIGHBOURS)
def test_neighbourhood_is_what_its_owner_cannot_change(address: str, expected: str) -> None:
    assert neighbourhood(address) == expected
