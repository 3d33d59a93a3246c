"""The independent reader: held against the vendors' own SDKs, and against what a human read."""

from __future__ import annotations

import json

import anthropic
import openai
import pytest

from tests.fakes.answers import replay
from tests.fakes.recordings import (
    Call,
    Expected,
    Figures,
    Recording,
    expected,
    frames,
    ids,
    load_index,
    needs_recordings,
    normal_json,
    recording,
    select,
)
from tests.fakes.upstream import FakeUpstream

CHAT = select(protocol="chat")
MESSAGES = select(protocol="messages")

# Read by eye in the recorded bytes: (stem, what must be seen; left out: not looked at).
ODD: list[tuple[str, dict[str, object]]] = [
    (
        "chat-azure-delta-missing-stream",
        {"finish": "stop", "usage": None, "calls": (), "whole": True},
    ),
    (
        "chat-mistral-reasoning-stream",
        {"text": "144", "usage": Figures(31, 66), "finish": "stop", "whole": True},
    ),
    (
        "chat-mistral-tool-no-index-stream",
        {"calls": (Call("get_weather", '{"city": "San Francisco"}'),), "finish": "tool_calls"},
    ),
    (
        "chat-alibaba-tool-single-stream",
        {
            "calls": (Call("weather", '{"location": "San Francisco"}'),),
            "usage": Figures(295, 22),
        },
    ),
    (
        "chat-anthropiccompat-tool-index-starts-at-1-stream",
        {"text": "Reading it.", "calls": (Call("read_file", '{"path": "a.txt"}'),)},
    ),
    (
        "chat-gpustack-midstream-error-field-stream",
        {
            "error": "failed to decode, try again, increasing context size or reducing parallel",
            "finish": None,
            "whole": False,
        },
    ),
    (
        "chat-groq-stream-error-event-stream",
        {
            "text": "maybe",
            "error": "Tool choice is required, but model did not call a tool",
            "whole": False,
        },
    ),
    (
        "chat-openrouter-stream-error-in-chunk-stream",
        {
            "text": "",
            "reasoning": "We need to respond to a greeting. The user",
            "error": "Token limit reached",
            "finish": "length",
            "usage": Figures(43, 10, reasoning=11),
            "whole": False,
        },
    ),
    (
        "chat-perplexity-search-citations-crlf-no-done-stream",
        {"text": "1 2 3", "finish": "stop", "usage": Figures(8, 5), "whole": True},
    ),
    (
        "chat-snowflake-text-stream",
        {"text": "4", "finish": None, "usage": Figures(22, 5), "whole": True},
    ),
    ("chat-snowflake-finish-reason-empty-string", {"finish": "", "whole": True}),
    ("chat-together-finish-reason-eos", {"finish": "eos", "whole": True}),
    (
        "chat-openrouter-tool-args-null",
        {"calls": (Call("find_education_content", "{}"),), "usage": Figures(568, 48)},
    ),
    ("chat-openai-tool-custom-nonfunction", {"calls": (Call("math_exp", "4 + 4"),)}),
    (
        "chat-openai-refusal",
        {"text": "", "refusal": "I'm very sorry, but I can't assist with that request."},
    ),
    ("chat-azure-content-filter-finish", {"text": "", "finish": "content_filter"}),
    (
        "chat-openai-truncated-connection-stream",
        {"calls": (Call("weather", '{"location":"Florence'),), "finish": None, "whole": False},
    ),
    ("chat-mistral-error-401-detail", {"error": "Invalid API Key", "whole": False}),
    (
        "chat-avian-reasoning-stream",
        {
            "calls": (Call("weather", '{"location": "Florence"}'),),
            "usage": Figures(76, 47, cache_read=64, reasoning=34),
        },
    ),
    (
        "messages-anthropic-spliced-message-start-stream",
        {
            "reasoning": "Let me call the tool.",
            "calls": (Call("test-tool", '{"value": "Sparkle Day"}'),),
            "proofs": ("sig-second",),
            "restarts": 1,
            "usage": Figures(17, 65),
        },
    ),
    (
        "messages-anthropic-usage-in-message-delta-stream",
        {"text": "pong", "usage": Figures(61, 2)},
    ),
    (
        "messages-anthropic-midstream-overloaded-stream",
        {"text": "2", "error": "Overloaded", "usage": Figures(20, 1), "whole": False},
    ),
    (
        "messages-anthropic-refusal-stream",
        {
            "text": "",
            "finish": "refusal",
            "refusal": "This request triggered restrictions on violative cyber content and was "
            "blocked under Anthropic's Usage Policy.",
            "usage": Figures(18, 5),
        },
    ),
    (
        "messages-anthropic-thinking-tools-stream",
        {"calls": (Call("fixed_version", "{}"),), "usage": Figures(598, 92, reasoning=53)},
    ),
    (
        "messages-anthropic-server-tool-other-stream",
        {"calls": (), "usage": Figures(2411, 145, reasoning=47), "finish": "end_turn"},
    ),
    (
        "messages-anthropic-cache-usage-stream",
        {"usage": Figures(1042, 100, cache_read=1031), "finish": "max_tokens"},
    ),
    (
        "messages-anthropic-max-tokens-stream",
        {"usage": Figures(1049, 100, cache_write=1031), "finish": "max_tokens"},
    ),
    (
        "messages-anthropic-truncated-connection-stream",
        {"calls": (Call("add", '{"a": 2, "b"'),), "finish": None, "whole": False},
    ),
    ("messages-anthropic-stop-sequence", {"text": "The beautiful city of "}),
    ("messages-anthropic-count-tokens", {"usage": Figures(1581), "text": ""}),
    ("messages-anthropic-error-413", {"error": "Request exceeds the maximum size"}),
]


