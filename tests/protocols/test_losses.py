"""A loss is what was said and not taken; nothing is listed by hand."""

from __future__ import annotations

from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kurolproxy.ir import (
    CacheHint,
    Citation,
    File,
    Image,
    Message,
    Output,
    Reasoning,
    ReasoningWish,
    Request,
    Seal,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from kurolproxy.protocols.losses import Reader, header_value


def request(**said: object) -> Request:
    """Return a request that says one thing to a model, and more."""
    values: dict[str, object] = {"messages": ()} | said
    return Request(model="m", **values)  # type: ignore[arg-type]


SAID = [
    ({}, []),
    ({"seed": 7}, ["seed"]),
    ({"temperature": 0.0}, ["temperature"]),
    ({"logprobs": False}, ["logprobs"]),
    ({"n": 1}, []),
    ({"n": 2}, ["n"]),
    ({"stop": ()}, []),
    ({"stop": ("x",)}, ["stop"]),
    (
        {"max_tokens": 5, "names": {"max_tokens": "max_completion_tokens"}},
        ["max_completion_tokens"],
    ),
    ({"stream": True, "include_usage": True, "legacy_functions": True}, []),
    ({"leftover": ("prediction", "modalities")}, ["prediction", "modalities"]),
    ({"unknown": 3}, ["unknown(3)"]),
    ({"leftover": ("naughty\r\nname", "x" * 65, "")}, ["?"]),
    ({"output": Output("json_object")}, ["output"]),
    ({"reasoning": ReasoningWish(effort="low")}, ["reasoning"]),
]


@pytest.mark.parametrize(("said", "lost"), SAID)
def test_what_nobody_took_is_lost(said: dict[str, object], lost: list[str]) -> None:
    assert Reader(request(**said)).losses() == lost


def test_taken_fields_are_not_lost_and_peeked_ones_are() -> None:
    reader = Reader(request(seed=7, top_k=3))
    assert reader.take(reader.request, "seed") == 7
    assert reader.peek(reader.request, "top_k") == 3
    assert reader.losses() == ["top_k"]


def test_inner_fields_of_a_node_that_was_read_are_named() -> None:
    wish = ReasoningWish(effort="low", budget=7, show="none")
    choice = ToolChoice("auto", allowed=("a",))
    reader = Reader(request(reasoning=wish, tool_choice=choice, names={"reasoning": "thinking"}))
    reader.take(wish, "effort")
    reader.take(choice, "mode")
    assert reader.losses() == ["thinking.budget", "tool_choice.allowed"]


def test_whole_node_loses_nothing() -> None:
    output = Output("json_schema", "name", {"type": "object"}, strict=True, description="d")
    reader = Reader(request(output=output))
    assert reader.whole(output) is output
    assert reader.losses() == []


def test_parts_are_told_apart_by_identity() -> None:
    parts = (Text("same", CacheHint()), Text("same", CacheHint()))
    reader = Reader(request(messages=(Message("user", parts),)))
    reader.whole(parts[0])
    assert reader.losses() == ["messages.text"]
    reader.take(parts[1], "text")
    assert reader.losses() == ["messages.text.cache"]
    reader.take(parts[1], "cache")
    assert reader.losses() == []


def test_every_kind_of_part_has_its_name() -> None:
    call = ToolCall("c", "f", "{}", seal=Seal("a", "f", "p"))
    result = ToolResult("c", (Image(url="u", detail="low"), Text("t")))
    reader = Reader(
        request(
            system=(Text("s"),),
            messages=(
                Message("assistant", (Reasoning("hm", native="sig"), call)),
                Message("tool", (result,)),
            ),
            tools=(Tool("f", strict=True), Tool("w", kind="hosted", hosted="web_search")),
        )
    )
    assert reader.losses() == [
        "tools.tool",
        "tools.web_search",
        "system.text",
        "messages.reasoning",
        "messages.tool_call",
        "messages.tool_result",
    ]
    for name in ("id", "name", "args"):
        reader.take(call, name)
    reader.take(result, "call_id")
    reader.take(result.parts[0], "url")
    assert reader.losses()[3:] == [
        "messages.reasoning",
        "messages.tool_call.seal",
        "messages.tool_result.parts",
        "messages.tool_result.image.detail",
        "messages.tool_result.text",
    ]


def test_native_proof_alone_is_no_loss() -> None:
    part = Reasoning("hm", native="sig", redacted=True)
    reader = Reader(request(messages=(Message("assistant", (part,)),)))
    reader.take(part, "text")
    assert reader.losses() == []


def test_losses_of_one_name_are_listed_once() -> None:
    parts = tuple(Text(str(number)) for number in range(5))
    assert Reader(request(messages=(Message("user", parts),))).losses() == ["messages.text"]


def test_what_is_taken_from_a_stand_in_is_taken_from_what_it_stands_for() -> None:
    old = Text("rule", CacheHint(), (Citation("u"),))
    reader = Reader(request(messages=(Message("system", (old,)),)))
    new = Text("<system-reminder>rule</system-reminder>", old.cache)
    reader.stand_in(new, old)
    reader.take(new, "text")
    assert reader.losses() == ["messages.text.cache", "messages.text.citations"]
    reader.whole(new)
    assert reader.losses() == []


QUIET = {
    "model",
    "stream",
    "messages",
    "system",
    "tools",
    "names",
    "leftover",
    "unknown",
    "include_usage",
    "legacy_functions",
}
NODES = {
    "reasoning": ReasoningWish(),
    "output": Output("json_object"),
    "tool_choice": ToolChoice("auto"),
    "cache": CacheHint(),
}


@pytest.mark.parametrize("name", sorted({each.name for each in fields(Request)} - QUIET))
def test_every_field_of_a_request_is_a_loss_under_its_name(name: str) -> None:
    assert Reader(request(**{name: NODES.get(name, 5)})).losses() == [name]


@given(st.lists(st.from_regex(r"[a-z.]{1,64}", fullmatch=True), max_size=60, unique=True))
def test_header_holds_at_most_512_bytes_and_says_how_many_are_missing(names: list[str]) -> None:
    value = header_value(names)
    assert len(value) <= 512
    shown = value.split(",") if value else []
    if shown and shown[-1].startswith("+"):
        assert len(",".join(names)) > 512
        assert int(shown.pop()) == len(names) - len(shown)
    assert shown == names[: len(shown)]
    assert len(shown) == len(names) or len(",".join(names)) > 512


def test_header_of_a_few_losses_is_the_list() -> None:
    assert header_value(["seed", "tools.web_search"]) == "seed,tools.web_search"
    assert header_value([]) == ""


def test_result_that_the_client_never_gave_is_no_loss() -> None:
    said = ToolResult("a", (Text("gone"),), is_error=True)
    made_up = ToolResult("b", (Text("none"),), is_error=True, made_up=True)
    reader = Reader(request(messages=(Message("tool", (said, made_up)),)))
    assert reader.losses() == ["messages.tool_result"]
    reader.take(said, "parts")
    reader.take(said.parts[0], "text")
    assert reader.losses() == [
        "messages.tool_result.call_id",
        "messages.tool_result.is_error",
    ]


def test_parts_are_called_what_the_client_calls_them() -> None:
    inner = File(text="t", context="c")
    parts = (File(text="t", context="c"), ToolResult("c", (inner,)))
    reader = Reader(request(messages=(Message("user", parts),), names={"parts.file": "document"}))
    assert reader.losses() == ["messages.document", "messages.tool_result"]
    for file in (parts[0], inner):
        reader.take(file, "text")
    for name in ("call_id", "parts"):
        reader.take(parts[1], name)
    assert reader.losses() == ["messages.document.context", "messages.tool_result.document.context"]
