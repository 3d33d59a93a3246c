"""Messages of the demo vendor, read by Anthropic's own SDK."""

from __future__ import annotations

import json
from typing import Any

import aiohttp
import anthropic
import pytest

WEATHER: Any = {
    "name": "get_weather",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
    },
}
THINK: Any = {"type": "adaptive"}
IMAGE: Any = {
    "type": "image",
    "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="},
}
PDF: Any = {
    "type": "document",
    "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0xLjQ="},
}


def body(model: str, *messages: Any, **more: Any) -> dict[str, Any]:
    listed = [{"role": "user", "content": one} if isinstance(one, str) else one for one in messages]
    return {"model": model, "max_tokens": 4_096, "messages": listed, **more}


def turn(role: str, *blocks: Any) -> dict[str, Any]:
    return {"role": role, "content": list(blocks)}


async def test_answer_has_everything_the_sdk_knows(
    anthropic_client: anthropic.AsyncAnthropic,
) -> None:
    answer = await anthropic_client.messages.create(**body("demo-echo", "hello", system="be brief"))
    (block,) = answer.content
    assert block.type == "text"
    assert block.text == "hello"
    assert (answer.stop_reason, answer.model) == ("end_turn", "demo-echo")
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (12, 2)


async def test_stream_helper_of_the_sdk_folds_the_same_answer(
    anthropic_client: anthropic.AsyncAnthropic,
) -> None:
    asked = body("demo-think", "parallel", tools=[WEATHER], thinking=THINK)
    whole = await anthropic_client.messages.create(**asked)
    async with anthropic_client.messages.stream(**asked) as stream:
        final = await stream.get_final_message()
    shown = [{k: v for k, v in b.model_dump().items() if k != "id"} for b in final.content]
    assert shown == [{k: v for k, v in b.model_dump().items() if k != "id"} for b in whole.content]
    assert [block.type for block in final.content] == ["thinking", "tool_use", "tool_use"]
    assert final.stop_reason == whole.stop_reason == "tool_use"
    assert final.usage.output_tokens == whole.usage.output_tokens


