"""Bodies and names that mean harm, at all four endpoints: no crash, no fetch, no new label."""

from __future__ import annotations

import asyncio
import gzip
import json
import time
import zlib
from collections.abc import AsyncIterator
from contextlib import nullcontext
from typing import Any

import aiohttp
import pytest
from yarl import URL

from kurolproxy.errors import Overloaded
from kurolproxy.ir import ProtocolName
from kurolproxy.server.body import BodyBudget
from tests.conftest import Running, Starter
from tests.fakes.upstream import FakeUpstream
from tests.pairs.vendors import Turn, vendor
from tests.server.families import (
    FAMILIES,
    USAGE,
    ask,
    configuration,
    every_family,
    get,
    metric,
    model_of,
    received,
    request,
)
from tests.server.test_raw_http import talk

MIB = 1_048_576


@pytest.fixture
async def running(fake: FakeUpstream, start: Starter) -> Running:
    fake.always(vendor(Turn(words=("Hello.",), usage=USAGE)))
    return await start(configuration(fake.base_url))


def sent(family: ProtocolName, **more: Any) -> bytes:
    """Return the body of a good request with some more fields."""
    return json.dumps({**request(family, model_of(family))[1], **more}).encode()


def deep(family: ProtocolName, levels: int) -> bytes:
    return sent(family, x=0)[:-2] + b"[" * (levels - 1) + b"]" * (levels - 1) + b"}"


SPOILED = [
    ("empty", lambda good: b""),
    ("white space", lambda good: b" \r\n"),
    ("truncated", lambda good: good[:-1]),
    ("an array", lambda good: b"[" + good + b"]"),
    ("a text", lambda good: b'"x"'),
    ("trailing bytes", lambda good: good + b"x"),
    ("two values", lambda good: good + good),
    ("NaN", lambda good: good[:-1] + b',"y":NaN}'),
    ("Infinity", lambda good: good[:-1] + b',"y":-Infinity}'),
    ("a byte order mark", lambda good: b"\xef\xbb\xbf" + good),
    ("UTF-16", lambda good: good.decode().encode("utf-16")),
    ("invalid UTF-8", lambda good: good[:-1] + b',"y":"\xff"}'),
    ("a lone surrogate", lambda good: good[:-1] + b',"y":"\\ud800"}'),
    ("a raw control character", lambda good: good[:-1] + b',"y":"\n"}'),
    ("a comment", lambda good: good[:-1] + b"/**/}"),
    ("single quotes", lambda good: good.replace(b'"', b"'")),
    ("a comma too many", lambda good: good[:-1] + b",}"),
]


@every_family
async def test_body_that_is_no_json_object_is_a_400_of_its_family(
    family: ProtocolName, running: Running, fake: FakeUpstream, http: aiohttp.ClientSession
) -> None:
    statuses = {}
    for name, spoil in SPOILED:
        got = await ask(http, running, running.key, family, sent=spoil(sent(family)))
        statuses[name] = got.status
        assert got.advice == (None, "false"), name
        assert got.json["error"]["message"], name
        assert running.key not in got.body.decode()
    assert statuses == dict.fromkeys(statuses, 400)
    assert fake.requests == []
    assert running.gateway.state.bodies.held == 0


LEVELS = (101, 255, 900, 1_025, 100_000)


@every_family
async def test_nesting_over_the_limit_is_a_400(
    family: ProtocolName, running: Running, fake: FakeUpstream, http: aiohttp.ClientSession
) -> None:
    got = await ask(http, running, running.key, family, sent=deep(family, 99))
    assert got.status == 200
    fake.requests.clear()
    for levels in LEVELS:
        body = deep(family, levels)
        began = time.process_time()
        got = await ask(http, running, running.key, family, sent=body)
        took_s = time.process_time() - began
        assert (levels, got.status) == (levels, 400)
        # 10 ms is what it may take; that of the client here is in it, and a busy machine.
        assert took_s < 0.1
    assert fake.requests == []


