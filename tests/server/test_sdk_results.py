"""Results of tools in the second turn, from both SDKs to both upstreams."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.fakes.upstream import FakeUpstream
from tests.server.declared import TOOLS, ask
from tests.server.scripts import (
    Said,
    Turn,
    vendor,
)
from tests.server.sdks import HI, Sdks

RESULTS: dict[str, Any] = {
    "chat": [
        {"role": "user", "content": "Weather?"},
        {
            "role": "assistant",
            "content": "Looking.",
            "tool_calls": [
                {
                    "id": each,
                    "type": "function",
                    "function": {"name": "weather", "arguments": f'{{"city": "{each}"}}'},
                }
                for each in ("call_a", "call_b")
            ],
        },
        # In another order than the calls.
        {"role": "tool", "tool_call_id": "call_b", "content": "rain"},
        {"role": "tool", "tool_call_id": "call_a", "content": "sun"},
        {"role": "user", "content": "And?"},
    ],
    "messages": [
        {"role": "user", "content": "Weather?"},
        {
            "role": "assistant",
            "content": [
                {"type": "text", "text": "Looking."},
                *(
                    {"type": "tool_use", "id": each, "name": "weather", "input": {"city": each}}
                    for each in ("call_a", "call_b")
                ),
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "call_b", "content": "rain"},
                {
                    "type": "tool_result",
                    "tool_use_id": "call_a",
                    "content": [{"type": "text", "text": "sun"}],
                },
                {"type": "text", "text": "And?"},
            ],
        },
    ],
}


async def test_results_of_chat_go_to_messages_in_call_order(sdks: Sdks, fake: FakeUpstream) -> None:
    fake.always(vendor(Turn(words=("x",))))
    await ask(sdks, "chat", "m-model", messages=RESULTS["chat"])
    assert fake.last.json["messages"] == [
        {"role": "user", "content": [{"type": "text", "text": "Weather?"}]},
        RESULTS["messages"][1],
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "call_a", "content": "sun"},
                {"type": "tool_result", "tool_use_id": "call_b", "content": "rain"},
                {"type": "text", "text": "And?"},
            ],
        },
    ]
    assert sdks.dropped == []


async def test_results_of_messages_go_to_chat_in_call_order(sdks: Sdks, fake: FakeUpstream) -> None:
    fake.always(vendor(Turn(words=("x",))))
    await ask(sdks, "messages", "c-model", messages=RESULTS["messages"])
    asked, said, first, second, more = fake.last.json["messages"]
    assert asked == {"role": "user", "content": "Weather?"}
    assert (said["role"], said["content"]) == ("assistant", "Looking.")
    assert [
        (c["id"], c["type"], json.loads(c["function"]["arguments"])) for c in said["tool_calls"]
    ] == [
        ("call_a", "function", {"city": "call_a"}),
        ("call_b", "function", {"city": "call_b"}),
    ]
    assert first == {"role": "tool", "tool_call_id": "call_a", "content": "sun"}
    assert second == {"role": "tool", "tool_call_id": "call_b", "content": "rain"}
    assert more == {"role": "user", "content": "And?"}
    assert sdks.dropped == []


@pytest.mark.parametrize("client", ["chat", "messages"])
async def test_call_without_a_result_gets_one_that_says_so(
    client: str, sdks: Sdks, fake: FakeUpstream
) -> None:
    fake.always(vendor(Turn(words=("x",))))
    model = {"chat": "m-model", "messages": "c-model"}[client]
    history = [RESULTS[client][0], RESULTS[client][1], {"role": "user", "content": "Never mind."}]
    await ask(sdks, client, model, messages=history)
    said = "No result: the call was interrupted."
    if client == "messages":
        assert [(each["role"], each["content"]) for each in fake.last.json["messages"][2:]] == [
            ("tool", said),
            ("tool", said),
            ("user", "Never mind."),
        ]
    else:
        first, second, text = fake.last.json["messages"][2]["content"]
        assert first == {
            "type": "tool_result",
            "tool_use_id": "call_a",
            "content": said,
            "is_error": True,
        }
        assert second["tool_use_id"] == "call_b"
        assert text == {"type": "text", "text": "Never mind."}


@pytest.mark.parametrize("client", ["chat", "messages"])
async def test_result_without_a_call_becomes_words_of_the_user(
    client: str, sdks: Sdks, fake: FakeUpstream
) -> None:
    fake.always(vendor(Turn(words=("x",))))
    if client == "chat":
        history: Any = [*HI, {"role": "tool", "tool_call_id": "gone", "content": "42"}]
        await ask(sdks, "chat", "m-model", messages=history)
        (message,) = fake.last.json["messages"]
        assert message["content"][1] == {"type": "text", "text": "[result of gone]\n42"}
    else:
        result = {"type": "tool_result", "tool_use_id": "gone", "content": "42"}
        await ask(
            sdks, "messages", "c-model", messages=[*HI, {"role": "user", "content": [result]}]
        )
        (message,) = fake.last.json["messages"]
        assert message["content"][1] == {"type": "text", "text": "[result of gone]\n42"}


async def test_failed_result_stays_one_for_messages_and_its_words_for_chat(
    sdks: Sdks, fake: FakeUpstream
) -> None:
    fake.always(vendor(Turn(words=("x",))))
    result = {
        "type": "tool_result",
        "tool_use_id": "call_a",
        "content": "no such file",
        "is_error": True,
    }
    other = {"type": "tool_result", "tool_use_id": "call_b"}
    history = [*RESULTS["messages"][:2], {"role": "user", "content": [result, other]}]
    await ask(sdks, "messages", "c-model", messages=history)
    assert [each["content"] for each in fake.last.json["messages"][2:]] == ["no such file", ""]
    await ask(sdks, "messages", "m-model", messages=history)
    assert fake.last.json["messages"] == history


async def test_ids_of_calls_and_results_stay_paired_when_they_are_rewritten(
    sdks: Sdks, fake: FakeUpstream
) -> None:
    fake.always(vendor(Turn(words=("x",))))
    odd = "call.with:odd/marks" + "y" * 60
    call = {"id": odd, "type": "function", "function": {"name": "ping", "arguments": "{}"}}
    history: Any = [
        *HI,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": odd, "content": "pong"},
    ]
    await ask(sdks, "chat", "m-model", messages=history)
    _, said, result = fake.last.json["messages"]
    id_ = said["content"][0]["id"]
    assert result["content"][0]["tool_use_id"] == id_
    assert len(id_) <= 64
    assert id_ != odd
    use = {
        "type": "tool_use",
        "id": odd[:19].replace(".", "_") + "z" * 60,
        "name": "ping",
        "input": {},
    }
    back = {"type": "tool_result", "tool_use_id": use["id"], "content": "pong"}
    turns: Any = [
        *HI,
        {"role": "assistant", "content": [use]},
        {"role": "user", "content": [back]},
    ]
    await ask(sdks, "messages", "c-model", messages=turns)
    _, said, result = fake.last.json["messages"]
    id_ = said["tool_calls"][0]["id"]
    assert result["tool_call_id"] == id_
    assert len(id_) <= 40


@pytest.mark.parametrize(
    ("arguments", "sent"),
    [
        ('{"a": 1}', {"a": 1}),
        ("", {}),
        ("[1]", {"input": "[1]"}),
        ('{"a": ', {"input": '{"a": '}),
        ("plain words", {"input": "plain words"}),
    ],
)
async def test_arguments_that_are_no_object_are_wrapped_for_messages(
    arguments: str, sent: Any, sdks: Sdks, fake: FakeUpstream
) -> None:
    fake.always(vendor(Turn(words=("x",))))
    call = {"id": "c", "type": "function", "function": {"name": "ping", "arguments": arguments}}
    history: Any = [
        *HI,
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "content": "pong"},
    ]
    await ask(sdks, "chat", "m-model", messages=history)
    assert fake.last.json["messages"][1]["content"][-1]["input"] == sent


@pytest.mark.parametrize("stream", [False, True])
async def test_broken_arguments_of_chat_are_wrapped_for_a_messages_client(
    stream: bool, sdks: Sdks, fake: FakeUpstream
) -> None:
    # A whole answer needs an object; of a stream the client gets what came.
    fake.always(vendor(Turn(calls=(Said("c", "ping", ('{"a": ',)),), end="length")))
    if not stream:
        heard = await ask(sdks, "messages", "c-model")
        assert heard.calls == [("c", "ping", {"input": '{"a": '})]
        assert heard.finish == "max_tokens"
        return
    events = await sdks.messages.messages.create(
        model="c-model", messages=HI, max_tokens=9, stream=True, tools=TOOLS["messages"]
    )
    seen = [each async for each in events]
    pieces = [each.delta.partial_json for each in seen if each.type == "content_block_delta"]
    assert pieces == ['{"a": ']
    assert [each.delta.stop_reason for each in seen if each.type == "message_delta"] == [
        "max_tokens"
    ]
