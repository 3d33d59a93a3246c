"""What operators are told of the process and of the upstreams."""

from __future__ import annotations

import aiohttp
import pytest

from kurolproxy.server.operation import WINDOWS_S, system_facts, upstream_facts
from tests.conftest import PLANTED_KEY, Running, Starter, toml
from tests.fakes.upstream import FakeUpstream
from tests.server.scripts import Turn, vendor

ASK = {"model": "c-model", "messages": [{"role": "user", "content": "hi"}]}


async def ask(http: aiohttp.ClientSession, running: Running, **more: object) -> int:
    url = f"{running.base_url}/v1/chat/completions"
    headers = {"authorization": f"Bearer {running.key}"}
    async with http.post(url, json={**ASK, **more}, headers=headers) as answer:
        await answer.read()
        return answer.status


@pytest.mark.parametrize("stream", [False, True])
async def test_attempt_that_is_answered_counts_with_its_times(
    gateway: Running, fake: FakeUpstream, http: aiohttp.ClientSession, stream: bool
) -> None:
    fake.always(vendor(Turn(("Hello",))))
    assert await ask(http, gateway, stream=stream) == 200
    chat, messages = upstream_facts(gateway.gateway.state)
    for window in chat["windows"]:
        assert (window["attempts"], window["failed"], window["error_rate"]) == (1, 0, 0.0)
        assert 0 < window["head_p50"] <= window["content_p50"] < 5
    assert [each["seconds"] for each in chat["windows"]] == list(WINDOWS_S)
    assert all(each["attempts"] == 0 for each in messages["windows"])
    assert (chat["last_failure"], chat["last_failed_s"]) == ("", None)


async def test_attempt_that_fails_is_an_error_of_its_upstream(
    start: Starter, http: aiohttp.ClientSession
) -> None:
    running = await start(toml("http://127.0.0.1:1"))
    assert await ask(http, running) == 502
    [chat, _] = upstream_facts(running.gateway.state)
    window = chat["windows"][0]
    assert (window["attempts"], window["failed"], window["error_rate"]) == (1, 1, 1.0)
    assert (window["head_p50"], window["content_p50"]) == (None, None)
    assert chat["last_failure"] == "upstream_error"
    assert 0 <= chat["last_failed_s"] < 5


async def test_facts_of_an_upstream_say_what_it_is_for_and_never_its_key(
    gateway: Running,
) -> None:
    facts = upstream_facts(gateway.gateway.state)
    chat = facts[0]
    assert (chat["name"], chat["up"], chat["running"]) == ("chat", True, 0)
    assert (chat["protocols"], chat["credentials"]) == (["openai-chat"], 1)
    assert chat["models"] == ["c-model"]
    assert PLANTED_KEY not in repr(facts)


async def test_figures_of_an_upstream_go_with_it(
    gateway: Running, fake: FakeUpstream, http: aiohttp.ClientSession
) -> None:
    fake.always(vendor(Turn(("Hello",))))
    assert await ask(http, gateway) == 200
    state = gateway.gateway.state
    state.figures.keep({"messages"})
    assert upstream_facts(state)[0]["windows"][0]["attempts"] == 0


async def test_system_facts_are_figures_of_this_process(gateway: Running) -> None:
    running = gateway.gateway
    facts = await system_facts(running.state, running._lag, running.config.server.state_path)
    assert facts["resident_bytes"] > 10_000_000
    assert 3 < facts["descriptors"] < facts["descriptors_limit"]
    assert 0 < facts["disk_free_bytes"] <= facts["disk_bytes"]
    assert facts["python"].startswith("3.")