@needs_recordings
@pytest.mark.parametrize(("stem", "seen"), ODD, ids=[stem for stem, _ in ODD])
def test_odd_recording_reads_as_a_human_read_it(stem: str, seen: dict[str, object]) -> None:
    answer = expected(recording(stem))
    assert {name: getattr(answer, name) for name in seen} == seen


@needs_recordings
def test_the_index_matches_the_files() -> None:
    found = load_index()
    assert len(found) == len({item.stem for item in found})
    assert {item.protocol for item in found} >= {"chat", "messages", "responses", "gemini"}
    for item in found:
        assert item.response, item.stem
        assert item.stream == (b"\ndata:" in b"\n" + item.response[:4000]), item.stem


@needs_recordings
@pytest.mark.parametrize("seen", CHAT + MESSAGES, ids=ids(CHAT + MESSAGES))
def test_every_answer_ends_whole_or_says_why_not(seen: Recording) -> None:
    answer = expected(seen)
    if seen.status != 200:
        assert answer.error
        return
    cut = any("ends in the middle" in oddity for oddity in seen.anomalies)
    assert answer.whole == (not cut and answer.error is None)
    something = answer.text or answer.reasoning or answer.calls or answer.refusal or answer.usage
    assert something or answer.finish


@needs_recordings
def test_two_choices_are_told_apart() -> None:
    seen = recording("chat-openai-n-choices-stream")
    first, second = expected(seen, 0), expected(seen, 1)
    assert first.calls != second.calls
    assert first.usage == second.usage == Figures(85, 43)
    assert "celsius" in second.calls[0].arguments


@pytest.mark.parametrize(
    ("raw", "normal"),
    [
        (None, "{}"),
        ("", "{}"),
        ('{"b": 1, "a":2}', '{"a": 2, "b": 1}'),
        ({"b": 1, "a": 2}, '{"a": 2, "b": 1}'),
        ('{"b": 1', '{"b": 1'),
        ("4 + 4", "4 + 4"),
    ],
)
def test_arguments_have_one_way_to_be_written(raw: object, normal: str) -> None:
    assert normal_json(raw) == normal


def test_frames_are_found_whatever_ends_their_lines() -> None:
    body = b'event: a\r\ndata: {"x":1}\r\n\r\n: note\n\ndata:2\ndata: 3\n\nerror: no\n\ndata: 4'
    assert [tuple(frame) for frame in frames(body)] == [
        ("a", '{"x":1}', ""),
        ("", "2\n3", ""),
        ("", "", "no"),
        ("", "4", ""),
    ]


