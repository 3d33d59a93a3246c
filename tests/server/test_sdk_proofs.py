"""Thoughts that were lost on the way, and proofs that their own vendor refuses."""

from __future__ import annotations

from typing import Any

import anthropic
import pytest

from tests.conftest import Starter, toml
from tests.fakes.answers import failure
from tests.fakes.upstream import FakeUpstream
from tests.server.conftest import Connect
from tests.server.scripts import (
    Turn,
    vendor,
)
from tests.server.sdks import HI, Sdks
from tests.server.thoughts import (
    ADAPTIVE,
    ASKING,
    CHAT_TOOLS,
    SIGNATURE,
    TEXT,
    TOOLS,
    USE,
    chat_turn,
    messages_turn,
    returned,
    sent_blocks,
    token,
)

# --- a turn of calls whose thoughts are lost ----------------------------------------------------


async def test_budget_thinking_is_off_when_the_last_turn_of_calls_has_lost_its_thoughts(
    fake: FakeUpstream, start: Starter, connect: Connect
) -> None:
    sdks = connect(await start(toml(fake.base_url, model='thinking = "budget"')))
    fake.always(vendor(ASKING, Turn(words=("Done.",))))
    said = returned(
        await sdks.ask("chat", "m-model", tools=CHAT_TOOLS, reasoning_effort="low", max_tokens=9000)
    )
    await chat_turn(sdks, said)
    assert sent_blocks(fake)[0]["type"] == "thinking"
    assert fake.last.json["thinking"] == {"type": "enabled", "budget_tokens": 7168}
    for call in said["tool_calls"]:
        del call["extra_content"]
    await chat_turn(sdks, said)
    assert [each["type"] for each in sent_blocks(fake)] == ["text", "tool_use"]
    assert "thinking" not in fake.last.json


async def test_adaptive_thinking_stays_on_without_them(sdks: Sdks, fake: FakeUpstream) -> None:
    fake.always(vendor(Turn(words=("Done.",))))
    call = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    await chat_turn(sdks, {"role": "assistant", "content": None, "tool_calls": [call]})
    assert fake.last.json["thinking"] == ADAPTIVE


# --- a proof that the vendor refuses ------------------------------------------------------------

REFUSAL = "messages.1.content.0: Invalid `signature` in `thinking` block"
NATIVE = {"type": "thinking", "thinking": TEXT, "signature": SIGNATURE}


@pytest.mark.parametrize("stream", [False, True])
async def test_refused_proof_of_a_chat_client_is_left_out_in_a_second_try(
    stream: bool, sdks: Sdks, fake: FakeUpstream
) -> None:
    fake.answer(failure(400, REFUSAL, protocol="anthropic"))
    fake.always(vendor(Turn(words=("Done.",))))
    call = {
        "id": "c1",
        "type": "function",
        "function": {"name": "look", "arguments": "{}"},
        "extra_content": {"google": {"thought_signature": token()}},
    }
    said = {"role": "assistant", "content": None, "tool_calls": [call]}
    await chat_turn(sdks, said, stream=stream)
    first, second = (each.json for each in fake.requests)
    assert first["messages"][1]["content"][0] == NATIVE
    use = {"type": "tool_use", "id": "c1", "name": "look", "input": {}}
    assert second["messages"][1]["content"] == [use]
    assert {**second, "messages": 0} == {**first, "messages": 0}
    assert sdks.dropped == ["messages.reasoning"]


BUDGET: Any = {"type": "enabled", "budget_tokens": 2000}
CLEARING = {"edits": [{"type": "clear_thinking_20251015"}, {"type": "clear_tool_uses_20250919"}]}


@pytest.mark.parametrize("thinking", [ADAPTIVE, BUDGET], ids=["adaptive", "budget"])
async def test_refused_proof_that_passed_through_is_left_out_in_a_second_try(
    thinking: Any, sdks: Sdks, fake: FakeUpstream
) -> None:
    fake.answer(failure(400, REFUSAL, protocol="anthropic"))
    fake.always(vendor(Turn(words=("Done.",))))
    old: Any = [
        *HI,
        {"role": "assistant", "content": [NATIVE]},
        {"role": "user", "content": "More."},
        {"role": "assistant", "content": [NATIVE, USE]},
        {
            "role": "user",
            "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "seen"}],
        },
    ]
    more: Any = {"thinking": thinking, "extra_body": {"context_management": CLEARING}}
    await sdks.ask("messages", "m-model", messages=old, tools=TOOLS, max_tokens=9000, **more)
    first, second = (each.json for each in fake.requests)
    assert first["messages"] == old
    assert second["messages"] == [old[0], old[2], {**old[3], "content": [USE]}, old[4]]
    if thinking == BUDGET:
        # With a budget the vendor would miss the thoughts of the call.
        assert second["thinking"] == {"type": "disabled"}
        assert second["context_management"] == {"edits": CLEARING["edits"][1:]}
    else:
        assert second["thinking"] == ADAPTIVE
        assert second["context_management"] == CLEARING
    assert sdks.dropped == ["messages.reasoning"]


@pytest.mark.parametrize("client", ["chat", "messages"])
async def test_refused_proof_on_chat_is_left_out_in_a_second_try(
    client: str, fake: FakeUpstream, start: Starter, connect: Connect
) -> None:
    sdks = connect(await start(toml(fake.base_url)))
    fake.answer(failure(400, "thought_signature is not valid"))
    fake.always(vendor(Turn(words=("Done.",))))
    if client == "chat":
        call = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
        carried = {**call, "extra_content": {"google": {"thought_signature": "Google's own"}}}
        said = {"role": "assistant", "content": None, "tool_calls": [carried]}
        await chat_turn(sdks, said, "c-model")
    else:
        thought = {"type": "thinking", "thinking": "", "signature": token(p="g", f="gpt", t=None)}
        await messages_turn(sdks, [thought, USE], "c-model")
    before, after = (each.json["messages"][1]["tool_calls"][0] for each in fake.requests)
    assert before["extra_content"]["google"]["thought_signature"]
    assert "thought_signature" not in str(after)
    assert sdks.dropped == ["messages.reasoning"]


@pytest.mark.parametrize(
    ("model", "content", "headers"),
    [
        ("m-model", [USE], {}),
        ("m-model", [NATIVE, USE], {"x-kurol-strict": "1"}),
        ("c-model", [NATIVE, USE], {}),
    ],
    ids=["no thoughts", "strict", "never sent"],
)
async def test_there_is_no_second_try_without_anything_to_leave_out(
    model: str, content: list[Any], headers: Any, sdks: Sdks, fake: FakeUpstream
) -> None:
    fake.always(failure(400, REFUSAL))
    with pytest.raises(anthropic.BadRequestError, match="Invalid `signature`"):
        await messages_turn(sdks, content, model, extra_headers=headers)
    assert len(fake.requests) == 1


async def test_second_refusal_of_a_proof_is_the_answer(sdks: Sdks, fake: FakeUpstream) -> None:
    fake.always(failure(400, REFUSAL, protocol="anthropic"))
    with pytest.raises(anthropic.BadRequestError, match="Invalid `signature`"):
        await messages_turn(sdks, [NATIVE, USE], "m-model")
    assert len(fake.requests) == 2
