"""Responses of the demo vendor, read by OpenAI's own SDK."""

from __future__ import annotations

import json
from typing import Any

import aiohttp
import openai
import pytest

from tests.demo.test_chat import PDF, PNG

WEATHER = {
    "type": "function",
    "name": "get_weather",
    "strict": False,
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
    },
}
SHELL = {"type": "custom", "name": "shell"}
SEALED = ["reasoning.encrypted_content"]


async def test_answer_has_everything_the_sdk_knows(openai_client: openai.AsyncOpenAI) -> None:
    answer = await openai_client.responses.create(
        model="demo-echo", input="hello", instructions="be brief", metadata={"a": "b"}
    )
    assert (answer.output_text, answer.status) == ("hello", "completed")
    assert (answer.instructions, answer.metadata) == ("be brief", {"a": "b"})
    assert answer.usage is not None
    assert answer.usage.input_tokens == 4 + 2 + 4 + 2
    assert answer.usage.output_tokens_details.reasoning_tokens == 0
    assert answer.usage.total_tokens == 14


async def test_stream_helper_of_the_sdk_accepts_every_event(
    openai_client: openai.AsyncOpenAI,
) -> None:
    async with openai_client.responses.stream(
        model="demo-think",
        input="parallel",
        tools=[WEATHER, SHELL],
        reasoning={"summary": "auto"},
        include=SEALED,
    ) as stream:
        seen = [event.type async for event in stream]
        final = await stream.get_final_response()
    assert [item.type for item in final.output] == [
        "reasoning",
        "function_call",
        "custom_tool_call",
    ]
    assert seen[:4] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.reasoning_summary_part.added",
    ]
    assert seen[-1] == "response.completed"
    assert {"response.function_call_arguments.done", "response.custom_tool_call_input.done"} < set(
        seen
    )


async def test_streamed_items_are_those_of_the_whole_answer(
    openai_client: openai.AsyncOpenAI, http: aiohttp.ClientSession
) -> None:
    asked = {
        "model": "demo-think",
        "input": "why?",
        "reasoning": {"summary": "auto"},
        "include": SEALED,
    }
    async with http.post("/v1/responses", json={**asked, "stream": True}) as answer:
        frames = (await answer.text()).strip().split("\n\n")
    events = [json.loads(frame.split("\ndata: ")[1]) for frame in frames]
    assert [frame.split("\n")[0].removeprefix("event: ") for frame in frames] == [
        event["type"] for event in events
    ]
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    done = [e["item"] for e in events if e["type"] == "response.output_item.done"]
    final = events[-1]["response"]
    assert final["output"] == done
    said = "".join(e["delta"] for e in events if e["type"] == "response.output_text.delta")
    assert said == done[1]["content"][0]["text"] == "why?"
    async with http.post("/v1/responses", json=asked) as answer:
        whole = await answer.json()
    without_ids = [{**item, "id": ""} for item in whole["output"]]
    assert without_ids == [{**item, "id": ""} for item in done]
    assert whole["usage"] == final["usage"]


async def test_tool_results_are_quoted(openai_client: openai.AsyncOpenAI) -> None:
    first = await openai_client.responses.create(
        model="demo-tools", input="parallel", tools=[WEATHER, SHELL]
    )
    function, custom = first.output
    assert function.type == "function_call"
    assert json.loads(function.arguments) == {"city": "demo city"}
    assert custom.type == "custom_tool_call"
    assert custom.input == "parallel"
    results = [
        {"type": "function_call_output", "call_id": function.call_id, "output": "sunny"},
        {
            "type": "custom_tool_call_output",
            "call_id": custom.call_id,
            "output": [
                {"type": "input_text", "text": "a.txt"},
                {"type": "input_image", "image_url": PNG, "detail": "auto"},
            ],
        },
    ]
    history: list[Any] = [{"role": "user", "content": "parallel"}]
    history += [item.model_dump(exclude_none=True) for item in first.output]
    again = await openai_client.responses.create(
        model="demo-tools", input=[*history, *results], tools=[WEATHER, SHELL]
    )
    assert again.output_text == (
        f"{function.call_id} answered: sunny\n{custom.call_id} answered: a.txt [with 1 image]"
    )


