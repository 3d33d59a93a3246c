"""What an Anthropic upstream is asked for requests of other protocols' clients."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import Any

import pytest

from kurolproxy.errors import BadRequest
from kurolproxy.ir import (
    Audio,
    CacheHint,
    Citation,
    File,
    Image,
    Message,
    Output,
    Part,
    Reasoning,
    ReasoningWish,
    Refusal,
    Request,
    Role,
    Seal,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from kurolproxy.protocols import wire
from kurolproxy.protocols.base import TargetView
from tests.protocols.anthropic.support import body, encoded, target

HELLO = (Message("user", (Text("Hello"),)),)
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
GET = Tool("get", schema=SCHEMA)
SEAL = Seal("a", "claude", "proof")


def ask(**fields: Any) -> Request:
    return Request("m1", fields.pop("messages", HELLO), **fields)


def turns(*said: tuple[Role, Part | tuple[Part, ...]]) -> Request:
    return ask(
        messages=tuple(
            Message(role, parts if isinstance(parts, tuple) else (parts,)) for role, parts in said
        )
    )


def refused(request: Request, view: TargetView | None = None) -> BadRequest:
    with pytest.raises(BadRequest) as caught:
        encoded(request, view)
    return caught.value


def test_keys_of_the_body_always_stand_in_one_order() -> None:
    request = ask(
        max_tokens=5,
        system=(Text("s"),),
        tools=(GET,),
        tool_choice=ToolChoice("auto"),
        stop=("x",),
        top_k=0,
        stream=True,
        service_tier="auto",
        user_ref="u",
    )
    view = replace(target(allow_service_tier=True), hash_user=lambda user: f"h({user})")
    found = body(request, view)
    assert list(found) == [
        "model",
        "max_tokens",
        "system",
        "messages",
        "tools",
        "tool_choice",
        "stop_sequences",
        "top_k",
        "service_tier",
        "metadata",
        "cache_control",
        "stream",
    ]
    assert wire.dumps(found) == wire.dumps(body(request, view))


def test_version_that_takes_sampling_is_asked_for() -> None:
    assert encoded(ask())[0].headers == {"anthropic-version": "2023-06-01"}


# --- output cap -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wish", "model_limit", "trait_limit", "cap"),
    [
        (None, None, None, 8192),
        (None, 4096, None, 4096),
        (None, None, 2048, 2048),
        (100, None, None, 100),
        (100, 4096, None, 100),
        (128_000, 4096, None, 4096),
        (128_000, 4096, 2048, 2048),
    ],
)
def test_output_cap_is_filled_in_and_clamped(
    wish: int | None, model_limit: int | None, trait_limit: int | None, cap: int
) -> None:
    view = target(model_limit, max_output_tokens=trait_limit)
    assert body(ask(max_tokens=wish), view)["max_tokens"] == cap


def test_cap_of_zero_is_refused_in_the_clients_words() -> None:
    request = ask(max_tokens=0, names={"max_tokens": "max_completion_tokens"})
    assert refused(request).param == "max_completion_tokens"


def test_several_answers_are_refused() -> None:
    assert refused(ask(n=2, names={"n": "generationConfig.candidateCount"})).param == (
        "generationConfig.candidateCount"
    )


# --- thinking ---------------------------------------------------------------------------

ADAPTIVE = {"thinking": "adaptive"}
STUCK = {"thinking": "adaptive", "thinking_can_disable": False}
BUDGET = {"thinking": "budget"}
NONE = {"thinking": "none"}
OFF = {"type": "disabled"}

THOUGHTS: list[tuple[dict[str, Any], ReasoningWish | None, Any, str | None]] = [
    (ADAPTIVE, None, None, None),
    (ADAPTIVE, ReasoningWish(mode="on"), {"type": "adaptive"}, None),
    (ADAPTIVE, ReasoningWish(mode="adaptive"), {"type": "adaptive"}, None),
    (ADAPTIVE, ReasoningWish("minimal"), {"type": "adaptive"}, "low"),
    (ADAPTIVE, ReasoningWish("medium"), {"type": "adaptive"}, "medium"),
    (ADAPTIVE, ReasoningWish("max"), {"type": "adaptive"}, "max"),
    (ADAPTIVE, ReasoningWish(budget=4096), {"type": "adaptive"}, "low"),
    (ADAPTIVE, ReasoningWish(budget=-1), {"type": "adaptive"}, None),
    (ADAPTIVE, ReasoningWish("none"), OFF, None),
    (ADAPTIVE, ReasoningWish(budget=0), OFF, None),
    (ADAPTIVE, ReasoningWish(mode="off"), OFF, None),
    (STUCK, ReasoningWish(mode="off"), {"type": "adaptive"}, "low"),
    ({"efforts": ("none", "medium")}, ReasoningWish("low"), {"type": "adaptive"}, "medium"),
    ({"efforts": ("low", "high")}, ReasoningWish("max"), {"type": "adaptive"}, "high"),
    (BUDGET, None, None, None),
    (BUDGET, ReasoningWish("low"), {"type": "enabled", "budget_tokens": 2048}, None),
    (BUDGET, ReasoningWish("max"), {"type": "enabled", "budget_tokens": 15_360}, None),
    (BUDGET, ReasoningWish(budget=5000), {"type": "enabled", "budget_tokens": 5000}, None),
    (BUDGET, ReasoningWish("max", 5000), {"type": "enabled", "budget_tokens": 5000}, None),
    (BUDGET, ReasoningWish(budget=10), {"type": "enabled", "budget_tokens": 1024}, None),
    (BUDGET, ReasoningWish(mode="adaptive"), {"type": "enabled", "budget_tokens": 8192}, None),
    (BUDGET, ReasoningWish(mode="off"), None, None),
    (NONE, ReasoningWish("high"), None, None),
    (NONE, ReasoningWish(mode="off"), None, None),
]


@pytest.mark.parametrize(("traits", "wish", "thinking", "effort"), THOUGHTS, ids=str)
def test_wish_to_think_takes_the_form_of_the_target(
    traits: dict[str, Any], wish: ReasoningWish | None, thinking: Any, effort: str | None
) -> None:
    found = body(ask(reasoning=wish, max_tokens=16_384), target(**traits))
    assert found.get("thinking") == thinking
    assert found.get("output_config", {}).get("effort") == effort


@pytest.mark.parametrize(
    ("cap", "budget"), [(16_384, 8000), (9000, 7976), (2048, 1024), (2047, None), (100, None)]
)
def test_budget_leaves_room_for_the_answer_or_goes(cap: int, budget: int | None) -> None:
    request = ask(reasoning=ReasoningWish(budget=8000), max_tokens=cap)
    outgoing, lost = encoded(request, target(**BUDGET))
    found = outgoing.body.get("thinking")
    assert found == (None if budget is None else {"type": "enabled", "budget_tokens": budget})
    assert lost == ([] if budget else ["reasoning"])


def test_wish_that_the_target_cannot_hear_is_a_loss() -> None:
    request = ask(reasoning=ReasoningWish("high"), names={"reasoning": "reasoning_effort"})
    assert encoded(request, target(**NONE))[1] == ["reasoning_effort"]


def call_history(*before: Part) -> Request:
    request = turns(
        ("user", Text("Hello")),
        ("assistant", (*before, ToolCall("c1", "get", "{}"))),
        ("tool", ToolResult("c1", (Text("1"),))),
    )
    return replace(request, tools=(GET,), reasoning=ReasoningWish("low"), max_tokens=9000)


def test_budget_thinking_goes_when_the_last_calls_come_without_their_thoughts() -> None:
    view = target(reasoning_family="claude", **BUDGET)
    assert "thinking" not in body(call_history(), view)
    assert "thinking" not in body(call_history(Reasoning("hm", Seal("a", "other", "p"))), view)
    assert "thinking" not in body(call_history(Text("x"), Reasoning("hm", SEAL)), view)
    assert "thinking" in body(call_history(Reasoning("hm", SEAL)), view)
    assert encoded(call_history(), view)[1] == ["reasoning"]


def test_adaptive_thinking_needs_no_thoughts_in_the_history() -> None:
    assert body(call_history(), target())["thinking"] == {"type": "adaptive"}


def test_calls_before_the_last_answer_do_not_matter() -> None:
    request = call_history()
    answered = (Message("assistant", (Text("1"),)), Message("user", (Text("more"),)))
    request = replace(request, messages=(*request.messages, *answered))
    assert "thinking" in body(request, target(**BUDGET))


FORCED: list[tuple[dict[str, Any], Any, str]] = [
    (ADAPTIVE, OFF, "tool"),
    (BUDGET, None, "tool"),
    (NONE, None, "tool"),
    (STUCK, {"type": "adaptive"}, "auto"),
]


@pytest.mark.parametrize(("traits", "thinking", "choice"), FORCED, ids=str)
def test_forced_call_and_thinking_exclude_each_other(
    traits: dict[str, Any], thinking: Any, choice: str
) -> None:
    request = ask(
        tools=(GET,), tool_choice=ToolChoice("named", "get"), reasoning=ReasoningWish("high")
    )
    found = body(request, target(**traits))
    assert found.get("thinking") == thinking
    assert found["tool_choice"]["type"] == choice
    said = [block["text"] for block in found.get("system", [])]
    assert said == (["You must call the tool get."] if choice == "auto" else [])


# --- sampling ---------------------------------------------------------------------------

THINKS = ReasoningWish("high")
SAMPLING: list[tuple[dict[str, Any], dict[str, Any], dict[str, Any], list[str]]] = [
    ({}, {"temperature": 0.0}, {"temperature": 0.0}, []),
    ({}, {"temperature": 1.7}, {"temperature": 1}, []),
    ({}, {"temperature": -1.0}, {"temperature": 0}, []),
    ({}, {"top_p": 0.3}, {"top_p": 0.3}, []),
    ({}, {"temperature": 0.5, "top_p": 0.3}, {"temperature": 0.5}, ["top_p"]),
    ({}, {"top_k": 0}, {"top_k": 0}, []),
    ({}, {"temperature": 0.5, "top_k": 3, "reasoning": THINKS}, {}, ["temperature", "top_k"]),
    ({}, {"temperature": 0.5, "top_p": 0.96, "reasoning": THINKS}, {"top_p": 0.96},
     ["temperature"]),
    ({}, {"top_p": 0.3, "reasoning": THINKS}, {}, ["top_p"]),
    ({}, {"temperature": 0.5, "reasoning": ReasoningWish(mode="off")}, {"temperature": 0.5}, []),
    ({"sampling": "no"}, {"temperature": 0.5, "top_p": 0.3, "top_k": 3}, {},
     ["temperature", "top_p", "top_k"]),
    ({"sampling": "only_without_reasoning"}, {"temperature": 0.5}, {"temperature": 0.5}, []),
    ({"sampling": "only_without_reasoning"}, {"top_p": 0.99, "reasoning": THINKS}, {}, ["top_p"]),
    ({}, {"seed": 1, "presence_penalty": 0.1, "frequency_penalty": 0.2, "verbosity": "low"}, {},
     ["seed", "presence_penalty", "frequency_penalty", "verbosity"]),
    ({}, {"logprobs": True, "top_logprobs": 3, "cache_key": "k"}, {},
     ["logprobs", "top_logprobs", "cache_key"]),
]  # fmt: skip


@pytest.mark.parametrize(("traits", "fields", "sent", "lost"), SAMPLING, ids=str)
def test_sampling_is_what_the_target_takes(
    traits: dict[str, Any], fields: dict[str, Any], sent: dict[str, Any], lost: list[str]
) -> None:
    outgoing, names = encoded(ask(**fields), target(**traits))
    found = {
        name: outgoing.body[name]
        for name in ("temperature", "top_p", "top_k")
        if name in outgoing.body
    }
    assert found == sent
    assert names == lost


def test_stop_texts_of_white_space_are_cut_by_us() -> None:
    outgoing, lost = encoded(ask(stop=("END", "\n", "")))
    assert outgoing.body["stop_sequences"] == ["END"]
    assert outgoing.local_stop == ("\n",)
    assert lost == []


# --- system and messages ----------------------------------------------------------------


def test_late_system_text_is_a_reminder_at_its_place() -> None:
    request = turns(
        ("system", Text("first")),
        ("user", Text("a")),
        ("system", Text("late")),
        ("assistant", Text("b")),
        ("user", Text("c")),
    )
    outgoing, lost = encoded(request)
    assert outgoing.body["system"] == [{"type": "text", "text": "first"}]
    assert [message["role"] for message in outgoing.body["messages"]] == [
        "user",
        "assistant",
        "user",
    ]
    assert outgoing.body["messages"][0]["content"][1]["text"] == (
        "<system-reminder>\nlate\n</system-reminder>"
    )
    assert lost == []


def test_late_system_text_stays_where_the_target_takes_it() -> None:
    request = turns(("user", Text("a")), ("system", Text("late")), ("user", Text("c")))
    roles = [message["role"] for message in body(request, target(mid_system=True))["messages"]]
    assert roles == ["user", "system", "user"]


def test_results_come_first_and_in_the_order_of_the_calls() -> None:
    request = turns(
        ("user", Text("a")),
        ("assistant", (ToolCall("c1", "get", "{}"), ToolCall("c.2", "get", ""))),
        ("user", Text("meanwhile")),
        ("tool", ToolResult("c.2", (Text("two"),), is_error=True)),
        ("tool", ToolResult("c1", (Text("one"),), name="get")),
    )
    outgoing, lost = encoded(request)
    _, calls, results = outgoing.body["messages"]
    assert [block["id"] for block in calls["content"]] == [
        block["tool_use_id"] for block in results["content"][:2]
    ]
    assert [block.get("content") or block.get("text") for block in results["content"]] == [
        "one",
        "two",
        "meanwhile",
    ]
    assert results["content"][1]["is_error"] is True
    assert lost == []


def test_first_word_is_the_users_and_so_is_the_last() -> None:
    request = turns(("assistant", Text("Hi")), ("user", Text("a")), ("assistant", Text("Well, \n")))
    said = [(each["role"], each["content"][0]["text"]) for each in body(request)["messages"]]
    assert said == [
        ("user", "(conversation continues)"),
        ("assistant", "Hi"),
        ("user", "a"),
        ("assistant", "Well, \n"),
        ("user", "Continue."),
    ]


def test_prefill_stays_where_it_is_taken_without_white_space_at_its_end() -> None:
    request = turns(("user", Text("a")), ("assistant", (Text("Well, \n"),)))
    assert body(request, target(prefill=True))["messages"][-1] == {
        "role": "assistant",
        "content": [{"type": "text", "text": "Well,"}],
    }


def test_blank_texts_are_never_sent() -> None:
    request = turns(
        ("user", (Text(" "), Text("\n"))),
        ("assistant", Text("\t")),
        ("user", (Text("x"), Text(""))),
    )
    assert body(replace(request, system=(Text(" "),))) == {
        "model": "claude-up",
        "max_tokens": 8192,
        "messages": [{"role": "user", "content": [{"type": "text", "text": "x"}]}],
        "cache_control": {"type": "ephemeral"},
    }


def test_user_who_says_nothing_says_so() -> None:
    assert body(turns(("user", (Text(" "), Text("\n")))))["messages"] == [
        {"role": "user", "content": [{"type": "text", "text": "(empty)"}]}
    ]


def test_refusal_of_before_is_text() -> None:
    request = turns(("user", Text("a")), ("assistant", Refusal("No.")), ("user", Text("b")))
    assert body(request)["messages"][1]["content"] == [{"type": "text", "text": "No."}]


def test_citations_of_before_are_a_loss() -> None:
    text = Text("b", citations=(Citation("https://example.org"),))
    request = turns(("user", Text("a")), ("assistant", text), ("user", Text("c")))
    assert encoded(request)[1] == ["messages.text.citations"]


PNG = "iVBORw0KGgo="
IMAGES: list[tuple[Image, dict[str, Any]]] = [
    (Image(PNG, mime="image/jpeg"), {"media_type": "image/png", "data": PNG}),
    (Image("/9j/4AAQ"), {"media_type": "image/jpeg", "data": "/9j/4AAQ"}),
    (Image("AAAA", mime="image/jpg"), {"media_type": "image/jpeg", "data": "AAAA"}),
    (Image("AAAA", mime="image/webp; q=1"), {"media_type": "image/webp", "data": "AAAA"}),
    (Image("AAAA", mime="image/tiff"), {"media_type": "image/tiff", "data": "AAAA"}),
    (Image("AAAA"), {"media_type": "image/png", "data": "AAAA"}),
]


@pytest.mark.parametrize(("image", "source"), IMAGES, ids=str)
def test_image_says_what_it_is(image: Image, source: dict[str, Any]) -> None:
    (message,) = body(turns(("user", image)))["messages"]
    assert message["content"] == [{"type": "image", "source": {"type": "base64", **source}}]


def test_image_by_url_and_its_detail() -> None:
    images = (
        Image(url="https://e.org/1", detail="auto"),
        Image(url="https://e.org/2", detail="low"),
    )
    outgoing, lost = encoded(turns(("user", images)))
    sources = [block["source"] for block in outgoing.body["messages"][0]["content"]]
    assert sources == [
        {"type": "url", "url": "https://e.org/1"},
        {"type": "url", "url": "https://e.org/2"},
    ]
    assert lost == ["messages.image.detail"]


def b64(text: bytes) -> str:
    return base64.b64encode(text).decode()


PDF = b64(b"%PDF-1.7")
PLAIN = {"type": "text", "media_type": "text/plain", "data": "words"}
FILES: list[tuple[File, dict[str, Any]]] = [
    (
        File(data=PDF, mime="application/pdf", name="a.pdf"),
        {
            "source": {"type": "base64", "media_type": "application/pdf", "data": PDF},
            "title": "a.pdf",
        },
    ),
    (
        File(data=PDF),
        {"source": {"type": "base64", "media_type": "application/pdf", "data": PDF}},
    ),
    (File(url="https://e.org/a"), {"source": {"type": "url", "url": "https://e.org/a"}}),
    (
        File(text="words", name="n", title="t", context="c"),
        {"source": PLAIN, "title": "t", "context": "c"},
    ),
    (File(data=b64(b"words"), mime="text/csv; charset=utf-8"), {"source": PLAIN}),
]


@pytest.mark.parametrize(("file", "block"), FILES, ids=str)
def test_file_is_a_document(file: File, block: dict[str, Any]) -> None:
    outgoing, lost = encoded(turns(("user", file)))
    assert outgoing.body["messages"][0]["content"] == [{"type": "document", **block}]
    assert lost == []


MEDIA_REFUSALS: list[tuple[Part, dict[str, Any], str]] = [
    (Image(PNG), {"vision": False}, "images"),
    (File(data=PDF, mime="application/pdf"), {"pdf": False}, "PDF files"),
    (File(url="https://e.org/a.pdf"), {"pdf": False}, "PDF files"),
    (File(data="AAAA", mime="application/zip"), {}, "application/zip"),
    (File(data=b64(b"\xff\xfe"), mime="text/plain"), {}, "text/plain"),
    (File(url="https://e.org/a", mime="text/html"), {}, "text/html"),
    (Audio("AAAA", "wav"), {}, "audio"),
    (ToolResult("c1", (Image(PNG),)), {"vision": False}, "images"),
]


@pytest.mark.parametrize(("part", "traits", "what"), MEDIA_REFUSALS, ids=str)
def test_media_that_the_model_does_not_take_are_refused_by_the_public_name(
    part: Part, traits: dict[str, Any], what: str
) -> None:
    call = ("assistant", ToolCall("c1", "get", "{}"))
    error = refused(turns(("user", Text("a")), call, ("user", part)), target(**traits))
    assert "odel public does not accept" in error.message
    assert what in error.message
    assert error.param == "messages"


ARGUMENTS: list[tuple[ToolCall, Any]] = [
    (ToolCall("c", "get", '{"b":1,"a":[]}'), {"b": 1, "a": []}),
    (ToolCall("c", "get", ""), {}),
    (ToolCall("c", "get", "  "), {}),
    (ToolCall("c", "get", "[1]"), {"input": "[1]"}),
    (ToolCall("c", "get", '{"cut'), {"input": '{"cut'}),
    (ToolCall("c", "get", "null"), {"input": "null"}),
    (ToolCall("c", "patch", '{"a":1}', kind="custom"), {"input": '{"a":1}'}),
]


@pytest.mark.parametrize(("call", "given"), ARGUMENTS, ids=str)
def test_arguments_are_always_an_object(call: ToolCall, given: Any) -> None:
    request = turns(("user", Text("a")), ("assistant", call))
    assert body(request)["messages"][1]["content"][0]["input"] == given


def test_ids_and_names_are_made_fit_and_stay_paired() -> None:
    call = ToolCall("call:1", "ns.get", "{}", ns="srv")
    request = turns(
        ("user", Text("a")), ("assistant", call), ("tool", ToolResult("call:1", (Text("1"),)))
    )
    outgoing, lost = encoded(replace(request, tools=(Tool("ns.get", ns="srv"),)))
    _, assistant, user = outgoing.body["messages"]
    block = assistant["content"][0]
    assert block["id"] == user["content"][0]["tool_use_id"]
    assert block["id"].startswith("call_1_")
    assert block["name"] == outgoing.body["tools"][0]["name"]
    assert outgoing.tools.restore(block["name"]).name == "ns.get"
    assert outgoing.tools.restore(block["name"]).ns == "srv"
    assert lost == []


# --- reasoning in the history -----------------------------------------------------------

KEPT = {"type": "thinking", "thinking": "hm", "signature": "proof"}
REPLAYS: list[tuple[str, Reasoning, Any]] = [
    ("fits", Reasoning("hm", SEAL), KEPT),
    ("text in the seal", Reasoning("", replace(SEAL, text="hm")), KEPT),
    ("text in the seal is exact", Reasoning("h m", replace(SEAL, text="hm")), KEPT),
    (
        "redacted",
        Reasoning("", replace(SEAL, redacted=True), redacted=True),
        {"type": "redacted_thinking", "data": "proof"},
    ),
    ("other family", Reasoning("hm", replace(SEAL, family="gpt")), None),
    ("other vendor", Reasoning("hm", replace(SEAL, protocol="g")), None),
    ("bare", Reasoning("hm", native="proof"), None),
    ("no proof", Reasoning("hm"), None),
]


@pytest.mark.parametrize(
    ("part", "block"), [each[1:] for each in REPLAYS], ids=[each[0] for each in REPLAYS]
)
def test_thoughts_are_given_back_only_with_a_proof_that_fits(part: Reasoning, block: Any) -> None:
    request = turns(("user", Text("a")), ("assistant", (part, Text("b"))), ("user", Text("c")))
    outgoing, lost = encoded(request, target(reasoning_family="claude"))
    content = outgoing.body["messages"][1]["content"]
    assert content[0] == (block or {"type": "text", "text": "b"})
    assert lost == ([] if block else ["messages.reasoning"])


def test_turn_of_foreign_thoughts_alone_is_left_out_and_its_neighbours_are_one() -> None:
    request = turns(("user", Text("a")), ("assistant", Reasoning("hm")), ("user", Text("c")))
    words = [{"type": "text", "text": "a"}, {"type": "text", "text": "c"}]
    assert body(request)["messages"] == [{"role": "user", "content": words}]


def test_proof_on_a_call_gets_a_block_of_its_own_at_the_beginning() -> None:
    request = turns(
        ("user", Text("a")),
        (
            "assistant",
            (
                Reasoning("hm"),
                Text("b"),
                ToolCall("c1", "get", "{}", seal=SEAL),
                ToolCall("c2", "get", "{}", seal=replace(SEAL, text="more", proof="proof-2")),
                ToolCall("c3", "get", "{}", seal=replace(SEAL, protocol="g")),
            ),
        ),
    )
    outgoing, lost = encoded(request, target(reasoning_family="claude"))
    content = outgoing.body["messages"][1]["content"]
    assert [block["type"] for block in content] == [
        "thinking",
        "text",
        "tool_use",
        "thinking",
        "tool_use",
        "tool_use",
    ]
    assert content[0] == KEPT
    assert content[3] == {"type": "thinking", "thinking": "more", "signature": "proof-2"}
    assert "messages.tool_call.seal" in lost


# --- tools ------------------------------------------------------------------------------


def closed(**more: Any) -> dict[str, Any]:
    return {**SCHEMA, "additionalProperties": False, **more}


TOOLS: list[tuple[Tool, dict[str, Any], list[str]]] = [
    (Tool("a"), {"input_schema": {"type": "object", "properties": {}}}, []),
    (Tool("a", schema={}), {"input_schema": {"type": "object", "properties": {}}}, []),
    (
        Tool("a", schema={"$schema": "x", "properties": {"$id": {"type": "string"}}}),
        {"input_schema": {"type": "object", "properties": {"$id": {"type": "string"}}}},
        [],
    ),
    (Tool("a", schema=closed(), strict=True), {"input_schema": closed(), "strict": True}, []),
    (Tool("a", schema=closed(), strict=False), {"input_schema": closed()}, []),
    (Tool("a", schema=SCHEMA, strict=True), {"input_schema": SCHEMA}, ["tools.strict"]),
    (
        Tool("a", "custom", "Patch.", grammar={"syntax": "lark", "definition": "start: x"}),
        {
            "description": "Patch.\nThe input follows this lark grammar:\nstart: x",
            "input_schema": {
                "type": "object",
                "properties": {"input": {"type": "string"}},
                "required": ["input"],
            },
        },
        [],
    ),
]


@pytest.mark.parametrize(("tool", "block", "lost"), TOOLS, ids=str)
def test_tool_is_declared_with_an_objects_schema(
    tool: Tool, block: dict[str, Any], lost: list[str]
) -> None:
    outgoing, names = encoded(ask(tools=(tool,)))
    assert outgoing.body["tools"] == [{"name": "a", **block}]
    assert outgoing.tools.restore("a").wrapped == (tool.kind == "custom")
    assert names == lost


def test_custom_tools_schema_is_not_shared_between_requests() -> None:
    first = body(ask(tools=(Tool("a", "custom"),)))["tools"][0]["input_schema"]
    first["title"] = "changed"
    assert "title" not in body(ask(tools=(Tool("a", "custom"),)))["tools"][0]["input_schema"]


SEARCH = Tool("web_search", "hosted", hosted="web_search", raw={"type": "web_search"})
CODE = Tool("code", "hosted", hosted="code_interpreter", raw={})


def test_hosted_tool_is_dropped_by_name() -> None:
    outgoing, lost = encoded(ask(tools=(SEARCH, CODE, GET)))
    assert [block["name"] for block in outgoing.body["tools"]] == ["get"]
    assert lost == ["tools.web_search", "tools.code_interpreter"]


RAWS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {}),
    ({"filters": {"allowed_domains": ["e.org"]}}, {"allowed_domains": ["e.org"]}),
    (
        {"user_location": {"type": "approximate", "city": "Oslo", "region": None}},
        {"user_location": {"type": "approximate", "city": "Oslo"}},
    ),
    (
        {"user_location": {"type": "approximate", "approximate": {"country": "NO"}}},
        {"user_location": {"type": "approximate", "country": "NO"}},
    ),
    ({"user_location": {"type": "approximate"}, "search_context_size": "low"}, {}),
]


@pytest.mark.parametrize(("raw", "fields"), RAWS, ids=str)
def test_web_search_is_mapped_where_the_target_lists_it(
    raw: dict[str, Any], fields: dict[str, Any]
) -> None:
    view = target(hosted_tools=("web_search",))
    outgoing, lost = encoded(ask(tools=(replace(SEARCH, raw=raw),)), view)
    assert outgoing.body["tools"] == [
        {"type": "web_search_20250305", "name": "web_search", **fields}
    ]
    assert lost == []


CHOICES: list[tuple[ToolChoice | None, bool | None, Any]] = [
    (None, None, None),
    (None, True, None),
    (None, False, {"type": "auto", "disable_parallel_tool_use": True}),
    (ToolChoice("auto"), None, {"type": "auto"}),
    (ToolChoice("none"), False, {"type": "none"}),
    (ToolChoice("required"), None, {"type": "any"}),
    (ToolChoice("required"), False, {"type": "any", "disable_parallel_tool_use": True}),
    (ToolChoice("named", "get"), None, {"type": "tool", "name": "get"}),
    (ToolChoice("named", "far"), None, {"type": "tool", "name": "srv__far"}),
    (ToolChoice("named", "srv__far"), None, {"type": "tool", "name": "srv__far"}),
]


@pytest.mark.parametrize(("choice", "parallel", "found"), CHOICES, ids=str)
def test_choice_of_a_tool(choice: ToolChoice | None, parallel: bool | None, found: Any) -> None:
    tools = (GET, Tool("far", ns="srv"))
    outgoing, lost = encoded(ask(tools=tools, tool_choice=choice, parallel_tools=parallel))
    assert outgoing.body.get("tool_choice") == found
    assert lost == []


@pytest.mark.parametrize("choice", [ToolChoice("auto"), ToolChoice("none")], ids=str)
def test_choice_among_no_tools_is_left_out(choice: ToolChoice) -> None:
    outgoing, lost = encoded(ask(tool_choice=choice, parallel_tools=False))
    assert "tool_choice" not in outgoing.body
    assert lost == []


@pytest.mark.parametrize(
    ("mode", "found"), [("auto", {"type": "auto"}), ("required", {"type": "any"})]
)
def test_allowed_tools_are_the_ones_declared(mode: Any, found: Any) -> None:
    request = ask(
        tools=(GET, Tool("far", ns="srv"), Tool("put")),
        tool_choice=ToolChoice(mode, allowed=("put", "srv__far")),
    )
    outgoing, lost = encoded(request)
    assert [block["name"] for block in outgoing.body["tools"]] == ["srv__far", "put"]
    assert outgoing.body["tool_choice"] == found
    assert lost == []


UNFORCED: list[tuple[ToolChoice, str]] = [
    (ToolChoice("required"), "You must call one of the tools."),
    (ToolChoice("named", "get"), "You must call the tool get."),
]


@pytest.mark.parametrize(("choice", "line"), UNFORCED, ids=str)
def test_call_that_cannot_be_forced_is_asked_for(choice: ToolChoice, line: str) -> None:
    request = ask(tools=(GET,), tool_choice=choice, system=(Text("Be kind."),))
    found = body(request, target(forced_tool_choice=False))
    assert found["tool_choice"] == {"type": "auto"}
    assert [block["text"] for block in found["system"]] == ["Be kind.", line]


NO_TOOL: list[tuple[tuple[Tool, ...], ToolChoice]] = [
    ((SEARCH, GET), ToolChoice("named", "web_search")),
    ((SEARCH,), ToolChoice("required")),
    ((), ToolChoice("required")),
]


@pytest.mark.parametrize(("tools", "choice"), NO_TOOL, ids=str)
def test_choice_of_a_tool_that_is_gone_is_refused(
    tools: tuple[Tool, ...], choice: ToolChoice
) -> None:
    assert refused(ask(tools=tools, tool_choice=choice)).param == "tool_choice"


def test_mapped_web_search_can_be_forced() -> None:
    view = target(hosted_tools=("web_search",))
    request = ask(tools=(SEARCH,), tool_choice=ToolChoice("named", "web_search"))
    assert body(request, view)["tool_choice"] == {"type": "tool", "name": "web_search"}


# --- output -----------------------------------------------------------------------------


def test_any_json_object_is_asked_for_in_words() -> None:
    outgoing, lost = encoded(ask(output=Output("json_object")))
    assert outgoing.body["system"] == [
        {"type": "text", "text": "Respond with a single JSON object and nothing else."}
    ]
    assert "output_config" not in outgoing.body
    assert lost == []


def test_schema_is_asked_for_in_words_where_it_is_not_taken() -> None:
    output = Output("json_schema", "n", {"$schema": "s", **SCHEMA}, strict=True)
    (line,) = body(ask(output=output), target(structured_output=False))["system"]
    assert line["text"].endswith(":\n" + json.dumps(SCHEMA, separators=(",", ":")))


SCHEMAS: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("number", {"type": "number", "minimum": 1, "multipleOf": 2},
     {"type": "number", "description": "{minimum: 1, multipleOf: 2}"}),
    ("described", {"type": "string", "maxLength": 3, "description": "Code."},
     {"type": "string", "description": "Code.\n\n{maxLength: 3}"}),
    ("pattern and not", {"type": "string", "pattern": "^a", "not": {"const": "ab"}},
     {"type": "string", "description": '{pattern: "^a", not: {"const":"ab"}}'}),
    ("format", {"type": "string", "format": "date"}, {"type": "string", "format": "date"}),
    ("own format", {"type": "string", "format": "zip"},
     {"type": "string", "description": '{format: "zip"}'}),
    ("array", {"type": "array", "minItems": 1, "items": {"type": "integer", "maximum": 9}},
     {"type": "array", "minItems": 1,
      "items": {"type": "integer", "description": "{maximum: 9}"}}),
    ("long array", {"type": "array", "minItems": 3}, {"type": "array",
     "description": "{minItems: 3}"}),
    ("object", {"type": "object", "properties": {"minimum": {"type": "null"}},
     "additionalProperties": True, "minProperties": 1},
     {"type": "object", "properties": {"minimum": {"type": "null"}},
      "description": "{minProperties: 1}", "additionalProperties": False}),
    ("oneOf", {"oneOf": [{"type": "string", "minLength": 1}], "anyOf": [{"type": "null"}]},
     {"anyOf": [{"type": "string", "description": "{minLength: 1}"}, {"type": "null"}]}),
    ("references", {"$ref": "#/$defs/a", "$defs": {"a": {"type": "integer", "minimum": 0}}},
     {"$ref": "#/$defs/a", "$defs": {"a": {"type": "integer", "description": "{minimum: 0}"}}}),
    ("data", {"enum": [1, {"minimum": 2}], "default": 1, "title": "T"},
     {"enum": [1, {"minimum": 2}], "default": 1, "title": "T"}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("given", "sent"), [each[1:] for each in SCHEMAS], ids=[each[0] for each in SCHEMAS]
)
def test_refused_keywords_of_a_schema_become_words(
    given: dict[str, Any], sent: dict[str, Any]
) -> None:
    outgoing, lost = encoded(ask(output=Output("json_schema", "answer", given, True)))
    assert outgoing.body["output_config"]["format"] == {"type": "json_schema", "schema": sent}
    assert lost == []


def test_description_of_the_output_describes_the_schema() -> None:
    output = Output("json_schema", schema={"type": "string"}, description="A word.")
    schema = body(ask(output=output))["output_config"]["format"]["schema"]
    assert schema == {"type": "string", "description": "A word."}


# --- tier, user, cache ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tier", "allowed", "sent", "lost"),
    [
        ("auto", True, "auto", []),
        ("standard", True, "standard_only", []),
        ("priority", True, "auto", []),
        ("flex", True, None, ["service_tier"]),
        ("auto", False, None, ["service_tier"]),
    ],
)
def test_service_tier_is_the_operators_to_allow(
    tier: Any, allowed: bool, sent: str | None, lost: list[str]
) -> None:
    outgoing, names = encoded(ask(service_tier=tier), target(allow_service_tier=allowed))
    assert outgoing.body.get("service_tier") == sent
    assert names == lost


def test_user_is_sent_only_as_a_hash() -> None:
    view = replace(target(), hash_user=lambda user: f"hash of {user}")
    assert body(ask(user_ref="u1"), view)["metadata"] == {"user_id": "hash of u1"}
    outgoing, lost = encoded(ask(user_ref="u1"))
    assert "metadata" not in outgoing.body
    assert lost == ["user_ref"]


THREE = (*HELLO, Message("assistant", (Text("Hi"),)), Message("user", (Text("Go"),)))
AUTO: list[tuple[str, dict[str, Any], dict[str, Any], bool]] = [
    ("single question", {}, {}, False),
    ("tools", {"tools": (GET,)}, {}, True),
    ("tools that are gone", {"tools": (SEARCH,)}, {}, False),
    ("conversation", {"messages": THREE}, {}, True),
    ("switched off", {"messages": THREE}, {"auto_cache": False}, False),
    ("the client's own hint", {"tools": (replace(GET, cache=CacheHint()),)}, {}, False),
]


@pytest.mark.parametrize(
    ("fields", "traits", "asked"), [each[1:] for each in AUTO], ids=[each[0] for each in AUTO]
)
def test_agents_prompts_are_cached_unasked(
    fields: dict[str, Any], traits: dict[str, Any], asked: bool
) -> None:
    found = body(ask(**fields), target(**traits)).get("cache_control")
    assert found == ({"type": "ephemeral"} if asked else None)


@pytest.mark.parametrize(
    ("ttl", "control"),
    [
        (None, {"type": "ephemeral"}),
        (300, {"type": "ephemeral", "ttl": "5m"}),
        (1800, {"type": "ephemeral", "ttl": "5m"}),
        (3600, {"type": "ephemeral", "ttl": "1h"}),
        (43_200, {"type": "ephemeral", "ttl": "1h"}),
    ],
)
def test_lifetime_of_a_cache_is_one_of_two(ttl: int | None, control: dict[str, Any]) -> None:
    request = ask(cache=CacheHint(ttl), system=(Text("s", CacheHint(ttl)),))
    found = body(request)
    assert found["cache_control"] == control
    assert found["system"][0]["cache_control"] == control


def hinted(count: int, **fields: Any) -> Request:
    words = tuple(Text(f"w{at}", CacheHint()) for at in range(count))
    return replace(
        ask(messages=(Message("user", words),)),
        system=(Text("s", CacheHint()),),
        tools=(replace(GET, cache=CacheHint()),),
        **fields,
    )


def test_of_more_than_four_cache_hints_the_last_four_win() -> None:
    outgoing, lost = encoded(hinted(3))
    assert "cache_control" not in outgoing.body["tools"][0]
    assert "cache_control" in outgoing.body["system"][0]
    assert all("cache_control" in each for each in outgoing.body["messages"][0]["content"])
    assert lost == ["tools.cache"]


def test_hint_for_the_whole_request_is_one_of_the_four() -> None:
    outgoing, lost = encoded(hinted(3, cache=CacheHint()))
    assert outgoing.body["cache_control"] == {"type": "ephemeral"}
    assert "cache_control" not in outgoing.body["system"][0]
    assert lost == ["tools.cache", "system.text.cache"]


def test_hints_on_calls_and_results_and_inside_results_are_kept() -> None:
    request = turns(
        ("user", Text("a")),
        ("assistant", ToolCall("c1", "get", "{}", cache=CacheHint())),
        ("tool", ToolResult("c1", (Text("one", CacheHint()),), cache=CacheHint())),
    )
    outgoing, lost = encoded(request)
    _, call, result = outgoing.body["messages"]
    assert "cache_control" in call["content"][0]
    assert "cache_control" in result["content"][0]
    assert "cache_control" in result["content"][0]["content"][0]
    assert lost == []


def test_arguments_with_an_integer_of_more_than_64_bits_are_refused() -> None:
    call = ToolCall("c", "transfer", '{"id":123456789012345678901234567890}')
    error = refused(turns(("user", Text("Hi")), ("assistant", call)))
    assert error.param == "messages"
    assert "arguments of the call of transfer" in error.message
    custom = ToolCall("c", "transfer", "123456789012345678901234567890", "custom")
    written = body(turns(("user", Text("Hi")), ("assistant", custom)))["messages"][1]["content"]
    assert written[0]["input"] == {"input": "123456789012345678901234567890"}
