"""Chat Completions of the demo vendor, read by OpenAI's own SDK."""

from __future__ import annotations

import json
from typing import Any

import aiohttp
import openai
import pytest

PNG = "data:image/png;base64,iVBORw0KGgo="
PDF = "data:application/pdf;base64,JVBERi0xLjQ="
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
            "required": ["city", "days"],
        },
    },
}
SHELL = {"type": "custom", "custom": {"name": "shell"}}


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def body(model: str, *messages: Any, **more: Any) -> dict[str, Any]:
    listed = [user(one) if isinstance(one, str) else one for one in messages]
    return {"model": model, "messages": listed, **more}


async def test_answer_has_everything_the_sdk_knows(openai_client: openai.AsyncOpenAI) -> None:
    answer = await openai_client.chat.completions.create(**body("demo-echo", "Grüße 你好 🎉"))
    assert answer.choices[0].message.content == "Grüße 你好 🎉"
    assert answer.choices[0].finish_reason == "stop"
    assert (answer.object, answer.model, answer.created) == (
        "chat.completion",
        "demo-echo",
        1_700_000_000,
    )
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + 3


async def test_stream_says_the_words_one_by_one(openai_client: openai.AsyncOpenAI) -> None:
    stream = await openai_client.chat.completions.create(
        **body("demo-echo", "one two three"), stream=True
    )
    chunks = [chunk async for chunk in stream]
    deltas = [chunk.choices[0].delta for chunk in chunks]
    assert deltas[0].role == "assistant"
    assert [delta.content for delta in deltas] == ["", "one ", "two ", "three", None]
    assert [chunk.choices[0].finish_reason for chunk in chunks] == [None] * 4 + ["stop"]
    assert len({chunk.id for chunk in chunks}) == 1


@pytest.mark.parametrize("wanted", [True, False])
async def test_usage_chunk_comes_when_it_is_asked_for(
    http: aiohttp.ClientSession, wanted: bool
) -> None:
    asked = body("demo-echo", "hi", stream=True, stream_options={"include_usage": wanted})
    async with http.post("/v1/chat/completions", json=asked) as answer:
        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        frames = (await answer.text()).split("\n\n")
    assert frames[-2:] == ["data: [DONE]", ""]
    chunks = [json.loads(frame.removeprefix("data: ")) for frame in frames[:-2]]
    assert ("usage" in chunks[0]) == wanted
    if wanted:
        assert chunks[-1]["choices"] == []
        assert chunks[-1]["usage"] == {
            "prompt_tokens": 5,
            "completion_tokens": 1,
            "total_tokens": 6,
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
            "completion_tokens_details": {
                "reasoning_tokens": 0,
                "audio_tokens": 0,
                "accepted_prediction_tokens": 0,
                "rejected_prediction_tokens": 0,
            },
        }


async def test_sdk_helper_folds_the_stream_into_the_same_answer(
    openai_client: openai.AsyncOpenAI,
) -> None:
    asked = body("demo-tools", "parallel", tools=[WEATHER, SHELL])
    whole = await openai_client.chat.completions.create(**asked)
    stream = await openai_client.chat.completions.create(**asked, stream=True)
    arguments: dict[int, str] = {}
    async for chunk in stream:
        for call in chunk.choices[0].delta.tool_calls or []:
            if call.function is not None:
                arguments[call.index] = arguments.get(call.index, "") + str(call.function.arguments)
    first, second = whole.choices[0].message.tool_calls or []
    assert first.type == "function"
    assert json.loads(first.function.arguments) == {"city": "demo city", "days": 1}
    assert arguments[0] == first.function.arguments
    assert second.type == "custom"
    assert (second.custom.name, second.custom.input) == ("shell", "parallel")
    assert whole.choices[0].finish_reason == "tool_calls"
    assert whole.choices[0].message.content is None


async def test_stream_helper_of_the_sdk_accepts_calls(openai_client: openai.AsyncOpenAI) -> None:
    asked = body("demo-tools", "parallel", tools=[WEATHER])
    async with openai_client.chat.completions.stream(**asked) as stream:
        final = await stream.get_final_completion()
    calls = final.choices[0].message.tool_calls or []
    assert [call.function.name for call in calls] == ["get_weather", "get_weather"]
    assert len({call.id for call in calls}) == 2