async def test_namespaced_tool_is_called_with_its_namespace(
    http: aiohttp.ClientSession,
) -> None:
    group = {"type": "namespace", "name": "files", "description": "", "tools": [SHELL]}
    item = {"type": "additional_tools", "role": "developer", "tools": [group]}
    asked = {"model": "demo-tools", "input": [item, {"role": "user", "content": "ls"}]}
    async with http.post("/v1/responses", json=asked) as answer:
        (call,) = (await answer.json())["output"]
    assert (call["type"], call["namespace"], call["name"]) == ("custom_tool_call", "files", "shell")


async def test_vendor_run_tools_are_passed_over(openai_client: openai.AsyncOpenAI) -> None:
    answer = await openai_client.responses.create(
        model="demo-tools", input="x", tools=[{"type": "web_search"}]
    )
    assert answer.output_text == "x"


@pytest.mark.parametrize(
    ("choice", "called"),
    [
        ("none", "message"),
        ("required", "function_call"),
        ({"type": "custom", "name": "shell"}, "custom_tool_call"),
        (
            {
                "type": "allowed_tools",
                "mode": "required",
                "tools": [{"type": "custom", "name": "shell"}],
            },
            "custom_tool_call",
        ),
        ({"type": "web_search"}, "function_call"),
    ],
)
async def test_tool_choice_is_obeyed(
    openai_client: openai.AsyncOpenAI, choice: Any, called: str
) -> None:
    answer = await openai_client.responses.create(
        model="demo-tools", input="x", tools=[WEATHER, SHELL], tool_choice=choice
    )
    assert [item.type for item in answer.output] == [called]


async def test_media_are_seen(openai_client: openai.AsyncOpenAI) -> None:
    parts: Any = [
        {"type": "input_text", "text": "look"},
        {"type": "input_image", "image_url": PNG, "detail": "auto"},
        {"type": "input_file", "file_data": PDF, "filename": "a.pdf"},
        {"type": "input_file", "file_url": "https://example.com/b.pdf"},
    ]
    answer = await openai_client.responses.create(
        model="demo-echo", input=[{"role": "user", "content": parts}]
    )
    assert answer.output_text == "look\n[I saw 1 image and 2 PDFs.]"


async def test_structured_answer_fits_its_schema(openai_client: openai.AsyncOpenAI) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    answer = await openai_client.responses.create(
        model="demo-echo",
        input="x",
        text={"format": {"type": "json_schema", "name": "r", "schema": schema}},
    )
    assert json.loads(answer.output_text) == {"n": 1}


@pytest.mark.parametrize("stream", [True, False])
async def test_cut_answer_is_incomplete(http: aiohttp.ClientSession, stream: bool) -> None:
    asked = {"model": "demo-slow", "input": "x", "max_output_tokens": 16, "stream": stream}
    async with http.post("/v1/responses", json=asked) as answer:
        raw = await answer.text()
    last = json.loads(raw.strip().split("data: ")[-1])
    response = last["response"] if stream else last
    assert response["status"] == "incomplete"
    assert response["incomplete_details"] == {"reason": "max_output_tokens"}
    assert response["output"][0]["status"] == "incomplete"
    assert response["usage"]["output_tokens"] == 16
    assert not stream or last["type"] == "response.incomplete"


@pytest.mark.parametrize(
    ("reasoning", "include", "text", "sealed"),
    [
        ({"summary": "auto"}, SEALED, True, True),
        ({"effort": "high"}, SEALED, False, True),
        ({"summary": "auto"}, [], True, False),
        ({"effort": "none"}, SEALED, None, None),
    ],
)
async def test_thought_is_shown_and_sealed_as_asked(
    openai_client: openai.AsyncOpenAI,
    reasoning: Any,
    include: Any,
    text: bool | None,
    sealed: bool | None,
) -> None:
    answer = await openai_client.responses.create(
        model="demo-think", input="why?", reasoning=reasoning, include=include
    )
    thoughts = [item for item in answer.output if item.type == "reasoning"]
    assert bool(thoughts) == (text is not None)
    for thought in thoughts:
        assert bool(thought.summary) == text
        assert (thought.encrypted_content is not None) == sealed


