"""Whatever a client asks, what goes upstream is what the vendor's own SDK could have sent.

The SDKs' parameter types are the judge: every request body of a translation must fit them,
and hold nothing that they do not know but the few fields below.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Any

import pytest
from anthropic.types.message_create_params import MessageCreateParamsBase
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from openai.types.chat.completion_create_params import CompletionCreateParamsBase
from pydantic import TypeAdapter

from kurolproxy.errors import BadRequest
from kurolproxy.ir import ModelTraits, ProtocolName, Seal
from kurolproxy.protocols import seal, wire
from kurolproxy.protocols.base import TargetView
from kurolproxy.protocols.losses import Reader
from kurolproxy.protocols.normalise import normalise
from kurolproxy.protocols.registry import CODECS

JUDGES: dict[ProtocolName, TypeAdapter[Any]] = {
    "openai-chat": TypeAdapter(CompletionCreateParamsBase),
    "anthropic": TypeAdapter(MessageCreateParamsBase),
}
# What the SDKs' types do not know and vendors do: the switch that the SDKs set themselves,
# sampling (gone from the newest version of Messages, which we do not ask for), and the
# reasoning fields of other Chat vendors (DeepSeek's text, Google's proof).
KNOWN = {
    "openai-chat": {
        ".stream",
        ".top_k",
        ".messages[].reasoning_content",
        ".messages[].tool_calls[].extra_content",
    },
    "anthropic": {".stream", ".temperature", ".top_p", ".top_k"},
}

TEXTS = st.sampled_from(["", " ", "\n", "a", "Hello", "Tool loaded: later", "\u2028 é"])
IDS = st.sampled_from(["call_1", "call_2", "toolu_3", "odd:id/" + "x" * 80, ""])
NAMES = st.sampled_from(["f", "g", "files.get/v1", "n" * 90, "later", "free", "a__b"])
ARGUMENTS = st.sampled_from(["", "{}", '{"a":1}', "[1]", '{"a":', "null", '{"input":"x"}'])
CLOSED = {
    "type": "object",
    "properties": {"a": {"type": "string", "minLength": 2}},
    "required": ["a"],
    "additionalProperties": False,
}
SCHEMAS = st.sampled_from(
    [{}, {"type": "object", "properties": {}}, CLOSED, {"$schema": "x", "anyOf": [CLOSED]}]
)
SEALS = st.builds(
    lambda kind, family, text: seal.encode(Seal(kind, family, "proof", text)),
    st.sampled_from(["a", "c", "g"]),
    st.sampled_from(["x", "y"]),
    st.sampled_from([None, "", "t"]),
)
PROOFS = SEALS | st.sampled_from(["", "a3gxZZ", "native=="])
CACHE = st.just({"type": "ephemeral"})
SOME = st.booleans()


def record(required: dict[str, Any], **optional: Any) -> st.SearchStrategy[dict[str, Any]]:
    """Draw an object; plain values stand for themselves."""
    fixed = {
        name: value if isinstance(value, st.SearchStrategy) else st.just(value)
        for name, value in required.items()
    }
    return st.fixed_dictionaries(fixed, optional=optional)


def few(of: st.SearchStrategy[Any], most: int = 3) -> st.SearchStrategy[list[Any]]:
    return st.lists(of, max_size=most)


# --- requests of Chat -----------------------------------------------------------------------------

PICTURES = st.sampled_from(["data:image/png;base64,iVBORabc", "https://example.org/a.png"])
CHAT_PARTS = st.one_of(
    record({"type": "text", "text": TEXTS}, prompt_cache_breakpoint=st.just({"mode": "explicit"})),
    record({"type": "image_url", "image_url": record({"url": PICTURES})}),
    record(
        {
            "type": "file",
            "file": record({"file_data": "data:application/pdf;base64,JVBERi"}, filename=NAMES),
        }
    ),
)
FUNCTION_CALLS = record(
    {
        "id": IDS,
        "type": "function",
        "function": record({"name": NAMES, "arguments": ARGUMENTS}),
    },
    extra_content=record({"google": record({"thought_signature": PROOFS})}),
)
CUSTOM_CALLS = record(
    {"id": IDS, "type": "custom", "custom": record({"name": NAMES, "input": TEXTS})}
)
CHAT_MESSAGES = st.one_of(
    record({"role": st.sampled_from(["system", "developer"]), "content": TEXTS}),
    record({"role": "user", "content": TEXTS | few(CHAT_PARTS)}),
    record(
        {"role": "assistant", "content": TEXTS | st.none()},
        tool_calls=few(FUNCTION_CALLS | CUSTOM_CALLS),
        reasoning_content=TEXTS,
        refusal=TEXTS,
    ),
    record({"role": "tool", "tool_call_id": IDS, "content": TEXTS | few(CHAT_PARTS)}),
    record({"role": "function", "name": NAMES, "content": TEXTS}),
)
CHAT_TOOLS = st.one_of(
    record(
        {
            "type": "function",
            "function": record({"name": NAMES}, parameters=SCHEMAS, strict=SOME, description=TEXTS),
        }
    ),
    record({"type": "custom", "custom": record({"name": NAMES}, description=TEXTS)}),
)
CHAT_CHOICES = st.sampled_from(["auto", "none", "required"]) | record(
    {"type": "function", "function": record({"name": NAMES})}
)
CHAT = record(
    {"model": "m", "messages": st.lists(CHAT_MESSAGES, min_size=1, max_size=7)},
    max_tokens=st.sampled_from([1, 2000, 50_000]),
    temperature=st.sampled_from([0, 0.5, 2]),
    top_p=st.sampled_from([0.1, 1]),
    stop=st.sampled_from(["x", ["a", " ", "b", "c", "d"]]),
    seed=st.just(1),
    stream=SOME,
    tools=few(CHAT_TOOLS, 4),
    tool_choice=CHAT_CHOICES,
    parallel_tool_calls=SOME,
    reasoning_effort=st.sampled_from(["none", "minimal", "high", "max"]),
    response_format=record({"type": "json_object"})
    | record({"type": "json_schema", "json_schema": record({"name": NAMES, "schema": SCHEMAS})}),
    service_tier=st.sampled_from(["auto", "default", "flex"]),
)

# --- requests of Messages -------------------------------------------------------------------------

SOURCES = st.sampled_from(
    [
        {"type": "base64", "media_type": "image/png", "data": "iVBORabc"},
        {"type": "url", "url": "https://example.org/a.png"},
    ]
)
WORDS = record({"type": "text", "text": TEXTS}, cache_control=CACHE)
IMAGES = record({"type": "image", "source": SOURCES}, cache_control=CACHE)
DOCUMENTS = record(
    {
        "type": "document",
        "source": st.sampled_from(
            [
                {"type": "base64", "media_type": "application/pdf", "data": "JVBERi"},
                {"type": "text", "media_type": "text/plain", "data": "words"},
            ]
        ),
    },
    title=TEXTS,
    context=TEXTS,
)
INNER = WORDS | IMAGES | DOCUMENTS | record({"type": "tool_reference", "tool_name": NAMES})
RESULTS = record(
    {"type": "tool_result", "tool_use_id": IDS},
    content=TEXTS | few(INNER),
    is_error=SOME,
    cache_control=CACHE,
)
USES = record(
    {
        "type": "tool_use",
        "id": IDS,
        "name": NAMES,
        "input": st.sampled_from([{}, {"a": [1, {}]}]),
    }
)
THOUGHTS = record({"type": "thinking", "thinking": TEXTS, "signature": PROOFS}) | record(
    {"type": "redacted_thinking", "data": PROOFS}
)
MESSAGES_MESSAGES = st.one_of(
    record({"role": "user", "content": TEXTS | few(WORDS | IMAGES | DOCUMENTS | RESULTS, 4)}),
    record({"role": "assistant", "content": TEXTS | few(WORDS | THOUGHTS | USES, 5)}),
    record({"role": "system", "content": TEXTS}),
)
MESSAGES_TOOLS = record(
    {"name": NAMES, "input_schema": SCHEMAS},
    description=TEXTS,
    strict=SOME,
    defer_loading=SOME,
    cache_control=CACHE,
)
MESSAGES = record(
    {
        "model": "m",
        "max_tokens": st.sampled_from([1, 2000, 50_000]),
        "messages": st.lists(MESSAGES_MESSAGES, min_size=1, max_size=7),
    },
    system=TEXTS | few(WORDS),
    temperature=st.just(0.5),
    top_k=st.just(3),
    stop_sequences=st.just(["a", "b", "c", "d", "e"]),
    stream=SOME,
    tools=few(MESSAGES_TOOLS, 4),
    tool_choice=st.sampled_from(
        [{"type": "auto"}, {"type": "any", "disable_parallel_tool_use": True}, {"type": "none"}]
    )
    | record({"type": "tool", "name": NAMES}),
    thinking=st.sampled_from(
        [{"type": "disabled"}, {"type": "adaptive"}, {"type": "enabled", "budget_tokens": 2000}]
    ),
    output_config=record({}, effort=st.sampled_from(["low", "max"])),
    metadata=st.just({"user_id": "u"}),
)
TRAITS = st.builds(
    ModelTraits,
    reasoning_family=st.sampled_from([None, "x"]),
    sampling=st.sampled_from(["yes", "no", "only_without_reasoning"]),
    thinking=st.sampled_from(["adaptive", "budget", "none"]),
    thinking_can_disable=SOME,
    forced_tool_choice=SOME,
    system_position=st.sampled_from(["first", "any"]),
    mid_system=SOME,
    cache=st.sampled_from(["", "explicit"]),
    replay_reasoning_content=SOME,
    developer_role=SOME,
    custom_tools=SOME,
    prefill=SOME,
    structured_output=SOME,
    max_output_tokens=st.sampled_from([None, 4000]),
)


def translated(
    client: ProtocolName, upstream: ProtocolName, asked: dict[str, Any], traits: ModelTraits
) -> dict[str, Any]:
    """Return the body for the upstream; empty when the request is refused for a reason."""
    request = normalise(CODECS[client].decode_request(json.loads(json.dumps(asked))))
    assert normalise(request) == request
    try:
        reader = Reader(request)
        outgoing = CODECS[upstream].encode_request(reader, TargetView("up", "public", traits))
    except BadRequest as error:
        # Nothing here is beyond the other protocol but a call of tools that are not there.
        if "tool_choice" not in error.message:
            raise
        return {}
    reader.losses()
    body: dict[str, Any] = json.loads(wire.dumps(outgoing.body))
    return body


def judged(upstream: ProtocolName, body: dict[str, Any]) -> None:
    """Check a body against the SDK's own types."""
    fits = plain(JUDGES[upstream].validate_python(body))
    assert set(unknown(body, fits)) <= KNOWN[upstream]


