"""Tokens of a prompt or an answer that nobody counted: for reservation and missing usage.

Nobody's tokenizer is asked. Three bytes of text are about one token, and the estimate is
meant to err high: it holds tokens back, and what an upstream counts replaces it.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Generator, Iterator
from typing import NamedTuple

from kurolproxy.ir import (
    Audio,
    File,
    Image,
    Message,
    Part,
    Reasoning,
    Refusal,
    Request,
    Text,
    Tool,
    ToolCall,
    ToolResult,
)

_BYTES_PER_TOKEN = 3
_MESSAGE = 8
_TOOLS = 500
_IMAGE = 1600
_FILE = 3000  # a PDF, a sound or a film
_TYPED = 1500  # a vendor's description of a tool that the client runs
_TYPED_NAMES = ("bash_", "text_editor_", "memory_")
_HOSTED = 20_000  # what a tool of the vendor reads never passes by us


class Estimate(NamedTuple):
    """Tokens of a prompt that nobody counted.

    Attributes:
        prompt: of what the request holds: for counting, and to charge where the usage is
            missing.
        hosted: more that the vendor's own tools may read, once it runs them. Only the vendor
            knows: it is held back while the call runs, and never charged unseen.
    """

    prompt: int
    hosted: int

    @property
    def reservation(self) -> int:
        """What to hold back of an allowance while the call runs."""
        return self.prompt + self.hosted


def completion_tokens(emitted_bytes: int) -> int:
    """Return the tokens of an answer of so many UTF-8 bytes, reasoning and arguments included."""
    return _tokens(emitted_bytes)


def _tokens(size: int) -> int:
    return -(-size // _BYTES_PER_TOKEN)


def prompt_tokens(request: Request) -> int:
    """Return the estimate of a decoded request's prompt, without what hosted tools read."""
    return request_estimate(request).prompt


def request_estimate(request: Request) -> Estimate:
    """Return the estimate of a decoded request."""
    size = sum(map(_size, _texts(request)))
    parts = [part for message in request.messages for part in _flat(message)]
    images = sum(isinstance(part, Image) for part in parts)
    files = sum(_is_media(part) for part in parts)
    special = [tool.hosted or "" for tool in request.tools if tool.kind == "hosted"]
    typed = sum(name.startswith(_TYPED_NAMES) for name in special)
    prompt = (
        _tokens(size)
        + _MESSAGE * (len(request.messages) + len(request.system))
        + _TOOLS * bool(request.tools)
        + _IMAGE * images
        + _FILE * files
        + _TYPED * typed
    )
    return Estimate(prompt, _HOSTED * (len(special) > typed))


def _flat(message: Message) -> Iterator[Part]:
    for part in message.parts:
        yield part
        if isinstance(part, ToolResult):
            yield from part.parts


def _is_media(part: Part) -> bool:
    return isinstance(part, Audio) or (isinstance(part, File) and part.text is None)


def _texts(request: Request) -> Iterator[str]:
    """Yield everything a model reads as text."""
    for system in request.system:
        yield system.text
    for message in request.messages:
        for part in _flat(message):
            yield from _words(part)
    for tool in request.tools:
        yield from _declaration(tool)
    if request.output is not None and request.output.schema is not None:
        yield _written(request.output.schema)


def _words(part: Part) -> Iterator[str]:
    match part:
        case Text(text=text) | Reasoning(text=text) | Refusal(text=text):
            yield text
        case ToolCall(name=name, args=args):
            yield from (name, args)
        case File(text=text, name=name, title=title, context=context):
            yield from filter(None, (text, name, title, context))
        case _:
            pass


def _declaration(tool: Tool) -> Iterator[str]:
    yield from filter(None, (tool.ns, tool.name, tool.description))
    for shape in (tool.schema, tool.grammar):
        if shape is not None:
            yield _written(shape)


def _written(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)


def _size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


# --- a body that nobody decodes ---------------------------------------------------------

# An escaped quote inside a text is no quote to this pattern: it sees members only. The
# look-ahead rejects most quotes at once, and the empty groups behind the words let the
# alternatives begin with a letter: together they make it four times as fast.
_TERMS = re.compile(
    rb'"(?=[cfgmrtuw][ceioruy])(?:'
    rb'role"\s*+:(?P<message>)'
    rb'|type"\s*+:\s*+"(?:'
    rb'(?:function|custom_tool)_call(?:_output)?+"(?P<item>)'
    rb'|(?:image|image_url|input_image)"(?P<image>)'
    rb'|(?:document|file|input_audio|input_file|input_video|video_url)"(?P<file>)'
    rb'|(?:bash|text_editor|memory)_20[0-9]{6}"(?P<typed>)'
    rb"|(?:advisor|code_execution|code_interpreter|computer|computer_use|file_search"
    rb'|image_generation|mcp|web_fetch|web_search)(?:_preview)?+(?:_[0-9]++)*+"(?P<hosted>))'
    rb'|media_type"\s*+:\s*+"text/(?P<text_document>)'
    rb'|mime_?[tT]ype"\s*+:\s*+"(?:image/(?P<gemini_image>)|[a-z]++/(?P<gemini_file>))'
    rb"|(?:web_search_options|google_?[sS]earch|google_?[sS]earch_?[rR]etrieval|google_?[mM]aps"
    rb'|url_?[cC]ontext|code_?[eE]xecution|file_?[sS]earch)"\s*+:\s*+\{(?P<member_hosted>)'
    rb'|mcp_servers"\s*+:\s*+\[\s*+\{(?P<servers>)'
    rb'|(?:tools|functions)"\s*+:\s*+\[\s*+\{(?P<tools>)'
    rb")"
)

