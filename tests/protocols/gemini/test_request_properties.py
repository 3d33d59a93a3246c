"""Whatever a client writes is read or refused; what is read can be written and read again."""

from __future__ import annotations

import copy
import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from kurolproxy.errors import BadRequest
from kurolproxy.ir import (
    Image,
    Message,
    Part,
    Reasoning,
    Request,
    Role,
    Text,
    Tool,
    ToolCall,
    ToolResult,
)
from kurolproxy.protocols import wire
from kurolproxy.protocols.gemini.request_decode import decode_request
from kurolproxy.protocols.normalise import normalise
from tests.protocols.gemini.request_support import FOREIGN, NATIVE, PIXEL, encoded, target, token

SHORT = st.text(st.characters(exclude_categories=["Cs"]), max_size=4)
WORDS = st.sampled_from(
    [
        "contents",
        "role",
        "parts",
        "text",
        "thought",
        "thoughtSignature",
        "inlineData",
        "inline_data",
        "mimeType",
        "data",
        "fileData",
        "fileUri",
        "functionCall",
        "functionResponse",
        "name",
        "args",
        "response",
        "output",
        "id",
        "systemInstruction",
        "tools",
        "functionDeclarations",
        "parameters",
        "parametersJsonSchema",
        "googleSearch",
        "toolConfig",
        "functionCallingConfig",
        "mode",
        "allowedFunctionNames",
        "generationConfig",
        "generation_config",
        "maxOutputTokens",
        "stopSequences",
        "thinkingConfig",
        "thinkingBudget",
        "thinkingLevel",
        "responseMimeType",
        "responseSchema",
        "type",
        "properties",
        "$ref",
    ]
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**80), 2**80)
    | st.floats(allow_nan=False)
    | SHORT
    | st.sampled_from(["user", "model", "ANY", "application/json", "#", token(NATIVE), "image/png"])
)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS | SHORT, inner, max_size=4),
    max_leaves=12,
)

