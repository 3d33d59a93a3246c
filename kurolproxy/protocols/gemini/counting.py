"""How Gemini counts the tokens of a prompt.

Source: https://ai.google.dev/api/tokens#method:-models.counttokens
"""

from __future__ import annotations

from typing import Any

from kurolproxy.errors import BadRequest
from kurolproxy.protocols import wire
from kurolproxy.protocols.base import Counting
from kurolproxy.protocols.gemini.vocabulary import member
from kurolproxy.tokens import count

# What the model of a counting call may begin with.
_COLLECTIONS = ("models/", "tunedModels/")


def generating(body: dict[str, Any]) -> dict[str, Any]:
    """Return the generating request that a client wants counted.

    It says the contents alone, or a whole request; the path says the model.

    Raises:
        BadRequest: it says neither.
    """
    whole = member(body, "generateContentRequest")
    if whole is None:
        if not body.get("contents"):
            raise BadRequest("contents: at least one content is required.", param="contents")
        return body
    if not isinstance(whole, dict):
        raise BadRequest(
            "generateContentRequest must be an object.", param="generateContentRequest"
        )
    return {name: value for name, value in whole.items() if name != "model"}


def asking(body: dict[str, Any], model: str) -> dict[str, Any]:
    """Return the counting call for a generating request: the system and the tools count too."""
    name = model if model.startswith(_COLLECTIONS) else f"models/{model}"
    return {"generateContentRequest": {**body, "model": name}}


def read(answer: Any) -> int | None:
    """Return the tokens that an upstream's answer tells of."""
    return count(member(answer, "totalTokens")) if isinstance(answer, dict) else None


def answer(tokens: int) -> bytes:
    """Write the answer for a client."""
    return wire.dumps({"totalTokens": tokens})


COUNTING = Counting(
    path="/v1beta/models/{model}:countTokens",
    generating=generating,
    asking=asking,
    read=read,
    answer=answer,
)
"""The counting call of this protocol."""
