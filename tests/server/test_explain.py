"""What ``explain`` foretells is what a real call gets, in the same words."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import pytest

from kurolproxy.policy.choice import Way, credentials
from kurolproxy.policy.health import Failed
from kurolproxy.server.explain import Explainer, Moment
from tests.conftest import Running, Starter, toml
from tests.fakes.answers import chat_answer
from tests.fakes.upstream import FakeUpstream
from tests.server.families import Hands

PLANS = """
[[plans]]
name = "one"
models = ["c-*"]
requests_per_minute = 1
[[plans]]
name = "poor"
models = ["c-*"]
daily_tokens = 1_500
[[plans]]
name = "single"
models = ["c-*"]
concurrent_requests = 1
[[plans]]
name = "tight"
models = ["c-*"]
daily_tokens = 9_000
"""


class World:
    """A gateway whose clock stands, one key, and what explains its calls."""

    def __init__(self, running: Running, key: str) -> None:
        self.running, self.key = running, key
        state = running.gateway.state
        self.hands = Hands(running)
        self.health = state.health
        self.explainer = Explainer(
            state.admission,
            running.gateway.accounts,
            lambda: state.setup.catalog,
            lambda: Moment(state.clock.now(), state.clock.unix(), state.clock.today()),
            state.health,
        )

    async def explain(self, model: str) -> dict[str, Any]:
        """Explain a call of a model with the key."""
        keys = await self.running.gateway.accounts.list_keys()
        key = next(each for each in keys if self.key.endswith(each.last_four))
        return await self.explainer.explain({"model": model, "key": key.id})

    async def call(self, http: aiohttp.ClientSession, model: str) -> tuple[int, str]:
        """Make a call; return status and text of the error."""
        body = {"model": model, "messages": [{"role": "user", "content": ""}]}
        headers = {"authorization": f"Bearer {self.key}"}
        url = f"{self.running.base_url}/v1/chat/completions"
        async with http.post(url, json=body, headers=headers) as got:
            said = await got.json()
            return got.status, said.get("error", {}).get("message", "")

    def rest_all(self, model: str, seconds: float) -> None:
        """Let every credential of a model's targets rest."""
        found = self.running.gateway.state.setup.catalog.models[model]
        for target in found.targets:
            for key in credentials(target.upstream):
                failure = Failed("limited", "HTTP 429", rest_s=seconds)
                self.health.failed(Way(target, key), failure, self.hands.now)


async def nothing(world: World, http: aiohttp.ClientSession) -> None:
    """Leave everything as it is."""


async def called(world: World, http: aiohttp.ClientSession) -> None:
    assert (await world.call(http, "c-model"))[0] == 200


async def resting(world: World, http: aiohttp.ClientSession) -> None:
    world.rest_all("c-model", 30.0)


Before = Callable[[World, aiohttp.ClientSession], Awaitable[None]]
# plan, model, what came before, the status
CASES: list[tuple[str, str, Before, int]] = [
    ("default", "c-model", nothing, 200),
    ("default", "claude-c", nothing, 200),
    ("default", "c-mode", nothing, 404),
    ("one", "m-model", nothing, 403),
    ("one", "c-model", called, 429),
    ("poor", "c-model", called, 429),
    ("default", "c-model", resting, 503),
    ("one", "m-model", resting, 403),
]


@pytest.mark.parametrize(("plan", "model", "before", "status"), CASES)
async def test_explained_refusal_is_the_one_that_comes(
    fake: FakeUpstream,
    start: Starter,
    http: aiohttp.ClientSession,
    plan: str,
    model: str,
    before: Before,
    status: int,
) -> None:
    # More than the 1,500 tokens of the poor plan.
    fake.always(chat_answer(prompt=800, completion=800))
    running = await start(toml(fake.base_url, extra=PLANS))
    world = World(running, await running.new_key(plan))
    await before(world, http)
    found = await world.explain(model)
    assert found == await world.explain(model)
    got, message = await world.call(http, model)
    assert got == status
    refusal = found["refusal"]
    assert (200 if refusal is None else refusal["status"]) == status
    assert ("" if refusal is None else refusal["message"]) == message
    assert found["admitted"] is (status in (200, 503))


@pytest.mark.parametrize("plan", ["single", "tight"])
async def test_running_calls_are_in_the_way(
    fake: FakeUpstream, start: Starter, http: aiohttp.ClientSession, plan: str
) -> None:
    fake.hold_each(chat_answer())
    running = await start(toml(fake.base_url, extra=PLANS))
    world = World(running, await running.new_key(plan))
    task = asyncio.create_task(world.call(http, "c-model"))
    await fake.received()
    found = await world.explain("c-model")
    got, message = await world.call(http, "c-model")
    assert (got, message) == (429, found["refusal"]["message"])
    assert found["limits"]["running"] == 1
    [target] = found["targets"]
    assert target["running"] == 1
    fake.release()
    await task


async def test_upstream_with_all_it_may_have_is_closed(
    fake: FakeUpstream, start: Starter, http: aiohttp.ClientSession
) -> None:
    fake.hold_each(chat_answer())
    text = toml(fake.base_url).replace('name = "chat"', 'name = "chat"\nmax_concurrent = 1')
    running = await start(text)
    world = World(running, running.key)
    assert (await world.explain("c-model"))["targets"][0]["open"] is True
    task = asyncio.create_task(world.call(http, "c-model"))
    await fake.received()
    found = await world.explain("c-model")
    assert found["targets"][0]["open"] is False
    assert found["refusal"]["status"] == 503
    assert (await world.call(http, "c-model")) == (503, found["refusal"]["message"])
    fake.release()
    await task


async def test_rest_is_told_until_it_is_over(fake: FakeUpstream, start: Starter) -> None:
    running = await start(toml(fake.base_url))
    world = World(running, running.key)
    world.rest_all("c-model", 30.0)
    world.hands.move(10.0)
    [target] = (await world.explain("c-model"))["targets"]
    assert target["open"] is False
    assert target["resting"] == [
        {
            "credential": 1,
            "part": "access",
            "why": "HTTP 429",
            "seconds": 20.0,
            "until": "2031-05-06T12:00:30Z",
        }
    ]
    world.hands.move(20.0)
    [target] = (await world.explain("c-model"))["targets"]
    assert (target["open"], target["resting"]) == (True, [])