async def test_stream_follows_the_grammar(http: aiohttp.ClientSession) -> None:
    async with http.post("/v1/messages", json=body("demo-echo", "a b", stream=True)) as answer:
        frames = (await answer.text()).strip().split("\n\n")
    events = [json.loads(frame.split("\ndata: ")[1]) for frame in frames]
    assert [frame.split("\n")[0] for frame in frames] == [f"event: {e['type']}" for e in events]
    assert [event["type"] for event in events] == [
        "message_start",
        "ping",
        "content_block_start",
        "content_block_delta",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert events[0]["message"]["usage"]["input_tokens"] == 5
    assert events[6]["usage"]["input_tokens"] == 5
    assert events[6]["delta"] == {"stop_reason": "end_turn", "stop_sequence": None}


async def test_tool_results_are_quoted(anthropic_client: anthropic.AsyncAnthropic) -> None:
    asked = body("demo-tools", "weather", tools=[WEATHER])
    first = await anthropic_client.messages.create(**asked)
    (call,) = first.content
    assert call.type == "tool_use"
    assert call.input == {"city": "demo city"}
    result = {
        "type": "tool_result",
        "tool_use_id": call.id,
        "is_error": True,
        "content": [{"type": "text", "text": "no network"}, IMAGE],
    }
    reminder = {"type": "text", "text": "<system-reminder>x</system-reminder>"}
    history = [turn("assistant", *first.content), turn("user", result, reminder)]
    again = await anthropic_client.messages.create(
        **body("demo-tools", "weather", *history, tools=[WEATHER])
    )
    (block,) = again.content
    assert block.type == "text"
    assert block.text == f"{call.id} failed: no network [with 1 image]"


@pytest.mark.parametrize(
    ("choice", "count"),
    [
        ({"type": "none"}, 0),
        ({"type": "any"}, 2),
        ({"type": "tool", "name": "get_weather"}, 2),
        ({"type": "auto", "disable_parallel_tool_use": True}, 1),
    ],
)
async def test_tool_choice_is_obeyed(
    anthropic_client: anthropic.AsyncAnthropic, choice: Any, count: int
) -> None:
    asked = body("demo-tools", "parallel", tools=[WEATHER], tool_choice=choice)
    answer = await anthropic_client.messages.create(**asked)
    assert [block.type for block in answer.content].count("tool_use") == count


async def test_media_are_seen(anthropic_client: anthropic.AsyncAnthropic) -> None:
    note: Any = {
        "type": "document",
        "source": {"type": "text", "media_type": "text/plain", "data": "x"},
    }
    answer = await anthropic_client.messages.create(
        **body("demo-echo", turn("user", IMAGE, PDF, note, {"type": "text", "text": "look"}))
    )
    (block,) = answer.content
    assert block.type == "text"
    assert block.text == "look\n[I saw 1 image, 1 PDF and 1 file.]"


async def test_structured_answer_fits_its_schema(
    anthropic_client: anthropic.AsyncAnthropic,
) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    config: Any = {"format": {"type": "json_schema", "schema": schema}}
    answer = await anthropic_client.messages.create(**body("demo-echo", "x", output_config=config))
    (block,) = answer.content
    assert block.type == "text"
    assert json.loads(block.text) == {"n": 1}


async def test_limits_are_kept(anthropic_client: anthropic.AsyncAnthropic) -> None:
    cut = await anthropic_client.messages.create(
        **{**body("demo-echo", "one two three"), "max_tokens": 1}
    )
    assert (cut.stop_reason, cut.usage.output_tokens) == ("max_tokens", 1)
    stopped = await anthropic_client.messages.create(
        **body("demo-echo", "one two three", stop_sequences=["two"])
    )
    assert (stopped.stop_reason, stopped.stop_sequence) == ("stop_sequence", "two")


async def test_cut_arguments_are_streamed_as_far_as_they_go(http: aiohttp.ClientSession) -> None:
    asked = {**body("demo-tools", "x", tools=[WEATHER], stream=True), "max_tokens": 3}
    async with http.post("/v1/messages", json=asked) as answer:
        raw = await answer.text()
    assert '"partial_json":"{\\"city\\":\\"dem"' in raw
    assert '"stop_reason":"max_tokens"' in raw


async def test_prompt_cache_is_written_then_read(
    anthropic_client: anthropic.AsyncAnthropic,
) -> None:
    system: Any = [
        {"type": "text", "text": "rules " * 40, "cache_control": {"type": "ephemeral"}},
    ]
    first = await anthropic_client.messages.create(**body("demo-echo", "hi", system=system))
    assert (first.usage.input_tokens, first.usage.cache_creation_input_tokens) == (5, 64)
    history = ["hi", turn("assistant", {"type": "text", "text": "hi"}), "again"]
    later = await anthropic_client.messages.create(**body("demo-echo", *history, system=system))
    assert later.usage.cache_read_input_tokens == 64
    assert later.usage.cache_creation_input_tokens == 0
    plain = await anthropic_client.messages.create(
        **body("demo-echo", *history, system="rules " * 40)
    )
    assert plain.usage.cache_read_input_tokens == 0
    assert plain.usage.input_tokens == 64 + later.usage.input_tokens


@pytest.mark.parametrize(
    ("thinking", "kinds"),
    [
        (None, ["text"]),
        ({"type": "disabled"}, ["text"]),
        ({"type": "adaptive"}, ["thinking", "text"]),
        ({"type": "enabled", "budget_tokens": 1_024}, ["thinking", "text"]),
    ],
)
async def test_thinking_comes_when_it_is_asked_for(
    anthropic_client: anthropic.AsyncAnthropic, thinking: Any, kinds: list[str]
) -> None:
    more = {} if thinking is None else {"thinking": thinking}
    answer = await anthropic_client.messages.create(**body("demo-think", "why?", **more))
    assert [block.type for block in answer.content] == kinds


@pytest.mark.parametrize("stream", [True, False])
async def test_omitted_thinking_keeps_its_signature(
    anthropic_client: anthropic.AsyncAnthropic, stream: bool
) -> None:
    asked = body("demo-think", "why?", thinking={**THINK, "display": "omitted"})
    if stream:
        async with anthropic_client.messages.stream(**asked) as opened:
            answer = await opened.get_final_message()
    else:
        answer = await anthropic_client.messages.create(**asked)  # type: ignore[assignment]  # same fields
    thought = answer.content[0]
    assert thought.type == "thinking"
    assert thought.thinking == ""
    assert len(thought.signature) > 100
    details = answer.usage.output_tokens_details
    assert details is not None
    assert details.thinking_tokens > 400


async def _thought_and_history(client: anthropic.AsyncAnthropic, said: str) -> list[Any]:
    asked = body("demo-think", said, tools=[WEATHER], thinking=THINK)
    first = await client.messages.create(**asked)
    blocks = [block.model_dump(exclude_none=True) for block in first.content]
    result = {"type": "tool_result", "tool_use_id": blocks[-1]["id"], "content": "sunny"}
    return [said, turn("assistant", *blocks), turn("user", result)]


async def test_signature_is_checked_when_it_comes_back(
    anthropic_client: anthropic.AsyncAnthropic,
) -> None:
    history = await _thought_and_history(anthropic_client, "weather")
    more: Any = {"tools": [WEATHER], "thinking": {"type": "enabled", "budget_tokens": 1_024}}
    create = anthropic_client.messages.create
    answer = await create(**body("demo-think", *history, **more))
    assert [block.type for block in answer.content] == ["thinking", "text"]
    thought = history[1]["content"][0]
    for field, value in (("signature", ""), ("signature", "Zm9v"), ("thinking", "changed")):
        history[1]["content"][0] = {**thought, field: value}
        with pytest.raises(anthropic.BadRequestError, match="Invalid `signature` in `thinking`"):
            await create(**body("demo-think", *history, **more))
    del history[1]["content"][0]
    with pytest.raises(anthropic.BadRequestError, match="must start with a thinking block"):
        await create(**body("demo-think", *history, **more))
    assert await create(**body("demo-think", *history, tools=[WEATHER], thinking=THINK))


async def test_redacted_thinking_is_proved_by_its_data(
    anthropic_client: anthropic.AsyncAnthropic,
) -> None:
    history = await _thought_and_history(anthropic_client, "redacted weather")
    thought = history[1]["content"][0]
    assert thought["type"] == "redacted_thinking"
    more: Any = {"tools": [WEATHER], "thinking": THINK}
    assert await anthropic_client.messages.create(**body("demo-think", *history, **more))
    thought["data"] = "Zm9v"
    with pytest.raises(anthropic.BadRequestError, match="redacted_thinking"):
        await anthropic_client.messages.create(**body("demo-think", *history, **more))


async def test_tokens_are_counted(anthropic_client: anthropic.AsyncAnthropic) -> None:
    asked = body("demo-echo", "hello you", tools=[WEATHER])
    answer = await anthropic_client.messages.create(**asked)
    del asked["max_tokens"]
    counted = await anthropic_client.messages.count_tokens(**asked)
    assert counted.input_tokens == answer.usage.input_tokens


USE = {"type": "tool_use", "id": "c1", "name": "f", "input": {}}
RESULT = {"type": "tool_result", "tool_use_id": "c1", "content": "x"}
TEXT = {"type": "text", "text": "x"}

REFUSED: list[tuple[str, dict[str, Any], int, str]] = [
    ("no max_tokens", {"max_tokens": None}, 400, "max_tokens: Field required"),
    ("no messages", {"messages": []}, 400, "at least one message"),
    ("empty text", {"messages": [turn("user", {**TEXT, "text": ""})]}, 400, "non-empty"),
    ("role of OpenAI", {"messages": [{"role": "tool", "content": "x"}]}, 400, "messages.0.role"),
    ("unknown block", {"messages": [turn("user", {"type": "zip"})]}, 400, "Input tag 'zip'"),
    (
        "call without result",
        {"messages": [turn("assistant", USE), turn("user", TEXT)]},
        400,
        "without `tool_result` blocks immediately after",
    ),
    (
        "result after text",
        {"messages": [turn("assistant", USE), turn("user", TEXT, RESULT)]},
        400,
        "have to come first",
    ),
    ("result without call", {"messages": [turn("user", RESULT)]}, 400, "unexpected `tool_use_id`"),
    (
        "id of another vendor",
        {"messages": [turn("assistant", {**USE, "id": "call.1"}), turn("user", RESULT)]},
        400,
        "tool_use.id: String should match pattern",
    ),
    (
        "arguments as text",
        {"messages": [turn("assistant", {**USE, "input": "{}"}), turn("user", RESULT)]},
        400,
        "tool_use.input",
    ),
    ("temperature", {"temperature": 1.5}, 400, "temperature"),
    ("budget", {"thinking": {"type": "enabled", "budget_tokens": 9}}, 400, "1024"),
    (
        "budget over the cap",
        {"thinking": {"type": "enabled", "budget_tokens": 5_000}},
        400,
        "`max_tokens` must be greater",
    ),
    ("schema", {"tools": [{"name": "f", "input_schema": {}}]}, 400, "input_schema.type"),
    ("tool name", {"tools": [{**WEATHER, "name": "a.b"}]}, 400, "tools.0.custom.name"),
    (
        "image type",
        {
            "messages": [
                turn("user", {**IMAGE, "source": {**IMAGE["source"], "media_type": "image/bmp"}})
            ]
        },
        400,
        "media_type",
    ),
    (
        "file id",
        {"messages": [turn("user", {**IMAGE, "source": {"type": "file", "file_id": "f"}})]},
        404,
        "File not found",
    ),
    ("unknown model", {"model": "claude-9"}, 404, "model: claude-9"),
]


@pytest.mark.parametrize(
    ("name", "changed", "status", "words"), REFUSED, ids=[case[0] for case in REFUSED]
)
async def test_bad_request_is_refused_in_anthropics_form(
    http: aiohttp.ClientSession, name: str, changed: dict[str, Any], status: int, words: str
) -> None:
    asked = {**body("demo-echo", "x"), **changed}
    async with http.post("/v1/messages", json=asked) as answer:
        assert answer.status == status
        value = await answer.json()
        assert value["request_id"] == answer.headers["request-id"]
    kinds = {400: "invalid_request_error", 404: "not_found_error"}
    assert value["type"] == "error"
    assert value["error"]["type"] == kinds[status]
    assert words in value["error"]["message"]


@pytest.mark.parametrize(("version", "status"), [("2023-06-01", 200), ("2026-10-21", 400)])
async def test_sampling_is_gone_from_the_newest_version(
    http: aiohttp.ClientSession, version: str, status: int
) -> None:
    async with http.post(
        "/v1/messages",
        json=body("demo-echo", "x", temperature=0.5),
        headers={"anthropic-version": version},
    ) as answer:
        assert answer.status == status
