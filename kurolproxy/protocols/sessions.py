"""Which conversation a request belongs to, so that a vendor's prompt cache stays warm."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

from kurolproxy.protocols import wire
from kurolproxy.protocols.asked import Asked
from kurolproxy.protocols.base import PassRules, Path

_MAX_NAME = 1_024
# Of a body that is not parsed: enough to tell conversations apart, little enough to be cheap.
_BEGINNING = 16_384


def conversation_of(asked: Asked, rules: PassRules, header: str | None, owner: int) -> bytes:
    """Return what is the same for all turns of one conversation, and for no other.

    The client's own name for it (``prompt_cache_key``, the header ``x-session-id``,
    ``metadata.user_id``), else how the conversation starts: what stands before the first
    answer of a model.

    Args:
        header: of the request, ``x-session-id``.
        owner: the account; two of them never share a session.
    """
    name = _named(asked.top, rules.session) or (header or "")[:_MAX_NAME]
    if not name:
        name = _named(asked.top, rules.user)
    known = name.encode("utf-8", "replace") if name else _opening(asked, rules)
    return blake2b(b"%d\n%b" % (owner, known), digest_size=16).digest()


def _named(top: Mapping[str, Any], path: Path | None) -> str:
    value: Any = top
    for each in path or ():
        value = value.get(each) if isinstance(value, Mapping) else None
    return value[:_MAX_NAME] if path and isinstance(value, str) else ""


def _opening(asked: Asked, rules: PassRules) -> bytes:
    if asked.document is None:
        raw = (asked.members.raw(name) for name in rules.opening)
        return b"\n".join(each[:_BEGINNING] for each in raw if each)
    said = [_first_turn(asked.document.get(name)) for name in rules.opening]
    return wire.dumps([each for each in said if each is not None])


def _first_turn(value: Any) -> Any:
    """Return a list of messages up to the first of the user; what is no list as it is."""
    if not isinstance(value, list):
        return value
    for index, each in enumerate(value):
        if isinstance(each, dict) and each.get("role", "user") == "user":
            return value[: index + 1]
    return value
