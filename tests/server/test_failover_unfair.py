"""No caller decides for the others what rests, and no attempt speaks for another one."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from dataclasses import replace

import aiohttp
import pytest

from kurolproxy.config.load import parse
from kurolproxy.ir import ProtocolName
from kurolproxy.reloading import setup_of
from tests.conftest import Running, Starter, soon
from tests.fakes.answers import Answer, chat_answer, failure, stream_answer
from tests.fakes.upstream import FakeUpstream, SeenRequest
from tests.pairs.vendors import Turn, begun, frames, vendor
from tests.server.families import USAGE, Hands, ask, every_family, metric, rows

TURN = Turn(words=("Hello", " there"), usage=USAGE)
STRICT = {"x-kurol-strict": "1"}
# Messages has no word for it.
UNSPEAKABLE = {"seed": 7}


@pytest.fixture
async def second() -> AsyncIterator[FakeUpstream]:
    async with FakeUpstream() as upstream:
        upstream.always(vendor(TURN))
        yield upstream


def upstream(name: str, base_url: str, protocol: str = "openai-chat", more: str = "") -> str:
    keys = "" if "api_keys" in more else 'api_keys = ["k"]\n'
    return f"""
[[upstreams]]
name = "{name}"
base_url = "{base_url}"
protocols = ["{protocol}"]
{keys}{more}
"""


def setup(*upstreams: str, model: str = "", server: str = "") -> str:
    """Return a configuration of one model, whose targets come in the order of the upstreams."""
    names = re.findall(r'(?m)^name = "(.*)"$', "".join(upstreams))
    targets = ", ".join(
        f'{{ upstream = "{name}", model = "plain", priority = {number} }}'
        for number, name in enumerate(names)
    )
    return f"""
