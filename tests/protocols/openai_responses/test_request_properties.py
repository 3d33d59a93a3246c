"""What holds for any request."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kurolproxy.errors import BadRequest
from kurolproxy.ir import Part, Request, Text, ToolCall, ToolResult
from kurolproxy.protocols import seal, wire
from kurolproxy.protocols.normalise import normalise
from kurolproxy.protocols.openai_responses import vocabulary
from kurolproxy.protocols.openai_responses.counting import COUNTING
from kurolproxy.protocols.openai_responses.passing import PASSING
from kurolproxy.protocols.openai_responses.request_decode import decode_request
from tests.protocols.goldens import cases
from tests.protocols.openai_responses.request_support import body, target

BODIES = [json.loads(path.read_bytes()) for path in cases("openai_responses", "request", "json")]
VIEWS = [
    target(reasoning_family="openai", cache="explicit", hosted_tools=("web_search",)),
    target(forced_tool_choice=False, structured_output=False, prefill=True),
]
# What JSON can say: no halves of surrogate pairs.
WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
TEXT = WORDS.filter(bool)
NAME = st.text("abcdefgh_-", min_size=1, max_size=8)
KNOWN = sorted(
    {value for name, value in vars(vocabulary).items() if name.isupper() and type(value) is str}
    | {"type", "role", "content", "name", "namespace", "tools", "call_id", "output", "effort"}
)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-9, 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | WORDS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KNOWN) | WORDS, inner)
    ),
    max_leaves=6,
) | st.sampled_from(KNOWN)


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Return every container of a document with each of its keys."""
    pairs: list[tuple[Any, Any]] = []
    if isinstance(value, dict | list):
        keys = list(value) if isinstance(value, dict) else list(range(len(value)))
        for key in keys:
            pairs.append((value, key))
            pairs += _places(value[key])
    return pairs


@st.composite
def mutated(draw: st.DrawFn) -> dict[str, Any]:
    """Return a golden request with some of its values replaced, taken out or doubled."""
    found: dict[str, Any] = copy.deepcopy(draw(st.sampled_from(BODIES)))
    for _ in range(draw(st.integers(1, 3))):
        container, key = draw(st.sampled_from(_places(found)))
        change = draw(st.sampled_from(["replace", "take out", "double"]))
        if change == "replace" or isinstance(container, list):
            container[key] = draw(JSON)
        elif change == "take out":
            del container[key]
        else:
            container[draw(st.sampled_from(KNOWN))] = copy.deepcopy(container[key])
        if not found:
            break
    return found


def _refusal(call: Callable[[], Any]) -> BadRequest | None:
    """Return why a call was refused; any other exception is a fault of the codec."""
    try:
        call()
    except BadRequest as error:
        return error
    return None


@given(mutated(), st.sampled_from(VIEWS))
def test_mutated_request_is_written_or_refused(found: dict[str, Any], view: Any) -> None:
    refused = _refusal(lambda: wire.dumps(body(decode_request(found), view)))
    assert refused is None or refused.message
    counted = COUNTING.asking(COUNTING.generating(found), "up")
    assert json.loads(wire.dumps(counted)) == counted


@given(JSON, st.sampled_from(["input", "tools", "tool_choice", "text", "reasoning", "include"]))
def test_any_value_of_a_field_is_read_or_refused(value: Any, name: str) -> None:
    refused = _refusal(lambda: body(decode_request({"model": "m1", "input": "Hi", name: value})))
    assert refused is None or refused.param


@given(mutated(), st.sampled_from(["openai", "other", None]))
def test_mutated_request_passes_or_is_refused(found: dict[str, Any], family: str | None) -> None:
    stateful, forget = PASSING.stateful, PASSING.forget
    assert stateful is not None
    assert forget is not None
    refused = _refusal(lambda: stateful(found))
    assert refused is None or refused.param
    out = PASSING.unseal(found, family)
    proofs = [
        item.get("encrypted_content")
        for item in (out["input"] if isinstance(out.get("input"), list) else ())
        if isinstance(item, dict) and item.get("type") == "reasoning"
    ]
    assert not [each for each in proofs if isinstance(each, str) and each.startswith(seal.PREFIX)]
    assert forget(out) == any(isinstance(each, str) and each for each in proofs)
    assert not forget(out)


# --- what was said is said again ------------------------------------------------------------


@st.composite
def conversations(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Return the items of a conversation whose calls are all answered, in any order."""
    out: list[dict[str, Any]] = [{"role": "user", "content": draw(TEXT)}]
    for turn in range(draw(st.integers(0, 3))):
        calls = [draw(a_call(turn, at)) for at in range(draw(st.integers(0, 3)))]
        if draw(st.booleans()) or not calls:
            out.append({"role": "assistant", "content": draw(TEXT)})
        out += calls
        out += draw(st.permutations([_answer(call, draw(TEXT)) for call in calls]))
        role = draw(st.sampled_from(["user", "developer", "system"]))
        part = {"type": "input_text", "text": draw(TEXT)}
        out.append({"type": "message", "role": role, "content": [part]})
    return out


@st.composite
def a_call(draw: st.DrawFn, turn: int, at: int) -> dict[str, Any]:
    """Return a call of a function or of a custom tool, with or without a namespace."""
    said: dict[str, Any] = {"call_id": f"call_{turn}_{at}", "name": draw(NAME)}
    if draw(st.booleans()):
        said["namespace"] = draw(NAME)
    if draw(st.booleans()):
        return {"type": "custom_tool_call", **said, "input": draw(WORDS)}
    args = json.dumps({draw(NAME): draw(st.integers() | WORDS)})
    return {"type": "function_call", **said, "arguments": args}


def _answer(call: dict[str, Any], text: str) -> dict[str, Any]:
    return {"type": call["type"] + "_output", "call_id": call["call_id"], "output": text}


def _said(request: Request) -> list[tuple[Any, ...]]:
    """Return what a request says: roles, texts, ids, names, arguments."""
    normal = normalise(request)
    found = [("system", text.text) for text in normal.system]
    return [
        *found,
        *((message.role, *_part(part)) for message in normal.messages for part in message.parts),
    ]


def _part(part: Part) -> tuple[Any, ...]:
    match part:
        case Text():
            return (part.text,)
        case ToolCall():
            return (part.id, part.ns, part.name, part.kind, part.args)
        case ToolResult():
            return (part.call_id, *(each.text for each in part.parts if isinstance(each, Text)))
    return (part,)


@given(conversations())
def test_what_was_said_is_said_again(items: list[dict[str, Any]]) -> None:
    request = decode_request({"model": "m1", "input": items})
    sent = body(request, target(prefill=True))
    again = decode_request(json.loads(wire.dumps(sent)))
    assert _joined(_said(again)) == _joined(_said(request))


def _joined(said: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Return the words of the leading system as one: they stand in one field."""
    system = [text for role, text, *_ in said if role == "system"]
    rest = [each for each in said if each[0] != "system"]
    return [("system", "".join("".join(system).split())), *rest]


@pytest.mark.parametrize("found", BODIES)
def test_reading_leaves_the_body_as_it_was(found: dict[str, Any]) -> None:
    before = json.dumps(found)
    body(decode_request(found))
    assert json.dumps(found) == before
