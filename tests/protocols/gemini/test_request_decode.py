"""Requests of Gemini clients, wire -> neutral form."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from google.genai import types

from kurolproxy.errors import BadRequest
from kurolproxy.ir import (
    Audio,
    File,
    Image,
    Message,
    Output,
    Part,
    Reasoning,
    ReasoningWish,
    Request,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from kurolproxy.protocols.gemini.request_decode import decode_request
from kurolproxy.protocols.losses import Reader
from kurolproxy.protocols.normalise import normalise
from tests.fakes.recordings import Recording, ids, needs_recordings, select
from tests.protocols.gemini.request_support import FOREIGN, NATIVE, PIXEL, token, wire

USER: dict[str, Any] = {"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]}


def parts(*given: dict[str, Any], role: str = "model") -> list[Part]:
    """Return what parts of the second turn are read as."""
    request = decode_request(wire(*given, role=role))
    found = [part for message in request.messages for part in message.parts]
    assert found.pop(0) == Text("Hi")
    return found


def configured(**config: Any) -> Request:
    return decode_request({**USER, "generationConfig": config})


def tooled(*tools: dict[str, Any], **more: Any) -> Request:
    return decode_request({**USER, "tools": list(tools), **more})


# --- contents ---------------------------------------------------------------------------------


def test_the_least_request_is_read_without_model_and_stream() -> None:
    request = decode_request({"contents": [{"parts": [{"text": "Hi"}]}]})
    assert request.messages == (Message("user", (Text("Hi"),)),)
    assert (request.model, request.stream) == ("", False)
    assert request.leftover == ()
    assert request.unknown == 0


def test_one_object_stands_for_an_array_as_in_the_vendors_examples() -> None:
    request = decode_request(
        {
            "system_instruction": {"parts": {"text": "Be brief."}},
            "contents": {"role": "USER", "parts": {"text": "Hi"}},
            "tools": {"function_declarations": {"name": "f"}},
        }
    )
    assert request.system == (Text("Be brief."),)
    assert request.messages == (Message("user", (Text("Hi"),)),)
    assert request.tools == (Tool("f"),)


@pytest.mark.parametrize("name", ["systemInstruction", "system_instruction"])
@pytest.mark.parametrize("said", ["Be brief.", {"role": "user", "parts": [{"text": "Be brief."}]}])
def test_system_text_is_a_content_or_a_bare_string(name: str, said: Any) -> None:
    assert decode_request({**USER, name: said}).system == (Text("Be brief."),)


@pytest.mark.parametrize("role", ["user", "function", "tool", None])
def test_results_come_as_a_message_of_their_own(role: str | None) -> None:
    result = {"functionResponse": {"id": "c1", "name": "f", "response": {"output": "ok"}}}
    body = wire({"functionCall": {"id": "c1", "name": "f", "args": {"a": 1}}})
    body["contents"].append({"role": role, "parts": [{"text": "Look:"}, result, {"text": "And?"}]})
    request = decode_request(body)
    assert request.messages[1:] == (
        Message("assistant", (ToolCall("c1", "f", '{"a":1}'),)),
        Message("user", (Text("Look:"),)),
        Message("tool", (ToolResult("c1", (Text("ok"),), "f"),)),
        Message("user", (Text("And?"),)),
    )


def test_results_without_ids_meet_their_calls_by_name_and_order() -> None:
    call = {"functionCall": {"name": "f", "args": {}}}
    other = {"functionCall": {"name": "g"}}
    body = wire(call, other, call)
    answers = [("g", "1"), ("f", "2"), ("f", "3")]
    body["contents"].append(
        {
            "parts": [
                {"functionResponse": {"name": n, "response": {"output": t}}} for n, t in answers
            ]
        }
    )
    messages = normalise(decode_request(body)).messages
    calls = [part for part in messages[1].parts if isinstance(part, ToolCall)]
    results = [part for part in messages[2].parts if isinstance(part, ToolResult)]
    assert len({call.id for call in calls}) == 3
    assert [part.call_id for part in results] == [part.id for part in calls]
    assert [part.parts for part in results] == [(Text("2"),), (Text("1"),), (Text("3"),)]


RESPONSES: list[tuple[dict[str, Any], str, bool]] = [
    ({"output": "ok"}, "ok", False),
    ({"result": {"a": 1}}, '{"a":1}', False),
    ({"return_value": [1]}, "[1]", False),
    ({"name": "f", "content": "ok"}, "ok", False),
    ({"name": "g", "content": "ok"}, '{"name":"g","content":"ok"}', False),
    ({"error": "no such file"}, "no such file", True),
    ({"error": {"code": 2}}, '{"code":2}', True),
    ({"output": "ok", "error": None}, "ok", False),
    ({"output": "half", "error": "x"}, '{"output":"half","error":"x"}', False),
    ({"temperature": 20}, '{"temperature":20}', False),
    ({"big": 2**70}, '{"big":1180591620717411303424}', False),
    ({}, "", False),
]


@pytest.mark.parametrize(("response", "text", "is_error"), RESPONSES)
def test_a_result_is_what_its_wrapper_holds(
    response: dict[str, Any], text: str, is_error: bool
) -> None:
    (result,) = parts({"functionResponse": {"name": "f", "response": response}}, role="user")
    assert isinstance(result, ToolResult)
    assert result.parts == ((Text(text),) if text else ())
    assert result.is_error is is_error


def test_media_of_a_result_are_read() -> None:
    inner = [
        {"inlineData": {"mimeType": "image/png", "data": PIXEL}},
        {"file_data": {"file_uri": "https://x.invalid/a.pdf"}},
    ]
    answer = {"name": "f", "response": {"output": "ok"}, "parts": inner}
    (result,) = parts({"function_response": answer}, role="user")
    assert isinstance(result, ToolResult)
    assert result.parts[1:] == (
        Image(data=PIXEL, mime="image/png"),
        File(url="https://x.invalid/a.pdf", mime="application/pdf"),
    )


MEDIA: list[tuple[dict[str, Any], Part]] = [
    (
        {"inlineData": {"mimeType": "image/jpg", "data": "eA=="}},
        Image(data="eA==", mime="image/jpeg"),
    ),
    (
        {"inline_data": {"mime_type": "application/pdf", "data": "eA", "display_name": "a.pdf"}},
        File(data="eA==", mime="application/pdf", name="a.pdf"),
    ),
    (
        {"inlineData": {"mimeType": "text/plain; charset=utf-8", "data": "aGk="}},
        File(text="hi", mime="text/plain"),
    ),
    ({"inlineData": {"mimeType": "audio/mpeg", "data": "eA=="}}, Audio("eA==", "mp3")),
    ({"inlineData": {"mimeType": "audio/wav", "data": "eA=="}}, Audio("eA==", "wav")),
    (
        {"inlineData": {"mimeType": "video/mp4", "data": "eA=="}},
        File(data="eA==", mime="video/mp4"),
    ),
    (
        {"fileData": {"fileUri": "https://x.invalid/a.webp?b=c.pdf"}},
        Image(url="https://x.invalid/a.webp?b=c.pdf", mime="image/webp"),
    ),
    (
        {"fileData": {"fileUri": "https://x.invalid/a", "mimeType": "application/pdf"}},
        File(url="https://x.invalid/a", mime="application/pdf"),
    ),
    ({"fileData": {"fileUri": "https://x.invalid/watch"}}, File(url="https://x.invalid/watch")),
]


@pytest.mark.parametrize(("part", "expected"), MEDIA)
def test_media_are_read(part: dict[str, Any], expected: Part) -> None:
    assert parts(part, role="user") == [expected]


def test_base64_of_the_python_sdk_gets_its_usual_alphabet() -> None:
    data = bytes(range(240, 256))
    blob = types.Blob(data=data, mime_type="image/png").model_dump(mode="json")
    assert "_" in blob["data"]
    (image,) = parts({"inline_data": blob}, role="user")
    assert image == Image(data=base64.b64encode(data).decode(), mime="image/png")


@pytest.mark.parametrize(
    "kind", ["executableCode", "codeExecutionResult", "toolCall", "toolResponse"]
)
def test_what_the_vendors_tools_did_is_left_out_by_name(kind: str) -> None:
    request = decode_request(wire({kind: {"code": "1"}}, {"text": "one"}))
    assert request.messages[1].parts == (Text("one"),)
    assert request.leftover == (f"messages.{kind}",)


# --- thoughts ---------------------------------------------------------------------------------

CALL = {"functionCall": {"id": "c", "name": "f", "args": {}}}
CALLED = ToolCall("c", "f", "{}")

THOUGHTS: list[tuple[str, list[dict[str, Any]], list[Part]]] = [
    (
        "a proof stands on the part behind the thoughts",
        [{"text": "hm", "thought": True}, {"text": "Hi", "thoughtSignature": token(FOREIGN)}],
        [Reasoning("hm", FOREIGN), Text("Hi")],
    ),
    (
        "thoughts in pieces",
        [
            {"text": "h", "thought": True},
            {"text": "m", "thought": True},
            {**CALL, "thought_signature": token(FOREIGN)},
        ],
        [Reasoning("hm", FOREIGN), CALLED],
    ),
    (
        "a proof on the thought itself",
        [{"text": "hm", "thought": True, "thoughtSignature": token(NATIVE)}, {"text": "Hi"}],
        [Reasoning("hm", NATIVE), Text("Hi")],
    ),
    (
        "thoughts without a proof",
        [{"text": "hm", "thought": True}, CALL],
        [Reasoning("hm"), CALLED],
    ),
    ("thoughts at the end", [CALL, {"text": "hm", "thought": True}], [CALLED, Reasoning("hm")]),
    (
        "a bare proof",
        [{**CALL, "thoughtSignature": "bmF0aXZl"}],
        [Reasoning("", native="bmF0aXZl"), CALLED],
    ),
    (
        "a proof alone at the end",
        [{"text": "Hi"}, {"text": "", "thoughtSignature": "bmF0aXZl"}],
        [Text("Hi"), Reasoning("", native="bmF0aXZl"), Text("")],
    ),
    (
        "a part that is nothing but a proof",
        [{"thoughtSignature": "bmF0aXZl"}],
        [Reasoning("", native="bmF0aXZl"), Text("")],
    ),
    (
        "the word that stands for a proof",
        [{**CALL, "thoughtSignature": "skip_thought_signature_validator"}],
        [CALLED],
    ),
    (
        "the text that travelled in the seal",
        [{**CALL, "thoughtSignature": "a3gxeyJwIjoiYSIsImYiOiJjbGF1ZGUiLCJzIjoicyIsInQiOiJobSJ9"}],
        [Reasoning("hm", type(FOREIGN)("a", "claude", "s", "hm")), CALLED],
    ),
]


@pytest.mark.parametrize(
    ("name", "given", "expected"), THOUGHTS, ids=[each[0] for each in THOUGHTS]
)
def test_thoughts_meet_their_proofs(
    name: str, given: list[dict[str, Any]], expected: list[Part]
) -> None:
    assert parts(*given) == expected


def test_a_streams_history_is_one_turn() -> None:
    body = wire({"text": "h", "thought": True})
    body["contents"] += [
        {"role": "model", "parts": [{"text": "m", "thought": True}]},
        {"role": "model", "parts": [{"text": "Hi", "thoughtSignature": token(FOREIGN)}]},
    ]
    assert decode_request(body).messages[1:] == (
        Message("assistant", (Reasoning("hm", FOREIGN), Text("Hi"))),
    )


def test_a_seal_survives_the_python_sdk() -> None:
    """The SDK decodes a signature and writes it again, in the alphabet for URLs."""
    seal = type(FOREIGN)("a", "claude", "c2ln", "why?? >>> ÿÿÿ")
    part = types.Part.model_validate({"text": "Hi", "thoughtSignature": token(seal)})
    sent = part.model_dump(mode="json", exclude_none=True)
    assert sent["thought_signature"] != token(seal)
    assert parts(sent) == [Reasoning("why?? >>> ÿÿÿ", seal), Text("Hi")]


def test_users_have_no_thoughts() -> None:
    said = {"text": "hm", "thought": True, "thoughtSignature": token(FOREIGN)}
    assert parts(said, role="user") == [Text("hm")]


# --- tools ------------------------------------------------------------------------------------


def test_functions_are_read_in_both_dialects() -> None:
    standard = {"type": "object", "properties": {"a": {"type": "string"}}}
    own = {"type": "OBJECT", "properties": {"a": {"type": "STRING"}}}
    request = tooled(
        {"functionDeclarations": [{"name": "f", "description": "d", "parameters": own}]},
        {
            "function_declarations": [
                {"name": "g", "parameters_json_schema": standard},
                {"name": "h"},
            ]
        },
    )
    assert request.tools == (
        Tool("f", description="d", schema=standard),
        Tool("g", schema=standard),
        Tool("h"),
    )


def test_tools_of_the_vendor_are_known_by_our_names() -> None:
    request = tooled(
        {"googleSearch": {}, "function_declarations": [{"name": "f"}]},
        {"code_execution": {}},
        {"urlContext": {}},
        {"fileSearch": {"file_search_store_names": ["s"]}},
        {"newTool": {}},
    )
    assert [(tool.kind, tool.hosted) for tool in request.tools] == [
        ("function", None),
        ("hosted", "web_search"),
        ("hosted", "code_execution"),
        ("hosted", "web_fetch"),
        ("hosted", "file_search"),
        ("hosted", "newTool"),
    ]
    assert request.tools[4].raw == {"fileSearch": {"file_search_store_names": ["s"]}}


def test_a_client_tool_of_the_vendor_is_refused() -> None:
    with pytest.raises(BadRequest, match="tool type computerUse only works with a gemini upstream"):
        tooled({"computer_use": {"environment": "ENVIRONMENT_BROWSER"}})


CHOICES: list[tuple[dict[str, Any], ToolChoice | None]] = [
    ({"mode": "AUTO"}, ToolChoice("auto")),
    ({"mode": "auto"}, ToolChoice("auto")),
    ({"mode": "NONE", "allowedFunctionNames": ["f"]}, ToolChoice("none")),
    ({"mode": "ANY"}, ToolChoice("required")),
    ({"mode": "ANY", "allowedFunctionNames": ["f"]}, ToolChoice("named", "f")),
    (
        {"mode": "ANY", "allowed_function_names": ["f", "g"]},
        ToolChoice("required", allowed=("f", "g")),
    ),
    ({"mode": "VALIDATED", "allowedFunctionNames": ["f"]}, ToolChoice("auto", allowed=("f",))),
    ({"mode": "MODE_UNSPECIFIED"}, None),
    ({}, None),
]


@pytest.mark.parametrize(("calling", "choice"), CHOICES)
@pytest.mark.parametrize("name", ["functionCallingConfig", "function_calling_config"])
def test_the_choice_of_a_tool_is_read(
    name: str, calling: dict[str, Any], choice: ToolChoice | None
) -> None:
    assert tooled(toolConfig={name: calling}).tool_choice == choice


# --- the generation config --------------------------------------------------------------------


def test_every_number_is_read_in_both_spellings() -> None:
    camel = {
        "maxOutputTokens": 100,
        "temperature": 0.5,
        "topP": 0.9,
        "topK": 40.0,
        "seed": 7,
        "presencePenalty": 0.1,
        "frequencyPenalty": 0.2,
        "candidateCount": 2,
        "responseLogprobs": True,
        "logprobs": 3,
        "stopSequences": ["a", "", "b"],
    }
    snake = {
        "max_output_tokens": 100,
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 40,
        "seed": 7,
        "presence_penalty": 0.1,
        "frequency_penalty": 0.2,
        "candidate_count": 2,
        "response_logprobs": True,
        "logprobs": 3,
        "stop_sequences": ["a", "", "b"],
    }
    read = decode_request({**USER, "generation_config": snake})
    assert read == configured(**camel)
    assert (read.max_tokens, read.temperature, read.top_p, read.top_k) == (100, 0.5, 0.9, 40)
    assert (read.seed, read.presence_penalty, read.frequency_penalty, read.n) == (7, 0.1, 0.2, 2)
    assert (read.logprobs, read.top_logprobs, read.stop) == (True, 3, ("a", "b"))


SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}
OUTPUTS: list[tuple[dict[str, Any], Output | None]] = [
    ({}, None),
    ({"responseMimeType": "text/plain"}, None),
    ({"responseMimeType": "application/json"}, Output("json_object")),
    (
        {"responseMimeType": "application/json", "responseJsonSchema": SCHEMA},
        Output("json_schema", schema=SCHEMA, strict=True),
    ),
    (
        {
            "response_mime_type": "application/json",
            "response_schema": {"type": "OBJECT", "properties": {"a": {"type": "STRING"}}},
        },
        Output("json_schema", schema=SCHEMA, strict=True),
    ),
]


@pytest.mark.parametrize(("config", "output"), OUTPUTS)
def test_the_form_of_the_answer_is_read(config: dict[str, Any], output: Output | None) -> None:
    assert configured(**config).output == output


def test_one_of_a_few_texts_is_asked_for_in_words() -> None:
    schema = {"type": "STRING", "enum": ["yes", "no"]}
    request = configured(responseMimeType="text/x.enum", responseSchema=schema)
    assert request.output is None
    assert request.system[-1].text.endswith("nothing else:\nyes\nno")


THINKING: list[tuple[dict[str, Any], ReasoningWish | None]] = [
    ({}, None),
    ({"includeThoughts": False}, None),
    ({"includeThoughts": True}, ReasoningWish(mode="adaptive", show="summary")),
    ({"thinkingBudget": 0}, ReasoningWish(budget=0, show="none")),
    ({"thinkingBudget": -1}, ReasoningWish(budget=-1, show="none")),
    ({"thinking_budget": 2000, "include_thoughts": True}, ReasoningWish(budget=2000)),
    ({"thinkingLevel": "LOW"}, ReasoningWish("low", show="none")),
    ({"thinkingLevel": "xhigh"}, ReasoningWish("xhigh", show="none")),
    ({"thinkingLevel": "THINKING_LEVEL_UNSPECIFIED"}, None),
]


@pytest.mark.parametrize(("config", "wish"), THINKING)
def test_the_wish_to_think_is_read(config: dict[str, Any], wish: ReasoningWish | None) -> None:
    assert configured(thinkingConfig=config).reasoning == wish


def test_an_unknown_level_is_a_named_loss() -> None:
    request = configured(thinkingConfig={"thinkingLevel": "EXTREME"})
    assert request.reasoning is None
    assert request.leftover == ("generationConfig.thinkingConfig.thinkingLevel",)


@pytest.mark.parametrize(
    ("said", "tier"),
    [
        ("flex", "flex"),
        ("PRIORITY", "priority"),
        ("SERVICE_TIER_STANDARD", "standard"),
        ("unspecified", None),
    ],
)
def test_the_service_tier_is_read(said: str, tier: str | None) -> None:
    request = decode_request({**USER, "serviceTier": said})
    assert (request.service_tier, request.leftover) == (tier, ())


def test_losses_have_the_clients_names() -> None:
    body = {
        **wire(
            {"text": "a", "videoMetadata": {}, "brandNew": 1},
            {"inlineData": {"mimeType": "image/png", "data": PIXEL, "displayName": "a"}},
        ),
        "safety_settings": [{"category": "c", "threshold": "t"}],
        "labels": {"a_b": "c"},
        "store": True,
        "generationConfig": {"mediaResolution": "LOW", "seed": 1, "imageConfig": {}},
        "toolConfig": {"retrievalConfig": {}},
        "tools": [{"functionDeclarations": [{"name": "f", "behavior": "BLOCKING"}]}],
        "unheard_of": 1,
    }
    request = decode_request(body)
    assert set(request.leftover) == {
        "messages.text.videoMetadata",
        "messages.inlineData.displayName",
        "safetySettings",
        "labels",
        "generationConfig.mediaResolution",
        "generationConfig.imageConfig",
        "toolConfig.retrievalConfig",
        "tools.behavior",
    }
    assert request.unknown == 2
    assert "generationConfig.seed" in Reader(request).losses()
    assert "messages.inlineData" in Reader(request).losses()


# --- refusals ---------------------------------------------------------------------------------

REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("no contents", {}, "contents"),
    ("empty contents", {"contents": []}, "contents"),
    ("contents is text", {"contents": "Hi"}, "contents"),
    ("a content is text", {"contents": ["Hi"]}, "contents[0]"),
    (
        "a role nobody has",
        {"contents": [{"role": "invalid_role", "parts": []}]},
        "contents[0].role",
    ),
    ("a part is text", wire(*["Hi"]), "contents[1].parts[0]"),  # type: ignore[arg-type]
    ("an empty part", wire({}), "contents[1].parts[0].text"),
    (
        "two kinds in a part",
        wire({"text": "a", "functionCall": {}}),
        "contents[1].parts[0].functionCall",
    ),
    ("a call without a name", wire({"functionCall": {}}), "contents[1].parts[0].functionCall.name"),
    (
        "arguments that are text",
        wire({"functionCall": {"name": "f", "args": "a"}}),
        "contents[1].parts[0].functionCall.args",
    ),
    (
        "a call of the user's",
        wire({"functionCall": {"name": "f"}}, role="user"),
        "contents[1].parts[0].functionCall",
    ),
    (
        "a file of the vendor's",
        wire({"fileData": {"fileUri": "https://generativelanguage.googleapis.com/v1beta/files/a"}}),
        "contents[1].parts[0].fileData.fileUri",
    ),
    (
        "a file id",
        wire({"fileData": {"fileUri": "files/a"}}),
        "contents[1].parts[0].fileData.fileUri",
    ),
    (
        "a bucket",
        wire({"fileData": {"fileUri": "gs://a/b"}}),
        "contents[1].parts[0].fileData.fileUri",
    ),
    (
        "text that is no base64",
        wire({"inlineData": {"mimeType": "text/plain", "data": "a"}}, role="user"),
        "contents[1].parts[0].inlineData.data",
    ),
    ("cached content", {**USER, "cachedContent": "cachedContents/a"}, "cachedContent"),
    (
        "cached content, other spelling",
        {**USER, "cached_content": "cachedContents/a"},
        "cachedContent",
    ),
    (
        "answers of sound",
        {**USER, "generationConfig": {"responseModalities": ["TEXT", "AUDIO"]}},
        "generationConfig.responseModalities",
    ),
    (
        "speech",
        {**USER, "generationConfig": {"speechConfig": {"languageCode": "de"}}},
        "generationConfig.speechConfig",
    ),
    (
        "a continuation",
        {**USER, "generationConfig": {"continuation_token": "eA=="}},
        "generationConfig.continuationToken",
    ),
    (
        "no output at all",
        {**USER, "generationConfig": {"maxOutputTokens": 0}},
        "generationConfig.maxOutputTokens",
    ),
    (
        "a schema without its mime type",
        {**USER, "generationConfig": {"responseSchema": {}}},
        "generationConfig.responseMimeType",
    ),
    (
        "another mime type",
        {**USER, "generationConfig": {"responseMimeType": "text/html"}},
        "generationConfig.responseMimeType",
    ),
    (
        "no enum",
        {**USER, "generationConfig": {"responseMimeType": "text/x.enum"}},
        "generationConfig.responseSchema",
    ),
    (
        "a stop text that is none",
        {**USER, "generationConfig": {"stopSequences": [1]}},
        "generationConfig.stopSequences[0]",
    ),
    (
        "a mode nobody has",
        {**USER, "toolConfig": {"functionCallingConfig": {"mode": "SOME"}}},
        "toolConfig.functionCallingConfig.mode",
    ),
    (
        "a function without a name",
        {**USER, "tools": [{"functionDeclarations": [{}]}]},
        "tools[0].functionDeclarations[0].name",
    ),
    (
        "an image as system text",
        {
            **USER,
            "systemInstruction": {
                "parts": [{"inlineData": {"mimeType": "image/png", "data": PIXEL}}]
            },
        },
        "systemInstruction.parts",
    ),
]


@pytest.mark.parametrize(("name", "body", "param"), REFUSED, ids=[case[0] for case in REFUSED])
def test_a_wrong_request_is_refused_by_the_name_of_its_field(
    name: str, body: dict[str, Any], param: str
) -> None:
    with pytest.raises(BadRequest) as refused:
        decode_request(body)
    assert refused.value.param == param
    assert param.split(".")[-1].split("[")[0] in refused.value.message


# --- real traffic -----------------------------------------------------------------------------

RECORDED = [each for each in select(protocol="gemini") if each.request is not None]
# What the vendor answered with an error of its own, or what refers to its storage.
NOT_TAKEN = {
    "gemini-google-cached-tokens": "cachedContent",
    "gemini-google-pdf-input": "contents[0].parts[1].fileData.fileUri",
    "gemini-vertex-error-400": "contents[0].role",
}


@needs_recordings
def test_there_are_recorded_requests() -> None:
    assert len(RECORDED) >= 20
    assert {each.stem for each in RECORDED} >= set(NOT_TAKEN)


@needs_recordings
@pytest.mark.parametrize("recorded", RECORDED, ids=ids(RECORDED))
def test_recorded_request_is_read_or_refused(recorded: Recording) -> None:
    body = recorded.request_json
    if recorded.stem in NOT_TAKEN:
        with pytest.raises(BadRequest) as refused:
            decode_request(body)
        assert refused.value.param == NOT_TAKEN[recorded.stem]
        return
    request = decode_request(body)
    assert request.unknown == 0
    assert len(request.messages) == len(body["contents"])
    texts = [
        part["text"] for content in body["contents"] for part in content["parts"] if "text" in part
    ]
    read = [part.text for each in request.messages for part in each.parts if isinstance(part, Text)]
    assert read == texts
