"""However a call ends: one row, the tokens that are owed, and nothing held any more."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import sqlite3
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest

from kurolproxy.ir import ProtocolName
from kurolproxy.policy.estimate import body_tokens
from tests.conftest import PLANTED_KEY, Running, Starter, soon
from tests.fakes.answers import Answer, Step, failure, frame, json_answer, stream_answer
from tests.fakes.upstream import FakeUpstream
from tests.pairs.vendors import (
    Turn,
    begun,
    frames,
    gemini_usage,
    late,
    responses_usage,
    vendor,
    whole,
)
from tests.server.families import (
    FAMILIES,
    SHORT,
    USAGE,
    Got,
    ask,
    configuration,
    metric,
    model_of,
    plan,
    request,
    rows,
)
from tests.server.scripts import begin, chat_usage, chunk, event, messages_usage

WORDS = ("Hello, this ", "is text.")
WEIGHED = 7  # ceil(20 / 3)
TURN = Turn(words=WORDS, usage=USAGE)
PLANS = "".join(
    (
        plan("day", daily_tokens=1_000_000),
        plan("one", requests_per_minute=1, daily_tokens=1_000_000),
    )
)
TIMEOUTS = "answer_timeout_s = 0.3\nfirst_content_timeout_s = 0.3\nidle_timeout_s = 0.3"


# Messages always has one, so its script has too.
_UNTOLD = re.compile(rb',"usage":\{[^{}]*\}')


def two_ways(base_url: str) -> str:
    """Return models ``f-*`` that have a second way behind the first."""
    text = ""
    for name in FAMILIES:
        for way in ("first", "second"):
            text += f"""
