"""The estimate errs high, counts no base64, and tells apart what only a vendor can know."""

from __future__ import annotations

import json
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
from kurolproxy.policy.estimate import (
    Estimate,
    body_estimate,
    body_estimate_in_steps,
    body_tokens,
    completion_tokens,
    prompt_tokens,
    request_estimate,
)

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
    assert request_estimate(request_).reservation == tokens


def test_what_hosted_tools_read_stands_apart() -> None:
    tools = (Tool("", "hosted", hosted="web_search"), Tool("abc"))
    request = Request("m", (part_of("user", Text("abc")),), tools=tools)
    assert request_estimate(request) == Estimate(8 + 1 + 500 + 1, 20_000)
    assert prompt_tokens(request) == 8 + 1 + 500 + 1


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
    assert body_estimate(written.encode()).reservation == words + more


HOSTED = [(name, more, body) for name, more, body in BODIES if more >= 20_000]


@pytest.mark.parametrize(("name", "more", "body"), HOSTED)
def test_what_hosted_tools_read_stands_apart_in_bytes(name: str, more: int, body: Any) -> None:
    written = json.dumps(body).encode()
    words = words_of(body)
    assert body_estimate(written) == Estimate(words + more - 20_000, 20_000)
    assert body_tokens(written) == words + more - 20_000


# --- letters that are escaped -----------------------------------------------------------

LETTERS = [
    ("Cyrillic", "Сегодня мы обсуждали проект. "),
    ("Arabic", "ناقشنا هذا الصباح التصميم. "),
    ("Chinese", "今天上午我们讨论了设计方案。"),
    ("Hindi", "आज सुबह हमने चर्चा की। "),
    ("mixed", "Ça va, 今天? «Да», said he, and left for the café. "),
]


@pytest.mark.parametrize(("script", "text"), LETTERS)
def test_escaped_letters_count_as_letters(script: str, text: str) -> None:
    body = user({"type": "text", "text": text * 40})
    plain = body_tokens(json.dumps(body, ensure_ascii=False).encode())
    assert body_tokens(json.dumps(body).encode()) == plain


def test_escaped_emoji_count_as_two_letters() -> None:
    # Half a surrogate pair is six bytes in JSON and three here: high, but half of it.
    body = user({"type": "text", "text": "🎉" * 400})
    plain = body_tokens(json.dumps(body, ensure_ascii=False).encode())
    assert plain <= body_tokens(json.dumps(body).encode()) <= plain + 300


def test_text_that_shows_an_escape_is_no_escape() -> None:
    shown = json.dumps("今天" * 40)
    body = user({"type": "text", "text": shown})
    assert body_tokens(json.dumps(body).encode()) == words_of(body) + 8


def test_picture_among_escaped_letters_is_counted_once() -> None:
    body = user({"type": "text", "text": "Что здесь? " * 20_000}, CHAT_IMAGE)
    plain = body_tokens(json.dumps(body, ensure_ascii=False).encode())
    assert body_tokens(json.dumps(body).encode()) == plain


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
    assert b"\\u" in body or body_tokens(body) >= -(-len(body) // 3)


@given(st.text(st.sampled_from('"datbse64,;: \\{u'), max_size=60))
def test_no_text_is_counted_below_nothing(text: str) -> None:
    assert body_tokens(f'{{"type":"image","x":"{text}'.encode()) >= 1_600


def message(size: int) -> dict[str, Any]:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "QUJD" * 50}}
    return {"role": "user", "content": [image, {"type": "text", "text": "words " * size}]}


def test_large_body_is_estimated_in_steps_and_as_its_parts_are() -> None:
    small = body_estimate(json.dumps({"messages": [message(200)]}).encode())
    many = json.dumps({"messages": [message(200)] * 900}).encode()
    steps = body_estimate_in_steps(many)
    assert sum(1 for _ in steps) >= 2 * (len(many) // 262_144)
    empty = body_estimate(b'{"messages": []}')
    assert body_estimate(many).prompt == pytest.approx(
        empty.prompt + 900 * (small.prompt - empty.prompt), rel=0.01
    )


@pytest.mark.parametrize("shift", range(24))
def test_term_at_the_border_of_a_step_is_counted_once(shift: int) -> None:
    before = b'{"x":"' + b"a" * (262_144 - 30 + shift) + b'",'
    body = before + b'"messages":[{"role" : "user"}],"tools" : [ {"type": "web_search"}]}'
    text = body_estimate(before + b'"messages":[{"part" : "user"}],"calls" : [ {"t": "search"}]}')
    found = body_estimate(body)
    assert found.hosted == 20_000
    assert 8 + 500 <= found.prompt - text.prompt <= 8 + 500 + 4


def test_hundred_thousand_beginnings_of_media_are_looked_at_once() -> None:
    looked_at = 0

    class Counted(bytes):
        """A body that counts how many of its bytes are searched for a quote or a blank."""

        def find(self, what: Any, *where: Any) -> int:
            nonlocal looked_at
            place = super().find(what, *where)
            if len(what) == 1:
                looked_at += (len(self) if place < 0 else place) - where[0]
            return place

    run = b";base64," + b"A" * 64 + b"."
    body = Counted(b'{"x":[{"type":"image"}],"messages":"' + run * 10_000 + b' "}')
    body_estimate(body)
    assert looked_at <= 4 * len(body)
