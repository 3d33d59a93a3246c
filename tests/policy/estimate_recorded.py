"""Recorded calls of vendors that say what a prompt and an answer really were in tokens."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, NamedTuple

from kurolproxy.ir import Request
from kurolproxy.protocols.registry import CODECS
from tests.fakes.recordings import PROTOCOLS, Expected, Recording, expected, load_index

SMALLEST_PROMPT = 200
# Shorter answers say more about how vendors count the frame of an answer than its words.
SMALLEST_ANSWER = 60
SMALLEST_CALL = 20
# It declares a tool that no other vendor has: it is never decoded.
PASSED_ONLY = frozenset({"messages-anthropic-count-tokens"})

# What the promise leaves out, because a request does not tell it: media, what tools of the
# vendor's read, and what the vendor keeps.
_APART = (
    b"cachedContent", b"image", b"input_audio", b"input_file", b'"file"', b"base64", b"inlineData",
    b"fileUri", b"application/pdf", b"web_search", b"googleSearch", b"google_search", b"urlContext",
    b"codeExecution", b"code_execution", b"fileSearch", b"advisor_", b'"mcp"',
)  # fmt: skip
_HOSTED_WORK = (
    b"server_tool_use", b"web_search_call", b"mcp_call", b"groundingMetadata", b"executableCode",
)  # fmt: skip


class Prompt(NamedTuple):
    """A recorded prompt.

    Attributes:
        actual: its tokens, as the vendor counted them.
    """

    seen: Recording
    body: bytes
    actual: int

    def decoded(self) -> Request:
        """Return the request in the neutral form."""
        codec = CODECS[PROTOCOLS[self.seen.protocol]]  # type: ignore[index]
        document = self.seen.request_json
        if _counts(self.seen):
            assert codec.counting is not None
            document = codec.counting.generating(document)
        return codec.decode_request(document)


def prompts() -> list[Prompt]:
    """Return the recorded prompts that the promise is about."""
    found = [
        Prompt(seen, seen.request, _prompt_tokens(seen))
        for seen in load_index()
        if seen.request is not None
        and seen.status == 200
        and seen.protocol in PROTOCOLS
        and not any(word in seen.request for word in _APART)
    ]
    return [each for each in found if each.actual >= SMALLEST_PROMPT]


def _counts(seen: Recording) -> bool:
    return "count" in seen.path.rpartition("/")[2].lower()


def _prompt_tokens(seen: Recording) -> int:
    if _counts(seen):
        answer: dict[str, Any] = json.loads(seen.response)
        return int(answer.get("input_tokens") or answer.get("totalTokens") or 0)
    usage = expected(seen).usage
    return usage.prompt if usage is not None else 0


@dataclass(frozen=True, slots=True)
class Spoken:
    """A recorded answer whose tokens are all in what the client sees.

    Attributes:
        emitted: UTF-8 bytes of texts and of the names and arguments of calls.
        calls: how many calls are among them.
        actual: tokens of the answer without those of the thinking.
    """

    seen: Recording
    emitted: int
    calls: int
    actual: int


def answers(least: int) -> list[Spoken]:
    """Return the recorded answers of so many tokens and more, thinking left out.

    What is thought is left out on both sides, shown or not: vendors show a summary or
    nothing of it. An answer whose thinking nobody counted is no measure, nor is one that
    holds what a hosted tool did, or several choices.
    """
    found = [_spoken(seen, expected(seen)) for seen in load_index() if _is_answer(seen)]
    return [each for each in found if each is not None and each.actual >= least]


def _is_answer(seen: Recording) -> bool:
    return (
        seen.status == 200
        and seen.protocol in PROTOCOLS
        and not _counts(seen)
        and not any(word in seen.response for word in _HOSTED_WORK)
        and "n-choices" not in seen.stem
    )


def _spoken(seen: Recording, answer: Expected) -> Spoken | None:
    usage = answer.usage
    if usage is None or not answer.whole or answer.restarts:
        return None
    if not usage.reasoning and (answer.reasoning or answer.proofs):
        return None
    said = answer.text + answer.refusal
    said += "".join(call.name + call.arguments for call in answer.calls)
    actual = usage.completion - usage.reasoning
    return Spoken(seen, len(said.encode()), len(answer.calls), actual)
