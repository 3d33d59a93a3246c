"""Losses that a caller does not want, and names that are none of a vendor's business."""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any

import anthropic
import openai
import pytest

from tests.conftest import Starter, toml
from tests.fakes.upstream import FakeUpstream
from tests.server.conftest import Connect
from tests.server.scripts import Turn, vendor
from tests.server.sdks import Sdks

# --- strict -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("client", "asked", "name"),
    [
        ("chat", {"seed": 3}, "seed"),
        ("messages", {"metadata": {"user_id": "u"}}, "metadata.user_id"),
        ("messages", {"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "web"),
    ],
)
async def test_strict_caller_gets_an_error_instead_of_a_loss(
    client: str, asked: Any, name: str, sdks: Sdks, fake: FakeUpstream
) -> None:
    model = {"chat": "m-model", "messages": "c-model"}[client]
    strict = {"x-kurol-strict": "1"}
    fake.always(vendor(Turn(words=("x",))))
    with pytest.raises((openai.BadRequestError, anthropic.BadRequestError)) as caught:
        await sdks.ask(client, model, extra_headers=strict, **asked)
    assert "x-kurol-strict" in str(caught.value)
    assert name in str(caught.value)
    assert fake.requests == []
    await sdks.ask(client, model, extra_headers={"x-kurol-strict": "0"}, **asked)
    assert sdks.dropped != []
    assert fake.last.header("x-kurol-strict") is None
    # Nothing is lost: strict callers are served, too.
    await sdks.ask(client, model, extra_headers=strict)
    assert len(fake.requests) == 2


async def test_long_list_of_losses_is_cut(sdks: Sdks, fake: FakeUpstream) -> None:
    fake.always(vendor(Turn(words=("x",))))
    tools: Any = [
        {"type": "function", "function": {"name": "f"}},
        *({"type": f"vendor_tool_{at:040}"} for at in range(20)),
    ]
    await sdks.ask("chat", "m-model", tools=tools, seed=1)
    named = sdks.head["x-kurol-dropped"]
    assert len(named) <= 512
    assert named.startswith("seed,tools.vendor_tool_0")
    kept = named.split(",")
    assert kept[-1] == f"+{21 - len(kept) + 1}"


async def test_losses_never_repeat_what_the_caller_wrote(sdks: Sdks, fake: FakeUpstream) -> None:
    fake.always(vendor(Turn(words=("x",))))
    odd: Any = {"type": "evil\r\nx-injected: 1"}
    await sdks.ask("chat", "m-model", tools=[odd], extra_body={"sk-secret-name": 1})
    assert sdks.dropped == ["?", "unknown(1)"]
    assert "x-injected" not in sdks.head


# --- who asks -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("client", "asked"),
    [
        ("chat", {"safety_identifier": "u-1"}),
        ("chat", {"user": "u-1"}),
        ("messages", {"metadata": {"user_id": "u-1"}}),
    ],
)
async def test_user_is_told_as_a_keyed_hash_where_the_operator_wants_it(
    client: str, asked: Any, fake: FakeUpstream, start: Starter, connect: Connect
) -> None:
    running = await start(toml(fake.base_url, model="forward_user = true"))
    sdks = connect(running)
    fake.always(vendor(Turn(words=("x",))))
    model = {"chat": "m-model", "messages": "c-model"}[client]
    await sdks.ask(client, model, **asked)
    secret = running.gateway.state.setup.settings.hash_secret
    hashed = hmac.new(secret, b"u-1", hashlib.sha256).hexdigest()
    assert len(secret) >= 16
    body = fake.last.json
    if client == "chat":
        assert body["metadata"] == {"user_id": hashed}
    else:
        assert body["safety_identifier"] == hashed
    assert "u-1" not in json.dumps(body)
    assert sdks.dropped == []