# --- held against the vendors' SDKs ----------------------------------------------------

# What the SDK does not read as the wire documents say, and why.
_SDK_DIFFERS = {
    "chat-gpustack-midstream-error-field-stream": "it does not know the field error",
    "chat-openai-truncated-connection-stream": "it fails on the half frame",
    "messages-anthropic-truncated-connection-stream": "it fails on the half frame",
    "messages-anthropic-spliced-message-start-stream": "it adds the two answers up",
}


def _whole_streams(recordings: list[Recording]) -> list[Recording]:
    return [
        item
        for item in recordings
        if item.stream and item.status == 200 and item.stem not in _SDK_DIFFERS
    ]


@needs_recordings
@pytest.mark.parametrize("seen", _whole_streams(CHAT), ids=ids(_whole_streams(CHAT)))
async def test_openai_sdk_reads_the_same_chat_stream(seen: Recording) -> None:
    wanted = expected(seen)
    text, finish, error, arguments = "", None, None, ""
    async with FakeUpstream() as fake:
        fake.always(replay(seen, cut=64))
        async with openai.AsyncOpenAI(
            base_url=f"{fake.base_url}/v1", api_key="k", max_retries=0
        ) as client:
            stream = await client.chat.completions.create(
                model="m", messages=[{"role": "user", "content": "x"}], stream=True
            )
            try:
                async for chunk in stream:
                    for choice in (c for c in chunk.choices or [] if c.index == 0):
                        delta = choice.delta
                        finish = choice.finish_reason or finish
                        if delta is not None and isinstance(delta.content, str):
                            text += delta.content
                        for call in (delta and delta.tool_calls) or []:
                            arguments += (call.function and call.function.arguments) or ""
            except openai.APIError as raised:
                error = raised.message
    if "content is an array of parts" not in seen.anomalies:
        assert text == wanted.text
    assert (finish, error) == (wanted.finish, wanted.error)
    if len(wanted.calls) == 1:
        assert normal_json(arguments) == wanted.calls[0].arguments


@needs_recordings
@pytest.mark.parametrize("seen", _whole_streams(MESSAGES), ids=ids(_whole_streams(MESSAGES)))
async def test_anthropic_sdk_reads_the_same_messages_stream(seen: Recording) -> None:
    wanted = expected(seen)
    async with FakeUpstream() as fake:
        fake.always(replay(seen, cut=64))
        async with anthropic.AsyncAnthropic(
            base_url=fake.base_url, api_key="k", max_retries=0
        ) as client:
            got = await _read_messages(client, wanted)
    assert got == wanted


async def _read_messages(client: anthropic.AsyncAnthropic, wanted: Expected) -> Expected:
    text, reasoning, error, finish = "", "", None, None
    async with client.beta.messages.stream(
        model="m", max_tokens=9, messages=[{"role": "user", "content": "x"}]
    ) as stream:
        try:
            async for event in stream:
                if event.type == "text":
                    text += event.text
                elif event.type == "thinking":
                    reasoning += event.thinking
        except anthropic.APIStatusError as raised:
            body = raised.body
            assert isinstance(body, dict)
            error = body["error"]["message"]
        final = stream.current_message_snapshot
    calls = []
    for block in final.content:
        if block.type == "tool_use":
            cut = final.stop_reason == "max_tokens"
            arguments = wanted.calls[0].arguments if cut else json.dumps(block.input)
            calls.append(Call(block.name, normal_json(arguments)))
    finish = final.stop_reason
    details = final.stop_details
    usage = final.usage
    read = usage.cache_read_input_tokens or 0
    written = usage.cache_creation_input_tokens or 0
    thought = usage.output_tokens_details
    return Expected(
        text=text,
        reasoning=reasoning,
        refusal=(details and details.explanation) or "",
        calls=tuple(calls),
        finish=finish,
        usage=Figures(
            usage.input_tokens + read + written,
            usage.output_tokens,
            read,
            written,
            (thought and thought.thinking_tokens) or 0,
        ),
        error=error,
        whole=error is None,
        proofs=wanted.proofs,
    )
