"""Requests for Gemini upstreams, neutral form -> wire."""

from __future__ import annotations

from typing import Any

import pytest

from kurolproxy.errors import BadRequest
from kurolproxy.ir import (
    Audio,
    CacheHint,
    File,
    Image,
    Output,
    Part,
    Reasoning,
    ReasoningWish,
    Refusal,
    Request,
    Seal,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from kurolproxy.protocols.base import TargetView
from tests.protocols.gemini.request_support import (
    FOREIGN,
    NATIVE,
    PIXEL,
    ask,
    body,
    config,
    encoded,
    said,
    target,
)

FAMILY = target(reasoning_family="gemini")
SKIP = "skip_thought_signature_validator"
F = Tool("f", schema={"type": "object", "properties": {"a": {"type": "string"}}})
G = Tool("g")


def user_parts(*parts: Part, view: TargetView | None = None) -> list[dict[str, Any]]:
    """Return what a user's parts are written as."""
    found: list[dict[str, Any]] = body(ask(said("user", *parts)), view)["contents"][0]["parts"]
    return found


def model_parts(*parts: Part, view: TargetView | None = FAMILY) -> list[dict[str, Any]]:
    """Return what the model's parts are written as, in the middle of a conversation."""
    request = ask(said("user", Text("Hi")), said("assistant", *parts), said("user", Text("go")))
    contents = body(request, view)["contents"]
    found: list[dict[str, Any]] = contents[1]["parts"] if len(contents) > 2 else []
    return found


# --- contents ---------------------------------------------------------------------------------


def test_the_least_request() -> None:
    outgoing, lost = encoded(ask(system=(Text("Be brief."),)))
    assert outgoing.body == {
        "systemInstruction": {"parts": [{"text": "Be brief."}]},
        "contents": [{"role": "user", "parts": [{"text": "Hi"}]}],
    }
    assert lost == []
    assert outgoing.local_stop == ()


def test_a_later_system_text_is_a_reminder_of_the_users() -> None:
    request = ask(said("user", Text("Hi")), said("system", Text("Be brief.")))
    assert body(request)["contents"] == [
        {
            "role": "user",
            "parts": [
                {"text": "Hi"},
                {"text": "<system-reminder>\nBe brief.\n</system-reminder>"},
            ],
        }
    ]


def test_roles_take_turns_and_the_user_speaks_last() -> None:
    request = ask(said("assistant", Text("Hello")), said("assistant", Text("again")))
    contents = body(request)["contents"]
    assert [each["role"] for each in contents] == ["user", "model", "user"]
    assert contents[1]["parts"] == [{"text": "Hello"}, {"text": "again"}]
    assert contents[2]["parts"] == [{"text": "Continue."}]


def test_a_model_that_continues_gets_its_own_words_last() -> None:
    request = ask(said("user", Text("Hi")), said("assistant", Text("Hel")))
    assert body(request, target(prefill=True))["contents"][-1]["role"] == "model"


def test_a_turn_of_foreign_thoughts_alone_is_left_out() -> None:
    request = ask(
        said("user", Text("Hi")),
        said("assistant", Reasoning("hm", FOREIGN)),
        said("user", Text("go")),
    )
    outgoing, lost = encoded(request, FAMILY)
    assert outgoing.body["contents"] == [
        {"role": "user", "parts": [{"text": "Hi"}, {"text": "go"}]}
    ]
    assert lost == ["messages.reasoning"]


def test_a_refusal_is_text() -> None:
    assert model_parts(Refusal("No.")) == [{"text": "No."}]


MEDIA: list[tuple[str, Part, list[dict[str, Any]]]] = [
    (
        "an image",
        Image(data=PIXEL, mime="image/webp"),
        [{"inlineData": {"mimeType": "image/webp", "data": PIXEL}}],
    ),
    (
        "an image of a type nobody said",
        Image(data=PIXEL),
        [{"inlineData": {"mimeType": "image/png", "data": PIXEL}}],
    ),
    (
        "an image by its address",
        Image(url="https://x.invalid/a.PNG?b=1"),
        [{"fileData": {"mimeType": "image/png", "fileUri": "https://x.invalid/a.PNG?b=1"}}],
    ),
    (
        "an image by an address that says nothing",
        Image(url="https://x.invalid/a"),
        [{"fileData": {"mimeType": "image/jpeg", "fileUri": "https://x.invalid/a"}}],
    ),
    (
        "a document with a name",
        File(data="JVBERi0=", name="a.pdf", context="from the archive"),
        [
            {"text": "[file: a.pdf]\nfrom the archive"},
            {"inlineData": {"mimeType": "application/pdf", "data": "JVBERi0="}},
        ],
    ),
    (
        "a document by its address",
        File(url="https://x.invalid/a", mime="application/pdf"),
        [{"fileData": {"mimeType": "application/pdf", "fileUri": "https://x.invalid/a"}}],
    ),
    (
        "a plain text",
        File(text="words", mime="text/plain", title="T"),
        [{"text": "[file: T]\nwords"}],
    ),
    ("sound", Audio("eA==", "mp3"), [{"inlineData": {"mimeType": "audio/mp3", "data": "eA=="}}]),
]


@pytest.mark.parametrize(("name", "part", "written"), MEDIA, ids=[case[0] for case in MEDIA])
def test_media_are_written_without_loss(
    name: str, part: Part, written: list[dict[str, Any]]
) -> None:
    outgoing, lost = encoded(ask(said("user", part)))
    assert outgoing.body["contents"][0]["parts"] == written
    assert lost == []


@pytest.mark.parametrize(
    ("part", "trait", "told"),
    [
        (
            Image(data=PIXEL),
            "vision",
            "Model public does not accept images: leave them out, or use another model.",
        ),
        (
            File(data="JVBERi0="),
            "pdf",
            "Model public does not accept PDF files: leave them out, or use another model.",
        ),
    ],
)
def test_media_that_the_model_does_not_take_are_refused(part: Part, trait: str, told: str) -> None:
    with pytest.raises(BadRequest, match=told):
        user_parts(part, view=target(**{trait: False}))


# --- calls and results ------------------------------------------------------------------------

CALLS = ask(
    said("user", Text("Hi")),
    said("assistant", ToolCall("c/1", "f", '{"a":1}'), ToolCall("c2", "g", "")),
    said(
        "tool",
        ToolResult("c2", (Text("no"), Text("way")), is_error=True),
        ToolResult("c/1", (Text("ok"),)),
    ),
    said("user", Text("go")),
)


def test_calls_meet_their_results_by_id_and_name() -> None:
    outgoing, lost = encoded(CALLS)
    _, model, user = outgoing.body["contents"]
    call, other = (part["functionCall"] for part in model["parts"])
    assert call == {"id": call["id"], "name": "f", "args": {"a": 1}}
    assert other == {"id": "c2", "name": "g", "args": {}}
    assert call["id"].startswith("c_1_")
    assert user["parts"] == [
        {"functionResponse": {"id": call["id"], "name": "f", "response": {"output": "ok"}}},
        {"functionResponse": {"id": "c2", "name": "g", "response": {"error": "no\nway"}}},
        {"text": "go"},
    ]
    assert lost == []


def test_old_backends_get_no_ids() -> None:
    contents = body(CALLS, target(gemini_schema="legacy"))["contents"]
    inner = [value for each in contents for part in each["parts"] for value in part.values()]
    assert len([each for each in inner if isinstance(each, dict)]) == 4
    assert all("id" not in each for each in inner if isinstance(each, dict))


ARGUMENTS: list[tuple[str, str, dict[str, Any]]] = [
    ("function", '{"a":1}', {"a": 1}),
    ("function", " ", {}),
    ("function", "[1]", {"input": "[1]"}),
    ("function", '{"a":', {"input": '{"a":'}),
    ("custom", '{"a":1}', {"input": '{"a":1}'}),
]


@pytest.mark.parametrize(("kind", "args", "written"), ARGUMENTS)
def test_arguments_are_an_object(kind: Any, args: str, written: dict[str, Any]) -> None:
    (part,) = model_parts(ToolCall("c", "f", args, kind))
    assert part["functionCall"]["args"] == written


def test_an_integer_that_would_be_rounded_is_refused() -> None:
    with pytest.raises(BadRequest, match="of more than 64 bits"):
        model_parts(ToolCall("c", "f", '{"a":123456789012345678901234}'))


RESULT = ToolResult("c", (Text("see"), Image(data=PIXEL)))
WITH_IMAGE = ask(
    said("user", Text("Hi")),
    said("assistant", ToolCall("c", "f", "{}"), ToolCall("d", "f", "{}")),
    said("tool", RESULT, ToolResult("d", (Text("ok"),))),
    said("user", Text("go")),
)
INLINE = {"inlineData": {"mimeType": "image/png", "data": PIXEL}}


def test_an_image_in_a_result_stands_behind_all_results() -> None:
    parts = body(WITH_IMAGE)["contents"][2]["parts"]
    assert parts[0]["functionResponse"]["response"] == {"output": "see\n[image attached below]"}
    assert "functionResponse" in parts[1]
    assert parts[2:] == [INLINE, {"text": "go"}]


def test_an_image_in_a_result_stays_where_the_model_takes_it() -> None:
    parts = body(WITH_IMAGE, target(tool_result_media=True))["contents"][2]["parts"]
    assert parts[0]["functionResponse"]["response"] == {"output": "see"}
    assert parts[0]["functionResponse"]["parts"] == [INLINE]
    assert parts[2:] == [{"text": "go"}]


def test_a_call_without_a_result_gets_one_that_is_no_loss() -> None:
    request = ask(said("user", Text("Hi")), said("assistant", ToolCall("c", "f", "{}")))
    outgoing, lost = encoded(request)
    answer = outgoing.body["contents"][2]["parts"][0]["functionResponse"]
    assert answer["name"] == "f"
    assert "interrupted" in answer["response"]["error"]
    assert lost == []


# --- thoughts ---------------------------------------------------------------------------------

TEXT, CALL = Text("Hi"), ToolCall("c", "f", "{}")
OTHER_FAMILY = Seal("g", "elsewhere", "cHJvb2Y=")
PROOF = {"thoughtSignature": NATIVE.proof}
WORD = {"thoughtSignature": SKIP}
SAID, CALLED = {"text": "Hi"}, {"functionCall": {"id": "c", "name": "f", "args": {}}}
THOUGHT = {"text": "hm", "thought": True}

THOUGHTS: list[tuple[str, list[Part], list[dict[str, Any]]]] = [
    ("before a call", [Reasoning("hm", NATIVE), CALL], [THOUGHT, {**CALLED, **PROOF}]),
    ("before a text", [Reasoning("", NATIVE), TEXT], [{**SAID, **PROOF}]),
    (
        "a call behind a proved text",
        [Reasoning("", NATIVE), TEXT, CALL],
        [{**SAID, **PROOF}, {**CALLED, **WORD}],
    ),
    ("at the end", [TEXT, Reasoning("", NATIVE)], [SAID, {"text": "", **PROOF}]),
    (
        "two in a row",
        [Reasoning("", NATIVE), Reasoning("hm", NATIVE), TEXT],
        [{"text": "", **PROOF}, THOUGHT, {**SAID, **PROOF}],
    ),
    ("none", [CALL, CALL], [{**CALLED, **WORD}, CALLED]),
    (
        "on the second call only",
        [CALL, Reasoning("", NATIVE), CALL],
        [{**CALLED, **WORD}, {**CALLED, **PROOF}],
    ),
    ("of another vendor", [Reasoning("hm", FOREIGN), CALL], [{**CALLED, **WORD}]),
    ("of another family", [Reasoning("hm", OTHER_FAMILY), TEXT], [SAID]),
    ("bare", [Reasoning("hm", native="eA=="), TEXT], [SAID]),
    ("on the call itself", [ToolCall("c", "f", "{}", seal=NATIVE)], [{**CALLED, **PROOF}]),
    ("on the call, of another", [ToolCall("c", "f", "{}", seal=FOREIGN)], [{**CALLED, **WORD}]),
    (
        "whose text travelled with it",
        [Reasoning("hidden", Seal("g", "gemini", NATIVE.proof, "hm")), TEXT],
        [THOUGHT, {**SAID, **PROOF}],
    ),
]


@pytest.mark.parametrize(("name", "parts", "written"), THOUGHTS, ids=[each[0] for each in THOUGHTS])
def test_a_proof_stands_on_the_part_behind_its_thought(
    name: str, parts: list[Part], written: list[dict[str, Any]]
) -> None:
    assert model_parts(*parts) == written


WISHES: list[tuple[str, ReasoningWish, dict[str, Any], dict[str, Any] | None]] = [
    ("level", ReasoningWish("low"), {}, {"thinkingLevel": "LOW", "includeThoughts": True}),
    ("level unseen", ReasoningWish("max", show="none"), {}, {"thinkingLevel": "XHIGH"}),
    ("off", ReasoningWish(mode="off"), {}, {"thinkingBudget": 0}),
    ("none", ReasoningWish("none"), {}, {"thinkingBudget": 0}),
    (
        "none where it cannot be off",
        ReasoningWish("none", show="none"),
        {"thinking_can_disable": False},
        {"thinkingLevel": "MINIMAL"},
    ),
    (
        "none where it is no effort",
        ReasoningWish("none", show="none"),
        {"efforts": ("low", "high")},
        {"thinkingLevel": "LOW"},
    ),
    (
        "clamped",
        ReasoningWish("medium", show="none"),
        {"efforts": ("low", "high")},
        {"thinkingLevel": "LOW"},
    ),
    ("budget as a level", ReasoningWish(budget=2_000, show="none"), {}, {"thinkingLevel": "LOW"}),
    (
        "level as a budget",
        ReasoningWish("medium", show="none"),
        {"thinking": "budget"},
        {"thinkingBudget": 8192},
    ),
    (
        "budget as it is",
        ReasoningWish(budget=2_000, show="none"),
        {"thinking": "budget"},
        {"thinkingBudget": 2_000},
    ),
    ("the model's own choice", ReasoningWish(mode="adaptive"), {}, {"includeThoughts": True}),
    ("the model's own, unseen", ReasoningWish(budget=-1, show="none"), {}, None),
    ("cannot think", ReasoningWish("high"), {"thinking": "none"}, None),
]


@pytest.mark.parametrize(("name", "wish", "traits", "written"), WISHES, ids=[w[0] for w in WISHES])
def test_the_wish_to_think_is_written(
    name: str, wish: ReasoningWish, traits: dict[str, Any], written: dict[str, Any] | None
) -> None:
    outgoing, lost = encoded(ask(reasoning=wish), target(**traits))
    assert outgoing.body.get("generationConfig", {}).get("thinkingConfig") == written
    assert lost == (["reasoning"] if name == "cannot think" else [])


@pytest.mark.parametrize(
    ("cap", "can_disable", "written"),
    [
        (9_216, True, {"thinkingBudget": 8_192}),
        (5_000, True, {"thinkingBudget": 3_976}),
        (2_000, True, {"thinkingBudget": 0}),
        (2_000, False, None),
    ],
)
def test_a_budget_leaves_room_for_the_answer(
    cap: int, can_disable: bool, written: dict[str, Any] | None
) -> None:
    wish = ReasoningWish("medium", show="none")
    view = target(thinking="budget", thinking_can_disable=can_disable)
    found = config(ask(reasoning=wish, max_tokens=cap), view)
    assert found.get("thinkingConfig") == written


# --- tools ------------------------------------------------------------------------------------


def declared(request: Request, view: TargetView | None = None) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = body(request, view)["tools"][0]["functionDeclarations"]
    return found


def test_functions_are_declared_with_json_schema() -> None:
    given = {**(F.schema or {}), "$schema": "x", "additionalProperties": False}
    tools = (
        Tool("f", description="d", schema=given, strict=False),
        G,
        Tool("h", schema={"properties": {}}),
    )
    outgoing, lost = encoded(ask(tools=tools))
    assert outgoing.body["tools"] == [
        {
            "functionDeclarations": [
                {
                    "name": "f",
                    "description": "d",
                    "parametersJsonSchema": {**(F.schema or {}), "additionalProperties": False},
                },
                {"name": "g"},
                {"name": "h", "parametersJsonSchema": {"type": "object", "properties": {}}},
            ]
        }
    ]
    assert lost == []


def test_old_backends_get_the_vendors_own_dialect() -> None:
    found = declared(
        ask(tools=(F, Tool("h", schema={"type": "object"}))), target(gemini_schema="legacy")
    )
    assert found == [
        {"name": "f", "parameters": {"type": "OBJECT", "properties": {"a": {"type": "STRING"}}}},
        {"name": "h"},
    ]


def test_names_begin_with_a_letter_and_come_back() -> None:
    tools = (Tool("2nd.tool"), Tool("b", ns="a"))
    call = said("assistant", ToolCall("c", "2nd.tool", "{}"))
    outgoing, _ = encoded(ask(said("user", Text("Hi")), call, tools=tools))
    first, second = (each["name"] for each in outgoing.body["tools"][0]["functionDeclarations"])
    assert first.startswith("_2nd_tool_")
    assert second == "a__b"
    assert outgoing.body["contents"][1]["parts"][0]["functionCall"]["name"] == first
    assert outgoing.tools.restore(first).name == "2nd.tool"
    assert (outgoing.tools.restore(second).ns, outgoing.tools.restore(second).name) == ("a", "b")


def test_a_custom_tool_is_a_function_of_one_text() -> None:
    tool = Tool(
        "patch", "custom", description="d", grammar={"syntax": "lark", "definition": "start: x"}
    )
    outgoing, lost = encoded(ask(tools=(tool,)))
    (found,) = outgoing.body["tools"][0]["functionDeclarations"]
    assert found["description"] == "d\nThe input follows this lark grammar:\nstart: x"
    assert found["parametersJsonSchema"]["required"] == ["input"]
    assert outgoing.tools.restore("patch").wrapped
    assert lost == []


def test_what_a_function_cannot_say_is_a_loss() -> None:
    tool = Tool("f", strict=True, cache=CacheHint())
    _, lost = encoded(ask(tools=(tool,), parallel_tools=False))
    assert lost == ["parallel_tools", "tools.strict", "tools.cache"]


SEARCH = Tool("web_search", "hosted", hosted="web_search", raw={"type": "web_search"})


def test_the_vendors_search_is_offered_where_the_target_lists_it() -> None:
    outgoing, lost = encoded(ask(tools=(F, SEARCH)), target(hosted_tools=("web_search",)))
    assert outgoing.body["tools"][1] == {"googleSearch": {}}
    assert lost == []


def test_the_vendors_search_is_dropped_elsewhere() -> None:
    outgoing, lost = encoded(ask(tools=(F, SEARCH)))
    assert len(outgoing.body["tools"]) == 1
    assert lost == ["tools.web_search"]


CHOICES: list[tuple[ToolChoice, dict[str, Any], list[str]]] = [
    (ToolChoice("auto"), {"mode": "AUTO"}, ["f", "g"]),
    (ToolChoice("none"), {"mode": "NONE"}, ["f", "g"]),
    (ToolChoice("required"), {"mode": "ANY"}, ["f", "g"]),
    (ToolChoice("named", "f"), {"mode": "ANY", "allowedFunctionNames": ["f"]}, ["f", "g"]),
    (
        ToolChoice("required", allowed=("g", "gone")),
        {"mode": "ANY", "allowedFunctionNames": ["g"]},
        ["f", "g"],
    ),
    (ToolChoice("auto", allowed=("g",)), {"mode": "AUTO"}, ["g"]),
]


@pytest.mark.parametrize(("choice", "calling", "names"), CHOICES)
def test_the_choice_of_a_tool_is_written(
    choice: ToolChoice, calling: dict[str, Any], names: list[str]
) -> None:
    outgoing, lost = encoded(ask(tools=(F, G), tool_choice=choice))
    assert outgoing.body["toolConfig"] == {"functionCallingConfig": calling}
    found = outgoing.body["tools"][0]["functionDeclarations"]
    assert [each["name"] for each in found] == names
    assert lost == []


def test_a_model_that_cannot_be_forced_is_asked() -> None:
    view = target(forced_tool_choice=False)
    found = body(ask(tools=(F,), tool_choice=ToolChoice("named", "f")), view)
    assert found["toolConfig"] == {"functionCallingConfig": {"mode": "AUTO"}}
    assert found["systemInstruction"] == {"parts": [{"text": "You must call the tool f."}]}


@pytest.mark.parametrize(
    ("tools", "choice"),
    [
        ((F, SEARCH), ToolChoice("named", "web_search")),
        ((SEARCH,), ToolChoice("required")),
        ((), ToolChoice("required")),
    ],
)
def test_a_forced_tool_that_cannot_be_had_is_refused(
    tools: tuple[Tool, ...], choice: ToolChoice
) -> None:
    with pytest.raises(BadRequest) as refused:
        body(ask(tools=tools, tool_choice=choice))
    assert refused.value.param == "tool_choice"


def test_no_tools_need_no_choice() -> None:
    outgoing, lost = encoded(ask(tool_choice=ToolChoice("auto")))
    assert "toolConfig" not in outgoing.body
    assert lost == []


# --- the generation config --------------------------------------------------------------------


def test_every_number_is_written() -> None:
    request = ask(
        max_tokens=100,
        temperature=2.5,
        top_p=0.9,
        top_k=40,
        seed=7,
        presence_penalty=0.0,
        frequency_penalty=0.2,
        n=2,
    )
    outgoing, lost = encoded(request)
    assert outgoing.body["generationConfig"] == {
        "maxOutputTokens": 100,
        "temperature": 2,
        "topP": 0.9,
        "topK": 40,
        "presencePenalty": 0.0,
        "frequencyPenalty": 0.2,
        "seed": 7,
        "candidateCount": 2,
    }
    assert lost == []


def test_what_has_no_place_is_a_loss() -> None:
    request = ask(
        seed=2**40,
        verbosity="low",
        cache_key="k",
        user_ref="u",
        logprobs=True,
        service_tier="priority",
    )
    outgoing, lost = encoded(request)
    assert "generationConfig" not in outgoing.body
    assert set(lost) == {"seed", "verbosity", "cache_key", "user_ref", "logprobs", "service_tier"}


@pytest.mark.parametrize(
    ("wish", "limit", "trait", "written"),
    [(None, 10, 10, None), (50, None, None, 50), (50, 40, None, 40), (50, 40, 30, 30)],
)
def test_the_cap_is_the_lowest_of_all(
    wish: int | None, limit: int | None, trait: int | None, written: int | None
) -> None:
    found = config(ask(max_tokens=wish), target(limit, max_output_tokens=trait))
    assert found.get("maxOutputTokens") == written


def test_no_output_at_all_is_refused_in_the_clients_words() -> None:
    with pytest.raises(BadRequest) as refused:
        body(ask(max_tokens=0, names={"max_tokens": "max_completion_tokens"}))
    assert refused.value.param == "max_completion_tokens"


def test_five_stop_texts_are_the_vendors_and_more_are_ours() -> None:
    few, _ = encoded(ask(stop=tuple("abcde")))
    many, lost = encoded(ask(stop=tuple("abcdef")))
    assert (few.body["generationConfig"]["stopSequences"], few.local_stop) == (list("abcde"), ())
    assert many.body["generationConfig"]["stopSequences"] == list("abcde")
    assert many.local_stop == tuple("abcdef")
    assert lost == []


@pytest.mark.parametrize(
    ("sampling", "wish", "sent"),
    [
        ("yes", None, True),
        ("no", None, False),
        ("only_without_reasoning", None, False),
        ("only_without_reasoning", ReasoningWish("none"), True),
    ],
)
def test_sampling_follows_the_trait(sampling: str, wish: ReasoningWish | None, sent: bool) -> None:
    request = ask(temperature=0.5, top_p=0.5, top_k=5, reasoning=wish)
    outgoing, lost = encoded(request, target(sampling=sampling))
    found = outgoing.body.get("generationConfig", {})
    assert all((name in found) is sent for name in ("temperature", "topP", "topK"))
    assert lost == ([] if sent else ["temperature", "top_p", "top_k"])


SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "$schema": "x"}
CLEAN = {"type": "object", "properties": {"a": {"type": "string"}}}
JSON = {"responseMimeType": "application/json"}
OUTPUTS: list[tuple[Output, dict[str, Any], dict[str, Any]]] = [
    (Output("json_object"), {}, JSON),
    (Output("json_schema", "n", SCHEMA, strict=True), {}, {**JSON, "responseJsonSchema": CLEAN}),
    (
        Output("json_schema", schema=SCHEMA, description="d"),
        {},
        {**JSON, "responseJsonSchema": {**CLEAN, "description": "d"}},
    ),
    (
        Output("json_schema", schema=SCHEMA),
        {"gemini_schema": "legacy"},
        {**JSON, "responseSchema": {"type": "OBJECT", "properties": {"a": {"type": "STRING"}}}},
    ),
    (Output("json_schema", schema={"type": "object"}), {"gemini_schema": "legacy"}, JSON),
    (Output("json_schema"), {}, JSON),
]


@pytest.mark.parametrize(("output", "traits", "written"), OUTPUTS)
def test_the_form_of_the_answer_is_written(
    output: Output, traits: dict[str, Any], written: dict[str, Any]
) -> None:
    outgoing, lost = encoded(ask(output=output), target(**traits))
    assert outgoing.body["generationConfig"] == written
    assert lost == []


def test_a_form_that_the_model_cannot_keep_is_told_in_words() -> None:
    view = target(structured_output=False)
    found = body(ask(output=Output("json_schema", schema=SCHEMA)), view)
    assert "generationConfig" not in found
    assert found["systemInstruction"]["parts"][0]["text"].endswith(
        '{"type":"object","properties":{"a":{"type":"string"}}}'
    )


@pytest.mark.parametrize(
    ("tier", "written"), [("auto", None), ("standard", "standard"), ("flex", "flex")]
)
def test_the_service_tier_is_sent_where_it_is_allowed(tier: Any, written: str | None) -> None:
    outgoing, lost = encoded(ask(service_tier=tier), target(allow_service_tier=True))
    assert outgoing.body.get("serviceTier") == written
    assert lost == []
