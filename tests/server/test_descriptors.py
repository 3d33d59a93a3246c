"""The last descriptors are kept for calls that run."""

from __future__ import annotations

import asyncio
import os
import resource
from typing import cast

import pytest
from yarl import URL

from kurolproxy.errors import Overloaded
from kurolproxy.server.descriptors import Descriptors, descriptor_limit
from kurolproxy.upstream.address import Address
from kurolproxy.upstream.connect import Dialler
from tests.fakes.upstream import FakeUpstream


@pytest.fixture
def free() -> int:
    """Return the lowest descriptor that is free; so many are taken."""
    found = os.dup(1)
    os.close(found)
    return found


def watch(limit: int | None) -> tuple[Descriptors, list[str]]:
    events: list[str] = []
    made = Descriptors(limit, lambda: events.append("room"), lambda limit: events.append("told"))
    return made, events


@pytest.mark.parametrize(("left", "short"), [(0, True), (63, True), (64, True), (65, False)])
def test_calls_are_refused_when_64_descriptors_are_left(left: int, short: bool) -> None:
    taken = [os.dup(1)]
    while taken[-1] < 255:
        taken.append(os.dup(1))
    descriptors = Descriptors(256 + left)
    descriptors.look(0.0)
    for each in taken:
        os.close(each)
    assert descriptors.short is short


def test_small_limit_keeps_a_quarter() -> None:
    assert Descriptors(96).highest == 96 - 12
    assert Descriptors(1_024).highest == 1_024 - 32


def test_room_is_made_at_each_look_and_told_once_a_minute(free: int) -> None:
    descriptors, events = watch(free + 1)
    for now in range(0, 65, 5):
        descriptors.look(float(now))
    assert descriptors.short
    assert events.count("room") == 13
    assert events.count("told") == 2


def test_descriptors_that_are_free_again_serve_calls_again(free: int) -> None:
    taken = [os.dup(1) for _ in range(20)]
    descriptors, _ = watch(free + 26)
    descriptors.look(0.0)
    assert descriptors.short
    for each in taken:
        os.close(each)
    descriptors.look(0.1)
    assert not descriptors.short


def test_process_without_a_limit_has_never_too_few() -> None:
    descriptors, events = watch(None)
    descriptors.look(0.0)
    assert (descriptors.short, descriptors.highest, events) == (False, None, [])
    assert descriptor_limit() != 0


async def test_upstream_is_not_to_blame_when_we_have_no_descriptor_for_it(
    fake: FakeUpstream,
) -> None:
    origin = Address.of(URL(fake.base_url)).origin
    dialler = Dialler()
    # What this needs itself is there already.
    (await dialler.dial(origin, Hearing, 5.0)).transport.abort()
    await asyncio.sleep(0)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.dup(1)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
    try:
        with pytest.raises(Overloaded, match="no room for more connections"):
            await dialler.dial(origin, Hearing, 5.0)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


class Hearing(asyncio.Protocol):
    """A connection whose transport can be closed."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
