"""Gemini of the demo vendor, held against the grammar of its wire document."""

from __future__ import annotations

import base64
import json
from typing import Any

import aiohttp
import pytest

WEATHER: Any = {
    "name": "get_weather",
    "parametersJsonSchema": {
        "$schema": "x",
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
    },
}
OLD: Any = {
    "name": "get_weather",
    "parameters": {
        "type": "OBJECT",
        "properties": {"city": {"type": "STRING", "nullable": True}},
        "required": ["city"],
    },
}
FRAME_FIELDS = {"candidates", "usageMetadata", "modelVersion", "responseId"}


def body(*said: Any, tools: Any = (), **more: Any) -> dict[str, Any]:
    contents = [user(one) if isinstance(one, str) else one for one in said]
    listed = {"tools": [{"functionDeclarations": list(tools)}]} if tools else {}
    return {"contents": contents, **listed, **more}


def user(*parts: Any) -> dict[str, Any]:
    return {
        "role": "user",
        "parts": [{"text": one} if isinstance(one, str) else one for one in parts],
    }


def model(*parts: Any) -> dict[str, Any]:
    return {"role": "model", "parts": list(parts)}


async def generate(
    http: aiohttp.ClientSession, name: str, asked: dict[str, Any], status: int = 200
) -> dict[str, Any]:
    async with http.post(f"/v1beta/models/{name}:generateContent", json=asked) as answer:
        value: dict[str, Any] = await answer.json()
        assert (answer.status, value) == (status, value)
    return value


def parts_of(answer: dict[str, Any], index: int = 0) -> list[dict[str, Any]]:
    parts: list[dict[str, Any]] = answer["candidates"][index]["content"]["parts"]
    return parts


async def stream(
    http: aiohttp.ClientSession, name: str, asked: dict[str, Any]
) -> list[dict[str, Any]]:
    path = f"/v1beta/models/{name}:streamGenerateContent?alt=sse"
    async with http.post(path, json=asked) as answer:
        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        raw = await answer.text()
    assert raw.endswith("\r\n\r\n")
    frames = raw.removesuffix("\r\n\r\n").split("\r\n\r\n")
    assert all(frame.startswith("data: {") and "\n" not in frame for frame in frames)
    return [json.loads(frame.removeprefix("data: ")) for frame in frames]


async def test_answer_follows_the_grammar(http: aiohttp.ClientSession) -> None:
    answer = await generate(http, "demo-echo", body("hello", systemInstruction="be brief"))
    assert answer == {
        "candidates": [
            {
                "content": {"role": "model", "parts": [{"text": "hello"}]},
                "finishReason": "STOP",
                "index": 0,
            }
        ],
        "usageMetadata": {"promptTokenCount": 12, "candidatesTokenCount": 2, "totalTokenCount": 14},
        "modelVersion": "demo-echo",
        "responseId": answer["responseId"],
    }


async def test_stream_adds_up_to_the_answer(http: aiohttp.ClientSession) -> None:
    asked = body("one two three")
    frames = await stream(http, "demo-echo", asked)
    assert all(set(frame) == FRAME_FIELDS for frame in frames)
    assert [parts_of(frame)[0]["text"] for frame in frames] == ["one ", "two ", "three", ""]
    reasons = [frame["candidates"][0].get("finishReason") for frame in frames]
    assert reasons == [None, None, None, "STOP"]
    whole = await generate(http, "demo-echo", asked)
    assert frames[-1]["usageMetadata"] == whole["usageMetadata"]


async def test_without_sse_the_stream_is_one_json_array(http: aiohttp.ClientSession) -> None:
    path = "/v1beta/models/demo-echo:streamGenerateContent"
    async with http.post(path, json=body("one two")) as answer:
        assert answer.content_type == "application/json"
        values = await answer.json()
    assert [parts_of(value)[0]["text"] for value in values] == ["one ", "two", ""]


@pytest.mark.parametrize("declared", [WEATHER, OLD], ids=["json schema", "old schema"])
async def test_calls_have_arguments_of_their_schema(
    http: aiohttp.ClientSession, declared: Any
) -> None:
    asked = body("parallel", tools=[declared])
    calls = [part["functionCall"] for part in parts_of(await generate(http, "demo-tools", asked))]
    assert [(call["name"], call["args"]) for call in calls] == [
        ("get_weather", {"city": "demo city"})
    ] * 2
    frames = await stream(http, "demo-tools", asked)
    streamed = [p["functionCall"] for f in frames for p in parts_of(f) if "functionCall" in p]
    assert streamed == calls
    assert frames[-1]["candidates"][0]["finishReason"] == "STOP"


