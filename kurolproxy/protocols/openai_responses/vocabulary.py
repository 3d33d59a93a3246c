"""The words that both sides of Responses share: items, ids, roles, and readers of small things.

Source: ``ResponseInputItemParam`` and ``ResponseOutputItem`` of openai-python 3.54.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from kurolproxy.ir import Citation, Reasoning, Role, ToolKind
from kurolproxy.protocols import seal as seals
from kurolproxy.protocols import wire

# --- items and parts ------------------------------------------------------------------------

MESSAGE = "message"
REASONING = "reasoning"
FUNCTION_CALL = "function_call"
FUNCTION_OUTPUT = "function_call_output"
CUSTOM_CALL = "custom_tool_call"
CUSTOM_OUTPUT = "custom_tool_call_output"
TOOL_SEARCH_CALL = "tool_search_call"
TOOL_SEARCH_OUTPUT = "tool_search_output"
ADDITIONAL_TOOLS = "additional_tools"
CONFIGURATION_UPDATE = "configuration_update"
ITEM_REFERENCE = "item_reference"
WEB_SEARCH_CALL = "web_search_call"

CALL_KINDS: Mapping[str, ToolKind] = {FUNCTION_CALL: "function", CUSTOM_CALL: "custom"}
"""The items that call a tool of the client -> what kind of tool they call."""

INPUT_TEXT = "input_text"
INPUT_IMAGE = "input_image"
INPUT_FILE = "input_file"
INPUT_AUDIO = "input_audio"
OUTPUT_TEXT = "output_text"
REFUSAL = "refusal"
SUMMARY_TEXT = "summary_text"
REASONING_TEXT = "reasoning_text"
URL_CITATION = "url_citation"

TOOL_SEARCH = "tool_search"
"""The name of the client's tool search among plain tools."""
WEB_SEARCH = "web_search"

# --- ids: what each begins with -------------------------------------------------------------

RESPONSE_ID = "resp_"
MESSAGE_ID = "msg_"
REASONING_ID = "rs_"
FUNCTION_CALL_ID = "fc_"
CUSTOM_CALL_ID = "ctc_"
CALL_ID = "call_"

# --- tables -----------------------------------------------------------------------------------

ROLES: Mapping[str, Role] = {
    "user": "user",
    "assistant": "assistant",
    "system": "system",
    "developer": "system",
}
"""The role of a message item -> ours."""

ENCRYPTED_REASONING = "reasoning.encrypted_content"
LOGPROBS = "message.output_text.logprobs"
"""Values of ``include`` that mean something here."""

Tier = Literal["auto", "standard", "flex", "priority"]

TIERS: Mapping[str, Tier] = {
    "auto": "auto",
    "default": "standard",
    "flex": "flex",
    "priority": "priority",
    "fast": "priority",
    "scale": "priority",
    "ultrafast": "priority",
}
TIER_NAMES: Mapping[Tier, str] = {
    "auto": "auto",
    "standard": "default",
    "flex": "flex",
    "priority": "priority",
}

# --- readers ----------------------------------------------------------------------------------


def arguments_text(value: Any) -> str:
    """Return the arguments of a call as text: some write an object instead of a string."""
    if value is None:
        return ""
    return value if isinstance(value, str) else wire.compact(value)


def texts(parts: Any) -> list[str]:
    """Return the texts of an array of ``{type, text}``; what is none is passed over."""
    if not isinstance(parts, list):
        return []
    found = (part.get("text") for part in parts if isinstance(part, dict))
    return [text for text in found if isinstance(text, str) and text]


def reasoning_text(item: Mapping[str, Any]) -> str:
    """Return what a reasoning item says: its summary, else the raw thoughts of open models."""
    return "\n\n".join(texts(item.get("summary"))) or "".join(texts(item.get("content")))


def proved(text: str, proof: str | None) -> Reasoning:
    """Return thoughts with their proof: one of our seals, or the bare one of a vendor."""
    found = seals.decode(proof) if proof else None
    if found is None:
        return Reasoning(text, native=proof or None)
    if found.redacted:
        return Reasoning("", found, redacted=True)
    return Reasoning(text or found.text or "", found)


def citations(annotations: Any) -> Iterator[Citation]:
    """Yield the citations of web pages; those of files have no place elsewhere."""
    for each in annotations if isinstance(annotations, list) else ():
        if isinstance(each, dict) and isinstance(each.get("url"), str) and each["url"]:
            title = each.get("title")
            yield Citation(
                each["url"],
                title if isinstance(title, str) and title else None,
                _offset(each.get("start_index")),
                _offset(each.get("end_index")),
            )


def _offset(value: Any) -> int | None:
    return value if type(value) is int and value >= 0 else None


def annotation(citation: Citation) -> dict[str, Any]:
    """Write a citation; all its fields are required by the vendor's types."""
    return {
        "type": URL_CITATION,
        "start_index": citation.start or 0,
        "end_index": citation.end or 0,
        "url": citation.url,
        "title": citation.title or "",
    }