# A number over 64 bits passes as it is, and cannot be translated.
@every_family
async def test_number_over_64_bits_passes_or_is_refused(
    family: ProtocolName, running: Running, fake: FakeUpstream, http: aiohttp.ClientSession
) -> None:
    for upstream in FAMILIES:
        body = sent(family, z=0).replace(b'"z": 0', b'"z": 123456789012345678901234567890')
        body = body.replace(model_of(family).encode(), model_of(upstream).encode())
        got = await ask(http, running, running.key, family, model=model_of(upstream), sent=body)
        assert (upstream, got.status) == (upstream, 200 if upstream == family else 400)
        if upstream != family:
            assert "more than 64 bits" in got.json["error"]["message"]
    (passed,) = fake.requests
    assert b"123456789012345678901234567890" in passed.body
    assert running.gateway.state.admission.reserved == 0


@every_family
async def test_unknown_field_passes_to_an_upstream_that_speaks_alike(
    family: ProtocolName, running: Running, fake: FakeUpstream, http: aiohttp.ClientSession
) -> None:
    body = sent(family, x_unknown={"a": [1, None]})
    got = await ask(http, running, running.key, family, sent=body)
    assert got.status == 200
    assert fake.last.json["x_unknown"] == {"a": [1, None]}


ENCODED = [
    ("gzip", "gzip", gzip.compress),
    ("a bomb", "gzip", lambda body: gzip.compress(b" " * 50 * MIB)),
    ("garbage", "gzip", lambda body: b"\x1f\x8b" + b"x" * 100),
    ("twice", "gzip, gzip", lambda body: gzip.compress(gzip.compress(body))),
    ("deflate", "deflate", zlib.compress),
    ("br", "br", lambda body: body),
    ("unknown", "x-nothing", lambda body: body),
]


@every_family
async def test_compressed_body_is_a_415_and_never_opened(
    family: ProtocolName, running: Running, fake: FakeUpstream, http: aiohttp.ClientSession
) -> None:
    statuses = {}
    for name, encoding, pack in ENCODED:
        headers = {"content-encoding": encoding}
        body = pack(sent(family))
        got = await ask(http, running, running.key, family, headers=headers, sent=body)
        statuses[name] = got.status
        assert got.json["error"]["message"]
    assert statuses == dict.fromkeys(statuses, 415)
    assert fake.requests == []


KINDS = [
    ("application/x-www-form-urlencoded", 415),
    ("multipart/form-data; boundary=x", 415),
    ("MULTIPART/MIXED", 415),
    ("text/plain", 200),
    ("application/octet-stream", 200),
    ("application/json; charset=latin-1", 200),
    ("nonsense", 200),
]


@every_family
async def test_any_content_type_will_do_but_a_form(
    family: ProtocolName, running: Running, http: aiohttp.ClientSession
) -> None:
    statuses = []
    for kind, _ in KINDS:
        got = await ask(
            http, running, running.key, family, headers={"content-type": kind}, sent=sent(family)
        )
        statuses.append((kind, got.status))
    assert statuses == KINDS


class Noted(BodyBudget):
    """A budget that knows the most that was held."""

    most = 0

    def take(self, size: int, before: int = 0) -> None:
        super().take(size, before)
        self.most = max(self.most, self.held)


@pytest.mark.parametrize(
    ("held", "size", "before", "fits"),
    [
        (0, 64, 0, True),
        (64, 1, 64, False),
        (55, 1, 48, True),
        (56, 1, 48, False),
        (56, 1, 0, True),
        (63, 1, 0, True),
        (64, 1, 0, False),
    ],
    ids=[
        "a large one alone",
        "more than all",
        "the large ones",
        "no more of them",
        "a small one behind them",
        "the last small one",
        "none any more",
    ],
)
def test_large_bodies_leave_room_for_small_ones(
    held: int, size: int, before: int, fits: bool
) -> None:
    budget = BodyBudget(64 * MIB)
    budget.held = held * MIB
    with nullcontext() if fits else pytest.raises(Overloaded):
        budget.take(size * MIB, before * MIB)
    assert budget.held == (held + size * fits) * MIB


@every_family
async def test_body_over_the_limit_is_a_413_and_not_read_to_its_end(
    family: ProtocolName, fake: FakeUpstream, start: Starter, http: aiohttp.ClientSession
) -> None:
    limit = MIB // 2
    limits = f"\n[limits]\nmax_body_bytes = {limit}\n"
    running = await start(configuration(fake.base_url) + limits)
    noted = running.gateway.state.bodies = Noted(1 << 30)
    got = await ask(http, running, running.key, family, sent=b" " * (limit + 1))
    assert (got.status, noted.most) == (413, 0)
    path, _ = request(family, model_of(family))

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(64):
            yield b" " * 65_536

    headers = {"authorization": f"Bearer {running.key}"}
    async with http.post(running.base_url + path, data=pieces(), headers=headers) as other:
        assert other.status == 413
        assert other.headers["connection"] == "close"
    assert limit < noted.most <= limit + 2 * 65_536
    assert noted.held == 0