async def test_tool_results_are_quoted(http: aiohttp.ClientSession) -> None:
    call = {"functionCall": {"name": "get_weather", "args": {}}}
    image = {"inlineData": {"mimeType": "image/png", "data": "AAAA"}}
    answered = {
        "functionResponse": {
            "name": "get_weather",
            "response": {"output": "sunny"},
            "parts": [image],
        }
    }
    failed = {"functionResponse": {"name": "get_weather", "response": {"error": "no"}}}
    raw = {"functionResponse": {"name": "get_weather", "response": {"t": 3}}}
    asked = body("x", model(call, call, call), user(answered, failed, raw), tools=[WEATHER])
    assert parts_of(await generate(http, "demo-tools", asked)) == [
        {
            "text": "get_weather answered: sunny [with 1 image]\nget_weather failed: no\n"
            'get_weather answered: {"t":3}'
        }
    ]


@pytest.mark.parametrize(
    ("config", "kind"),
    [
        ({"mode": "NONE"}, "text"),
        ({"mode": "ANY"}, "functionCall"),
        ({"mode": "ANY", "allowedFunctionNames": ["get_weather"]}, "functionCall"),
        ({"mode": "AUTO", "allowed_function_names": ["other"]}, "text"),
    ],
)
async def test_calling_mode_is_obeyed(
    http: aiohttp.ClientSession, config: dict[str, Any], kind: str
) -> None:
    asked = body("x", tools=[WEATHER], toolConfig={"functionCallingConfig": config})
    assert [set(part) for part in parts_of(await generate(http, "demo-tools", asked))] == [{kind}]


async def test_media_are_seen_in_both_spellings(http: aiohttp.ClientSession) -> None:
    asked = body(
        user(
            "look",
            {"inlineData": {"mimeType": "image/png", "data": "AAAA"}},
            {"inline_data": {"mime_type": "application/pdf", "data": "AAAA"}},
            {"fileData": {"mimeType": "audio/wav", "fileUri": "https://example.com/a"}},
        )
    )
    said = parts_of(await generate(http, "demo-echo", asked))[0]["text"]
    assert said == "look\n[I saw 1 image, 1 PDF and 1 audio clip.]"


async def test_generation_config_is_kept(http: aiohttp.ClientSession) -> None:
    async def answer(**config: Any) -> dict[str, Any]:
        return await generate(http, "demo-echo", body("one two three", generationConfig=config))

    cut = await answer(maxOutputTokens=1)
    assert (parts_of(cut), cut["candidates"][0]["finishReason"]) == (
        [{"text": "one "}],
        "MAX_TOKENS",
    )
    stopped = await answer(stop_sequences=["two"])
    assert (parts_of(stopped), stopped["candidates"][0]["finishReason"]) == (
        [{"text": "one "}],
        "STOP",
    )
    two = await answer(candidateCount=2)
    assert parts_of(two, 1) == [{"text": "one two three (answer 2)"}]
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    shaped = await answer(responseMimeType="application/json", responseJsonSchema=schema)
    assert parts_of(shaped) == [{"text": '{"n":1}'}]
    old = {"type": "OBJECT", "properties": {"n": {"type": "INTEGER"}}, "required": ["n"]}
    legacy = await answer(responseMimeType="application/json", responseSchema=old)
    assert parts_of(legacy) == [{"text": '{"n":1}'}]


async def test_thoughts_are_shown_only_when_asked_for(http: aiohttp.ClientSession) -> None:
    shown = body("why?", generationConfig={"thinkingConfig": {"includeThoughts": True}})
    frames = await stream(http, "demo-think", shown)
    parts = [part for frame in frames for part in parts_of(frame)]
    thought = "".join(part["text"] for part in parts if part.get("thought"))
    assert thought.startswith("The question is: why?")
    usage = frames[-1]["usageMetadata"]
    assert usage["thoughtsTokenCount"] > 400
    assert usage["totalTokenCount"] == (
        usage["promptTokenCount"] + usage["candidatesTokenCount"] + usage["thoughtsTokenCount"]
    )
    hidden = await generate(http, "demo-think", body("why?"))
    assert [part.get("thought") for part in parts_of(hidden)] == [None]
    assert hidden["usageMetadata"]["thoughtsTokenCount"] == usage["thoughtsTokenCount"]


async def test_budget_of_nothing_switches_thinking_off(http: aiohttp.ClientSession) -> None:
    config = {"thinkingConfig": {"thinkingBudget": 0}}
    answer = await generate(http, "demo-think", body("why?", generationConfig=config))
    assert "thoughtsTokenCount" not in answer["usageMetadata"]
    assert parts_of(answer) == [{"text": "why?"}]


async def test_text_carries_the_signature_at_its_end(http: aiohttp.ClientSession) -> None:
    frames = await stream(http, "demo-think", body("why?"))
    last = parts_of(frames[-1])[0]
    assert last["text"] == ""
    assert base64.b64decode(last["thoughtSignature"], validate=True)
    assert "thoughtSignature" not in json.dumps(frames[:-1])
    whole = parts_of(await generate(http, "demo-think", body("why?")))
    assert whole == [{"text": "why?", "thoughtSignature": last["thoughtSignature"]}]