# Clients that escape other scripts write six bytes for a letter of two or three, and then
# a sixth of the text is backslashes; where they are rarer, escapes hardly count. The sample's
# step is prime: the backslashes of a word stand six apart.
_SAMPLED = 31
_DENSE = 16

# A data URL; a member "data" or "file_data".
_BASE64_BEHIND = (
    (b";base64,", re.compile(rb"")),
    (b'data"', re.compile(rb'\s*+:\s*+"')),
)
_BASE64 = re.compile(rb"[A-Za-z0-9+/=_\\-]*+")
_SHORTEST_RUN = 64  # shorter words may be text, and hardly count
_STEP = 262_144  # bytes after which a large body is paused at
_LONGEST_TERM = 4_096  # bytes, most of them blanks; of what is longer nobody is wronged


def body_tokens(body: bytes) -> int:
    """Return the estimate of a prompt from a request's bytes, without what hosted tools read."""
    return body_estimate(body).prompt


def body_estimate(body: bytes) -> Estimate:
    """Return the estimate of a request from its bytes alone, in any protocol."""
    steps = body_estimate_in_steps(body)
    while True:
        try:
            next(steps)
        except StopIteration as done:
            return done.value  # type: ignore[no-any-return]  # StopIteration is not generic


def body_estimate_in_steps(body: bytes) -> Generator[None, None, Estimate]:
    """Do the same as ``body_estimate``, pausing about every 256 KiB of a large body."""
    found = yield from _terms(body)
    # A document of Messages may be plain text: that is counted as text already.
    files = max(found["file"] - found["text_document"], 0) + found["gemini_file"]
    images = found["image"] + found["gemini_image"]
    media = (yield from _base64_bytes(body)) if images or files else 0
    prompt = (
        _tokens(max(len(body) - media - _escaped_bytes(body), 0))
        + _MESSAGE * (found["message"] + found["item"])
        + _IMAGE * images
        + _FILE * files
        + _TYPED * found["typed"]
        + _TOOLS * (found["tools"] > 0)
    )
    hosted = found["hosted"] + found["member_hosted"] + found["servers"]
    return Estimate(prompt, _HOSTED * (hosted > 0))


def _terms(body: bytes) -> Generator[None, None, Counter[str | None]]:
    """Count what costs tokens beside its text."""
    if len(body) <= _STEP:
        return Counter([term.lastgroup for term in _TERMS.finditer(body)])
    found: Counter[str | None] = Counter()
    at = 0
    while True:
        stop = at + _STEP
        terms = [
            term for term in _TERMS.finditer(body, at, stop + _LONGEST_TERM) if term.start() < stop
        ]
        found.update(term.lastgroup for term in terms)
        if stop >= len(body):
            return found
        at = max(stop, terms[-1].end()) if terms else stop
        yield


def _escaped_bytes(body: bytes) -> int:
    """Return how much longer the body is than its text because letters are escaped."""
    sample = body[::_SAMPLED]
    if not body.isascii() or sample.count(b"\\") * _DENSE < len(sample) or b"\\u" not in body:
        return 0
    # This codec knows JSON's escapes of letters and leaves all others as they are.
    text = body.decode("raw_unicode_escape", "replace")
    return max(len(body) - _size(text), 0)


def _base64_bytes(body: bytes) -> Generator[None, None, int]:
    """Return how much of the body is media in base64."""
    total = 0
    for key, between in _BASE64_BEHIND:
        at, paused, ends = 0, 0, _Ends(body)
        while at < len(body):
            place = body.find(key, at, at + _STEP + len(key) - 1)
            at = place + len(key) if place >= 0 else at + _STEP
            begins = between.match(body, at) if place >= 0 else None
            if begins:
                run = ends.of_run(begins.end()) - begins.end()
                total += run if run >= _SHORTEST_RUN else 0
                at = begins.end() + run
            if at - paused >= _STEP:
                paused = at
                yield
    return total


class _Ends:
    """Where runs of base64 in a body end, asked for one behind the other."""

    __slots__ = ("_blank", "_body", "_quote")

    def __init__(self, body: bytes) -> None:
        self._body = body
        # Each is looked for once: a body may hold a hundred thousand runs before the next.
        self._quote = self._blank = -1

    def of_run(self, at: int) -> int:
        """Return where the run that begins at ``at`` ends."""
        begins = _BASE64.match(self._body, at, at + _SHORTEST_RUN)
        end = begins.end() if begins else at
        if end - at < _SHORTEST_RUN:
            return end
        # Nearly always the rest of the string is base64: then it has no blank, and looking
        # for two bytes is thirty times as fast as looking at every one.
        self._quote = self._next(b'"', self._quote, end)
        self._blank = self._next(b" ", self._blank, end)
        if self._quote < self._blank and self._quote < len(self._body):
            return self._quote
        whole = _BASE64.match(self._body, at)
        return whole.end() if whole else at

    def _next(self, byte: bytes, known: int, at: int) -> int:
        if known >= at:
            return known
        place = self._body.find(byte, at)
        return place if place >= 0 else len(self._body)