async def test_seal_is_checked_when_it_comes_back(openai_client: openai.AsyncOpenAI) -> None:
    create = openai_client.responses.create
    first = await create(model="demo-think", input="why?", include=SEALED)  # type: ignore[arg-type]  # a literal
    history: list[Any] = [{"role": "user", "content": "why?"}]
    history += [item.model_dump(exclude_none=True) for item in first.output]
    history.append({"role": "user", "content": "and then?"})
    again = await create(model="demo-think", input=history)
    assert again.output_text == "and then?"
    assert again.usage is not None
    history[1]["encrypted_content"] = "Zm9yZWlnbg=="
    with pytest.raises(openai.BadRequestError, match=r"encrypted_content.*signature") as raised:
        await create(model="demo-think", input=history)
    assert raised.value.code == "invalid_encrypted_content"


CALL = {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"}
OUTPUT = {"type": "function_call_output", "call_id": "c1", "output": "x"}

REFUSED: list[tuple[str, dict[str, Any], int, str]] = [
    ("no input", {}, 400, "Missing required parameter: 'input'"),
    ("a field of Chat", {"input": "x", "messages": []}, 400, "Unknown parameter: 'messages'"),
    ("stop", {"input": "x", "stop": ["a"]}, 400, "Unknown parameter: 'stop'"),
    ("small cap", {"input": "x", "max_output_tokens": 15}, 400, "Expected a value >= 16"),
    ("stored state", {"input": "x", "previous_response_id": "r"}, 400, "'r' not found"),
    ("reference", {"input": [{"type": "item_reference", "id": "i"}]}, 404, "'i' not found"),
    ("call without output", {"input": [CALL]}, 400, "No tool output found for function call c1"),
    ("output without call", {"input": [OUTPUT]}, 400, "No tool call found"),
    (
        "part of Chat",
        {"input": [{"role": "user", "content": [{"type": "text", "text": "x"}]}]},
        400,
        "input[0].content[0].type",
    ),
    (
        "file id",
        {"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}]},
        404,
        "No such File",
    ),
    (
        "reasoning without summary",
        {"input": [{"type": "reasoning", "id": "rs_1"}]},
        400,
        "input[0].summary",
    ),
    (
        "nested tool of Chat",
        {"input": "x", "tools": [{"type": "function", "function": {"name": "f"}}]},
        400,
        "tools[0].name",
    ),
]


@pytest.mark.parametrize(
    ("name", "asked", "status", "words"), REFUSED, ids=[case[0] for case in REFUSED]
)
async def test_bad_request_is_refused_in_openais_form(
    http: aiohttp.ClientSession, name: str, asked: dict[str, Any], status: int, words: str
) -> None:
    async with http.post("/v1/responses", json={"model": "demo-echo", **asked}) as answer:
        assert answer.status == status
        error = (await answer.json())["error"]
    assert error["type"] == "invalid_request_error"
    assert words in f"{error['message']} {error['param']}"


async def test_outputs_may_stand_after_other_calls(openai_client: openai.AsyncOpenAI) -> None:
    other: Any = {**CALL, "call_id": "c2"}
    second: Any = {**OUTPUT, "call_id": "c2"}
    answer = await openai_client.responses.create(
        model="demo-echo",
        input=[CALL, other, OUTPUT, second],  # type: ignore[list-item]  # plain dicts
    )
    assert answer.output_text == "c1 answered: x\nc2 answered: x"


async def test_input_tokens_are_counted(openai_client: openai.AsyncOpenAI) -> None:
    counted = await openai_client.responses.input_tokens.count(model="demo-echo", input="hello you")
    answer = await openai_client.responses.create(model="demo-echo", input="hello you")
    assert answer.usage is not None
    assert counted.input_tokens == answer.usage.input_tokens == 7
