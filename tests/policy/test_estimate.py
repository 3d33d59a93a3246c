"""The estimate errs high, counts no base64, and holds its promise for real prompts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kurolproxy.ir import (
    Audio,
    File,
    Image,
    Message,
    Output,
    Reasoning,
    Refusal,
    Request,
    Text,
    Tool,
    ToolCall,
    ToolResult,
)
from kurolproxy.policy.estimate import body_tokens, completion_tokens, prompt_tokens
from kurolproxy.protocols.registry import CODECS
from tests.fakes.recordings import Recording, frames, load_index, needs_recordings

BASE64 = "iVBORw0KGgo+/" * 40_000  # half a megabyte


@pytest.mark.parametrize(("size", "tokens"), [(0, 0), (1, 1), (3, 1), (4, 2), (3_000, 1_000)])
def test_answer_has_a_token_for_every_three_bytes_begun(size: int, tokens: int) -> None:
    assert completion_tokens(size) == tokens


# --- decoded requests -------------------------------------------------------------------


def estimate(*messages: Message, **said: Any) -> int:
    return prompt_tokens(Request("m", messages, **said))


def part_of(role: Any, part: Any) -> Message:
    return Message(role, (part,))


TERMS = [
    ("nothing", 0, Request("m", ())),
    ("words", 8 + 1, Request("m", (part_of("user", Text("abc")),))),
    ("bytes, not letters", 8 + 2, Request("m", (part_of("user", Text("éé")),))),
    ("half a surrogate", 8 + 1, Request("m", (part_of("user", Text("\ud800")),))),
    ("system", 8 + 1, Request("m", (), system=(Text("abc"),))),
    ("reasoning", 8 + 1, Request("m", (part_of("assistant", Reasoning("abc")),))),
    ("refusal", 8 + 1, Request("m", (part_of("assistant", Refusal("abc")),))),
    ("call", 8 + 2, Request("m", (part_of("assistant", ToolCall("id", "get", "{1}")),))),
    ("result", 8 + 1, Request("m", (part_of("tool", ToolResult("id", (Text("abc"),))),))),
    ("image", 8 + 1_600, Request("m", (part_of("user", Image(data=BASE64)),))),
    ("image url", 8 + 1_600, Request("m", (part_of("user", Image(url="https://x")),))),
    (
        "image in a result",
        8 + 1_600,
        Request("m", (part_of("tool", ToolResult("id", (Image(data=BASE64),))),)),
    ),
    ("pdf", 8 + 3_000, Request("m", (part_of("user", File(data=BASE64)),))),
    ("sound", 8 + 3_000, Request("m", (part_of("user", Audio(BASE64, "wav")),))),
    ("text file", 8 + 2, Request("m", (part_of("user", File(text="abc", name="def")),))),
    ("tool", 500 + 3, Request("m", (), tools=(Tool("abc", description="defghi"),))),
    ("schema", 500 + 7, Request("m", (), tools=(Tool("abc", schema={"type": "object"}),))),
    ("tools count once", 500 + 2, Request("m", (), tools=(Tool("abc"), Tool("def")))),
    (
        "hosted tool",
        20_500,
        Request("m", (), tools=(Tool("", "hosted", hosted="web_search"),)),
    ),
    (
        "typed tool of the vendor's that the client runs",
        2_000,
        Request("m", (), tools=(Tool("", "hosted", hosted="bash_20250124"),)),
    ),
    (
        "schema of the answer",
        5,
        Request("m", (), output=Output("json_schema", schema={"enum": ["é"]})),
    ),
]


@pytest.mark.parametrize(("name", "tokens", "request_"), TERMS)
def test_every_term_counts(name: str, tokens: int, request_: Request) -> None:
    assert prompt_tokens(request_) == tokens


@given(st.lists(st.text(max_size=20), max_size=5), st.text(max_size=20))
def test_more_words_never_count_less(texts: list[str], more: str) -> None:
    messages = [part_of("user", Text(text)) for text in texts]
    assert estimate(*messages) <= estimate(*messages, part_of("user", Text(more)))


# --- bodies -----------------------------------------------------------------------------

URL = f"data:image/png;base64,{BASE64}"
TEXT = {"role": "user", "content": "abc"}


def words_of(body: Any) -> int:
    """Return the first term of a body without base64."""
    size = len(json.dumps(body).replace(BASE64, "").encode())
    return -(-size // 3)


def user(*parts: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": list(parts)}]}


def base64_of(mime: str) -> dict[str, Any]:
    return {"type": "base64", "media_type": mime, "data": BASE64}


def gemini(*parts: Any) -> dict[str, Any]:
    return {"contents": [{"role": "user", "parts": list(parts)}]}


def tools(*declared: Any) -> dict[str, Any]:
    return {"messages": [TEXT], "tools": list(declared)}


def items(*types: str) -> dict[str, Any]:
    return {"input": [{"type": each} for each in types]}


PDF_URL = URL.replace("image/png", "application/pdf")
CHAT_IMAGE = {"type": "image_url", "image_url": {"url": URL}}
PLAIN = {"type": "text", "media_type": "text/plain", "data": "a b"}
FAKED = '"type":"image_url","role":"x","tools":[{'

BODIES: list[tuple[str, int, Any]] = [
    ("message", 8, {"messages": [TEXT]}),
    ("messages", 24, {"messages": [TEXT, TEXT, TEXT]}),
    ("items of calls", 16, items("function_call", "function_call_output")),
    ("items of custom calls", 16, items("custom_tool_call", "custom_tool_call_output")),
    ("chat image", 1_608, user(CHAT_IMAGE)),
    ("two images", 3_208, user(CHAT_IMAGE, CHAT_IMAGE)),
    ("image by address", 1_608, user({"type": "image_url", "image_url": {"url": "https://x"}})),
    ("responses image", 1_608, user({"type": "input_image", "image_url": URL})),
    ("anthropic image", 1_608, user({"type": "image", "source": base64_of("image/png")})),
    ("chat file", 3_008, user({"type": "file", "file": {"file_data": PDF_URL}})),
    ("chat sound", 3_008, user({"type": "input_audio", "input_audio": {"data": BASE64}})),
    ("responses file", 3_008, user({"type": "input_file", "file_data": BASE64})),
    ("anthropic pdf", 3_008, user({"type": "document", "source": base64_of("application/pdf")})),
    ("anthropic text", 8, user({"type": "document", "source": PLAIN})),
    ("gemini image", 1_608, gemini({"inlineData": {"mimeType": "image/png", "data": BASE64}})),
    (
        "gemini pdf",
        3_008,
        gemini({"inline_data": {"mime_type": "application/pdf", "data": BASE64}}),
    ),
    ("function", 508, tools({"type": "function", "function": {"name": "f"}})),
    ("no tools", 8, tools()),
    ("legacy functions", 508, {"messages": [TEXT], "functions": [{"name": "f"}]}),
    ("web search", 20_508, tools({"type": "web_search"})),
    ("older web search", 20_508, tools({"type": "web_search_preview"})),
    ("anthropic web search", 20_508, tools({"type": "web_search_20250305"})),
    ("two hosted tools", 20_508, tools({"type": "web_search"}, {"type": "mcp"})),
    ("gemini search", 20_508, tools({"googleSearch": {}})),
    ("chat web search", 20_008, {"messages": [TEXT], "web_search_options": {}}),
    ("servers of tools", 20_008, {"messages": [TEXT], "mcp_servers": [{"url": "https://x"}]}),
    ("typed client tool", 2_008, tools({"type": "memory_20250818", "name": "memory"})),
    ("what a search found", 0, items("web_search_call")),
    ("words about all this", 8, {"messages": [{"role": "user", "content": FAKED}]}),
]


@pytest.mark.parametrize(("name", "more", "body"), BODIES)
@pytest.mark.parametrize("compact", [True, False])
def test_terms_are_found_in_bytes(name: str, more: int, body: Any, compact: bool) -> None:
    separators = (",", ":") if compact else (" ,  ", " : ")
    written = json.dumps(body, separators=separators)
    words = -(-len(written.replace(BASE64, "").encode()) // 3)
    assert body_tokens(written.encode()) == words + more


def test_words_behind_a_picture_in_one_text_are_counted() -> None:
    words = "look at this " * 1_000
    picture = user({"type": "image_url", "image_url": {"url": URL}})
    beside = user(
        {"type": "text", "text": f"![]({URL}) {words}"}, *picture["messages"][0]["content"]
    )
    expected = words_of(beside) + 8 + 1_600
    assert body_tokens(json.dumps(beside).encode()) == expected


def test_words_in_a_member_called_data_are_no_base64() -> None:
    document = {"type": "document", "source": {"type": "url", "data": "plain words " * 100}}
    body = user(document)
    assert body_tokens(json.dumps(body).encode()) == words_of(body) + 8 + 3_000


@given(st.binary(max_size=60))
def test_any_bytes_have_an_estimate(body: bytes) -> None:
    assert body_tokens(body) >= -(-len(body) // 3)


@given(st.text(st.sampled_from('"datbse64,;: \\{'), max_size=60))
def test_no_text_is_counted_below_nothing(text: str) -> None:
    assert body_tokens(f'{{"type":"image","x":"{text}'.encode()) >= 1_600


# --- real prompts -----------------------------------------------------------------------

_INPUT = {
    "chat": ("prompt_tokens",),
    "responses": ("input_tokens",),
    "messages": ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens"),
    "gemini": ("promptTokenCount", "toolUsePromptTokenCount"),
}
# What the promise leaves out: it cannot be known from the request.
_APART = (
    b"cachedContent", b"image", b"input_audio", b"input_file", b'"file"', b"base64", b"inlineData",
    b"web_search", b"googleSearch", b"codeExecution", b"code_execution", b"urlContext", b'"mcp"',
    b"advisor_", b"google_search", b"fileSearch", b"application/pdf",
)  # fmt: skip


def documents(seen: Recording) -> Iterator[Any]:
    """Yield the JSON documents of an answer."""
    texts = [frame.data for frame in frames(seen.response)] if seen.stream else [seen.response]
    for text in texts:
        try:
            yield json.loads(text)
        except ValueError:
            continue


def usages(value: Any) -> Iterator[dict[str, Any]]:
    """Yield every object that holds usage, however deep."""
    inner = value if isinstance(value, list) else value.values() if isinstance(value, dict) else ()
    if isinstance(value, dict):
        yield value
    for each in inner:
        yield from usages(each)


def prompt_of(seen: Recording) -> int:
    """Return the prompt tokens that the vendor counted; 0 when it counted none."""
    names = _INPUT[seen.protocol]
    found = [
        sum(value for name in names if isinstance(value := usage.get(name), int))
        for document in documents(seen)
        for usage in usages(document)
    ]
    return max(found, default=0)


def real_prompts() -> list[tuple[Recording, int]]:
    """Return the recordings that the promise is about, with their prompt tokens."""
    return [
        (seen, actual)
        for seen in load_index()
        if seen.request is not None
        and seen.status == 200
        and seen.protocol in _INPUT
        and not any(word in seen.request for word in _APART)
        and (actual := prompt_of(seen)) >= 200
    ]


@needs_recordings
def test_bytes_of_real_prompts_are_estimated_as_promised() -> None:
    prompts = real_prompts()
    assert len(prompts) >= 15
    wrong = [
        (seen.stem, estimated, actual)
        for seen, actual in prompts
        if not actual - 700 <= (estimated := body_tokens(seen.request or b"")) <= 3 * actual + 500
    ]
    assert wrong == []


@needs_recordings
def test_decoded_real_prompts_are_estimated_as_promised() -> None:
    codecs = {"chat": CODECS["openai-chat"], "messages": CODECS["anthropic"]}
    decoded = [
        (seen.stem, prompt_tokens(codecs[seen.protocol].decode_request(seen.request_json)), actual)
        for seen, actual in real_prompts()
        # A request to count tokens has no max_tokens: it is no request for an answer.
        if seen.protocol in codecs and "count-tokens" not in seen.stem
    ]
    assert len(decoded) >= 12
    assert [row for row in decoded if not row[2] - 700 <= row[1] <= 3 * row[2] + 500] == []