async def _history(http: aiohttp.ClientSession) -> list[Any]:
    asked = body("parallel", tools=[WEATHER])
    parts = parts_of(await generate(http, "demo-think", asked))
    answers = [
        {
            "functionResponse": {
                "id": part["functionCall"]["id"],
                "name": "get_weather",
                "response": {"output": "sunny"},
            }
        }
        for part in parts
    ]
    return ["parallel", model(*parts), user(*answers)]


async def test_first_call_of_a_step_carries_the_signature(http: aiohttp.ClientSession) -> None:
    history = await _history(http)
    assert ["thoughtSignature" in part for part in history[1]["parts"]] == [True, False]
    answer = await generate(http, "demo-think", body(*history, tools=[WEATHER]))
    assert parts_of(answer)[0]["text"].count("answered: sunny") == 2


@pytest.mark.parametrize(
    ("signature", "status", "words"),
    [
        ("Zm9yZWlnbg==", 400, "Thought signature is not valid"),
        (None, 400, "missing a `thought_signature`"),
        ("skip_thought_signature_validator", 200, ""),
    ],
)
async def test_signature_is_checked_when_it_comes_back(
    http: aiohttp.ClientSession, signature: str | None, status: int, words: str
) -> None:
    history = await _history(http)
    history[1]["parts"][0]["thoughtSignature"] = signature
    answer = await generate(http, "demo-think", body(*history, tools=[WEATHER]), status)
    assert words in json.dumps(answer)


async def test_older_turns_may_come_without_signatures(http: aiohttp.ClientSession) -> None:
    history = await _history(http)
    del history[1]["parts"][0]["thoughtSignature"]
    asked = body(*history, model({"text": "sunny"}), "thanks")
    assert parts_of(await generate(http, "demo-think", asked))[0]["text"] == "thanks"


@pytest.mark.parametrize(
    "asked",
    [
        body("hello you"),
        {"generateContentRequest": {"model": "models/demo-echo", **body("hello you")}},
    ],
    ids=["contents", "request"],
)
async def test_tokens_are_counted(http: aiohttp.ClientSession, asked: dict[str, Any]) -> None:
    async with http.post("/v1beta/models/demo-echo:countTokens", json=asked) as answer:
        assert await answer.json() == {"totalTokens": 7}


CALL = {"functionCall": {"name": "f", "args": {}}}
RESPONSE = {"functionResponse": {"name": "f", "response": {}}}
REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("nothing", {}, "contents is not specified"),
    ("role of OpenAI", body({"role": "assistant", "parts": []}), "contents[0].role"),
    ("two data fields", body(user({"text": "x", "inlineData": {}})), "oneof field 'data'"),
    ("bad base64", body(user({"inlineData": {"mimeType": "image/png", "data": "*"}})), "base64"),
    ("call without answer", body("x", model(CALL), "y"), "number of function response parts"),
    ("half the answers", body("x", model(CALL, CALL), user(RESPONSE)), "number of function"),
    ("answer without call", body(user(RESPONSE)), "number of function response parts"),
    ("text as arguments", body(model({"functionCall": {"name": "f", "args": "{}"}})), "args"),
    ("tool name", body("x", tools=[{"name": "1st"}]), "Invalid function name"),
    (
        "keyword of JSON Schema",
        body("x", tools=[{"name": "f", "parameters": {"type": "OBJECT", "$schema": "x"}}]),
        'Unknown name "$schema"',
    ),
    (
        "keyword deep inside",
        body(
            "x",
            tools=[
                {
                    "name": "f",
                    "parameters": {"properties": {"a": {"items": {"anyOf": [{"const": 1}]}}}},
                }
            ],
        ),
        'Unknown name "const"',
    ),
    ("six stops", body("x", generationConfig={"stopSequences": list("abcdef")}), "at most 5"),
    (
        "schema without its type",
        body("x", generationConfig={"responseJsonSchema": {}}),
        "response mime type",
    ),
    ("no output", body("x", generationConfig={"maxOutputTokens": 0}), "max_output_tokens"),
]


async def test_turn_may_come_back_in_the_chunks_it_was_streamed_in(
    http: aiohttp.ClientSession,
) -> None:
    chunks = [model({"text": "Well."}), model(CALL), model({"text": ""})]
    answer = await generate(http, "demo-echo", body("x", *chunks, user(RESPONSE)))
    assert answer["candidates"][0]["finishReason"] == "STOP"


@pytest.mark.parametrize(("name", "asked", "words"), REFUSED, ids=[case[0] for case in REFUSED])
async def test_bad_request_is_a_400_in_googles_form(
    http: aiohttp.ClientSession, name: str, asked: dict[str, Any], words: str
) -> None:
    error = (await generate(http, "demo-echo", asked, 400))["error"]
    assert (error["code"], error["status"]) == (400, "INVALID_ARGUMENT")
    assert words in error["message"]


async def test_unknown_model_is_a_404(http: aiohttp.ClientSession) -> None:
    error = (await generate(http, "gemini-9", body("x"), 404))["error"]
    assert (error["code"], error["status"]) == (404, "NOT_FOUND")
    assert "models/gemini-9 is not found" in error["message"]
