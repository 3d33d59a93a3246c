"""The client for upstreams behind a proxy: it judges an answer as the other one does."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from yarl import URL

from kurolproxy.errors import UpstreamError
from kurolproxy.upstream.address import Address
from kurolproxy.upstream.client import Call
from kurolproxy.upstream.session import SessionClient
from tests.fakes.raw import READ, RESET, RawStep, RawUpstream

LIMIT = 1_000_000


@contextlib.asynccontextmanager
async def sending(*scripts: list[RawStep]) -> AsyncIterator[tuple[SessionClient, RawUpstream]]:
    """Yield a client, and a proxy that plays one script for each connection."""
    async with RawUpstream(*scripts) as proxy:
        client = SessionClient()
        try:
            yield client, proxy
        finally:
            await client.close()
            await asyncio.sleep(0)


async def whole(client: SessionClient, proxy: RawUpstream) -> bytes:
    address = Address.of(URL("http://vendor.invalid/v1/x"))
    answer = await client.send(Call(address, {"x-one": "1"}, b"{}", proxy=proxy.base_url))
    try:
        return await answer.body(LIMIT)
    finally:
        answer.close()


def head(*lines: str, status: str = "200 OK") -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status}", *lines, "", ""]).encode()


def sized(body: bytes, *lines: str) -> bytes:
    return head(f"content-length: {len(body)}", *lines) + body


@pytest.mark.parametrize("end", [[], [RESET]], ids=["closes", "resets"])
async def test_kept_connection_that_died_is_replaced_once(end: list[RawStep]) -> None:
    scripts: list[list[RawStep]] = [[READ, sized(b"1"), READ, *end], [READ, sized(b"2")]]
    async with sending(*scripts) as (client, proxy):
        assert await whole(client, proxy) == b"1"
        assert await whole(client, proxy) == b"2"
        assert proxy.connections == 2


async def test_new_connection_without_an_answer_is_not_tried_again() -> None:
    async with sending([READ, sized(b"1"), READ], [READ], [READ, sized(b"3")]) as (client, proxy):
        await whole(client, proxy)
        with pytest.raises(UpstreamError, match="without an answer"):
            await whole(client, proxy)
        assert proxy.connections == 2


async def test_kept_connection_that_broke_in_the_head_is_an_error() -> None:
    scripts: list[list[RawStep]] = [
        [READ, sized(b"1"), READ, b"HTTP/1.1 200 OK\r\nx: y"],
        [READ, sized(b"2")],
    ]
    async with sending(*scripts) as (client, proxy):
        await whole(client, proxy)
        with pytest.raises(UpstreamError, match="without an answer"):
            await whole(client, proxy)
        assert proxy.connections == 1


CHUNKS = b"2\r\nhi\r\n"
BROKEN: list[tuple[str, bytes]] = [
    ("no HTTP", b"<html>\r\n\r\n"),
    ("two lengths", head("content-length: 2", "content-length: 3") + b"hi"),
    ("length and chunks", head("content-length: 2", "transfer-encoding: chunked") + CHUNKS),
    ("a coding", head("transfer-encoding: gzip") + b"hi"),
    ("a coding before chunks", head("transfer-encoding: gzip, chunked") + CHUNKS),
    ("an upgrade", head("upgrade: x", "connection: upgrade", status="101 Switching")),
    ("an endless field", b"HTTP/1.1 200 OK\r\n" + b"x: " + b"a" * 100_000),
    ("many fields", head(*("x:",) * 257, "content-length: 0")),
]


@pytest.mark.parametrize("sent", [row[1] for row in BROKEN], ids=[row[0] for row in BROKEN])
async def test_head_that_can_be_misread_is_an_upstream_error(sent: bytes) -> None:
    async with sending([READ, sent, 5.0]) as (client, proxy):
        with pytest.raises(UpstreamError, match="not valid HTTP"):
            await whole(client, proxy)
        # Nothing else may be sent on such a connection.
        assert await proxy.client_gone() == 0


async def test_as_many_fields_as_may_be_are_taken() -> None:
    async with sending([READ, sized(b"ok", *("x: y",) * 255)]) as (client, proxy):
        assert await whole(client, proxy) == b"ok"


async def test_connection_with_bytes_behind_its_answer_is_not_used_again() -> None:
    scripts: list[list[RawStep]] = [
        [READ, sized(b"1") + sized(b"evil"), 5.0],
        [READ, sized(b"2")],
    ]
    async with sending(*scripts) as (client, proxy):
        assert await whole(client, proxy) == b"1"
        assert await whole(client, proxy) == b"2"
