"""What streamed and whole answers to an Anthropic client have in common."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from kurolproxy.errors import BadRequest
from kurolproxy.ir import Citation, Finish, FinishReason, Seal, ToolHead
from kurolproxy.protocols import names, seal, wire
from kurolproxy.protocols.base import AnswerContext

STOP_REASONS: Mapping[FinishReason, str] = {
    "stop": "end_turn",
    "stop_sequence": "stop_sequence",
    "tool_calls": "tool_use",
    "length": "max_tokens",
    "content_filter": "refusal",
    "other": "end_turn",
}

_TOOL_ID = re.compile(r"[a-zA-Z0-9_-]+")


def shows_reasoning(answer: AnswerContext) -> bool:
    """Return whether the client wants to read the thoughts.

    One that did not ask for thinking does not; its blocks carry the proof alone.
    """
    wish = answer.request.reasoning
    return wish is not None and wish.show != "none"


def seal_token(proof: Seal, hidden: str) -> str:
    """Write the proof that the client gives back as ``signature``.

    Args:
        hidden: the thoughts that the client does not get, "" when it got them: the vendor
            wants them back word for word, so they travel in the seal.
    """
    if hidden and not proof.redacted and proof.text is None:
        proof = replace(proof, text=hidden)
    return seal.encode(proof)


def tool_id(head: ToolHead, answer: AnswerContext) -> str:
    """Return the id of a call: the upstream's own when this protocol allows it."""
    if not head.id:
        return answer.new_id("toolu_")
    return head.id if _TOOL_ID.fullmatch(head.id) else names.sanitise(head.id)


def tool_name(head: ToolHead) -> str:
    """Return the name of the called tool; this protocol has no namespaces."""
    return f"{head.ns}__{head.name}" if head.ns else head.name


def citation(cited: Citation) -> dict[str, Any]:
    """Write a source on the web; the vendor's own marks of it are not known."""
    return {
        "type": "web_search_result_location",
        "cited_text": "",
        "url": cited.url,
        "title": cited.title,
        "encrypted_index": "",
    }


def stop_fields(finish: Finish) -> dict[str, Any]:
    """Write why the answer ended."""
    fields: dict[str, Any] = {
        "stop_reason": STOP_REASONS[finish.reason],
        "stop_sequence": finish.stop_sequence if finish.reason == "stop_sequence" else None,
    }
    if finish.reason == "content_filter":
        fields["stop_details"] = {"type": "refusal", "explanation": finish.detail}
    return fields


def dump(value: Any) -> bytes:
    """Write JSON; unlike ``wire.dumps`` it mends text that UTF-8 cannot hold."""
    try:
        return wire.dumps(value)
    except BadRequest:
        return wire.dumps(_mended(value))


def _mended(value: Any) -> Any:
    match value:
        case str():
            return value.encode("utf-8", "replace").decode()
        case list():
            return [_mended(each) for each in value]
        case dict():
            return {_mended(name): _mended(each) for name, each in value.items()}
    return value