[server]
listen = "127.0.0.1:0"
state_dir = "state"
{server}
[metrics]
listen = "127.0.0.1:0"
[[plans]]
name = "default"
models = ["*"]
{"".join(upstreams)}
[[models]]
id = "m"
targets = [{targets}]
{model}
"""


def body(*, stream: bool = False, **more: object) -> bytes:
    said = {"model": "m", "messages": [{"role": "user", "content": "x"}], "stream": stream}
    return json.dumps({**said, **more}).encode()


async def call(
    http: aiohttp.ClientSession,
    running: Running,
    *,
    key: str = "",
    family: ProtocolName = "openai-chat",
    **more: object,
) -> tuple[int, bytes, tuple[str | None, str | None]]:
    """Return status, body and advice of one call of the model."""
    headers = STRICT if "seed" in more else {}
    sent = body(**more) if family == "openai-chat" else None  # type: ignore[arg-type]
    got = await ask(
        http, running, key or running.key, family, model="m", headers=headers, sent=sent
    )
    return got.status, got.body, got.advice


def resting(running: Running) -> list[str]:
    """Return which upstreams have something that rests."""
    found = running.gateway.status()["upstreams"]
    return [each["name"] for each in found if each["resting"]]


# --- what one caller sends ----------------------------------------------------------


def by_prompt(status: int) -> object:
    """Answer, but with a status of its own where the prompt says "bad"."""

    def answer(seen: SeenRequest) -> Answer:
        good = vendor(TURN)(seen)
        assert isinstance(good, Answer)
        return failure(status) if b"bad" in seen.body else good

    return answer


@pytest.mark.parametrize(("status", "times"), [(403, 1), (404, 1), (500, 20)])
async def test_prompt_that_a_vendor_refuses_closes_the_model_to_no_other_account(
    status: int, times: int, start: Starter, fake: FakeUpstream, http: aiohttp.ClientSession
) -> None:
    fake.always(by_prompt(status))  # type: ignore[arg-type]
    running = await start(setup(upstream("one", fake.base_url)))
    Hands(running)
    bad = await running.new_key("default")
    for _ in range(times):
        assert (await call(http, running, key=bad, user="bad"))[0] == 502
    # For who met it the way rests, as design and faults have it.
    assert (await call(http, running, key=bad, user="bad"))[0] == 503
    assert len(fake.requests) == times
    for _ in range(2):
        assert (await call(http, running))[0] == 200
    # Another one's answer shows that it works.
    assert (await call(http, running, key=bad))[0] == 200


async def test_status_names_the_account_that_a_way_rests_for(
    start: Starter, fake: FakeUpstream, http: aiohttp.ClientSession
) -> None:
    fake.always(failure(403))
    running = await start(setup(upstream("one", fake.base_url)))
    Hands(running)
    await call(http, running)
    (one,) = running.gateway.status()["upstreams"]
    assert [each["account"] for each in one["resting"]] == [1]
    assert '"account":1' in running.lines()
    await call(http, running, key=await running.new_key("default"))
    (one,) = running.gateway.status()["upstreams"]
    assert [each["account"] for each in one["resting"]] == [None]


async def test_request_that_a_target_cannot_be_asked_is_the_next_ones(
    start: Starter, fake: FakeUpstream, second: FakeUpstream, http: aiohttp.ClientSession
) -> None:
    running = await start(
        setup(upstream("one", fake.base_url, "anthropic"), upstream("two", second.base_url))
    )
    status, _, _ = await call(http, running, **UNSPEAKABLE)
    assert (status, len(fake.requests), len(second.requests)) == (200, 0, 1)
    (row,) = await rows(running)
    assert (row["upstream"], row["upstream_protocol"]) == ("two", "openai-chat")


async def test_request_that_no_target_can_be_asked_is_the_callers_fault(
    start: Starter, fake: FakeUpstream, http: aiohttp.ClientSession
) -> None:
    running = await start(setup(*(upstream(n, fake.base_url, "anthropic") for n in "ab")))
    status, told, _ = await call(http, running, **UNSPEAKABLE)
    assert status == 400
    assert b"seed" in told
    assert not fake.requests
    assert running.gateway.status()["upstreams"][0]["running"] == 0


async def test_request_that_is_never_sent_is_no_probe_and_shows_nothing(
    start: Starter, fake: FakeUpstream, http: aiohttp.ClientSession
) -> None:
    """Also not behind another attempt, whose status is not this one's."""
    sick = upstream("sick", fake.base_url, more='paths = { openai-chat = "/sick" }')
    running = await start(setup(sick, upstream("one", fake.base_url, "anthropic")))
    hands = Hands(running)
    fake.always(failure(503, retry_after="2"))
    assert (await call(http, running))[0] == 502
    assert resting(running) == ["sick", "one"]
    hands.move(2)
    fake.always(lambda seen: failure(500) if "sick" in seen.path else good(seen))
    sent = len(fake.requests)
    assert (await call(http, running, **UNSPEAKABLE))[0] == 502
    assert len(fake.requests) == sent + 1
    # It may be probed at once: nobody was.
    assert (await call(http, running))[0] == 200
    assert "one" not in resting(running)


def good(seen: SeenRequest) -> Answer:
    answer = vendor(TURN)(seen)
    assert isinstance(answer, Answer)
    return answer


async def test_client_of_a_probe_that_leaves_hands_the_probe_on(
    start: Starter, fake: FakeUpstream, http: aiohttp.ClientSession
) -> None:
    running = await start(setup(upstream("one", fake.base_url)))
    hands = Hands(running)
    fake.always(failure(503, retry_after="1"))
    assert (await call(http, running))[0] == 502
    hands.move(1)
    gate = fake.hold_each(chat_answer(3, 4))
    probe = asyncio.create_task(call(http, running))
    await fake.received(2)
    assert (await call(http, running))[0] == 503
    probe.cancel()
    await soon(lambda: running.gateway.status()["upstreams"][0]["running"] == 0)
    gate.set()
    assert (await call(http, running))[0] == 200


