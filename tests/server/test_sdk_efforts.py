"""How much a model is asked to think, from both SDKs to both upstreams."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conftest import Starter, toml
from tests.fakes.upstream import FakeUpstream
from tests.server.conftest import Connect
from tests.server.scripts import (
    Turn,
    vendor,
)
from tests.server.sdks import HI, Sdks
from tests.server.thoughts import (
    ADAPTIVE,
    TOOLS,
)

EFFORTS: list[tuple[str, Any, Any]] = [
    ("none", {"type": "disabled"}, None),
    ("minimal", ADAPTIVE, "low"),
    ("low", ADAPTIVE, "low"),
    ("medium", ADAPTIVE, "medium"),
    ("high", ADAPTIVE, "high"),
    ("xhigh", ADAPTIVE, "xhigh"),
    ("max", ADAPTIVE, "max"),
]


@pytest.mark.parametrize(("effort", "thinking", "sent"), EFFORTS, ids=[row[0] for row in EFFORTS])
async def test_effort_of_chat_becomes_adaptive_thinking(
    effort: Any, thinking: Any, sent: str | None, sdks: Sdks, fake: FakeUpstream
) -> None:
    fake.always(vendor(Turn(words=("x",))))
    await sdks.ask("chat", "m-model", reasoning_effort=effort)
    assert fake.last.json["thinking"] == thinking
    assert fake.last.json.get("output_config", {}).get("effort") == sent
    assert sdks.dropped == []


BUDGETS = [
    ("none", None),
    ("minimal", 1024),
    ("low", 2048),
    ("medium", 8192),
    ("high", 16384),
    ("xhigh", 32768),
    ("max", 65536),
]


async def test_effort_of_chat_becomes_a_budget_for_older_models(
    fake: FakeUpstream, start: Starter, connect: Connect
) -> None:
    sdks = connect(await start(toml(fake.base_url, model='thinking = "budget"')))
    fake.always(vendor(Turn(words=("x",))))
    for effort, budget in BUDGETS:
        await sdks.ask("chat", "m-model", reasoning_effort=effort, max_tokens=100_000)
        body = fake.last.json
        want = None if budget is None else {"type": "enabled", "budget_tokens": budget}
        assert body.get("thinking") == want, effort
        assert "output_config" not in body
        assert body["max_tokens"] == 100_000
        assert sdks.dropped == []


@pytest.mark.parametrize(
    ("cap", "budget"), [(20_000, 16_384), (10_000, 8_976), (2_048, 1_024), (2_047, None)]
)
async def test_budget_leaves_room_for_an_answer(
    cap: int, budget: int | None, fake: FakeUpstream, start: Starter, connect: Connect
) -> None:
    sdks = connect(await start(toml(fake.base_url, model='thinking = "budget"')))
    fake.always(vendor(Turn(words=("x",))))
    await sdks.ask("chat", "m-model", reasoning_effort="high", max_tokens=cap)
    want = None if budget is None else {"type": "enabled", "budget_tokens": budget}
    assert fake.last.json.get("thinking") == want
    assert fake.last.json["max_tokens"] == cap
    assert sdks.dropped == ([] if budget else ["reasoning_effort"])


FLAGS: list[tuple[str, str, Any, Any]] = [
    ("thinking_can_disable = false", "none", ADAPTIVE, "low"),
    ('efforts = ["low", "high"]', "medium", ADAPTIVE, "low"),
    ('efforts = ["low", "high"]', "max", ADAPTIVE, "high"),
    ('efforts = ["medium", "high"]', "low", ADAPTIVE, "medium"),
    ('thinking = "none"', "high", None, None),
]


@pytest.mark.parametrize(("flag", "effort", "thinking", "sent"), FLAGS)
async def test_effort_is_fitted_to_the_model(
    flag: str,
    effort: Any,
    thinking: Any,
    sent: str | None,
    fake: FakeUpstream,
    start: Starter,
    connect: Connect,
) -> None:
    sdks = connect(await start(toml(fake.base_url, model=flag)))
    fake.always(vendor(Turn(words=("x",))))
    await sdks.ask("chat", "m-model", reasoning_effort=effort)
    assert fake.last.json.get("thinking") == thinking
    assert fake.last.json.get("output_config", {}).get("effort") == sent


async def test_client_that_says_nothing_about_thinking_changes_nothing(
    sdks: Sdks, fake: FakeUpstream
) -> None:
    fake.always(vendor(Turn(words=("x",))))
    await sdks.ask("chat", "m-model")
    assert "thinking" not in fake.last.json
    await sdks.ask("messages", "c-model")
    assert "reasoning_effort" not in fake.last.json


TO_EFFORT: list[tuple[str, Any, Any, str | None]] = [
    ("disabled", {"type": "disabled"}, None, "none"),
    ("budget 1024", {"type": "enabled", "budget_tokens": 1024}, None, "minimal"),
    ("budget 1025", {"type": "enabled", "budget_tokens": 1025}, None, "low"),
    ("budget 4096", {"type": "enabled", "budget_tokens": 4096}, None, "low"),
    ("budget 12288", {"type": "enabled", "budget_tokens": 12288}, None, "medium"),
    ("budget 24576", {"type": "enabled", "budget_tokens": 24576}, None, "high"),
    ("budget 31999", {"type": "enabled", "budget_tokens": 31999}, None, "xhigh"),
    ("adaptive", ADAPTIVE, None, None),
    ("between tools", {"type": "between_tools"}, None, None),
    ("adaptive with an effort", ADAPTIVE, "medium", "medium"),
    ("effort alone", None, "max", "max"),
]


@pytest.mark.parametrize(
    ("thinking", "effort", "sent"), [row[1:] for row in TO_EFFORT], ids=[r[0] for r in TO_EFFORT]
)
async def test_thinking_of_messages_becomes_an_effort(
    thinking: Any, effort: Any, sent: str | None, sdks: Sdks, fake: FakeUpstream
) -> None:
    fake.always(vendor(Turn(words=("x",))))
    more: Any = {} if thinking is None else {"thinking": thinking}
    if effort is not None:
        more["output_config"] = {"effort": effort}
    await sdks.ask("messages", "c-model", max_tokens=60_000, **more)
    assert fake.last.json.get("reasoning_effort") == sent
    assert "thinking" not in fake.last.json
    assert sdks.dropped == []


async def test_effort_of_the_last_turn_wins(sdks: Sdks, fake: FakeUpstream) -> None:
    fake.always(vendor(Turn(words=("x",))))
    history: Any = [
        *HI,
        {"role": "system", "content": "Hurry.", "output_config": {"effort": "low"}},
    ]
    await sdks.ask(
        "messages",
        "c-model",
        messages=history,
        thinking=ADAPTIVE,
        output_config={"effort": "high"},
    )
    assert fake.last.json["reasoning_effort"] == "low"


async def test_effort_is_left_out_with_tools_where_the_vendor_refuses_the_pair(
    fake: FakeUpstream, start: Starter, connect: Connect
) -> None:
    sdks = connect(await start(toml(fake.base_url, model="no_effort_with_tools = true")))
    fake.always(vendor(Turn(words=("x",))))
    more: Any = {"thinking": ADAPTIVE, "output_config": {"effort": "high"}}
    await sdks.ask("messages", "c-model", tools=TOOLS, **more)
    assert "reasoning_effort" not in fake.last.json
    assert sdks.dropped == ["thinking"]
    await sdks.ask("messages", "c-model", **more)
    assert fake.last.json["reasoning_effort"] == "high"
