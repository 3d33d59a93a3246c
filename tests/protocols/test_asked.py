"""A large body is read as a small one is, without building objects from all of it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kurolproxy.errors import BadRequest
from kurolproxy.ir import ModelTraits, Seal
from kurolproxy.protocols import asked, nesting, seal
from kurolproxy.protocols.asked import PARSED_BYTES, Unread
from kurolproxy.protocols.base import Circumstances, TargetView
from kurolproxy.protocols.registry import CODECS
from kurolproxy.protocols.translator import Translation, translate, translate_in_steps

FILL = 'a large "text" of \\ many [words}\n' * 60_000
CHAT, RESPONSES, GEMINI, MESSAGES = (
    CODECS[name] for name in ("openai-chat", "openai-responses", "gemini", "anthropic")
)


def around(**more: Any) -> Circumstances:
    return Circumstances(0, lambda prefix: prefix, **more)


def view(model: str = "inner") -> TargetView:
    return TargetView(model=model, public_model="m", traits=ModelTraits(), max_output_tokens=None)


def chat(**more: Any) -> bytes:
    body = {"model": "m", **more, "messages": [{"role": "user", "content": FILL}]}
    data = json.dumps(body).encode()
    assert len(data) > PARSED_BYTES
    return data


def test_facts_of_a_large_body_are_read_without_parsing_it() -> None:
    found = asked.read(chat(stream=True, max_tokens=70, n=2), CHAT.passing, 100)
    assert (found.model, found.stream, found.max_tokens, found.n) == ("m", True, 70, 2)
    assert found.document is None


def test_large_member_is_no_object_to_who_looks_at_it() -> None:
    found = asked.read(chat(tools=[FILL]), CHAT.passing, 100)
    assert isinstance(found.top["messages"], Unread)
    # Whether there is any is all that is asked of a list of tools.
    assert found.top["tools"]


def test_cap_inside_a_large_member_counts() -> None:
    config = {"responseSchema": {"description": FILL}, "maxOutputTokens": 33}
    body = json.dumps({"contents": [], "generationConfig": config}).encode()
    assert asked.read(body, GEMINI.passing, 100, model="m").max_tokens == 33


def test_large_body_is_read_in_steps() -> None:
    body = chat()
    pauses = sum(1 for _ in asked.read_in_steps(body, CHAT.passing, 100))
    assert pauses >= len(body) // nesting.STEP - 1


@pytest.mark.parametrize("item", [{"id": "rs_1"}, {"type": "item_reference", "id": "rs_1"}])
def test_reference_among_large_items_is_refused(item: dict[str, Any]) -> None:
    message = {"role": "user", "content": FILL}
    body = json.dumps({"model": "m", "input": [message, item, message]}).encode()
    found = asked.read(body, RESPONSES.passing, 100)
    with pytest.raises(BadRequest, match=r"input\[1\]: item_reference is not supported"):
        translate(RESPONSES, RESPONSES, found, view(), around())


def test_large_thread_that_goes_on_is_refused() -> None:
    body = {"model": "m", "max_tokens": 9, "thread": {"type": "continue", "x": FILL}}
    found = asked.read(json.dumps({**body, "messages": []}).encode(), MESSAGES.passing, 100)
    with pytest.raises(BadRequest, match="thread"):
        translate(MESSAGES, MESSAGES, found, view(), around())


def steps_of(body: bytes, upstream: str) -> tuple[int, Translation]:
    """Translate a Chat request in steps; return how many pauses that made."""
    found = asked.read(body, CHAT.passing, 100)
    steps = translate_in_steps(CHAT, CODECS[upstream], found, view(), around())
    pauses = 0
    while True:
        try:
            next(steps)
        except StopIteration as done:
            return pauses, done.value
        pauses += 1


def test_large_body_passes_in_steps_and_is_never_parsed() -> None:
    body = chat(stream=False)
    pauses, made = steps_of(body, "openai-chat")
    assert pauses >= len(body) // nesting.STEP - 1
    assert made.body == body.replace(b'"model": "m"', b'"model": "inner"')
    assert made.asked.document is None


def test_large_body_is_translated_with_pauses() -> None:
    pauses, made = steps_of(chat(), "anthropic")
    assert pauses >= 4
    assert json.loads(made.body)["messages"][0]["content"] in (
        FILL,
        [{"type": "text", "text": FILL}],
    )


@pytest.mark.parametrize("at", [-3, -1, 0, 1, 3])
def test_token_of_ours_at_the_border_of_a_step_is_found(at: int) -> None:
    token = seal.encode(Seal("a", "claude", "proof"))
    extra = {"google": {"thought_signature": token}}
    function = {"name": "f", "arguments": ""}
    call = {"id": "c", "type": "function", "function": function, "extra_content": extra}
    turn = {"role": "assistant", "tool_calls": [call], "content": None}
    head = b'{"model":"inner","metadata":{"x":"'
    rest = b'"},"messages":[%b,{"role":"user","content":"%b"}]}' % (
        json.dumps(turn).encode(),
        b"z" * PARSED_BYTES,
    )
    fill = nesting.STEP - len(head) - rest.index(b'"a3gx') + at
    _, made = steps_of(head + b"y" * fill + rest, "openai-chat")
    assert b'"a3gx' not in made.body