NAMES = [
    "a\r\nX-Evil: 1",
    "a\x00b",
    "a\x1b[31mb",
    "\x9b31m",
    "a\u2028b\u202ec",
    "<script>alert(1)</script>",
    "../../etc/passwd",
    "%s%n{0}{key}${jndi:ldap://x}",
    "x" * 10_000,
    "C-MODEL ",
    "😀" * 300,
]


@every_family
async def test_name_of_a_model_harms_no_header_no_page_and_no_log(
    family: ProtocolName, running: Running, http: aiohttp.ClientSession
) -> None:
    before = running.gateway.state.metrics.render().count(b"\n")
    for name in NAMES:
        if family == "gemini":
            quoted = "".join(f"%{byte:02x}" for byte in name[:900].encode())
            url = f"{running.base_url}/v1beta/models/{quoted}:generateContent"
            headers = {"authorization": f"Bearer {running.key}"}
            async with http.post(URL(url, encoded=True), data=b"{}", headers=headers) as answer:
                got = await received(answer)
        else:
            got = await ask(http, running, running.key, family, model=name)
        assert (name, got.status) == (name, 404)
        assert got.headers["content-type"] == "application/json"
        assert "x-evil" not in got.headers
        # 200 characters of the name, the words around it, and JSON's escapes.
        assert len(got.body) < 2_500
        line = running.lines().splitlines()[-1]
        assert all(
            value.isprintable() for value in json.loads(line).values() if isinstance(value, str)
        )
    lines = running.lines().splitlines()
    assert len(lines) == len(NAMES)
    after = running.gateway.state.metrics.render().count(b"\n")
    # What the first of them made: one outcome of the model "other".
    assert after - before < 60
    assert metric(running, "kurol_requests_total", 'model="other"') == len(NAMES)


FIELDS = ["x-request-id", "x-client-request-id", "user-agent", "referer", "x-forwarded-for"]


async def test_nothing_that_a_client_says_ends_a_line_of_the_log(running: Running) -> None:
    # An ESC, as any other of ASCII's control characters, is no part of a field at all.
    head = b"GET /livez HTTP/1.1\r\nHost: x\r\nX-Request-Id: a\x1b[2J\r\nConnection: close\r\n\r\n"
    assert (await talk(running, head)).startswith(b"HTTP/1.1 400 ")
    evil = "ab\x9b31m\u2028\u202e\"}{'c" + "d" * 100
    for name in FIELDS:
        fields = f"Authorization: Bearer {running.key}\r\n{name}: {evil}\r\nConnection: close"
        call = (
            f"POST /v1/responses HTTP/1.1\r\nHost: x\r\n{fields}\r\nContent-Length: 2\r\n\r\n{{}}"
        )
        got = await talk(running, call.encode())
        assert got.startswith(b"HTTP/1.1 400 ")
    lines = running.lines().splitlines()
    assert len(lines) == 1 + len(FIELDS)
    for line in lines:
        for value in json.loads(line).values():
            assert not isinstance(value, str) or value.isprintable()
    assert json.loads(lines[1])["client_request_id"] == "ab?31m??\"}{'c" + "d" * 51


async def test_made_up_names_make_no_metric_lines(
    running: Running, http: aiohttp.ClientSession
) -> None:
    key = {"authorization": f"Bearer {running.key}"}

    async def bother(each: int) -> None:
        for family in FAMILIES:
            assert (await ask(http, running, running.key, family, model=f"m-{each}")).status == 404
        for path in (f"/p/{each}", f"/v1/models/m{each}", f"/v1beta/models/{each}:{each}"):
            assert (await get(http, running, path, key)).status == 404
        await get(http, running, f"/v1/models?key=k{each}", {})

    def lines() -> int:
        return running.gateway.state.metrics.render().count(b"\n")

    # One of each, twice as many wrong keys as are answered with a 401, and then no more.
    for each in range(60):
        await bother(each)
    before = lines()
    await asyncio.gather(*(bother(each) for each in range(100, 160)))
    assert lines() == before
    assert "m-1" not in running.gateway.state.metrics.render().decode()
