"""Which conversation a request belongs to."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kurolproxy.ir import ProtocolName
from kurolproxy.protocols.asked import read
from kurolproxy.protocols.registry import CODECS
from kurolproxy.protocols.sessions import conversation_of

Said = dict[str, Any]


def session(
    protocol: ProtocolName, body: Said, *, header: str | None = None, owner: int = 1
) -> bytes:
    rules = CODECS[protocol].passing
    model = None if rules.model_in_body else "m"
    data = json.dumps({"model": "m", "max_tokens": 9, **body}).encode()
    return conversation_of(read(data, rules, 100, model=model), rules, header, owner)


def chat(*texts: str, system: str = "You help.") -> Said:
    roles = ("user", "assistant")
    turns = [{"role": roles[n % 2], "content": text} for n, text in enumerate(texts)]
    return {"messages": [{"role": "system", "content": system}, *turns]}


def responses(*texts: str, system: str = "You help.") -> Said:
    return {"instructions": system, "input": chat(*texts)["messages"][1:]}


def messages(*texts: str, system: str = "You help.") -> Said:
    return {"system": system, "messages": chat(*texts)["messages"][1:]}


def gemini(*texts: str, system: str = "You help.") -> Said:
    roles = ("user", "model")
    turns = [{"role": roles[n % 2], "parts": [{"text": text}]} for n, text in enumerate(texts)]
    return {"systemInstruction": {"parts": [{"text": system}]}, "contents": turns}


FAMILIES = [
    ("openai-chat", chat),
    ("openai-responses", responses),
    ("anthropic", messages),
    ("gemini", gemini),
]
LONG = "x" * 1_100_000
every_family = pytest.mark.parametrize(("protocol", "say"), FAMILIES, ids=[f[0] for f in FAMILIES])


@every_family
def test_all_turns_of_a_conversation_are_one_session(protocol: ProtocolName, say: Any) -> None:
    first = session(protocol, say("Hello"))
    assert session(protocol, say("Hello", "Hi", "How are you?")) == first
    assert session(protocol, {**say("Hello", "Hi", "And now?"), "temperature": 1}) == first


@every_family
def test_other_conversations_and_accounts_are_other_sessions(
    protocol: ProtocolName, say: Any
) -> None:
    found = {
        session(protocol, say("Hello")),
        session(protocol, say("Hullo")),
        session(protocol, say("Hello", system="You hinder.")),
        session(protocol, say("Hello"), owner=2),
    }
    assert len(found) == 4


@every_family
def test_body_that_is_not_parsed_has_a_session_that_stays(protocol: ProtocolName, say: Any) -> None:
    first = session(protocol, say("Hello" + LONG))
    assert session(protocol, say("Hello" + LONG, "Hi", "How are you?")) == first
    assert session(protocol, say("Hullo" + LONG)) != first


NAMED: list[tuple[str, ProtocolName, Said, str | None]] = [
    ("cache key", "openai-chat", {"prompt_cache_key": "k"}, None),
    ("cache key of Responses", "openai-responses", {"prompt_cache_key": "k"}, None),
    ("header", "openai-chat", {}, "k"),
    ("header for Messages", "anthropic", {}, "k"),
    ("header for Gemini", "gemini", {}, "k"),
    ("user", "anthropic", {"metadata": {"user_id": "k"}}, None),
]


@pytest.mark.parametrize(("name", "protocol", "more", "header"), NAMED, ids=[n[0] for n in NAMED])
def test_name_that_the_client_gives_decides(
    name: str, protocol: ProtocolName, more: Said, header: str | None
) -> None:
    say = dict(FAMILIES)[protocol]
    first = session(protocol, {**say("Hello"), **more}, header=header)
    assert session(protocol, {**say("Another"), **more}, header=header) == first
    assert session(protocol, say("Hello")) != first
    assert session(protocol, {**say("Hello"), **more}, header=header, owner=2) != first


def test_cache_key_goes_before_the_header_and_the_header_before_the_user() -> None:
    by_key = session("openai-chat", {**chat("a"), "prompt_cache_key": "k"}, header="h")
    assert by_key == session("openai-chat", {**chat("b"), "prompt_cache_key": "k"})
    user = {"metadata": {"user_id": "u"}}
    by_header = session("anthropic", {**messages("a"), **user}, header="h")
    assert by_header == session("anthropic", messages("b"), header="h")


@pytest.mark.parametrize(
    "more",
    [
        {"prompt_cache_key": 7},
        {"prompt_cache_key": ""},
        {"messages": "no list"},
        {"messages": [1, None, {"role": "assistant"}]},
        {"messages": []},
        {"messages": None},
        {"metadata": "x"},
    ],
    ids=str,
)
def test_shapes_that_are_none_have_a_session_all_the_same(more: Said) -> None:
    assert len(session("openai-chat", {**chat("Hello"), **more})) == 16
    assert len(session("anthropic", {**messages("Hello"), **more})) == 16
