"""Conversations with thoughts: a vendor that thinks and calls, and clients that bring it back."""

from __future__ import annotations

import base64
import json
from typing import Any

from tests.fakes.upstream import FakeUpstream
from tests.server.scripts import (
    Said,
    Turn,
)
from tests.server.sdks import HI, Sdks

# No base64, and characters that a careless re-encoding would change.
SIGNATURE = 'EqQBCkYIBxgCKkD/+sig==\u00e9 "quoted" \\u0041'
THOUGHTS = ("Let me ", "think \u2026\n")
TEXT = "".join(THOUGHTS)
ASKING = Turn(
    thoughts=THOUGHTS,
    signature=SIGNATURE,
    words=("Looking.",),
    calls=(Said("toolu_1", "look", ('{"at":1}',)),),
)
CHAT_TOOLS: Any = [{"type": "function", "function": {"name": "look", "parameters": {}}}]
TOOLS: Any = [{"name": "look", "input_schema": {"type": "object", "properties": {}}}]
ADAPTIVE: Any = {"type": "adaptive"}


def token(**changes: Any) -> str:
    """Return a seal as the protocol notes describe it."""
    body = {"p": "a", "f": "claude", "s": SIGNATURE, "t": TEXT, **changes}
    whole = b"kx1" + json.dumps({k: v for k, v in body.items() if v is not None}).encode()
    return base64.b64encode(whole).decode()


def opened(seal: str) -> dict[str, Any]:
    """Return what a seal holds."""
    raw = base64.b64decode(seal, validate=True)
    assert raw.startswith(b"kx1")
    value: dict[str, Any] = json.loads(raw[3:])
    return value


def signature_of(call: Any) -> str:
    """Return the token that a call of a Chat answer carries."""
    plain = call.to_dict()
    found: str = plain["extra_content"]["google"]["thought_signature"]
    return found


async def chat_turn(
    sdks: Sdks, said: dict[str, Any], model: str = "m-model", *, stream: bool = False
) -> None:
    """Return a Chat answer with the results of its calls."""
    results = [
        {"role": "tool", "tool_call_id": call["id"], "content": "seen"}
        for call in said["tool_calls"]
    ]
    history: Any = [*HI, said, *results]
    await sdks.ask(
        "chat", model, stream=stream, messages=history, tools=CHAT_TOOLS, reasoning_effort="high"
    )


def returned(heard: Any) -> dict[str, Any]:
    """Return a Chat answer as a client puts it into its history."""
    plain = heard.raw.choices[0].message.to_dict()
    kept = ("role", "content", "reasoning_content", "tool_calls")
    said = {name: plain[name] for name in kept if plain.get(name) is not None}
    for call in said["tool_calls"]:
        call.pop("index", None)
        call["function"].pop("parsed_arguments", None)
    return said


def sent_blocks(fake: FakeUpstream, at: int = 1) -> list[dict[str, Any]]:
    """Return the content of one message that the upstream got."""
    content: list[dict[str, Any]] = fake.last.json["messages"][at]["content"]
    return content


async def messages_turn(
    sdks: Sdks, content: list[Any], model: str, *, call: str = "toolu_1", **more: Any
) -> None:
    """Return a Messages answer with the result of its call."""
    result = {"type": "tool_result", "tool_use_id": call, "content": "seen"}
    history: Any = [
        *HI,
        {"role": "assistant", "content": content},
        {"role": "user", "content": [result]},
    ]
    await sdks.ask("messages", model, messages=history, tools=TOOLS, **more)


USE = {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {}}
