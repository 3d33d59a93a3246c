"""Requests that two servers could read differently: refused, closed, never two answers."""

from __future__ import annotations

import asyncio
import json

import pytest

from tests.conftest import Running, Starter, toml
from tests.fakes.answers import chat_answer
from tests.fakes.upstream import FakeUpstream
from tests.server.families import metric
from tests.server.test_raw_http import BODY, CHAT, connection, talk

SECOND = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"
LENGTH = len(BODY)
CHUNKED = b"%x\r\n%b\r\n0\r\n\r\n" % (LENGTH, BODY)
LENGTH_LINE = f"Content-Length: {LENGTH}"
CHUNKED_LINE = "Transfer-Encoding: chunked"


def head(*lines: str, key: str = "KEY", method: str = f"POST {CHAT}") -> bytes:
    said = [f"{method} HTTP/1.1", "Host: x", f"Authorization: Bearer {key}", *lines]
    return "\r\n".join(said).encode("latin-1") + b"\r\n\r\n"


# Each is followed by a request of its own that nobody may answer.
HEADS = [
    ("CL.TE", head(LENGTH_LINE, CHUNKED_LINE), CHUNKED),
    ("TE.CL", head(CHUNKED_LINE, LENGTH_LINE), CHUNKED),
    ("two lengths that differ", head(LENGTH_LINE, "Content-Length: 1"), BODY),
    ("two lengths that agree", head(LENGTH_LINE, LENGTH_LINE), BODY),
    ("a list of lengths", head(f"Content-Length: {LENGTH}, {LENGTH}"), BODY),
    ("a negative length", head("Content-Length: -1"), BODY),
    ("a length with a sign", head(f"Content-Length: +{LENGTH}"), BODY),
    ("a hexadecimal length", head("Content-Length: 0x10"), BODY),
    ("a length over 64 bits", head("Content-Length: 99999999999999999999"), BODY),
    ("an empty length", head("Content-Length:"), BODY),
    ("a length in two words", head("Content-Length: 1 2"), BODY),
    ("a length after a vertical tab", head(f"Content-Length: \x0b{LENGTH}"), BODY),
    ("encoding twice", head(CHUNKED_LINE, CHUNKED_LINE), CHUNKED),
    ("encoding twice, other", head(CHUNKED_LINE, "Transfer-Encoding: identity"), CHUNKED),
    ("chunked in capitals", head("Transfer-Encoding: Chunked"), CHUNKED),
    ("xchunked", head("Transfer-Encoding: xchunked"), CHUNKED),
    ("chunked, chunked", head("Transfer-Encoding: chunked, chunked"), CHUNKED),
    ("gzip, chunked", head("Transfer-Encoding: gzip, chunked"), CHUNKED),
    ("chunked, identity", head("Transfer-Encoding: chunked, identity"), CHUNKED),
    ("identity", head("Transfer-Encoding: identity"), CHUNKED),
    ("a comma first", head("Transfer-Encoding: ,chunked"), CHUNKED),
    ("a comma last", head("Transfer-Encoding: chunked,"), CHUNKED),
    ("a parameter", head("Transfer-Encoding: chunked;q=1"), CHUNKED),
    ("in quotes", head('Transfer-Encoding: "chunked"'), CHUNKED),
    ("after a vertical tab", head("Transfer-Encoding: \x0bchunked"), CHUNKED),
    ("before a vertical tab", head("Transfer-Encoding: chunked\x0b"), CHUNKED),
    ("no encoding at all", head("Transfer-Encoding:"), CHUNKED),
    ("a space before the colon", head("Transfer-Encoding : chunked"), CHUNKED),
    ("a folded encoding", head("Transfer-Encoding:\r\n chunked"), CHUNKED),
    ("a folded field", head("X: a\r\n b", LENGTH_LINE), BODY),
    ("a folded first field", b"GET /livez HTTP/1.1\r\n Host: x\r\n\r\n", b""),
    ("bare LF in the head", head(LENGTH_LINE).replace(b"\r\n", b"\n"), BODY),
    ("bare LF at one field", head(f"X: a\n{LENGTH_LINE}"), BODY),
    ("bare LF at the end", head(LENGTH_LINE)[:-2] + b"\n", BODY),
    ("bare CR at one field", head(f"X: a\r{LENGTH_LINE}"), BODY),
    ("chunks in HTTP/1.0", head(CHUNKED_LINE).replace(b"/1.1", b"/1.0"), CHUNKED),
    (
        "chunks in HTTP/1.0 that goes on",
        head(CHUNKED_LINE, "Connection: keep-alive").replace(b"/1.1", b"/1.0"),
        CHUNKED,
    ),
    ("chunks on a GET", head("Transfer-Encoding: gzip, chunked", method="GET /livez"), CHUNKED),
    ("HTTP/0.9", b"GET /livez\r\n\r\n", b""),
    ("HTTP/1.2", b"GET /livez HTTP/1.2\r\nHost: x\r\n\r\n", b""),
    ("HTTP/2.0", b"GET /livez HTTP/2.0\r\nHost: x\r\n\r\n", b""),
    ("the preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b""),
    ("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 64, b""),
    ("no Host", b"GET /livez HTTP/1.1\r\n\r\n", b""),
    ("two Hosts", b"GET /livez HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", b""),
    ("a space in the path", b"GET /a b HTTP/1.1\r\nHost: x\r\n\r\n", b""),
    ("a raw byte in the path", b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n", b""),
    ("a broken absolute form", b"GET http://[::1/ HTTP/1.1\r\nHost: x\r\n\r\n", b""),
    ("a method of its own", b"FOO / HTTP/1.1\r\nHost: x\r\n\r\n", b""),
]
CHUNKS = [
    ("a size that is no number", b"zz\r\n"),
    ("a negative size", b"-1\r\n"),
    ("a size with 0x", b"0x5\r\nabcde\r\n0\r\n\r\n"),
    ("a size with _", b"1_0\r\n" + b"a" * 16 + b"\r\n0\r\n\r\n"),
    ("a size over 64 bits", b"ffffffffffffffffff\r\n"),
    ("a space before the size", b" 5\r\nabcde\r\n0\r\n\r\n"),
    ("a space behind the size", b"5 \r\nabcde\r\n0\r\n\r\n"),
    ("no size", b"\r\nabc\r\n"),
    ("bare LF behind the size", b"5\nabcde\n0\n\n"),
    ("bare LF behind an extension", b"5;a\nabcde\r\n0\r\n\r\n"),
    ("more than the size says", b"1\r\nab\r\n0\r\n\r\n"),
    ("a trailer without a colon", b"0\r\nX y\r\n\r\n"),
    ("a length in the trailer", b"0\r\nContent-Length: 5\r\n\r\n"),
]
ALL = [*HEADS, *((name, head(CHUNKED_LINE), chunks) for name, chunks in CHUNKS)]


@pytest.fixture
def served(gateway: Running, fake: FakeUpstream) -> Running:
    fake.always(chat_answer())
    return gateway


REFUSED = "400 invalid_request_error, 1 answer, closed, with an id"


def seen(got: bytes, served: Running) -> str:
    """Return in words what came back up to the end of the connection."""
    head, _, body = got.partition(b"\r\n\r\n")
    words = [f"{head[9:12].decode()} {json.loads(body)['error']['type']}"]
    words.append(f"{got.count(b'HTTP/1.1 ')} answer")
    words.append("closed" if b"\r\nconnection: close" in head.lower() else "left open")
    words.append("with an id" if b"\r\nx-request-id: req_" in head else "nameless")
    if served.key.encode() in got:
        words.append("with the key")
    return ", ".join(words)


async def test_doubtful_framing_is_refused_with_one_answer(
    served: Running, fake: FakeUpstream
) -> None:
    results = {}
    for name, first, rest in ALL:
        first = first.replace(b"KEY", served.key.encode())
        results[name] = seen(await talk(served, first + rest + SECOND), served)
    assert results == {name: REFUSED for name, _, _ in ALL}
    assert fake.requests == []
    assert metric(served, "kurol_rejections_total", 'reason="bad_request"') == len(ALL)
    assert len(served.lines().splitlines()) == len(ALL)
    assert served.key not in served.lines()


async def test_body_that_breaks_while_it_is_read_is_refused_at_once(
    served: Running, fake: FakeUpstream
) -> None:
    async def broken(chunks: bytes) -> str:
        async with connection(served) as (reader, writer), asyncio.timeout(5):
            writer.write(head(CHUNKED_LINE, key=served.key) + b"2\r\n{}\r\n")
            # The handler has begun to read by then.
            await asyncio.sleep(0.05)
            writer.write(chunks + SECOND)
            return seen(await reader.read(), served)

    assert {name: await broken(chunks) for name, chunks in CHUNKS} == {
        name: REFUSED for name, _ in CHUNKS
    }
    assert fake.requests == []
    assert served.gateway.state.bodies.held == 0


async def test_endless_chunk_is_a_body_that_comes_too_slowly(
    start: Starter, fake: FakeUpstream
) -> None:
    served = await start(toml(fake.base_url) + "\n[limits]\nbody_timeout_s = 0.2\n")
    size = b"ffffffffffffffff\r\n"
    got = await talk(served, head(CHUNKED_LINE, key=served.key) + size + SECOND)
    assert got.startswith(b"HTTP/1.1 408 ")
    assert got.count(b"HTTP/1.1 ") == 1
    assert fake.requests == []


FINE = [
    ("a length", head(LENGTH_LINE), BODY),
    ("a length between spaces", head(f"Content-Length:  {LENGTH} "), BODY),
    ("chunks", head(CHUNKED_LINE), CHUNKED),
    ("chunks with an extension", head(CHUNKED_LINE), b"%x;a=b" % LENGTH + CHUNKED[2:]),
    ("chunks with a trailer", head(CHUNKED_LINE), CHUNKED[:-2] + b"X: y\r\n\r\n"),
    (
        "an upgrade that is declined",
        head("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", LENGTH_LINE),
        BODY,
    ),
]


@pytest.mark.parametrize(
    ("first", "rest"), [each[1:] for each in FINE], ids=[each[0] for each in FINE]
)
async def test_honest_framing_is_served(
    first: bytes, rest: bytes, served: Running, fake: FakeUpstream
) -> None:
    first = first.replace(b"KEY", served.key.encode())
    async with connection(served) as (reader, writer), asyncio.timeout(5):
        writer.write(first + rest)
        assert (await reader.readuntil(b"\r\n")) == b"HTTP/1.1 200 OK\r\n"
    assert fake.last.json["model"] == "plain"


TOO_LARGE = [
    ("101 fields", b"".join(b"X%d: y\r\n" % each for each in range(100))),
    ("a field of 9 KiB", b"X: " + b"s" * 9_216 + b"\r\n"),
    ("a name of 9 KiB", b"s" * 9_216 + b": x\r\n"),
    ("a field of 10 MB", b"X: " + b"s" * 10_000_000 + b"\r\n"),
    ("a head of 10 MB", (b"X: " + b"s" * 5_000 + b"\r\n") * 2_000),
]


@pytest.mark.parametrize("fields", [t[1] for t in TOO_LARGE], ids=[t[0] for t in TOO_LARGE])
async def test_head_that_is_too_large_is_a_431_that_arrives(
    fields: bytes, gateway: Running
) -> None:
    said = b"GET /livez HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer sk-kurol-secret\r\n"
    got = await talk(gateway, said + fields + b"\r\n" + SECOND)
    assert got.startswith(b"HTTP/1.1 431 ")
    assert got.count(b"HTTP/1.1 ") == 1
    assert json.loads(got.partition(b"\r\n\r\n")[2])["error"]["code"] == "headers_too_large"
    logged = gateway.lines()
    for each in ("secret", "sss", "X99"):
        assert each not in logged
        assert each.encode() not in got
    line = json.loads(logged.splitlines()[-1])
    seen = (line["status"], line["outcome"], line["remote"])
    assert seen == (431, "headers_too_large", "127.0.0.1")
    assert f"x-request-id: {line['request_id']}\r\n".encode() in got
    assert metric(gateway, "kurol_rejections_total", 'reason="headers_too_large"') == 1


async def test_hundred_fields_are_no_problem(gateway: Running) -> None:
    fields = b"".join(b"X%d: y\r\n" % each for each in range(98))
    said = b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + fields + b"\r\n"
    assert (await talk(gateway, said)).startswith(b"HTTP/1.1 200 ")


METHODS = [
    ("CONNECT to a host", b"CONNECT evil.example:443 HTTP/1.1\r\nHost: x\r\n\r\n" + SECOND),
    ("CONNECT to a path", b"CONNECT /livez HTTP/1.1\r\nHost: x\r\n\r\n" + SECOND),
    ("TRACE", b"TRACE /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX: s3cret\r\n\r\n"),
    ("TRACE of a call", b"TRACE " + CHAT.encode() + b" HTTP/1.0\r\nX: s3cret\r\n\r\n"),
]


@pytest.mark.parametrize("sent", [each[1] for each in METHODS], ids=[m[0] for m in METHODS])
async def test_methods_of_proxies_are_refused_and_echo_nothing(
    sent: bytes, gateway: Running
) -> None:
    got = await talk(gateway, sent)
    assert got.startswith(b"HTTP/1.1 405 ")
    assert got.count(b"HTTP/1.1 ") == 1
    assert b"s3cret" not in got


PATHS = [
    "/../../etc/passwd",
    "/%2e%2e/%2e%2e/etc/passwd",
    "/v1/models/..%2f..%2fetc%2fpasswd",
    "//evil.example/livez",
    "/\\evil.example/..\\",
    "/%5cevil.example",
    "/livez%00.html",
    "/v1/models/%0d%0aX-Evil:%201",
    "/static/../livez/..;/",
    "/%ff%fe",
    "/v1beta/models/%ff%0a%1b[31m",
    "/%s%n%x{0}${jndi:ldap://x}",
]


async def test_tricks_with_paths_find_no_file_and_lead_nowhere(gateway: Running) -> None:
    fields = f"Host: x\r\nAuthorization: Bearer {gateway.key}\r\nConnection: close\r\n\r\n"
    for path in PATHS:
        got = await talk(gateway, f"GET {path} HTTP/1.1\r\n{fields}".encode())
        said, _, body = got.partition(b"\r\n\r\n")
        assert (path, said.split(b" ")[1]) == (path, b"404")
        assert b"\r\nlocation:" not in said.lower()
        assert b"\r\nx-evil:" not in said.lower()
        assert b"\r\ncontent-type: application/json\r\n" in said.lower()
        assert b"root:" not in body
        assert json.loads(body)["error"]["message"]
    # One line for each, though the path is in it.
    logged = [json.loads(line) for line in gateway.lines().splitlines()]
    assert [line["status"] for line in logged] == [404] * len(PATHS)
    assert all(line["endpoint"].isprintable() for line in logged)
