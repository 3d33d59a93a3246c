"""What only a raw socket can say: malformed heads, old versions, pipelines, slow bodies."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.conftest import Running, Starter, toml
from tests.fakes.answers import chat_answer, stream_answer
from tests.fakes.upstream import FakeUpstream
from tests.server.test_stream_life import begin, end, words

CHAT = "/v1/chat/completions"
BODY = json.dumps({"model": "c-model", "messages": [{"role": "user", "content": "x"}]}).encode()


@asynccontextmanager
async def connection(
    gateway: Running,
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    host, port = gateway.gateway.addresses[0]
    reader, writer = await asyncio.open_connection(host, port)
    try:
        yield reader, writer
    finally:
        writer.close()
        await asyncio.gather(writer.wait_closed(), return_exceptions=True)


async def talk(gateway: Running, sent: bytes) -> bytes:
    """Send bytes and return everything up to the end of the connection."""
    async with connection(gateway) as (reader, writer), asyncio.timeout(10):
        writer.write(sent)
        return await reader.read()


def post(key: str, body: bytes = BODY, *more: str, version: str = "1.1") -> bytes:
    head = [
        f"POST {CHAT} HTTP/{version}",
        "Host: x",
        f"Authorization: Bearer {key}",
        f"Content-Length: {len(body)}",
        *more,
    ]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


MALFORMED = [
    ("no HTTP at all", b"hello sk-kurol-secret\r\n\r\n", b"400"),
    ("no colon in a field", b"GET / HTTP/1.1\r\nsk-kurol-secret\r\n\r\n", b"400"),
    ("a space before the colon", b"GET / HTTP/1.1\r\nX : sk-kurol-secret\r\n\r\n", b"400"),
    ("a negative length", b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", b"400"),
    ("two lengths", b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", b"400"),
    ("a field of 9 KiB", b"GET / HTTP/1.1\r\nX: " + b"s" * 9_216 + b"\r\n\r\n", b"431"),
    ("a path of 9 KiB", b"GET /" + b"s" * 9_216 + b" HTTP/1.1\r\n\r\n", b"431"),
    ("a NUL in a field", b"GET / HTTP/1.1\r\nX: a\x00sk-kurol-secret\r\n\r\n", b"400"),
]


@pytest.mark.parametrize(
    ("sent", "status"), [m[1:] for m in MALFORMED], ids=[m[0] for m in MALFORMED]
)
async def test_malformed_request_is_refused_without_being_quoted(
    sent: bytes, status: bytes, gateway: Running
) -> None:
    got = await talk(gateway, sent)
    head, _, body = got.partition(b"\r\n\r\n")
    assert head.split(b" ")[1] == status
    assert b"connection: close" in head.lower()
    assert json.loads(body)["error"]["type"] == "invalid_request_error"
    assert b"secret" not in got
    assert b"sss" not in got


async def test_length_and_chunks_together_are_never_two_requests(
    gateway: Running, fake: FakeUpstream
) -> None:
    fake.always(chat_answer())
    smuggled = b"0\r\n\r\nGET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    head = (
        f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {gateway.key}\r\n"
        f"Content-Length: {len(smuggled)}\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    got = await talk(gateway, head.encode() + smuggled)
    assert got.count(b"HTTP/1.1 ") == 1
    assert got.startswith(b"HTTP/1.1 400")


async def test_old_client_gets_its_answer_and_the_end_of_the_connection(
    gateway: Running, fake: FakeUpstream
) -> None:
    fake.answer(chat_answer())
    got = await talk(gateway, post(gateway.key, version="1.0"))
    assert got.startswith(b"HTTP/1.1 200")
    assert b"connection: close" in got.lower()
    stream = json.dumps({**json.loads(BODY), "stream": True}).encode()
    fake.answer(stream_answer([*begin("c-model"), *words("c-model", ["a"]), *end("c-model")]))
    got = await talk(gateway, post(gateway.key, stream, version="1.0"))
    head, _, body = got.partition(b"\r\n\r\n")
    assert b"chunked" not in head.lower()
    assert body.startswith(b"data: ")
    assert body.endswith(b"data: [DONE]\n\n")


async def test_pipelined_requests_are_answered_in_order(
    gateway: Running, fake: FakeUpstream
) -> None:
    bodies = []
    for number in range(20):
        fake.answer(chat_answer(prompt=number + 1))
        bodies.append(post(gateway.key))
    bodies[-1] = post(gateway.key, BODY, "Connection: close")
    got = await talk(gateway, b"".join(bodies))
    answers = got.split(b"HTTP/1.1 200 OK")[1:]
    prompts = [
        json.loads(each.partition(b"\r\n\r\n")[2])["usage"]["prompt_tokens"] for each in answers
    ]
    assert prompts == list(range(1, 21))


async def test_client_that_waits_for_leave_gets_it(gateway: Running, fake: FakeUpstream) -> None:
    fake.always(chat_answer())
    request = post(gateway.key, BODY, "Expect: 100-continue", "Connection: close")
    head, _, body = request.partition(b"\r\n\r\n")
    async with connection(gateway) as (reader, writer), asyncio.timeout(10):
        writer.write(head + b"\r\n\r\n")
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(body)
        assert (await reader.read()).startswith(b"HTTP/1.1 200")


async def test_body_in_chunks_of_one_byte_is_read(gateway: Running, fake: FakeUpstream) -> None:
    fake.always(chat_answer())
    head = (
        f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {gateway.key}\r\n"
        "Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    )
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in BODY) + b"0\r\n\r\n"
    assert (await talk(gateway, head.encode() + chunks)).startswith(b"HTTP/1.1 200")
    assert fake.last.json["model"] == "plain"


async def test_body_that_comes_too_slowly_is_a_408(start: Starter, fake: FakeUpstream) -> None:
    gateway = await start(toml(fake.base_url) + "\n[limits]\nbody_timeout_s = 0.3\n")
    request = post(gateway.key)
    async with connection(gateway) as (reader, writer), asyncio.timeout(10):
        writer.write(request[:-5])
        got = await reader.read()
    assert got.startswith(b"HTTP/1.1 408")
    assert b"connection: close" in got.lower()
    assert fake.requests == []
    assert gateway.gateway.state.bodies.held == 0


async def test_unread_body_of_a_refused_request_is_no_second_request(gateway: Running) -> None:
    body = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n" * 10
    got = await talk(gateway, post("sk-kurol-wrong", body + b" " * 5_000_000)[:2_000])
    assert got.startswith(b"HTTP/1.1 401")
    assert got.count(b"HTTP/1.1 ") == 1


async def test_absolute_form_is_served_here_and_never_fetched(gateway: Running) -> None:
    async with FakeUpstream() as other:
        got = await talk(
            gateway,
            f"GET {other.base_url}/livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode(),
        )
        assert other.connections == 0
    assert got.startswith(b"HTTP/1.1 200")