async def test_stream_that_ends_does_not_end_the_pause_that_the_vendor_asked_for_meanwhile(
    start: Starter, fake: FakeUpstream, http: aiohttp.ClientSession
) -> None:
    running = await start(setup(upstream("one", fake.base_url), model="idle_timeout_s = 10"))
    hands = Hands(running)
    gate = fake.hold()
    told, at = frames("openai-chat", TURN), len(begun("openai-chat", TURN))
    fake.answer(stream_answer([*told[:at], gate, *told[at:]]))
    long = asyncio.create_task(call(http, running, stream=True))
    await soon(lambda: running.gateway.state.metrics.streams_in_flight == 1)
    hands.move(10)
    fake.answer(failure(429, retry_after="60"))
    assert (await call(http, running))[0] == 502
    gate.set()
    assert (await long)[0] == 200
    hands.move(1)
    assert (await call(http, running))[0] == 503
    assert len(fake.requests) == 2


# --- which error a client sees ------------------------------------------------------


async def test_refused_credential_beside_a_pause_is_an_error_that_passes(
    start: Starter, fake: FakeUpstream, second: FakeUpstream, http: aiohttp.ClientSession
) -> None:
    running = await start(setup(upstream("one", fake.base_url), upstream("two", second.base_url)))
    Hands(running)
    second.always(failure(503, retry_after="7"))
    fake.answer(failure(500), failure(401))
    assert (await call(http, running))[0] == 502
    status, _, advice = await call(http, running)
    assert (status, advice) == (503, ("7", None))


async def test_three_refused_credentials_before_a_good_one_are_an_error_that_passes(
    start: Starter, fake: FakeUpstream, http: aiohttp.ClientSession
) -> None:
    fake.always(lambda seen: good(seen) if seen.header("authorization")[-1:] == "4" else no)  # type: ignore[index]
    no = failure(401)
    keys = 'api_keys = ["k1", "k2", "k3", "k4"]'
    running = await start(setup(upstream("one", fake.base_url, more=keys)))
    status, _, (_, should_retry) = await call(http, running)
    assert (status, should_retry) == (502, None)
    assert (await call(http, running))[0] == 200
    assert len(fake.requests) == 4


# --- time ---------------------------------------------------------------------------


@every_family
async def test_silence_of_the_client_goes_on_from_attempt_to_attempt(
    family: ProtocolName, start: Starter, fake: FakeUpstream, http: aiohttp.ClientSession
) -> None:
    late = Answer((0.4,), status=500)
    fake.always(lambda _: late)
    one = upstream("one", fake.base_url, family, 'api_keys = ["a", "b", "c"]')
    running = await start(setup(one, server="keepalive_interval_s = 0.5"))
    got = await ask(http, running, running.key, family, model="m", stream=True)
    # Three times 0.4 s: the head went out with a sign of life, then the error in the stream.
    assert len(fake.requests) == 3
    assert got.status == 200
    assert b"error" in got.body


async def test_silence_of_the_client_goes_on_from_the_head_of_an_answer(
    start: Starter, fake: FakeUpstream, http: aiohttp.ClientSession
) -> None:
    told = frames("openai-chat", TURN)
    hold = fake.hold()
    asyncio.get_running_loop().call_later(0.4, hold.set)
    fake.always(replace(stream_answer([told[0], 0.4, *told[1:]]), hold=hold))
    running = await start(
        setup(upstream("one", fake.base_url), server="keepalive_interval_s = 0.5")
    )
    status, told_body, _ = await call(http, running, stream=True)
    assert status == 200
    assert told_body.startswith(b":")


async def test_error_whose_words_never_end_is_over_in_the_time_of_the_attempt(
    start: Starter, fake: FakeUpstream, second: FakeUpstream, http: aiohttp.ClientSession
) -> None:
    fake.always(Answer((b"{", 30.0), status=500))
    running = await start(
        setup(
            upstream("one", fake.base_url),
            upstream("two", second.base_url),
            model="first_content_timeout_s = 0.4\nidle_timeout_s = 20",
            server="keepalive_interval_s = 0.2",
        )
    )
    async with asyncio.timeout(8):
        status, told, _ = await call(http, running, stream=True)
    assert status == 200
    assert told.startswith(b":")
    assert b"there" in told