def plain(value: Any) -> Any:
    """Return a validated value with its lazy parts read, and so validated too."""
    if isinstance(value, dict):
        return {name: plain(each) for name, each in value.items()}
    if isinstance(value, Iterable) and not isinstance(value, str | bytes):
        return [plain(each) for each in value]
    return value


def unknown(body: Any, fits: Any, path: str = "") -> Iterator[str]:
    """Yield the paths of what the types do not know."""
    if isinstance(body, dict):
        for name, value in body.items():
            if name in fits:
                yield from unknown(value, fits[name], f"{path}.{name}")
            else:
                yield f"{path}.{name}"
    elif isinstance(body, list):
        for one, other in zip(body, fits, strict=True):
            yield from unknown(one, other, f"{path}[]")


MANY = settings(
    max_examples=250,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@MANY
@given(CHAT, TRAITS)
def test_every_chat_request_becomes_one_that_anthropics_sdk_could_send(
    asked: dict[str, Any], traits: ModelTraits
) -> None:
    body = translated("openai-chat", "anthropic", asked, traits)
    if not body:
        return
    judged("anthropic", body)
    turns = body["messages"]
    roles = [each["role"] for each in turns if each["role"] != "system"]
    assert roles[0] == "user"
    assert all(one["role"] != other["role"] for one, other in pairwise(turns))
    for at, turn in enumerate(turns):
        blocks = turn["content"]
        assert blocks
        assert all(each["text"].strip() for each in blocks if each["type"] == "text")
        uses = [each["id"] for each in blocks if each["type"] == "tool_use"]
        if uses:
            answers = next(each for each in turns[at + 1 :] if each["role"] == "user")["content"]
            first = [each.get("tool_use_id") for each in answers[: len(uses)]]
            assert first == uses
            assert all(each["type"] != "tool_result" for each in answers[len(uses) :])
    check_thinking(body)
    assert json.dumps(body).count('"cache_control"') <= 4


def check_thinking(body: dict[str, Any]) -> None:
    thinking = body.get("thinking", {"type": "disabled"})
    if thinking["type"] == "disabled":
        assert not {"temperature", "top_p"} <= body.keys()
        return
    assert not {"temperature", "top_k"} & body.keys()
    assert body.get("tool_choice", {}).get("type") not in ("any", "tool")
    if thinking["type"] == "enabled":
        assert thinking["budget_tokens"] >= 1024
        assert body["max_tokens"] >= thinking["budget_tokens"] + 1024


@MANY
@given(MESSAGES, TRAITS)
def test_every_messages_request_becomes_one_that_openais_sdk_could_send(
    asked: dict[str, Any], traits: ModelTraits
) -> None:
    body = translated("anthropic", "openai-chat", asked, traits)
    if not body:
        return
    judged("openai-chat", body)
    turns = body["messages"]
    for at, turn in enumerate(turns):
        calls = [each["id"] for each in turn.get("tool_calls", ())]
        if turn["role"] == "assistant":
            answers = turns[at + 1 : at + 1 + len(calls)]
            assert [each.get("tool_call_id") for each in answers] == calls
            assert turn["content"] is not None or calls or turn.get("refusal")
        elif turn["role"] == "tool":
            assert turns[at - 1]["role"] in ("assistant", "tool")
        else:
            assert turn["content"] != []
    if "tools" not in body:
        assert not {"tool_choice", "parallel_tool_calls"} & body.keys()
    assert json.dumps(body).count('"prompt_cache_breakpoint"') <= 4


@pytest.mark.parametrize(
    ("upstream", "body"),
    [
        ("anthropic", {"model": "m", "max_tokens": 1, "messages": [{"role": "user"}]}),
        (
            "anthropic",
            {
                "model": "m",
                "max_tokens": 1,
                "messages": [{"role": "user", "content": [{"type": "text", "text": 5}]}],
            },
        ),
        ("anthropic", {"model": "m", "max_tokens": 1, "messages": [], "seed": 1}),
        ("openai-chat", {"model": "m", "messages": [{"role": "tool", "content": "x"}]}),
        ("openai-chat", {"model": "m", "messages": [{"role": "user", "content": "x", "y": 1}]}),
    ],
)
def test_judge_refuses_what_no_sdk_sends(upstream: ProtocolName, body: dict[str, Any]) -> None:
    with pytest.raises((ValueError, AssertionError)):
        judged(upstream, body)