WHOLE: dict[str, Any] = {
    "systemInstruction": {"parts": [{"text": "Be brief."}]},
    "contents": [
        {
            "role": "user",
            "parts": [
                {"text": "Hi"},
                {"inlineData": {"mimeType": "image/png", "data": PIXEL}},
                {"file_data": {"file_uri": "https://x.invalid/a.pdf"}},
            ],
        },
        {
            "role": "model",
            "parts": [
                {"text": "hm", "thought": True},
                {
                    "functionCall": {"id": "c", "name": "f", "args": {"a": [1, {"b": None}]}},
                    "thoughtSignature": token(FOREIGN),
                },
                {"executableCode": {"code": "1"}},
            ],
        },
        {
            "role": "user",
            "parts": [
                {
                    "functionResponse": {
                        "id": "c",
                        "name": "f",
                        "response": {"output": "ok"},
                        "parts": [{"inlineData": {"mimeType": "image/png", "data": PIXEL}}],
                    }
                }
            ],
        },
    ],
    "tools": [
        {
            "functionDeclarations": [
                {
                    "name": "f",
                    "description": "d",
                    "parameters": {
                        "type": "OBJECT",
                        "properties": {"a": {"type": "STRING", "nullable": True}},
                        "required": ["a"],
                    },
                }
            ]
        },
        {"googleSearch": {}},
    ],
    "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["f"]}},
    "generationConfig": {
        "maxOutputTokens": 100,
        "temperature": 1,
        "topK": 40,
        "stopSequences": ["x"],
        "responseMimeType": "application/json",
        "responseSchema": {"type": "OBJECT", "properties": {"a": {"type": "STRING"}}},
        "thinkingConfig": {"thinkingBudget": 100, "includeThoughts": True},
    },
    "safetySettings": [],
}


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the path of every member and item."""
    inner = value.items() if isinstance(value, dict) else enumerate(value)
    out: list[tuple[Any, ...]] = []
    for key, each in inner:
        out.append((*path, key))
        if isinstance(each, dict | list):
            out += places(each, (*path, key))
    return out


PLACES = places(WHOLE)


def put(body: Any, path: tuple[Any, ...], value: Any) -> None:
    """Put a value at a place, unless an earlier edit took the place away."""
    *way, at = path
    try:
        for key in way:
            body = body[key]
        body[at] = value
    except (KeyError, IndexError, TypeError):
        return


VIEWS = [
    target(gemini_schema="legacy", thinking="budget", tool_result_media=True),
    target(reasoning_family="gemini", hosted_tools=("web_search",), structured_output=False),
]


def through(body: dict[str, Any]) -> None:
    """Decode and encode; nothing but a ``BadRequest`` may stop it."""
    try:
        request = decode_request(body)
        for view in VIEWS:
            wire.dumps(encoded(request, view)[0].body)
    except BadRequest:
        return


def test_the_whole_body_is_taken() -> None:
    request = decode_request(copy.deepcopy(WHOLE))
    assert request.unknown == 0
    assert [len(encoded(request, view)[0].body["contents"]) for view in VIEWS] == [3, 3]


@given(st.dictionaries(WORDS | SHORT, JSON))
def test_any_body_is_read_or_refused(body: dict[str, Any]) -> None:
    through(body)


@given(st.lists(st.tuples(st.sampled_from(PLACES), JSON), min_size=1, max_size=4))
def test_a_mutated_body_is_read_or_refused(edits: list[tuple[tuple[Any, ...], Any]]) -> None:
    body = copy.deepcopy(WHOLE)
    for path, value in edits:
        put(body, path, value)
    through(body)


# --- there and back ---------------------------------------------------------------------------

TEXTS = st.builds(Text, st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8))
ARGS = st.dictionaries(SHORT, st.integers() | SHORT | st.lists(st.booleans()), max_size=3).map(
    lambda value: wire.compact({k: v for k, v in value.items() if _small(v)})
)
NAMES = st.sampled_from(["f", "g", "read_file"])
IDS = st.sampled_from(["", "c1", "c2", "call_0_0", "toolu_x"])


def _small(value: Any) -> bool:
    return not isinstance(value, int) or -(2**63) <= value < 2**63


CALLS = st.builds(ToolCall, IDS, NAMES, ARGS)
RESULTS = st.builds(ToolResult, IDS, st.lists(TEXTS, max_size=2).map(tuple), NAMES, st.booleans())
THOUGHTS = st.builds(Reasoning, SHORT, st.sampled_from([NATIVE, FOREIGN, None]))
PICTURES = st.just(Image(data=PIXEL, mime="image/png"))


def turns(role: Role, parts: st.SearchStrategy[Any]) -> st.SearchStrategy[Message]:
    return st.builds(Message, st.just(role), st.lists(parts, max_size=4).map(tuple))


MESSAGES = st.lists(
    turns("user", TEXTS | PICTURES)
    | turns("assistant", TEXTS | CALLS | THOUGHTS)
    | turns("tool", RESULTS)
    | turns("system", TEXTS),
    min_size=1,
    max_size=6,
).map(tuple)
REQUESTS = st.builds(
    Request,
    st.just("m"),
    MESSAGES,
    system=st.lists(TEXTS, max_size=2).map(tuple),
    tools=st.lists(st.builds(Tool, NAMES), max_size=3).map(tuple),
    stop=st.lists(SHORT.filter(bool), max_size=3).map(tuple),
    max_tokens=st.none() | st.integers(1, 10**6),
)


def what_stays(request: Request) -> list[tuple[str, list[Any]]]:
    """Return the turns: roles, texts, calls, and results by the call that they answer."""
    out: list[tuple[str, list[Any]]] = []
    names = {
        part.id: part.name
        for message in request.messages
        for part in message.parts
        if isinstance(part, ToolCall)
    }
    for message in request.messages:
        kept = [found for part in message.parts if (found := _kept(part, names)) is not None]
        if kept:
            out.append((message.role, kept))
    return out


def _kept(part: Part, names: dict[str, str]) -> Any:
    match part:
        case Text(text=text):
            return text
        case Image():
            return part
        case ToolCall():
            return (part.id, part.name, json.loads(part.args))
        case ToolResult():
            words = "\n".join(each.text for each in part.parts if isinstance(each, Text))
            return (part.call_id, names.get(part.call_id), words, part.is_error)
        case _:
            return None


@given(REQUESTS)
def test_what_is_written_is_read_again(request: Request) -> None:
    """Once written, a request is in this protocol's order: from there nothing changes."""
    # Without a family all proofs are foreign: what was only one would be a turn no more.
    written = encoded(request, target())[0].body
    again = normalise(decode_request(copy.deepcopy(written)))
    assert what_stays(normalise(decode_request(encoded(again)[0].body))) == what_stays(again)
    said = [
        part for message in request.messages for part in message.parts if message.role != "tool"
    ]
    texts = [part.text for part in said if isinstance(part, Text) and part.text]
    calls = [part for part in said if isinstance(part, ToolCall)]
    read = [part for message in again.messages for part in message.parts]
    assert [(c.name, json.loads(c.args)) for c in calls] == [
        (part.name, json.loads(part.args)) for part in read if isinstance(part, ToolCall)
    ]
    everything = "\n".join(part.text for part in read if isinstance(part, Text))
    everything += "\n".join(part.text for part in again.system)
    assert all(text in everything for text in texts)
    assert (again.stop, again.max_tokens) == (request.stop, request.max_tokens)
    assert {tool.name for tool in again.tools} == {tool.name for tool in request.tools}


@given(REQUESTS)
def test_every_call_is_answered_by_the_next_turn(request: Request) -> None:
    contents = encoded(request, VIEWS[1])[0].body["contents"]
    roles = [each["role"] for each in contents]
    assert roles == (["user", "model"] * len(roles))[: len(roles)]
    for before, after in zip(contents, [*contents[1:], {"parts": []}], strict=True):
        calls = [part["functionCall"] for part in before["parts"] if "functionCall" in part]
        answers = [p["functionResponse"] for p in after["parts"] if "functionResponse" in p]
        assert [(c["id"], c["name"]) for c in calls] == [(a["id"], a["name"]) for a in answers]
        signed = [part for part in before["parts"] if "functionCall" in part][:1]
        assert all("thoughtSignature" in part for part in signed)