async def test_quick_target_is_asked_after_a_patient_one_was_waited_for(
    start: Starter, fake: FakeUpstream, second: FakeUpstream, http: aiohttp.ClientSession
) -> None:
    fake.always(Answer((30.0,)))
    running = await start(
        setup(
            upstream("one", fake.base_url, more="first_content_timeout_s = 0.8"),
            upstream("two", second.base_url, more="first_content_timeout_s = 0.3"),
        )
    )
    status, told, _ = await call(http, running, stream=True)
    assert (status, len(second.requests)) == (200, 1)
    assert b"there" in told


# --- counting, caps and reloads -----------------------------------------------------


async def count(http: aiohttp.ClientSession, running: Running) -> bool:
    """Count a prompt; return whether it was estimated."""
    sent = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
    url = f"{running.base_url}/v1/messages/count_tokens"
    async with http.post(url, json=sent, headers={"x-api-key": running.key}) as got:
        assert got.status == 200
        await got.read()
        return got.headers.get("x-kurol-estimate") == "true"


async def test_counting_keeps_to_the_cap_of_an_upstream(
    start: Starter, fake: FakeUpstream, http: aiohttp.ClientSession
) -> None:
    more = "max_concurrent = 1"
    running = await start(setup(upstream("one", fake.base_url, "anthropic", more)))
    gate = fake.hold_each(Answer((b'{"input_tokens": 9}',)))
    first = asyncio.create_task(count(http, running))
    await fake.received(1)
    assert await count(http, running)
    assert len(fake.requests) == 1
    gate.set()
    assert not await first
    assert not await count(http, running)
    assert running.gateway.status()["upstreams"][0]["running"] == 0


async def test_counting_is_no_probe(
    start: Starter, fake: FakeUpstream, http: aiohttp.ClientSession
) -> None:
    running = await start(setup(upstream("one", fake.base_url, "anthropic")))
    hands = Hands(running)
    fake.always(failure(503, retry_after="2"))
    assert (await call(http, running))[0] == 502
    hands.move(2)
    assert all([await count(http, running) for _ in range(3)])
    assert len(fake.requests) == 1


async def test_failure_of_an_upstream_that_a_reload_replaced_is_not_the_new_ones(
    start: Starter, fake: FakeUpstream, second: FakeUpstream, http: aiohttp.ClientSession
) -> None:
    text = setup(upstream("one", fake.base_url))
    running = await start(text)
    gate = fake.hold_each(failure(404))
    old = asyncio.create_task(call(http, running))
    await fake.received(1)
    state = running.gateway.state
    new = setup_of(parse(text.replace(fake.base_url, second.base_url), "test.toml", {}))
    before, state.setup = state.setup.catalog, new
    state.admission.replace_catalog(new.catalog, contact="")
    state.health.keep(new.catalog, before)
    gate.set()
    assert (await old)[0] == 502
    assert resting(running) == []
    assert (await call(http, running))[0] == 200


async def test_wasted_tokens_and_both_attempts_are_counted_behind_a_request_that_one_cannot_take(
    start: Starter, fake: FakeUpstream, second: FakeUpstream, http: aiohttp.ClientSession
) -> None:
    fake.always(failure(500))
    running = await start(
        setup(
            upstream("one", fake.base_url),
            upstream("mute", fake.base_url, "anthropic"),
            upstream("two", second.base_url),
        )
    )
    assert (await call(http, running, **UNSPEAKABLE))[0] == 200
    told = {
        name: metric(running, "kurol_upstream_requests_total", f'upstream="{name}"')
        for name in ("one", "mute", "two")
    }
    assert told == {"one": 1, "mute": 0, "two": 1}
