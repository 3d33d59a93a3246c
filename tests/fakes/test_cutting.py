"""The vendor of very small pieces: each arrives on its own, and all of them arrive."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest

from tests.conftest import soon
from tests.fakes.answers import SECRET, bytes_answer, pieces, stream_answer
from tests.fakes.cutting import CuttingVendor

BODY = b"data: {}\n\n" * 5
ASK = b"POST /x HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n"


class _Reader(asyncio.Protocol):
    """What arrived, read by read."""

    def __init__(self) -> None:
        self.reads: list[bytes] = []

    def data_received(self, data: bytes) -> None:
        self.reads.append(data)


async def test_every_piece_is_read_on_its_own() -> None:
    async with CuttingVendor() as vendor:
        vendor.answer = stream_answer(pieces(BODY, 1))
        port = int(vendor.base_url.rpartition(":")[2])
        loop = asyncio.get_running_loop()
        transport, reader = await loop.create_connection(_Reader, "127.0.0.1", port)
        transport.write(ASK)
        assert vendor.requests == 0
        transport.write(b"{}")
        await soon(lambda: reader.reads[-1:] == [b"0\r\n\r\n"])
        assert reader.reads[0].startswith(b"HTTP/1.1 200 ")
        assert reader.reads[1:-1] == [b"1\r\n%c\r\n" % byte for byte in BODY]
        transport.close()


@pytest.mark.parametrize("size", [None, 1, 7])
@pytest.mark.parametrize("sized", [False, True])
async def test_answer_is_whole_however_it_is_cut(
    size: int | None, sized: bool, http: aiohttp.ClientSession
) -> None:
    async with CuttingVendor() as vendor:
        body = bytes_answer(BODY, "text/event-stream", status=429, cut=size)
        vendor.answer = body if sized else stream_answer(pieces(BODY, size), status=429)
        for count in (1, 2):
            async with http.post(vendor.base_url, json={"a": "b" * 70_000}) as got:
                assert (got.status, await got.read()) == (429, BODY)
                assert got.content_type == "text/event-stream"
                assert got.headers["x-upstream-secret"] == SECRET
            assert vendor.requests == count
