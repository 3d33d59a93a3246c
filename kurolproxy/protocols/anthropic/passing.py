"""How a Messages request is passed through: what is read of it and what is edited."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kurolproxy.errors import BadRequest
from kurolproxy.protocols import seal
from kurolproxy.protocols.base import PassRules

VERSION = "2023-06-01"
"""The version sent when the client named none: it accepts a superset of the newer one."""


def unseal(body: dict[str, Any], family: str | None) -> dict[str, Any]:
    """Take our seals out of the history, or put the native proof back where it fits.

    A conversation that began on a translated model and goes on here carries our tokens
    as ``signature``; the vendor would refuse them.

    Args:
        body: the parsed request; it is edited in place.
        family: the reasoning family of the target.
    """
    messages = body.get("messages")
    if not isinstance(messages, list):
        return body
    kept: list[Any] = []
    for message in messages:
        content = message.get("content") if isinstance(message, dict) else None
        if isinstance(content, list):
            blocks = [found for block in content if (found := _unsealed(block, family)) is not None]
            if content and not blocks:
                # Nothing but foreign reasoning: the vendor refuses an empty turn and
                # merges the neighbours of one that is missing.
                continue
            message["content"] = blocks
        kept.append(message)
    body["messages"] = kept
    return body


def _unsealed(block: Any, family: str | None) -> Any:
    """Return a block as the vendor may see it; None: not at all."""
    kind = block.get("type") if isinstance(block, dict) else None
    if kind not in ("thinking", "redacted_thinking"):
        return block
    token = block.get("signature" if kind == "thinking" else "data")
    if token == "":
        # Beside our tokens, thoughts without any proof are ours too (Gemini proves calls,
        # not thoughts); the vendor signs all of its own.
        return None
    if not isinstance(token, str) or not token.startswith(seal.PREFIX):
        return block
    found = seal.decode(token)
    if found is None or found.protocol != "a" or not family or found.family != family:
        return None
    if found.redacted:
        return {"type": "redacted_thinking", "data": found.proof}
    text = block.get("thinking") or found.text or ""
    return {"type": "thinking", "thinking": text, "signature": found.proof}


def forget(body: dict[str, Any]) -> bool:
    """Take all thoughts out of the history, and what cannot be asked for without them.

    Args:
        body: the parsed request; it is edited in place.

    Returns:
        whether there were any.
    """
    messages = [each for each in body.get("messages") or () if isinstance(each, dict)]
    found = False
    called = False
    for message in messages:
        content = message.get("content")
        if not isinstance(content, list):
            continue
        kept = [block for block in content if _type(block) not in _THOUGHTS]
        found = found or len(kept) < len(content)
        message["content"] = kept
        if message.get("role") == "assistant":
            called = any(_type(block) == "tool_use" for block in kept)
    if found:
        body["messages"] = [each for each in messages if each.get("content") != []]
        if called and _type(body.get("thinking")) == "enabled":
            # With a budget the vendor wants the thoughts of the last turn of calls.
            body["thinking"] = {"type": "disabled"}
            _keep_no_thoughts(body)
    return found


_THOUGHTS = ("thinking", "redacted_thinking")


def _type(value: Any) -> Any:
    return value.get("type") if isinstance(value, dict) else None


def _keep_no_thoughts(body: dict[str, Any]) -> None:
    """Take out the order to clear old thoughts, which is refused where nobody thinks."""
    management = body.get("context_management")
    edits = management.get("edits") if isinstance(management, dict) else None
    if isinstance(management, dict) and isinstance(edits, list):
        management["edits"] = [
            each for each in edits if not str(_type(each)).startswith("clear_thinking")
        ]


def _stateful(top: Mapping[str, Any]) -> None:
    thread = top.get("thread")
    kind = thread.get("type") if isinstance(thread, Mapping) else thread
    if kind == "continue":
        raise BadRequest(
            "thread: continue is not supported: this gateway is stateless, send all messages.",
            param="thread",
        )


PASSING = PassRules(
    caps=(("max_tokens",),),
    unseal=unseal,
    cap_required=True,
    budget=("thinking", "budget_tokens"),
    stateful=_stateful,
    user=("metadata", "user_id"),
    opening=("system", "messages"),
    headers=("anthropic-version", "anthropic-beta", "x-session-id"),
    defaults={"anthropic-version": VERSION},
    forget=forget,
)
