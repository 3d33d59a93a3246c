"""Clients that ask and take nothing: what is written for them stays small, and so does its time."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

import pytest
from aiohttp.web import BaseRequest, RequestHandler, StreamResponse

from kurolproxy.server.hardening import GatewayServer
from tests.conftest import Running, Starter, soon, toml
from tests.fakes.upstream import FakeUpstream

STALLED_S = 0.4
ASKED = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"
MANY = 200
# What a transport takes before it asks to wait, and some answers more.
HELD_BYTES = 65_536 + 16_384


@pytest.fixture
async def short(start: Starter, fake: FakeUpstream) -> Running:
    limits = f"idle_connection_timeout_s = 0.3\nstalled_reader_timeout_s = {STALLED_S}"
    return await start(toml(fake.base_url, extra=f"[limits]\n{limits}"))


@asynccontextmanager
async def deaf(gateway: Running) -> AsyncIterator[socket.socket]:
    """Connect, with next to no room for answers."""
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        client.setblocking(False)
        await asyncio.get_running_loop().sock_connect(client, gateway.gateway.addresses[0])
        yield client


def held(gateway: Running) -> list[int]:
    """Return the bytes that wait for the client of each connection."""
    connections = gateway.gateway.connections()
    return [
        each.transport.get_write_buffer_size() for each in connections if each.transport is not None
    ]


async def ask_on(client: socket.socket) -> None:
    while True:
        await asyncio.get_running_loop().sock_sendall(client, ASKED * MANY)


async def test_pipeline_of_a_client_that_reads_nothing_is_not_answered_into_memory(
    gateway: Running,
) -> None:
    async with deaf(gateway) as client:
        asking = asyncio.create_task(ask_on(client))
        await soon(lambda: max(held(gateway), default=0) > 65_536)
        await asyncio.sleep(0.3)
        assert max(held(gateway)) < HELD_BYTES
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)


async def test_client_that_reads_nothing_is_let_go(short: Running) -> None:
    async with deaf(short) as client:
        asking = asyncio.create_task(ask_on(client))
        await soon(lambda: max(held(short), default=0) > 65_536)
        await soon(lambda: not short.gateway.connections())
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)


async def test_closed_connection_does_not_wait_for_ever_for_its_client(short: Running) -> None:
    async with deaf(short) as client:
        # Less than what asks the gateway to wait: it is idle, and is closed as such.
        while not max(held(short), default=0):
            await asyncio.get_running_loop().sock_sendall(client, ASKED * 20)
            await asyncio.sleep(0.001)
        await soon(lambda: not short.gateway.connections())


class Line:
    """A connection to the network, by what waits in it at each look."""

    def __init__(self, *waiting: int) -> None:
        self.waiting = list(waiting)
        self.aborted = False

    def get_write_buffer_size(self) -> int:
        """Return what the client has not taken."""
        return self.waiting.pop(0) if len(self.waiting) > 1 else self.waiting[0]

    def abort(self) -> None:
        """End it."""
        self.aborted = True


async def refuse(request: BaseRequest) -> StreamResponse:
    raise AssertionError


@pytest.mark.parametrize(
    ("waiting", "looks", "aborted"),
    [
        ((7,), (0, 5, 9), False),
        ((7,), (0, 5, 10), True),
        ((9, 8, 7), (0, 5, 10), False),
        ((7, 0, 7), (0, 5, 12), False),
        ((0,), (0, 5, 10), False),
        # It was us who stood still, from the second to the third look.
        ((7,), (0, 0.1, 20), False),
    ],
    ids=["not yet", "too long", "a little taken", "all taken once", "nothing waits", "we slept"],
)
async def test_client_is_let_go_when_it_took_nothing_for_ten_seconds(
    waiting: tuple[int, ...], looks: tuple[float, ...], aborted: bool
) -> None:
    server = GatewayServer(refuse, lambda request, status: "", stalled_after_s=lambda: 10.0)
    line = Line(*waiting)
    server.connection_made(cast(RequestHandler, object()), cast(asyncio.Transport, line))
    at = 1_000.0
    for look in looks:
        while look != 20 and at < 1_000 + look:
            at += 0.1
            server.sweep(at)
        server.sweep(1_000 + look)
    assert line.aborted == aborted
