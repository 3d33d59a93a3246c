"""How a Chat request is passed through: what is read of it and what is edited."""

from __future__ import annotations

from typing import Any

from kurolproxy.protocols import seal
from kurolproxy.protocols.base import PassRules


def unseal(body: dict[str, Any], family: str | None) -> dict[str, Any]:
    """Take our seals out of the history, or put the native proof back where it fits.

    A conversation that began on a translated model and goes on here carries our tokens
    in ``extra_content``; no vendor knows them.

    Args:
        body: the parsed request; it is edited in place.
        family: the reasoning family of the target.
    """
    for message in body.get("messages") or ():
        calls = message.get("tool_calls") if isinstance(message, dict) else None
        for call in calls if isinstance(calls, list) else ():
            if isinstance(call, dict):
                _unseal_call(message, call, family)
    return body


def _unseal_call(message: dict[str, Any], call: dict[str, Any], family: str | None) -> None:
    extra = call.get("extra_content")
    google = extra.get("google") if isinstance(extra, dict) else None
    if not isinstance(extra, dict) or not isinstance(google, dict):
        return
    token = google.get("thought_signature")
    if not isinstance(token, str) or not token.startswith(seal.PREFIX):
        return
    found = seal.decode(token)
    fits = found is not None and bool(family) and found.family == family
    if found is not None and fits and found.protocol == "g":
        google["thought_signature"] = found.proof
        return
    if found is not None and fits and found.protocol == "c" and found.text is not None:
        message.setdefault("reasoning_content", found.text)
    del google["thought_signature"]
    if not google:
        del extra["google"]
    if not extra:
        del call["extra_content"]


def forget(body: dict[str, Any]) -> bool:
    """Take every proof out of the history.

    Args:
        body: the parsed request; it is edited in place.

    Returns:
        whether there was any.
    """
    found = False
    for message in body.get("messages") or ():
        calls = message.get("tool_calls") if isinstance(message, dict) else None
        for call in calls if isinstance(calls, list) else ():
            extra = call.get("extra_content") if isinstance(call, dict) else None
            google = extra.get("google") if isinstance(extra, dict) else None
            if isinstance(google, dict) and google.pop("thought_signature", None) is not None:
                found = True
    return found


PASSING = PassRules(
    caps=(("max_completion_tokens",), ("max_tokens",)),
    unseal=unseal,
    count=("n",),
    store="when_present",
    usage_option=True,
    session=("prompt_cache_key",),
    opening=("messages",),
    headers=("openai-beta", "x-session-id"),
    forget=forget,
)
