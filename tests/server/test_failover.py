"""The first of several ways fails: the client sees one clean answer all the same."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator, Callable
from itertools import count

import aiohttp
import pytest

from kurolproxy.ir import ProtocolName
from tests.conftest import Starter
from tests.fakes.answers import (
    Answer,
    bytes_answer,
    chat_answer,
    failure,
    refusing_url,
    stream_answer,
)
from tests.fakes.upstream import FakeUpstream, SeenRequest
from tests.pairs.vendors import Turn, begun, frames, late, protocol_of, streams, vendor
from tests.server.families import (
    FAMILIES,
    SHORT,
    USAGE,
    Hands,
    ask,
    both_ways,
    every_family,
    metric,
    model_of,
    rows,
)

TURN = Turn(words=("Hello", " there"), usage=USAGE)
WASTED = Turn(words=("Never",), usage=USAGE._replace(prompt=77, completion=5))
TIMES = "first_content_timeout_s = 0.4\nanswer_timeout_s = 0.4\nidle_timeout_s = 0.4\n"


@pytest.fixture
async def second() -> AsyncIterator[FakeUpstream]:
    async with FakeUpstream() as upstream:
        upstream.always(vendor(TURN))
        yield upstream


def setup(first: str, second: str, *, keys: str = '"k1"', more: str = "", model: str = "") -> str:
    """Return a configuration: each model has a target at both upstreams, the first comes first."""
    text = """
[server]
listen = "127.0.0.1:0"
state_dir = "state"
[metrics]
listen = "127.0.0.1:0"
[[plans]]
name = "default"
models = ["*"]
requests_per_minute = 1_000_000
daily_tokens = 1_000_000
"""
    for name in FAMILIES:
        short = SHORT[name]
        text += f"""
