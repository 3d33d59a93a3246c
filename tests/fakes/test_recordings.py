"""The independent readers, held against what a human read."""

from __future__ import annotations

import pytest

from tests.fakes import expected_responses
from tests.fakes.recordings import (
    Call,
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

CHAT = select(protocol="chat")
MESSAGES = select(protocol="messages")
RESPONSES = select(protocol="responses")
GEMINI = select(protocol="gemini")
EVERY = CHAT + MESSAGES + RESPONSES + GEMINI

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
    (
        "responses-openrouter-comments-stream",
        {
            "text": "4",
            "reasoning": 'The user asks: "What is 2+2?" They expect a straightforward answer: 4. '
            "Just answer 4.",
            "usage": Figures(78, 37, reasoning=22),
            "finish": "completed",
        },
    ),
    (
        "responses-openai-custom-tool-stream",
        {"calls": (Call("write_sql", "SELECT * FROM users WHERE age > 25"),), "whole": True},
    ),
    (
        "responses-openai-incomplete-stream",
        {
            "finish": "incomplete/max_output_tokens",
            "text": "In the bustling city of Detroit, a sleek, metallic blue sedan rolled off the",
            "usage": Figures(),
            "whole": True,
        },
    ),
    ("responses-openai-text", {"finish": "complete", "text": "4", "usage": Figures(10, 1)}),
    (
        "responses-openai-midstream-error-quota-stream",
        {
            "error": "You exceeded your current quota, please check your plan and billing details. "
            "For more information on this error, read the docs: "
            "https://platform.openai.com/docs/guides/error-codes/api-errors.",
            "whole": False,
            "usage": None,
        },
    ),
    (
        "responses-openai-truncated-connection-stream-2",
        {"calls": (Call("add", "{}"),), "finish": None, "whole": False},
    ),
    (
        "responses-lmstudio-tool-single-stream",
        {
            "text": "I'll get the current weather information for San Francisco for you.",
            "calls": (Call("weather", '{"location": "San Francisco"}'),),
            "usage": Figures(182, 61, cache_read=2, reasoning=48),
        },
    ),
    (
        "responses-openai-mcp-failed",
        {
            "text": "I’m sorry, I’m having trouble accessing your calendar right now. "
            "Would you like me to try again?",
            "calls": (),
        },
    ),
    (
        "responses-deepseek-cached-tokens",
        {
            "reasoning": 'We need to reply exactly "done". Need not mention tool results.',
            "text": "done",
            "usage": Figures(200, 16, cache_read=128, reasoning=14),
        },
    ),
    (
        "responses-xai-error-400",
        {
            "error": "Incorrect API key provided. You can obtain an API key from "
            "https://console.x.ai."
        },
    ),
    (
        "gemini-vertex-partial-function-args-stream",
        {
            "calls": (
                Call("getWeather", '{"location": "Boston"}'),
                Call("getWeather", '{"location": "San Francisco"}'),
            ),
            "finish": "STOP",
            "usage": Figures(26, 155, reasoning=132),
        },
    ),
    (
        "gemini-vertex-partial-function-args-no-terminal-stream",
        {
            "calls": (
                Call(
                    "writeItems",
                    '{"operations": [{"action": "add", "description": "Fresh red apple", '
                    '"itemid": "apple_001", "price": 0.5}, {"action": "add", "description": '
                    '"Ripe yellow banana", "itemid": "banana_001", "price": 0.3}]}',
                ),
            ),
        },
    ),
    (
        "gemini-google-thinking-signature-stream",
        {
            "text": "The result of $65465 - 6544 \\times 65464 - 6 + 1.02255$ is "
            "**-428,330,955.97745**.",
            "usage": Figures(507, 276, reasoning=168),
        },
    ),
    (
        "gemini-google-search-grounding-stream",
        {"usage": Figures(785, 779, reasoning=742), "finish": "STOP", "calls": ()},
    ),
    (
        "gemini-vertex-safety-blocked",
        {
            "text": "",
            "finish": "MODEL_ARMOR",
            "refusal": "The prompt violated Prompt Injection and Jailbreak filters.",
            "usage": None,
            "whole": True,
        },
    ),
    ("gemini-vertex-stop-sequence", {"finish": "MAX_TOKENS", "usage": Figures(5, 4, reasoning=4)}),
    (
        "gemini-vertex-json-array-stream",
        {
            "text": "I told my wife she was drawing her eyebrows too high. She looked surprised.",
            "finish": "STOP",
            "usage": Figures(11, 248, reasoning=232),
        },
    ),
    (
        "gemini-google-tool-parallel-stream",
        {"calls": (Call("add", '{"a": 2, "b": 3}'), Call("multiply", '{"a": 2, "b": 3}'))},
    ),
    ("gemini-google-image-input", {"usage": Figures(0, 76, reasoning=58)}),
    ("gemini-google-count-tokens", {"usage": Figures(12), "text": ""}),
    ("gemini-google-error-403", {"error": "The caller does not have permission"}),
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
@pytest.mark.parametrize("seen", EVERY, ids=ids(EVERY))
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
@pytest.mark.parametrize(
    "seen",
    [each for each in RESPONSES if each.stream],
    ids=ids([each for each in RESPONSES if each.stream]),
)
def test_deltas_of_responses_add_up_to_its_items(seen: Recording) -> None:
    parts, whole = expected_responses.deltas(seen.response), expected(seen)
    assert (parts.text, parts.reasoning) == (whole.text, whole.reasoning)
    if "lmstudio" in seen.stem:
        # It sends arguments without any delta.
        assert [call.name for call in parts.calls] == [call.name for call in whole.calls]
    else:
        assert parts.calls == whole.calls


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
