"""How a Responses request is passed through: what is read of it and what is edited."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kurolproxy.errors import BadRequest
from kurolproxy.protocols import seal
from kurolproxy.protocols.base import PassRules
from kurolproxy.protocols.openai_responses.vocabulary import (
    CALL_KINDS,
    ITEM_REFERENCE,
    MESSAGE,
    REASONING,
    SUMMARY_TEXT,
)

_STATELESS = "is not supported: this gateway is stateless, send the full input"
_STATE: Mapping[str, str] = {
    "previous_response_id": f"previous_response_id {_STATELESS}.",
    "conversation": f"conversation {_STATELESS}.",
    "prompt": "prompt is not supported: templates that are kept by the vendor cannot be used "
    "here, send instructions and input.",
}


def refuse_state(top: Mapping[str, Any]) -> None:
    """Check the fields that refer to what the vendor keeps.

    Raises:
        BadRequest: one of them is given, or the answer is to be made in the background.
    """
    for name, told in _STATE.items():
        if top.get(name) is not None:
            raise BadRequest(told, param=name)
    if top.get("background"):
        raise BadRequest(
            "background is not supported: this gateway keeps no answers, wait for this one.",
            param="background",
        )


def refused_reference(where: str) -> BadRequest:
    """Return the error of an item that only points at one the vendor keeps.

    The AI SDK then sends the items themselves.
    """
    return BadRequest(f"{where}: item_reference is not supported: set store=false.", param=where)


def is_reference(item: Mapping[str, Any]) -> bool:
    """Return whether an item is a reference; its type may be missing."""
    kind = item.get("type")
    if kind is None:
        return "role" not in item and item.get("id") is not None
    return bool(kind == ITEM_REFERENCE)


def _refuse_reference(number: int, item: Any) -> None:
    if isinstance(item, Mapping) and is_reference(item):
        raise refused_reference(f"input[{number}]")


def _items(body: Mapping[str, Any]) -> list[Any]:
    items = body.get("input")
    return items if isinstance(items, list) else []


def unseal(body: dict[str, Any], family: str | None) -> dict[str, Any]:
    """Take our seals out of the history, or put the native proof back where it fits.

    A conversation that began on a translated model and goes on here carries our tokens
    as ``encrypted_content``; the vendor would refuse them.

    Args:
        body: the parsed request; it is edited in place.
        family: the reasoning family of the target.
    """
    if isinstance(body.get("input"), list):
        body["input"] = [
            found for item in _items(body) if (found := _unsealed(item, family)) is not None
        ]
    return body


def _unsealed(item: Any, family: str | None) -> Any:
    """Return an item as the vendor may see it; None: not at all."""
    token = _proof(item)
    if token is None:
        # Beside our tokens, thoughts without any proof are ours too (Gemini proves calls,
        # not thoughts): the vendor knows neither their id nor anything it could check.
        unproved = isinstance(item, dict) and item.get("type") == REASONING
        return None if unproved else item
    if not token.startswith(seal.PREFIX):
        return item
    found = seal.decode(token)
    if found is None or found.protocol != "r" or not family or found.family != family:
        return None
    out = {**item, "encrypted_content": found.proof}
    # The id in the client's hands is ours; the vendor checks the proof against its own.
    out.pop("id", None)
    if found.item_id is not None:
        out["id"] = found.item_id
    if not out.get("summary"):
        out["summary"] = summary(found.text or "")
    return out


def summary(text: str) -> list[dict[str, str]]:
    """Write the summary of a reasoning item: required, but it may be empty."""
    return [{"type": SUMMARY_TEXT, "text": text}] if text else []


def _proof(item: Any) -> str | None:
    if not isinstance(item, dict) or item.get("type") != REASONING:
        return None
    token = item.get("encrypted_content")
    return token if isinstance(token, str) and token else None


def forget(body: dict[str, Any]) -> bool:
    """Take every proof of reasoning out of the history, with the thoughts that it proves.

    Args:
        body: the parsed request; it is edited in place.

    Returns:
        whether there was any.
    """
    items = _items(body)
    kept = [item for item in items if _proof(item) is None]
    if len(kept) == len(items):
        return False
    # By its id the vendor knows that an item had thoughts, and asks for them: "Item 'fc_...'
    # was provided without its required 'reasoning' item".
    body["input"] = [_nameless(item) for item in kept]
    return True


def _nameless(item: Any) -> Any:
    if not isinstance(item, dict) or "id" not in item:
        return item
    kind = item.get("type")
    said = kind in (MESSAGE, None) and item.get("role") == "assistant"
    if not said and str(kind) not in CALL_KINDS:
        return item
    return {name: value for name, value in item.items() if name != "id"}


PASSING = PassRules(
    caps=(("max_output_tokens",),),
    unseal=unseal,
    store="always",
    stateful=refuse_state,
    references=("input", _refuse_reference),
    once=(*_STATE, "background", "input"),
    session=("prompt_cache_key",),
    opening=("instructions", "input"),
    headers=("openai-beta", "x-session-id"),
    forget=forget,
)
