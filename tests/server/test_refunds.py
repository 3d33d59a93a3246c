"""A request that the gateway could not serve gives its place in the minute back, up to a point."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import aiohttp
import pytest

from kurolproxy.ir import ProtocolName
from tests.conftest import Running, Starter
from tests.fakes.answers import Answer, failure, json_answer, stream_answer
from tests.fakes.upstream import FakeUpstream, SeenRequest
from tests.pairs.vendors import Turn, begun, frames, late, vendor
from tests.server.families import (
    USAGE,
    Got,
    Hands,
    ask,
    both_ways,
    configuration,
    every_family,
    model_of,
    plan,
    received,
    request,
)

TURN = Turn(words=("Hello",), usage=USAGE)
PLANS = "".join(
    (
        plan("three", requests_per_minute=3),
        plan("day", requests_per_minute=3, daily_tokens=1_000),
        plan("single", requests_per_minute=3, concurrent_requests=1),
    )
)
TIMEOUTS = "answer_timeout_s = 0.2\nfirst_content_timeout_s = 0.2"


@pytest.fixture
async def limited(fake: FakeUpstream, start: Starter) -> Running:
    fake.always(vendor(TURN))
    return await start(configuration(fake.base_url, PLANS, model=TIMEOUTS))


def left(running: Running, key: str, clock: Hands) -> int:
    """Return how many requests of the minute a key has."""
    state = running.gateway.state
    caller = state.admission.authenticate(key, clock.unix)
    standing = state.admission.standing(caller, clock.now, state.clock.today())
    assert standing.requests_remaining is not None
    return standing.requests_remaining


Script = Callable[[FakeUpstream, ProtocolName], None]


def says(status: int) -> Script:
    def script(fake: FakeUpstream, family: ProtocolName) -> None:
        fake.always(failure(status, protocol=family))

    return script


def nonsense(fake: FakeUpstream, _: ProtocolName) -> None:
    fake.always(json_answer({"what": "is this"}))


def silent(fake: FakeUpstream, _: ProtocolName) -> None:
    fake.always(stream_answer([fake.hold()]))


def cut_at_once(fake: FakeUpstream, _: ProtocolName) -> None:
    fake.always(stream_answer([], end="close"))


def fine(fake: FakeUpstream, _: ProtocolName) -> None:
    fake.always(vendor(TURN))


# Name, script, status, requests of three that are left.
ENDINGS = [
    ("answered", fine, 200, 2),
    ("upstream 400", says(400), 400, 2),
    ("upstream 413", says(413), 413, 2),
    ("upstream 422", says(422), 400, 2),
    ("upstream 401", says(401), 502, 3),
    ("upstream 404", says(404), 502, 3),
    ("upstream 429", says(429), 502, 3),
    ("upstream 500", says(500), 502, 3),
    ("upstream 503", says(503), 502, 3),
    ("nonsense", nonsense, 502, 3),
    ("cut at once", cut_at_once, 502, 3),
    ("silent", silent, 504, 3),
]


@pytest.mark.parametrize(
    ("script", "status", "remaining"), [c[1:] for c in ENDINGS], ids=[c[0] for c in ENDINGS]
)
@every_family
@both_ways
async def test_request_comes_back_when_the_gateway_could_not_serve_it(
    script: Script,
    status: int,
    remaining: int,
    family: ProtocolName,
    stream: bool,
    limited: Running,
    fake: FakeUpstream,
    http: aiohttp.ClientSession,
) -> None:
    clock = Hands(limited)
    script(fake, family)
    key = await limited.new_key("three")
    got = await ask(http, limited, key, family, stream=stream)
    assert got.status == status
    assert left(limited, key, clock) == remaining


@pytest.mark.parametrize(
    ("telling", "remaining"), [(True, 2), (False, 3)], ids=["behind content", "before content"]
)
@every_family
async def test_failure_in_a_stream_gives_back_before_the_first_content_only(
    telling: bool,
    remaining: int,
    family: ProtocolName,
    start: Starter,
    fake: FakeUpstream,
    http: aiohttp.ClientSession,
) -> None:
    # A sign of life opens the stream, so both have the status 200.
    text = configuration(fake.base_url, PLANS, server="keepalive_interval_s = 0.05")
    running = await start(text)
    clock, gate = Hands(running), fake.hold()
    broken = late(family, TURN, "broke")
    first = begun(family, TURN) if telling else []
    fake.always(stream_answer([*first, gate, broken[-1]]))
    key = await running.new_key("three")
    got = await _stream(http, running, key, family, gate)
    assert got.status == 200
    assert b"broke" in got.body
    assert left(running, key, clock) == remaining


async def _stream(
    http: aiohttp.ClientSession,
    running: Running,
    key: str,
    family: ProtocolName,
    gate: asyncio.Event,
) -> Got:
    path, body = request(family, model_of(family), stream=True)
    headers = {"authorization": f"Bearer {key}"}
    async with http.post(running.base_url + path, json=body, headers=headers) as got:
        # The head is out: now the upstream may fail.
        gate.set()
        return await received(got)


@every_family
async def test_refusal_later_in_admission_costs_no_request(
    family: ProtocolName, limited: Running, fake: FakeUpstream, http: aiohttp.ClientSession
) -> None:
    clock = Hands(limited)
    day = await limited.new_key("day")
    fake.always(vendor(Turn(words=("Hello",), usage=USAGE._replace(prompt=990, completion=10))))
    assert (await ask(http, limited, day, family)).status == 200
    assert (await ask(http, limited, day, family)).status == 429
    assert left(limited, day, clock) == 2
    gate = fake.hold()

    async def waiting(_: SeenRequest) -> Answer:
        await gate.wait()
        return stream_answer(frames(family, TURN))

    fake.always(waiting)
    single = await limited.new_key("single")
    first = asyncio.create_task(ask(http, limited, single, family, stream=True))
    await fake.received(2)
    assert (await ask(http, limited, single, family)).status == 429
    assert left(limited, single, clock) == 2
    gate.set()
    assert (await first).status == 200


@every_family
@both_ways
async def test_no_more_than_the_plan_comes_back_in_a_minute(
    family: ProtocolName,
    stream: bool,
    limited: Running,
    fake: FakeUpstream,
    http: aiohttp.ClientSession,
) -> None:
    clock = Hands(limited)
    fake.always(failure(500, protocol=family))
    key = await limited.new_key("three")
    statuses = [(await ask(http, limited, key, family, stream=stream)).status for _ in range(8)]
    # Three of them are given back, the next three are spent.
    assert statuses == [502] * 6 + [429] * 2
    assert len(fake.requests) == 6
    clock.move(59)
    assert left(limited, key, clock) == 2
    assert (await ask(http, limited, key, family, stream=stream)).status == 502
    assert left(limited, key, clock) == 1
    clock.move(2)
    # The minute of the three is over: what fails now comes back again.
    assert left(limited, key, clock) == 2
    assert (await ask(http, limited, key, family, stream=stream)).status == 502
    assert left(limited, key, clock) == 2


async def test_key_that_narrows_gets_its_request_back_as_the_account_does(
    limited: Running, fake: FakeUpstream, http: aiohttp.ClientSession
) -> None:
    clock = Hands(limited)
    fake.always(failure(500))
    key = await limited.new_key("three", requests_per_minute=1)
    assert (await ask(http, limited, key, "openai-chat")).status == 502
    assert left(limited, key, clock) == 1
    assert (await ask(http, limited, key, "openai-chat")).status == 502
    # One a minute is all that the key may get back; the account has its three.
    assert left(limited, key, clock) == 0
    other = await limited.new_key("three")
    assert left(limited, other, clock) == 3
