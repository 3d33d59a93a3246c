"""How a Gemini request is passed through: what is read of it and what is edited."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import groupby
from typing import Any

from kurolproxy.errors import BadRequest
from kurolproxy.protocols import seal
from kurolproxy.protocols.base import PassRules
from kurolproxy.protocols.gemini.vocabulary import (
    NO_SIGNATURE,
    member,
    snake,
    standard_base64,
)

_SIGNATURE = "thoughtSignature"
_SPELLINGS = (_SIGNATURE, snake(_SIGNATURE))

Part = dict[str, Any]


def unseal(body: dict[str, Any], family: str | None) -> dict[str, Any]:
    """Take our seals out of the history, or put the native proof back where it fits.

    A conversation that began on a translated model and goes on here carries our tokens
    as ``thoughtSignature``; the vendor would refuse them.

    Args:
        body: the parsed request; it is edited in place.
        family: the reasoning family of the target.
    """
    for step in _steps(body):
        # Every part is edited: any() would stop at the first.
        foreign = [_restored(part, family) for part in _parts(step)]
        if not any(foreign):
            continue
        # The thoughts of others are of no use to this vendor, nor is an empty part that
        # carried their proof.
        _keep(step, lambda part: not _thought(part) or _signature(part) is not None)
        _keep(step, lambda part: part.get("text") != "" or _signature(part) is not None)
        _vouch(step)
    _drop_empty(body)
    return body


def _restored(part: Part, family: str | None) -> bool:
    """Put the native proof in the place of our seal; return whether there was none to put."""
    token = _signature(part)
    if token is None or not token.startswith(seal.PREFIX):
        return False
    found = seal.decode(standard_base64(token))
    for name in _SPELLINGS:
        part.pop(name, None)
    if found is None or found.protocol != "g" or not family or found.family != family:
        return True
    part[_SIGNATURE] = found.proof
    return False


def forget(body: dict[str, Any]) -> bool:
    """Take every proof out of the history, with the thoughts.

    The first call of each step gets the word that stands for a proof: without any the
    vendor refuses it.

    Args:
        body: the parsed request; it is edited in place.

    Returns:
        whether anything changed.
    """
    changed = False
    for step in _steps(body):
        for part in _parts(step):
            if _signature(part) not in (None, NO_SIGNATURE):
                changed = True
                for name in _SPELLINGS:
                    part.pop(name, None)
        changed = _keep(step, lambda part: not _thought(part)) or changed
        _keep(step, lambda part: part.get("text") != "" or _signature(part) is not None)
        changed = _vouch(step) or changed
    _drop_empty(body)
    return changed


# --- the steps of a history -----------------------------------------------------------------


def _steps(body: Mapping[str, Any]) -> Iterator[list[dict[str, Any]]]:
    """Yield the model's turns; a stream's history has several contents for one."""
    contents = body.get("contents")
    for is_model, run in groupby(
        # The vendor's own examples write one object for an array of one.
        contents if isinstance(contents, list) else (contents,),
        lambda content: isinstance(content, dict) and _role(content) == "model",
    ):
        if is_model:
            yield list(run)


def _role(content: Mapping[str, Any]) -> str:
    return str(content.get("role")).lower()


def _parts(step: list[dict[str, Any]]) -> Iterator[Part]:
    for content in step:
        parts = content.get("parts")
        for part in parts if isinstance(parts, list) else (parts,):
            if isinstance(part, dict):
                yield part


def _signature(part: Mapping[str, Any]) -> str | None:
    token = member(part, _SIGNATURE)
    return token if isinstance(token, str) else None


def _thought(part: Mapping[str, Any]) -> bool:
    return part.get("thought") is True


def _keep(step: list[dict[str, Any]], wanted: Callable[[Part], bool]) -> bool:
    """Leave the wanted parts of a step; return whether any was taken out."""
    changed = False
    for content in step:
        parts = content.get("parts")
        if isinstance(parts, list):
            kept = [part for part in parts if not isinstance(part, dict) or wanted(part)]
            if len(kept) < len(parts):
                content["parts"], changed = kept, True
    return changed


def _vouch(step: list[dict[str, Any]]) -> bool:
    """Let the first call of a step say why it has no proof; return whether it had to."""
    calls = (part for part in _parts(step) if member(part, "functionCall") is not None)
    first = next(calls, None)
    if first is None or _signature(first) is not None:
        return False
    first[_SIGNATURE] = NO_SIGNATURE
    return True


def _drop_empty(body: dict[str, Any]) -> None:
    """Take out the contents that lost all their parts: the vendor refuses empty ones."""
    contents = body.get("contents")
    if isinstance(contents, list):
        body["contents"] = [
            each for each in contents if not isinstance(each, dict) or each.get("parts") != []
        ]


def _stateful(top: Mapping[str, Any]) -> None:
    if any(top.get(name) for name in ("cachedContent", "cached_content")):
        raise BadRequest(
            "cachedContent is not supported: this gateway is stateless, send the content itself.",
            param="cachedContent",
        )


PASSING = PassRules(
    caps=(
        ("generationConfig", "maxOutputTokens"),
        ("generation_config", "max_output_tokens"),
        ("generationConfig", "max_output_tokens"),
        ("generation_config", "maxOutputTokens"),
    ),
    unseal=unseal,
    count=("generationConfig", "candidateCount"),
    budget=("generationConfig", "thinkingConfig", "thinkingBudget"),
    store="when_present",
    stateful=_stateful,
    opening=("systemInstruction", "system_instruction", "contents"),
    headers=("x-session-id",),
    forget=forget,
    also=snake,
    model_in_body=False,
)
"""The body is forwarded as it came, but for ``store``, a lowered cap and our own seals."""
