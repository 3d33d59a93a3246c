"""Clients that take their time: heads and bodies have deadlines, honest slowness has none."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress

import pytest

from kurolproxy.config.load import parse
from kurolproxy.server.body import BodyLimits
from tests.conftest import Running, Starter, soon, toml
from tests.fakes.answers import chat_answer
from tests.fakes.upstream import FakeUpstream
from tests.server.test_raw_http import BODY, connection, post

HEAD_S = 0.3
LATE_S = HEAD_S * 10
LIVEZ = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"
LIMITS = f"\n[limits]\nheader_timeout_s = {HEAD_S}\nbody_timeout_s = 0.5\n"


@pytest.fixture
async def slow(start: Starter, fake: FakeUpstream) -> Running:
    fake.always(chat_answer())
    return await start(toml(fake.base_url) + LIMITS)


async def drip(piece: bytes) -> AsyncIterator[bytes]:
    for each in piece:
        yield bytes((each,))
        await asyncio.sleep(HEAD_S / 20)


async def nothing() -> AsyncIterator[bytes]:
    return
    yield b""


async def half() -> AsyncIterator[bytes]:
    yield LIVEZ[:10]


async def lines() -> AsyncIterator[bytes]:
    yield LIVEZ[:-2]
    for each in range(1_000):
        yield b"X-%d: y\r\n" % each
        await asyncio.sleep(HEAD_S / 20)


HEADS = {
    "silent": nothing,
    "half a line": half,
    "a byte at a time": lambda: drip(LIVEZ * 100),
    "a field at a time": lines,
}


# A connection that has served and is silent is idle: another limit is for that.
CASES = [
    *((name, False) for name in HEADS),
    *((name, True) for name in HEADS if name != "silent"),
]


@pytest.mark.parametrize(
    ("name", "begun"), CASES, ids=[f"{name}, {'further' if b else 'first'}" for name, b in CASES]
)
async def test_head_that_takes_too_long_ends_the_connection(
    name: str, begun: bool, slow: Running
) -> None:
    loop = asyncio.get_running_loop()
    async with connection(slow) as (reader, writer), asyncio.timeout(LATE_S):
        if begun:
            writer.write(LIVEZ)
            await reader.readuntil(b'{"status":"ok"}')
        since = loop.time()
        async with asyncio.TaskGroup() as group:
            sending = group.create_task(send(writer, HEADS[name]))
            # Nothing is answered: there is nobody who would read it.
            with suppress(ConnectionResetError):
                assert await reader.read() == b""
            sending.cancel()
    assert loop.time() - since >= HEAD_S * 0.9
    await soon(lambda: slow.gateway.connections() == [])


async def send(writer: asyncio.StreamWriter, head: Callable[[], AsyncIterator[bytes]]) -> None:
    with suppress(ConnectionError):
        async for piece in head():
            writer.write(piece)
            await writer.drain()


async def test_connection_that_has_served_may_idle_longer_than_a_head_may_take(
    slow: Running,
) -> None:
    async with connection(slow) as (reader, writer), asyncio.timeout(LATE_S):
        for _ in range(2):
            writer.write(LIVEZ)
            await reader.readuntil(b'{"status":"ok"}')
            await asyncio.sleep(HEAD_S * 1.5)


async def test_head_and_body_are_waited_for_again_when_it_was_us_who_slept(
    start: Starter, fake: FakeUpstream
) -> None:
    fake.always(chat_answer())
    limits = "\n[limits]\nheader_timeout_s = 1\nbody_timeout_s = 1\n"
    gateway = await start(toml(fake.base_url) + limits)
    request = post(gateway.key)
    async with connection(gateway) as (reader, writer), connection(gateway) as (other, late):
        writer.write(request[:-10])
        late.write(LIVEZ[:10])
        await soon(lambda: len(gateway.gateway.state.deadlines) == 1)
        # Nobody else runs meanwhile: it is as if the process was stopped.
        time.sleep(1.5)  # noqa: ASYNC251
        await asyncio.sleep(0.01)
        writer.write(request[-10:-5])
        late.write(LIVEZ[10:])
        async with asyncio.timeout(LATE_S):
            assert (await other.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
            await asyncio.sleep(0.15)
            writer.write(request[-5:])
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")


async def test_process_that_slept_before_its_first_look_gives_heads_their_time(
    start: Starter, fake: FakeUpstream
) -> None:
    gateway = await start(toml(fake.base_url) + "\n[limits]\nheader_timeout_s = 1\n")
    async with connection(gateway) as (reader, writer), asyncio.timeout(LATE_S):
        writer.write(LIVEZ[:10])
        await soon(lambda: len(gateway.gateway.connections()) == 1)
        # No sweep has come yet since the start.
        time.sleep(1.5)  # noqa: ASYNC251
        await asyncio.sleep(0.01)
        writer.write(LIVEZ[10:])
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")


async def test_idle_connection_is_closed_in_the_end(start: Starter, fake: FakeUpstream) -> None:
    limits = "\n[limits]\nidle_connection_timeout_s = 0.3\n"
    running = await start(toml(fake.base_url) + limits)
    async with connection(running) as (reader, writer), asyncio.timeout(LATE_S):
        writer.write(LIVEZ)
        got = await reader.read()
    assert got.startswith(b"HTTP/1.1 200")


async def test_running_answer_is_not_cut_by_half_a_head_behind_it(
    slow: Running, fake: FakeUpstream
) -> None:
    gate = fake.hold_each(chat_answer())
    async with connection(slow) as (reader, writer), asyncio.timeout(LATE_S):
        writer.write(post(slow.key))
        await fake.received(1)
        writer.write(LIVEZ[:10])
        await asyncio.sleep(HEAD_S * 2)
        gate.set()
        # It comes whole; then the connection is closed.
        got = await reader.read()
    assert got.startswith(b"HTTP/1.1 200")
    assert got.count(b"HTTP/1.1 ") == 1
    assert got.endswith(b"}")


async def test_call_that_waits_longer_than_a_head_may_take_is_answered(
    slow: Running, fake: FakeUpstream
) -> None:
    gate = fake.hold_each(chat_answer())
    async with connection(slow) as (reader, writer), asyncio.timeout(LATE_S):
        writer.write(post(slow.key))
        await fake.received(1)
        await asyncio.sleep(HEAD_S * 2)
        gate.set()
        assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 200")


async def test_body_that_drips_is_a_408(slow: Running, fake: FakeUpstream) -> None:
    request = post(slow.key)
    head, _, body = request.partition(b"\r\n\r\n")
    async with connection(slow) as (reader, writer), asyncio.timeout(10):
        writer.write(head + b"\r\n\r\n")
        async with asyncio.TaskGroup() as group:
            sending = group.create_task(send(writer, lambda: drip(body)))
            got = await reader.readuntil(b"\r\n\r\n")
            answered = asyncio.get_running_loop().time()
            with suppress(ConnectionResetError):
                await reader.read()
            lingered_s = asyncio.get_running_loop().time() - answered
            sending.cancel()
    assert got.startswith(b"HTTP/1.1 408")
    # Nobody reads on what he sends; behind other answers that is done for two seconds.
    assert lingered_s < 1.5
    assert b"connection: close" in got.lower()
    assert b"x-should-retry" not in got.lower()
    assert fake.requests == []
    assert slow.gateway.state.bodies.held == 0


async def test_slow_body_that_keeps_its_pace_is_served(slow: Running, fake: FakeUpstream) -> None:
    # 192 KiB buy three seconds more; it takes one, twice what it had without.
    size, steps = 196_608, 20
    request = post(slow.key, BODY + b" " * (size - len(BODY)), "Connection: close")
    cut = [request[at : at + size // steps] for at in range(0, len(request), size // steps)]
    async with connection(slow) as (reader, writer), asyncio.timeout(10):
        for piece in cut:
            writer.write(piece)
            await asyncio.sleep(1.0 / steps)
        assert (await reader.read()).startswith(b"HTTP/1.1 200")


def test_limits_are_those_that_are_promised() -> None:
    config = parse(toml("http://127.0.0.1:1"), "test.toml", {})
    limits = config.limits
    assert limits.header_timeout_s == 10
    assert limits.body_timeout_s == BodyLimits().timeout_s == 30
    assert limits.idle_connection_timeout_s == 75
    assert limits.max_body_bytes == BodyLimits().max_bytes == 33_554_432