async def test_tool_results_are_quoted(openai_client: openai.AsyncOpenAI) -> None:
    asked = body("demo-tools", "weather", tools=[WEATHER])
    message = (await openai_client.chat.completions.create(**asked)).choices[0].message
    call = (message.tool_calls or [])[0]
    result = {"role": "tool", "tool_call_id": call.id, "content": "sunny"}
    history = [*asked["messages"], message.model_dump(exclude_none=True), result]
    again = await openai_client.chat.completions.create(**{**asked, "messages": history})
    assert again.choices[0].message.content == f"{call.id} answered: sunny"


@pytest.mark.parametrize(
    ("choice", "called"),
    [
        ("none", []),
        ("required", ["get_weather"]),
        ({"type": "custom", "custom": {"name": "shell"}}, ["shell"]),
        (
            {
                "type": "allowed_tools",
                "allowed_tools": {
                    "mode": "auto",
                    "tools": [{"type": "custom", "custom": {"name": "shell"}}],
                },
            },
            ["shell"],
        ),
    ],
)
async def test_tool_choice_is_obeyed(
    openai_client: openai.AsyncOpenAI, choice: Any, called: list[str]
) -> None:
    asked = body("demo-tools", "x", tools=[WEATHER, SHELL], tool_choice=choice)
    message = (await openai_client.chat.completions.create(**asked)).choices[0].message
    names = [
        call.function.name if call.type == "function" else call.custom.name
        for call in message.tool_calls or []
    ]
    assert names == called


async def test_media_are_seen(openai_client: openai.AsyncOpenAI) -> None:
    parts = [
        {"type": "text", "text": "look"},
        {"type": "image_url", "image_url": {"url": PNG}},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
        {"type": "file", "file": {"file_data": PDF, "filename": "a.pdf"}},
        {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
    ]
    answer = await openai_client.chat.completions.create(**body("demo-echo", user(parts)))
    said = answer.choices[0].message.content
    assert said == "look\n[I saw 2 images, 1 PDF and 1 audio clip.]"


async def test_structured_answer_fits_its_schema(openai_client: openai.AsyncOpenAI) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    wanted = {"type": "json_schema", "json_schema": {"name": "r", "schema": schema}}
    answer = await openai_client.chat.completions.create(
        **body("demo-echo", "x", response_format=wanted)
    )
    assert json.loads(answer.choices[0].message.content or "") == {"n": 1}


async def test_limits_are_kept(openai_client: openai.AsyncOpenAI) -> None:
    create = openai_client.chat.completions.create
    cut = await create(**body("demo-echo", "one two three", max_completion_tokens=1))
    assert (cut.choices[0].message.content, cut.choices[0].finish_reason) == ("one ", "length")
    older = await create(**body("demo-echo", "one two three", max_tokens=1))
    assert older.choices[0].finish_reason == "length"
    stopped = await create(**body("demo-echo", "one two three", stop=["two"]))
    assert (stopped.choices[0].message.content, stopped.choices[0].finish_reason) == (
        "one ",
        "stop",
    )


async def test_several_choices_are_streamed_apart(openai_client: openai.AsyncOpenAI) -> None:
    stream = await openai_client.chat.completions.create(
        **body("demo-echo", "a b", n=2), stream=True
    )
    said = ["", ""]
    async for chunk in stream:
        for choice in chunk.choices:
            said[choice.index] += choice.delta.content or ""
    assert said == ["a b", "a b (answer 2)"]


async def test_thoughts_are_reasoning_content(openai_client: openai.AsyncOpenAI) -> None:
    asked = body("demo-think", "why?")
    answer = await openai_client.chat.completions.create(**asked)
    thought = answer.choices[0].message.reasoning_content  # type: ignore[attr-defined]  # de facto
    stream = await openai_client.chat.completions.create(**asked, stream=True)
    deltas = [chunk.choices[0].delta async for chunk in stream]
    assert "".join(getattr(delta, "reasoning_content", "") for delta in deltas) == thought
    assert thought.startswith("The question is: why?")
    assert answer.choices[0].message.content == "why?"
    details = answer.usage and answer.usage.completion_tokens_details
    assert details is not None
    assert (details.reasoning_tokens or 0) > 400


async def test_effort_none_switches_thinking_off(openai_client: openai.AsyncOpenAI) -> None:
    asked = body("demo-think", "why?", reasoning_effort="none")
    answer = await openai_client.chat.completions.create(**asked)
    assert not hasattr(answer.choices[0].message, "reasoning_content")


async def test_proof_travels_on_the_first_call_and_is_checked(
    openai_client: openai.AsyncOpenAI,
) -> None:
    asked = body("demo-think", "parallel", tools=[WEATHER])
    message = (await openai_client.chat.completions.create(**asked)).choices[0].message
    history = message.model_dump(exclude_none=True)
    calls = history["tool_calls"]
    assert "extra_content" not in calls[1]
    results = [{"role": "tool", "tool_call_id": call["id"], "content": "ok"} for call in calls]
    again = {**asked, "messages": [*asked["messages"], history, *results]}
    answer = await openai_client.chat.completions.create(**again)
    assert answer.choices[0].message.content == "\n".join(
        f"{call['id']} answered: ok" for call in calls
    )
    calls[0]["extra_content"]["google"]["thought_signature"] = "Zm9yZWlnbg=="
    with pytest.raises(openai.BadRequestError, match="thought_signature"):
        await openai_client.chat.completions.create(**again)


# --- refusals ---

CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}

REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("no messages", body("demo-echo"), "empty array"),
    ("no content", body("demo-echo", user(None)), "got null"),
    ("bad role", body("demo-echo", {"role": "robot", "content": "x"}), "messages[0].role"),
    ("bad part", body("demo-echo", user([{"type": "video"}])), "messages[0].content[0].type"),
    (
        "bad image",
        body("demo-echo", user([{"type": "image_url", "image_url": {"url": "data:image/png,x"}}])),
        "base64-encoded data URL",
    ),
    (
        "bad base64",
        body(
            "demo-echo",
            user([{"type": "image_url", "image_url": {"url": "data:image/png;base64,a*b"}}]),
        ),
        "Invalid base64",
    ),
    (
        "call without result",
        body("demo-echo", "x", {"role": "assistant", "tool_calls": [CALL]}, "y"),
        "did not have response messages: c1",
    ),
    (
        "result without call",
        body("demo-echo", "x", {"role": "tool", "tool_call_id": "c9", "content": "x"}),
        "preceding message with 'tool_calls'",
    ),
    (
        "bad tool name",
        body("demo-echo", "x", tools=[{"type": "function", "function": {"name": "a.b"}}]),
        "tools[0].function.name",
    ),
    ("five stops", body("demo-echo", "x", stop=list("abcde")), "at most 4"),
    ("no output", body("demo-echo", "x", max_tokens=0), "max_tokens"),
    ("effort", body("demo-echo", "x", reasoning_effort="huge"), "reasoning_effort"),
    ("options without stream", body("demo-echo", "x", stream_options={}), "stream_options"),
    ("messages is no list", {"model": "demo-echo", "messages": "x"}, "expected an array"),
    ("no model", {"messages": [user("x")]}, "model"),
]


@pytest.mark.parametrize(("name", "asked", "words"), REFUSED, ids=[case[0] for case in REFUSED])
async def test_bad_request_is_a_400_in_openais_form(
    http: aiohttp.ClientSession, name: str, asked: dict[str, Any], words: str
) -> None:
    async with http.post("/v1/chat/completions", json=asked) as answer:
        assert answer.status == 400
        error = (await answer.json())["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["type"] == "invalid_request_error"
    assert words in f"{error['message']} {error['param']}"


async def test_unknown_model_is_a_404(openai_client: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as raised:
        await openai_client.chat.completions.create(**body("gpt-9", "x"))
    assert raised.value.code == "model_not_found"
    assert raised.value.param == "model"