[[upstreams]]
name = "{short}-1"
base_url = "{first}"
protocols = ["{name}"]
api_keys = [{keys}]
{more}
[[upstreams]]
name = "{short}-2"
base_url = "{second}"
protocols = ["{name}"]
api_keys = ["k-second"]
[[models]]
id = "{model_of(name)}"
targets = [
    {{ upstream = "{short}-1", model = "plain" }},
    {{ upstream = "{short}-2", model = "plain", priority = 1 }},
]
{model or TIMES}
"""
    return text


def errs_first(seen: SeenRequest) -> Answer:
    """Break off before the first content, with an error where it streams."""
    protocol = protocol_of(seen)
    if not streams(seen):
        return failure(500, protocol=protocol)
    told = late(protocol, TURN, "overloaded")
    return stream_answer(told[len(begun(protocol, TURN)) :])


def begins_and_closes(seen: SeenRequest) -> Answer:
    """Send what comes before the content, then close."""
    if not streams(seen):
        return bytes_answer(b'{"id": "')
    return stream_answer([b": comment\n\n"], end="close")


def hangs(_: SeenRequest) -> Answer:
    return Answer((30.0,), content_type="text/event-stream")


Fault = Callable[[SeenRequest], Answer]
FAULTS: dict[str, tuple[Fault, str]] = {
    **{
        str(status): ((lambda _, s=status: failure(s)), "upstream_error")
        for status in (401, 402, 403, 404, 408, 409, 425, 429, 500, 502, 503, 529)
    },
    "stalls": (hangs, "upstream_timeout"),
    "malformed": (lambda _: bytes_answer(b"<html>", "text/html"), "upstream_error"),
    "errs before content": (errs_first, "upstream_error"),
    "begins and closes": (begins_and_closes, "upstream_error"),
}


@both_ways
@every_family
@pytest.mark.parametrize("fault", FAULTS)
async def test_second_target_answers_for_the_first(
    fault: str,
    family: ProtocolName,
    stream: bool,
    start: Starter,
    fake: FakeUpstream,
    second: FakeUpstream,
    http: aiohttp.ClientSession,
) -> None:
    does, outcome = FAULTS[fault]
    fake.always(does)
    running = await start(setup(fake.base_url, second.base_url))
    got = await ask(http, running, running.key, family, stream=stream)
    assert got.status == 200
    assert b"there" in got.body
    assert b"error" not in re.sub(rb'"error": ?null', b"", got.body)
    assert (len(fake.requests), len(second.requests)) == (1, 1)
    (row,) = await rows(running)
    assert (row["upstream"], row["outcome"]) == (f"{SHORT[family]}-2", "ok")
    assert row["charged"] == USAGE.prompt + USAGE.completion
    for number, told in ((1, outcome), (2, "ok")):
        labels = (f'upstream="{SHORT[family]}-{number}"', f'outcome="{told}"')
        assert metric(running, "kurol_upstream_requests_total", *labels) == 1
    assert running.gateway.state.admission.reserved == 0
    assert running.gateway.status()["upstreams"][0]["running"] == 0


@both_ways
async def test_refused_connection_is_another_ways_turn(
    stream: bool, start: Starter, second: FakeUpstream, http: aiohttp.ClientSession
) -> None:
    running = await start(setup(refusing_url(), second.base_url))
    got = await ask(http, running, running.key, "openai-chat", stream=stream)
    assert (got.status, len(second.requests)) == (200, 1)


@every_family
async def test_stream_that_breaks_after_content_is_an_error_and_no_second_stream(
    family: ProtocolName,
    start: Starter,
    fake: FakeUpstream,
    second: FakeUpstream,
    http: aiohttp.ClientSession,
) -> None:
    fake.always(stream_answer(begun(family, TURN), end="close"))
    running = await start(setup(fake.base_url, second.base_url))
    got = await ask(http, running, running.key, family, stream=True)
    assert got.status == 200
    assert b"there" in got.body
    assert b"broke off" in got.body
    assert not second.requests
    (row,) = await rows(running)
    assert (row["upstream"], row["outcome"]) == (f"{SHORT[family]}-1", "upstream_error")


@every_family
async def test_second_target_answers_behind_the_signs_of_life_of_the_first(
    family: ProtocolName,
    start: Starter,
    fake: FakeUpstream,
    second: FakeUpstream,
    http: aiohttp.ClientSession,
) -> None:
    fake.always(hangs)
    text = setup(fake.base_url, second.base_url)
    running = await start(text.replace("[metrics]", "keepalive_interval_s = 0.1\n[metrics]"))
    got = await ask(http, running, running.key, family, stream=True)
    assert got.status == 200
    assert b"there" in got.body
    assert b"error" not in re.sub(rb'"error": ?null', b"", got.body)
    (row,) = await rows(running)
    assert row["upstream"] == f"{SHORT[family]}-2"


@both_ways
@every_family
async def test_next_target_may_speak_another_protocol(
    family: ProtocolName,
    stream: bool,
    start: Starter,
    fake: FakeUpstream,
    second: FakeUpstream,
    http: aiohttp.ClientSession,
) -> None:
    fake.always(errs_first)
    # The first target of each model becomes that of the family after it.
    after = dict(zip(FAMILIES, (*FAMILIES[1:], FAMILIES[0]), strict=True))
    text = setup(fake.base_url, second.base_url)
    for name in FAMILIES:
        old = f'name = "{SHORT[name]}-1"\nbase_url = "{fake.base_url}"\nprotocols = ["{name}"]'
        assert old in text
        text = text.replace(old, old.replace(f'["{name}"]', f'["{after[name]}"]'))
    running = await start(text)
    got = await ask(http, running, running.key, family, stream=stream)
    assert got.status == 200
    assert b"there" in got.body
    assert (len(fake.requests), len(second.requests)) == (1, 1)


@pytest.mark.parametrize("status", [400, 413, 422])
async def test_refused_request_goes_back_at_once(
    status: int,
    start: Starter,
    fake: FakeUpstream,
    second: FakeUpstream,
    http: aiohttp.ClientSession,
) -> None:
    fake.always(failure(status))
    running = await start(setup(fake.base_url, second.base_url))
    for number in range(25):
        got = await ask(http, running, running.key, "openai-chat")
        assert got.status == (413 if status == 413 else 400)
        assert len(fake.requests) == number + 1
    assert not second.requests


async def test_tokens_of_an_attempt_that_failed_are_wasted_and_not_charged(
    start: Starter, fake: FakeUpstream, second: FakeUpstream, http: aiohttp.ClientSession
) -> None:
    told = frames("anthropic", WASTED)[0]
    fake.always(stream_answer([told], end="close"))
    running = await start(setup(fake.base_url, second.base_url))
    got = await ask(http, running, running.key, "anthropic", stream=True)
    assert got.status == 200
    (row,) = await rows(running)
    assert row["charged"] == USAGE.prompt + USAGE.completion
    wasted = metric(running, "kurol_upstream_wasted_tokens_total", 'upstream="messages-1"')
    assert wasted >= 77


async def test_credential_is_replaced_by_the_next_one_of_the_same_upstream(
    start: Starter, fake: FakeUpstream, second: FakeUpstream, http: aiohttp.ClientSession
) -> None:
    def by_key(seen: SeenRequest) -> Answer:
        good = seen.header("authorization") == "Bearer k2"
        answer = vendor(TURN)(seen) if good else failure(401)
        assert isinstance(answer, Answer)
        return answer

    fake.always(by_key)
    running = await start(setup(fake.base_url, second.base_url, keys='"k1", "k2"'))
    for _ in range(3):
        assert (await ask(http, running, running.key, "openai-chat")).status == 200
    # The first credential rests: it is not asked again.
    seen = [each.header("authorization") for each in fake.requests]
    assert seen == ["Bearer k1", "Bearer k2", "Bearer k2", "Bearer k2"]
    assert not second.requests
    facts = running.gateway.status()["upstreams"][0]
    assert [each["credential"] for each in facts["resting"]] == [1]
    lines = running.lines()
    assert '"event":"upstream_rests"' in lines
    assert '"credential":1' in lines
    assert "k1" not in lines


async def test_three_attempts_and_no_more(
    start: Starter, fake: FakeUpstream, second: FakeUpstream, http: aiohttp.ClientSession
) -> None:
    fake.always(failure(500))
    keys = '"k1", "k2", "k3"'
    running = await start(setup(fake.base_url, second.base_url, keys=keys))
    got = await ask(http, running, running.key, "openai-chat")
    assert got.status == 502
    assert (len(fake.requests), len(second.requests)) == (3, 0)


async def test_failure_that_may_pass_is_told_before_one_that_cannot(
    start: Starter, fake: FakeUpstream, second: FakeUpstream, http: aiohttp.ClientSession
) -> None:
    fake.always(failure(500))
    second.always(failure(401))
    running = await start(setup(fake.base_url, second.base_url))
    got = await ask(http, running, running.key, "openai-chat")
    assert (got.status, got.advice) == (502, ("1", None))


async def test_all_attempts_share_one_time(
    start: Starter, fake: FakeUpstream, second: FakeUpstream, http: aiohttp.ClientSession
) -> None:
    fake.always(hangs)
    keys = '"k1", "k2", "k3"'
    running = await start(setup(fake.base_url, second.base_url, keys=keys))
    got = await ask(http, running, running.key, "openai-chat", stream=True)
    assert got.status == 504
    # Twice the time of one: the third has none left.
    assert len(fake.requests) == 2


# --- when all rest --------------------------------------------------------------------------


async def test_upstream_that_failed_twenty_times_rests_and_one_request_probes_it(
    start: Starter, fake: FakeUpstream, http: aiohttp.ClientSession
) -> None:
    fake.always(failure(500))
    text = setup(fake.base_url, fake.base_url, model="idle_timeout_s = 10")
    single = "\n".join(line for line in text.splitlines() if '-2", model' not in line)
    running = await start(single)
    hands = Hands(running)
    for _ in range(20):
        assert (await ask(http, running, running.key, "openai-chat")).status == 502
    got = await ask(http, running, running.key, "openai-chat")
    assert (got.status, got.advice) == (503, ("5", None))
    assert len(fake.requests) == 20
    assert metric(running, "kurol_upstream_up", 'upstream="chat-1"') == 0
    assert metric(running, "kurol_upstream_up", 'upstream="messages-1"') == 1
    # Another upstream is asked as before.
    assert (await ask(http, running, running.key, "anthropic")).status == 502

    hands.move(5.0)
    gate = fake.hold_each(chat_answer(3, 4))
    calls = [
        asyncio.create_task(ask(http, running, running.key, "openai-chat")) for _ in range(100)
    ]
    async with asyncio.timeout(10):
        while sum(each.done() for each in calls) < 99:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    done = [each for each in calls if each.done()]
    assert Counter(each.result().status for each in done) == {503: 99}
    assert len(fake.requests) == 22
    gate.set()
    probe = await next(each for each in calls if each not in done)
    assert probe.status == 200
    assert metric(running, "kurol_upstream_up", 'upstream="chat-1"') == 1
    again = await asyncio.gather(
        *(ask(http, running, running.key, "openai-chat") for _ in range(20))
    )
    assert {each.status for each in again} == {200}


async def test_resting_target_leaves_its_requests_to_the_next_without_an_attempt(
    start: Starter, fake: FakeUpstream, second: FakeUpstream, http: aiohttp.ClientSession
) -> None:
    fake.always(failure(503, retry_after="120"))
    running = await start(setup(fake.base_url, second.base_url))
    hands = Hands(running)
    for _ in range(3):
        assert (await ask(http, running, running.key, "openai-chat")).status == 200
    assert len(fake.requests) == 1
    hands.move(119)
    await ask(http, running, running.key, "openai-chat")
    assert len(fake.requests) == 1
    hands.move(1)
    await ask(http, running, running.key, "openai-chat")
    assert len(fake.requests) == 2


async def test_probe_shows_that_it_works_at_its_first_content(
    start: Starter, fake: FakeUpstream, http: aiohttp.ClientSession
) -> None:
    text = setup(fake.base_url, refusing_url(), model="idle_timeout_s = 10")
    running = await start(text)
    hands = Hands(running)
    fake.always(failure(503, retry_after="1"))
    assert (await ask(http, running, running.key, "openai-chat")).status == 502
    hands.move(1)
    gate = fake.hold()
    told = frames("openai-chat", TURN)
    at = len(begun("openai-chat", TURN))
    fake.always(stream_answer([*told[:at], gate, *told[at:]]))
    probe = asyncio.create_task(ask(http, running, running.key, "openai-chat", stream=True))
    async with asyncio.timeout(5):
        while not metric(running, "kurol_upstream_up", 'upstream="chat-1"'):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        while running.gateway.status()["upstreams"][0]["resting"]:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    gate.set()
    assert (await probe).status == 200


async def test_judged_request_shows_that_the_upstream_works(
    start: Starter, fake: FakeUpstream, http: aiohttp.ClientSession
) -> None:
    running = await start(setup(fake.base_url, refusing_url()))
    hands = Hands(running)
    fake.always(failure(503, retry_after="1"))
    assert (await ask(http, running, running.key, "openai-chat")).status == 502
    hands.move(1)
    fake.always(failure(400))
    assert (await ask(http, running, running.key, "openai-chat")).status == 400
    assert running.gateway.status()["upstreams"][0]["resting"] == []


async def test_reused_connection_that_dies_lets_nothing_rest(
    start: Starter, fake: FakeUpstream, http: aiohttp.ClientSession
) -> None:
    running = await start(setup(fake.base_url, refusing_url()))
    fake.always(vendor(TURN))
    for _ in range(3):
        assert (await ask(http, running, running.key, "openai-chat")).status == 200
    assert running.gateway.status()["upstreams"][0]["resting"] == []


# --- concurrency and affinity -------------------------------------------------------------------


async def test_full_upstream_passes_requests_on_and_a_full_model_is_a_503(
    start: Starter, fake: FakeUpstream, second: FakeUpstream, http: aiohttp.ClientSession
) -> None:
    gate = fake.hold_each(chat_answer(3, 4))
    text = setup(fake.base_url, second.base_url, more="max_concurrent = 2")
    running = await start(text.replace('api_keys = ["k-second"]', "max_concurrent = 1"))
    first = [asyncio.create_task(ask(http, running, running.key, "openai-chat")) for _ in range(2)]
    await fake.received(2)
    assert (await ask(http, running, running.key, "openai-chat")).status == 200
    assert (len(fake.requests), len(second.requests)) == (2, 1)
    held = second.hold_each(chat_answer(3, 4))
    third = asyncio.create_task(ask(http, running, running.key, "openai-chat"))
    await second.received(2)
    got = await ask(http, running, running.key, "openai-chat")
    assert (got.status, got.advice) == (503, ("1", None))
    assert b"as many requests as they may" in got.body
    gate.set()
    held.set()
    assert {(await each).status for each in (*first, third)} == {200}
    assert (await ask(http, running, running.key, "openai-chat")).status == 200


async def test_sessions_stay_and_only_those_of_a_resting_target_move(
    start: Starter, fake: FakeUpstream, second: FakeUpstream, http: aiohttp.ClientSession
) -> None:
    fake.always(vendor(TURN))
    even = setup(fake.base_url, second.base_url).replace(", priority = 1", "")
    running = await start(even)
    hands = Hands(running)

    async def homes() -> dict[str, str]:
        found = {}
        for number in range(24):
            session = f"session-{number}"
            got = await ask(
                http, running, running.key, "openai-chat", headers={"x-session-id": session}
            )
            assert got.status == 200
            found[session] = (await rows(running))[-1]["upstream"]
        return found

    before = await homes()
    assert set(before.values()) == {"chat-1", "chat-2"}
    assert await homes() == before
    numbers = count()
    second.always(lambda seen: failure(503, retry_after="60") if next(numbers) == 0 else good(seen))
    assert set((await homes()).values()) == {"chat-1"}
    hands.move(61)
    assert await homes() == before


def good(seen: SeenRequest) -> Answer:
    answer = vendor(TURN)(seen)
    assert isinstance(answer, Answer)
    return answer