[[upstreams]]
name = "{way}-{SHORT[name]}"
base_url = "{base_url}"
protocols = ["{name}"]
api_keys = ["{PLANTED_KEY}"]
"""
        targets = ", ".join(
            f'{{ upstream = "{way}-{SHORT[name]}", model = "plain", priority = {at} }}'
            for at, way in enumerate(("first", "second"))
        )
        text += f'[[models]]\nid = "f-{SHORT[name]}"\ntargets = [{targets}]\n'
    return text


@pytest.fixture
async def running(fake: FakeUpstream, start: Starter) -> Running:
    fake.always(vendor(TURN))
    text = configuration(fake.base_url, PLANS, server="keepalive_interval_s = 0.1")
    # Only the models' own: the two ways wait for no timeout.
    text = text.replace('targets = [{ upstream = "', f'{TIMEOUTS}\ntargets = [{{ upstream = "')
    return await start(text + two_ways(fake.base_url))


@dataclass(slots=True)
class World:
    """What a case can use."""

    http: aiohttp.ClientSession
    running: Running
    fake: FakeUpstream
    family: ProtocolName
    stream: bool
    key: str

    async def ask(self, **more: Any) -> Got:
        return await ask(self.http, self.running, self.key, self.family, stream=self.stream, **more)

    def says(self, *steps: Step, usage: bool = True) -> Answer:
        """Return the turn of the vendor, streamed or whole, with other steps in its middle."""
        turn = TURN if usage else Turn(words=WORDS, usage=None)
        if self.stream:
            told = frames(self.family, turn)
            if not usage:
                told = [_UNTOLD.sub(b"", each) for each in told]
            head = len(begun(self.family, turn))
            return stream_answer([*told[:head], *steps, *told[head:]])
        body = json.dumps(whole(self.family, turn)).encode()
        return stream_answer(
            [body[:40], *steps, body[40:]] if steps else [body], content_type="application/json"
        )

    async def leave(self, *, after: bytes | None) -> None:
        """Ask, and go away when a piece was read; None: while nothing came yet."""
        path, body = request(self.family, model_of(self.family), stream=self.stream)
        headers = {"authorization": f"Bearer {self.key}"}
        async with aiohttp.ClientSession() as session:
            url = self.running.base_url + path
            asked = asyncio.create_task(session.post(url, json=body, headers=headers))
            await self.fake.received(1)
            if after is not None:
                got, seen = await asked, b""
                while after not in seen:
                    seen += await got.content.readany()
                got.close()
            asked.cancel()
        gone = await self.fake.client_gone()
        assert gone is self.fake.last

    async def settled(self) -> None:
        """Wait until no call runs any more."""
        await soon(lambda: self.running.gateway.state.admission.running == 0)


Case = Callable[[World], Awaitable[object]]


async def answered(world: World) -> None:
    assert (await world.ask()).status == 200


async def answered_without_usage(world: World) -> None:
    world.fake.always(world.says(usage=False))
    assert (await world.ask()).status == 200


async def malformed(world: World) -> None:
    assert (await world.ask(sent=b"{")).status == 400


async def unknown_model(world: World) -> None:
    assert (await world.ask(model="nobody")).status == 404


async def second_of_a_minute(world: World) -> None:
    world.key = await world.running.new_key("one")
    assert (await world.ask()).status == 200
    assert (await world.ask()).status == 429


def upstream_says(status: int, seen: int) -> Case:
    async def case(world: World) -> None:
        world.fake.always(failure(status, protocol=world.family))
        assert (await world.ask()).status == seen

    return case


async def nonsense(world: World) -> None:
    world.fake.always(json_answer({"what": "is this", "usage": {"prompt_tokens": 5}}))
    assert (await world.ask()).status == 502


async def cut_before_content(world: World) -> None:
    world.fake.always(stream_answer([], end="close"))
    assert (await world.ask()).status == 502


async def silent(world: World) -> None:
    world.fake.always(stream_answer([world.fake.hold()]))
    # A sign of life opens a stream before its time is over.
    assert (await world.ask()).status == (200 if world.stream else 504)


async def cut_behind_content(world: World) -> None:
    world.fake.always(stream_answer(begun(world.family, TURN), end="close"))
    assert (await world.ask()).status == 200


async def error_behind_content(world: World) -> None:
    world.fake.always(stream_answer(late(world.family, TURN, "broke")))
    assert (await world.ask()).status == 200


async def silent_behind_content(world: World) -> None:
    world.fake.always(stream_answer([*begun(world.family, TURN), world.fake.hold()]))
    assert (await world.ask()).status == 200


async def client_leaves_before_anything(world: World) -> None:
    hold = world.fake.hold()
    world.fake.always(Answer(hold=hold))
    await world.leave(after=None)


async def client_leaves_in_the_middle(world: World) -> None:
    world.fake.always(world.says(world.fake.hold()))
    await world.leave(after=b"is text." if world.stream else None)


async def client_leaves_behind_a_sign_of_life(world: World) -> None:
    world.fake.always(stream_answer([world.fake.hold()]))
    await world.leave(after=b"\n")


async def first_way_fails(world: World) -> None:
    world.fake.answer(failure(500, protocol=world.family))
    assert (await world.ask(model=f"f-{SHORT[world.family]}")).status == 200
    assert len(world.fake.requests) == 2


async def both_ways_fail(world: World) -> None:
    world.fake.always(failure(500, protocol=world.family))
    assert (await world.ask(model=f"f-{SHORT[world.family]}")).status == 502
    assert len(world.fake.requests) == 2


# Of the prompt: the estimate; what was told at the beginning, if anything was.
EST, SEEN = "estimate", "seen"
Row = tuple[int, str, Any, int, bool]
OK: Row = (200, "ok", 30, 12, False)
NOTHING: list[Row] = []

# Name, case, row when whole, row when streamed; None: there is no such end.
CASES: list[tuple[str, Case, list[Row] | None, list[Row] | None]] = [
    ("answered", answered, [OK], [OK]),
    ("answered without usage", answered_without_usage,
     [(200, "ok", EST, WEIGHED, True)], [(200, "ok", EST, WEIGHED, True)]),
    ("malformed", malformed, NOTHING, NOTHING),
    ("unknown model", unknown_model, NOTHING, NOTHING),
    ("second of a minute", second_of_a_minute, [OK], [OK]),
    ("upstream 400", upstream_says(400, 400),
     [(400, "bad_request", 0, 0, False)], [(400, "bad_request", 0, 0, False)]),
    ("upstream 413", upstream_says(413, 413),
     [(413, "too_large", 0, 0, False)], [(413, "too_large", 0, 0, False)]),
    ("upstream 401", upstream_says(401, 502),
     [(502, "upstream_error", 0, 0, False)], [(502, "upstream_error", 0, 0, False)]),
    ("upstream 500", upstream_says(500, 502),
     [(502, "upstream_error", 0, 0, False)], [(502, "upstream_error", 0, 0, False)]),
    ("nonsense", nonsense,
     [(502, "upstream_error", 0, 0, False)], [(502, "upstream_error", 0, 0, False)]),
    ("cut before content", cut_before_content,
     [(502, "upstream_error", 0, 0, False)], [(502, "upstream_error", 0, 0, False)]),
    ("silent", silent,
     [(504, "upstream_timeout", 0, 0, False)], [(200, "upstream_timeout", 0, 0, False)]),
    ("cut behind content", cut_behind_content,
     None, [(200, "upstream_error", SEEN, WEIGHED, True)]),
    ("error behind content", error_behind_content,
     None, [(200, "upstream_error", SEEN, WEIGHED, True)]),
    ("silent behind content", silent_behind_content,
     None, [(200, "upstream_timeout", SEEN, WEIGHED, True)]),
    ("client leaves before anything", client_leaves_before_anything,
     [(499, "client_gone", EST, 0, True)], [(499, "client_gone", EST, 0, True)]),
    ("client leaves in the middle", client_leaves_in_the_middle,
     [(499, "client_gone", EST, 0, True)], [(200, "client_gone", SEEN, WEIGHED, True)]),
    ("client leaves behind a sign of life", client_leaves_behind_a_sign_of_life,
     None, [(200, "client_gone", EST, 0, True)]),
    ("first way fails", first_way_fails, [OK], [OK]),
    ("both ways fail", both_ways_fail,
     [(502, "upstream_error", 0, 0, False)], [(502, "upstream_error", 0, 0, False)]),
]  # fmt: skip
TABLE = [
    pytest.param(case, stream, expected, id=f"{name}-{'stream' if stream else 'whole'}")
    for name, case, *both in CASES
    for stream, expected in zip((False, True), both, strict=True)
    if expected is not None
]
every_family = pytest.mark.parametrize("family", FAMILIES, ids=[SHORT[each] for each in FAMILIES])


@pytest.mark.parametrize(("case", "stream", "expected"), TABLE)
@every_family
async def test_call_is_booked_once_and_holds_nothing_behind_its_end(
    case: Case,
    stream: bool,
    expected: list[Row],
    family: ProtocolName,
    running: Running,
    fake: FakeUpstream,
    http: aiohttp.ClientSession,
) -> None:
    world = World(http, running, fake, family, stream, await running.new_key("day"))
    await case(world)
    await world.settled()
    found = await rows(running)
    shown = [
        (row["status"], row["outcome"], row["prompt"], row["completion"], bool(row["estimated"]))
        for row in found
    ]
    assert shown == [_resolved(row, family, stream) for row in expected]
    for row in found:
        assert row["charged"] == row["prompt"] + row["completion"]
    admission = running.gateway.state.admission
    assert admission.reserved == 0
    used = await _used(world)
    assert used == (sum(row["charged"] for row in found), 0)


def _resolved(row: Row, family: ProtocolName, stream: bool) -> Row:
    status, outcome, prompt, completion, estimated = row
    if prompt is SEEN and family == "anthropic":
        prompt = 30
    elif prompt in (SEEN, EST):
        _, body = request(family, model_of(family), stream=stream)
        prompt = body_tokens(json.dumps(body).encode())
    return status, outcome, prompt, completion, estimated


async def _used(world: World) -> tuple[int, int]:
    headers = {"authorization": f"Bearer {world.key}"}
    async with world.http.get(world.running.base_url + "/v1/usage", headers=headers) as got:
        daily = (await got.json())["daily_tokens"]
    return daily["used"], daily["reserved"]


@every_family
@pytest.mark.parametrize(
    ("stream", "status", "expected"),
    [
        (False, 503, (503, "overloaded", 0, 0, False)),
        (True, 200, (200, "overloaded", SEEN, WEIGHED, True)),
    ],
    ids=["whole", "stream"],
)
async def test_call_that_a_shutdown_ends_is_booked(
    stream: bool,
    status: int,
    expected: Row,
    family: ProtocolName,
    running: Running,
    fake: FakeUpstream,
    http: aiohttp.ClientSession,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Nobody waits for calls that go on for ever.
    monkeypatch.setattr("kurolproxy.app._SHUTDOWN_S", 0.05)
    world = World(http, running, fake, family, stream, await running.new_key("day"))
    fake.always(world.says(fake.hold()))
    heard = asyncio.Event()
    asked = asyncio.create_task(_listen(world, heard))
    state = running.gateway.state
    await fake.received(1)
    if stream:
        await heard.wait()
    (database,) = await running.gateway.database.read("PRAGMA database_list")
    await running.gateway.stop()
    got, body = await asked
    assert (got, b"shutting down" in body) == (status, True)
    with contextlib.closing(sqlite3.connect(database["file"])) as ledger:
        (row,) = ledger.execute(
            "SELECT status, outcome, prompt, completion, estimated, charged FROM usage"
        )
    assert (*row[:4], bool(row[4])) == _resolved(expected, family, stream)
    assert row[5] == row[2] + row[3]
    assert state.admission.reserved == state.admission.running == 0


async def _listen(world: World, heard: asyncio.Event) -> tuple[int, bytes]:
    """Read an answer to its end, and tell when its words were heard."""
    model = f"f-{SHORT[world.family]}"
    path, sent = request(world.family, model, stream=world.stream)
    headers = {"authorization": f"Bearer {world.key}"}
    url = world.running.base_url + path
    async with world.http.post(url, json=sent, headers=headers) as got:
        body = b""
        async for piece in got.content.iter_any():
            body += piece
            if b"is text." in body:
                heard.set()
        return got.status, body


# --- what failed attempts cost ---------------------------------------------------------------

_BROKEN = {"message": "broke", "type": "server_error", "code": None}


def told_and_broken(family: ProtocolName, *, stream: bool) -> Answer:
    """Return an answer that tells its usage, has no content, and fails."""
    if stream:
        return stream_answer(_STREAMS[family])
    if family == "openai-chat":
        return json_answer({"error": _BROKEN, "usage": chat_usage(USAGE)})
    if family == "openai-responses":
        return json_answer(_FAILED)
    return json_answer({"error": {"code": 500, "message": "x"}, "usageMetadata": _GEMINI})


_GEMINI = gemini_usage(USAGE)
_FAILED = {
    **whole("openai-responses", TURN),
    "status": "failed",
    "output": [],
    "error": {"code": "server_error", "message": "broke"},
    "usage": responses_usage(USAGE),
}
_STREAMS: dict[ProtocolName, list[bytes]] = {
    "openai-chat": [chunk(None, usage=chat_usage(USAGE)), frame({"error": _BROKEN})],
    "openai-responses": [event("response.failed", response=_FAILED)],
    "anthropic": [
        begin(messages_usage(USAGE)),
        event("error", error={"type": "api_error", "message": "broke"}),
    ],
    "gemini": [
        frame({"usageMetadata": _GEMINI}),
        frame({"error": {"code": 500, "message": "broke", "status": "INTERNAL"}}),
    ],
}


@pytest.mark.parametrize(
    ("family", "stream", "wasted"),
    [
        ("openai-chat", False, 42),
        ("openai-chat", True, 42),
        ("openai-responses", False, 42),
        ("openai-responses", True, 42),
        # Its error has no place for a usage, and its beginning knows the prompt alone.
        ("anthropic", True, 30),
        ("gemini", False, 42),
        ("gemini", True, 42),
    ],
)
@pytest.mark.parametrize("heals", [True, False], ids=["second way answers", "both fail"])
async def test_tokens_of_failed_attempts_are_not_the_accounts(
    family: ProtocolName,
    stream: bool,
    wasted: int,
    heals: bool,
    running: Running,
    fake: FakeUpstream,
    http: aiohttp.ClientSession,
) -> None:
    world = World(http, running, fake, family, stream, await running.new_key("day"))
    broken = told_and_broken(family, stream=stream)
    fake.answer(broken, world.says() if heals else broken)
    got = await world.ask(model=f"f-{SHORT[family]}")
    assert got.status == (200 if heals else 502)
    (row,) = await rows(running)
    assert row["charged"] == (42 if heals else 0)
    assert row["upstream"] == f"second-{SHORT[family]}"
    for way, expected in (("first", wasted), ("second", 0 if heals else wasted)):
        label = f'upstream="{way}-{SHORT[family]}"'
        assert metric(running, "kurol_upstream_wasted_tokens_total", label) == expected


async def test_absurd_usage_of_a_failed_attempt_is_counted_too(
    running: Running, fake: FakeUpstream, http: aiohttp.ClientSession
) -> None:
    world = World(http, running, fake, "openai-chat", False, await running.new_key("day"))
    fake.answer(json_answer({"error": _BROKEN, "usage": {"prompt_tokens": -1}}), world.says())
    assert (await world.ask(model="f-chat")).status == 200
    counted = metric(running, "kurol_clamped_usage_total", 'upstream="first-chat"')
    assert counted == 1


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_fault_of_ours_in_the_settlement_leaves_nothing_reserved(
    stream: bool,
    running: Running,
    fake: FakeUpstream,
    http: aiohttp.ClientSession,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ValueError("a fault of ours")

    monkeypatch.setattr("kurolproxy.server.exchange.booked", fail)
    world = World(http, running, fake, "openai-chat", stream, await running.new_key("day"))
    fake.answer(world.says())
    with contextlib.suppress(aiohttp.ClientError):
        await world.ask()
    admission = running.gateway.state.admission
    await soon(lambda: not admission.running)
    assert admission.reserved == 0
