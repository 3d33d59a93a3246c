"""Answers that come compressed: opened in steps and under a cap, by both clients."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import os
import zlib
from collections.abc import AsyncIterator

import pytest
from yarl import URL

from kurolproxy.errors import UpstreamError
from kurolproxy.upstream.address import Address
from kurolproxy.upstream.both import Upstreams
from kurolproxy.upstream.client import Answer, Call
from tests.fakes.raw import READ, RawStep, RawUpstream

LIMIT = 32 * 1_048_576
TEXT = b'data: {"some":"words"}\n\n' * 2_000
SMALL = gzip.compress(TEXT)
# What no one could guess hardly shrinks.
LARGE = os.urandom(3_000_000)


def answered(body: bytes, *codings: str) -> bytes:
    lines = [f"content-encoding: {each}" for each in codings]
    head = "\r\n".join(["HTTP/1.1 200 OK", f"content-length: {len(body)}", *lines, "", ""])
    return head.encode() + body


@contextlib.asynccontextmanager
async def answer_of(*script: RawStep, proxied: bool) -> AsyncIterator[Answer]:
    """Ask a vendor, or a proxy in front of one, that plays this script."""
    async with RawUpstream([READ, *script]) as upstream:
        clients = Upstreams()
        url = "http://vendor.invalid" if proxied else upstream.base_url
        proxy = upstream.base_url if proxied else None
        answer = await clients.send(Call(Address.of(URL(url)), {}, b"{}", proxy=proxy))
        try:
            yield answer
        finally:
            answer.close()
            await clients.close()
            await asyncio.sleep(0)


both_clients = pytest.mark.parametrize("proxied", [False, True], ids=["direct", "proxied"])

GOOD: list[tuple[str, bytes, bytes, tuple[str, ...]]] = [
    ("plain", TEXT, TEXT, ()),
    ("identity", TEXT, TEXT, ("Identity",)),
    ("gzip", SMALL, TEXT, ("gzip",)),
    ("x-gzip", SMALL, TEXT, (" X-Gzip ",)),
    ("large", gzip.compress(LARGE), LARGE, ("gzip",)),
    ("two members", SMALL + gzip.compress(b"more"), TEXT + b"more", ("gzip",)),
    ("filled with zeros", SMALL + bytes(100), TEXT, ("gzip",)),
    ("of nothing", gzip.compress(b""), b"", ("gzip",)),
    ("no body", b"", b"", ("gzip",)),
    ("much that repeats", gzip.compress(b"x" * 16_000_000), b"x" * 16_000_000, ("gzip",)),
]


@both_clients
@pytest.mark.parametrize(
    ("sent", "body", "codings"), [row[1:] for row in GOOD], ids=[row[0] for row in GOOD]
)
async def test_compressed_body_is_opened(
    sent: bytes, body: bytes, codings: tuple[str, ...], proxied: bool
) -> None:
    async with answer_of(answered(sent, *codings), proxied=proxied) as answer:
        assert await answer.body(LIMIT) == body


BAD: list[tuple[str, bytes, tuple[str, ...], str]] = [
    ("no gzip", b"\x1f\x8bgarbage, and more of it", ("gzip",), "not validly compressed"),
    ("text", TEXT, ("gzip",), "not validly compressed"),
    ("wrong sum", SMALL[:-8] + b"12345678", ("gzip",), "not validly compressed"),
    ("cut", SMALL[:-30], ("gzip",), "broke off"),
    ("garbage behind it", SMALL + b"garbage", ("gzip",), "not validly compressed"),
    ("bomb", gzip.compress(bytes(64_000_000)), ("gzip",), "too large"),
    ("twice", gzip.compress(SMALL), ("gzip, gzip",), "asked it not to"),
    ("twice in two lines", gzip.compress(SMALL), ("gzip", "gzip"), "asked it not to"),
    ("deflate", zlib.compress(TEXT), ("deflate",), "asked it not to"),
    ("unknown", TEXT, ("br",), "asked it not to"),
]


@both_clients
@pytest.mark.parametrize(
    ("sent", "codings", "words"), [row[1:] for row in BAD], ids=[row[0] for row in BAD]
)
async def test_body_that_cannot_be_opened_is_an_upstream_error(
    sent: bytes, codings: tuple[str, ...], words: str, proxied: bool
) -> None:
    async with answer_of(answered(sent, *codings), proxied=proxied) as answer:
        assert answer.status == 200
        with pytest.raises(UpstreamError, match=words):
            await answer.body(LIMIT)


async def test_opened_body_has_the_limit_of_a_plain_one() -> None:
    sent = answered(gzip.compress(LARGE), "gzip")
    async with answer_of(sent, proxied=False) as answer:
        with pytest.raises(UpstreamError, match="too large"):
            await answer.body(len(LARGE) - 1)


@both_clients
async def test_pieces_are_opened_as_they_come(proxied: bool) -> None:
    packer = zlib.compressobj(wbits=31)
    first, second = (
        packer.compress(each) + packer.flush(zlib.Z_SYNC_FLUSH) for each in (b"one", b"two")
    )
    gate = asyncio.Event()
    body = first, gate, second + packer.flush()
    head = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\nconnection: close\r\n\r\n"
    seen: list[bytes] = []

    def take(piece: bytes) -> bool:
        seen.append(piece)
        gate.set()
        return True

    async with answer_of(head, *body, proxied=proxied) as answer:
        await answer.pipe(take)
    assert seen == [b"one", b"two", b""]


async def test_others_get_their_turn_while_much_comes_out_of_little() -> None:
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    async with answer_of(answered(gzip.compress(bytes(16_000_000)), "gzip"), proxied=False) as got:
        other = asyncio.create_task(count())
        sizes = []
        while piece := await got.read():
            sizes.append(len(piece))
        other.cancel()
    assert sum(sizes) == 16_000_000
    assert max(sizes) <= 65_536
    assert turns >= len(sizes) - 2
