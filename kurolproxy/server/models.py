"""``GET /v1/models``: one path, three shapes."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Literal

from aiohttp.web import BaseRequest

from kurolproxy.errors import BadRequest
from kurolproxy.policy import refusals
from kurolproxy.policy.catalog import Model
from kurolproxy.protocols import wire

Shape = Literal["openai-chat", "anthropic", "gemini"]

_OWNER = "kurolproxy"
_MAX_PAGE = 1_000
_PAGE = 20
# Claude Code shows only ids that begin so; an alias can give any model such a name.
_CLAUDE = ("claude", "anthropic")


def shape_of(request: BaseRequest, *, beta: bool) -> Shape:
    """Return the shape a client expects.

    A key in ``x-goog-api-key`` or ``?key=``, or the path ``/v1beta``, says Gemini;
    ``anthropic-version`` says Anthropic; everybody else gets OpenAI's.
    """
    if beta or "x-goog-api-key" in request.headers or "key" in request.query:
        return "gemini"
    return "anthropic" if "anthropic-version" in request.headers else "openai-chat"


def listing(shape: Shape, models: list[Model], request: BaseRequest, created: float) -> bytes:
    """Return the body of a list.

    Args:
        created: Unix seconds shown as the models' date; we know no better one.
    """
    if shape == "gemini":
        return wire.dumps({"models": [_gemini(model) for model in models]})
    if shape == "anthropic":
        return wire.dumps(_anthropic_page(list(_with_claude_names(models)), request, created))
    return wire.dumps({"object": "list", "data": [_openai(each, created) for each in models]})


def single(shape: Shape, models: list[Model], name: str, created: float) -> bytes:
    """Return the body of one model, by id or alias.

    Raises:
        ModelNotFound: it is not among the caller's.
    """
    for model in models:
        if name == model.id or name in model.aliases:
            if shape == "gemini":
                return wire.dumps(_gemini(model, name))
            if shape == "anthropic":
                return wire.dumps(_anthropic(name, model, created))
            return wire.dumps(_openai(model, created, name))
    raise refusals.unknown_model(name, (own for each in models for own in (each.id, *each.aliases)))


def _openai(model: Model, created: float, name: str | None = None) -> dict[str, Any]:
    found: dict[str, Any] = {
        "id": name or model.id,
        "object": "model",
        "created": int(created),
        "owned_by": _OWNER,
    }
    if model.context_window is not None:
        found["context_window"] = model.context_window
    if model.max_output_tokens is not None:
        found["max_output_tokens"] = model.max_output_tokens
    return found


def _anthropic(name: str, model: Model, created: float) -> dict[str, Any]:
    stamp = datetime.fromtimestamp(int(created), UTC).isoformat().replace("+00:00", "Z")
    found: dict[str, Any] = {
        "type": "model",
        "id": name,
        "display_name": name,
        "created_at": stamp,
        "lifecycle": "active",
    }
    if model.context_window is not None:
        found["max_input_tokens"] = model.context_window
    if model.max_output_tokens is not None:
        found["max_tokens"] = model.max_output_tokens
    return found


def _gemini(model: Model, name: str | None = None) -> dict[str, Any]:
    shown = name or model.id
    found: dict[str, Any] = {
        "name": f"models/{shown}",
        "version": "1",
        "displayName": shown,
        "description": shown,
        "supportedGenerationMethods": ["generateContent", "countTokens"],
    }
    if model.context_window is not None:
        found["inputTokenLimit"] = model.context_window
    if model.max_output_tokens is not None:
        found["outputTokenLimit"] = model.max_output_tokens
    return found


def _with_claude_names(models: Iterable[Model]) -> Iterable[tuple[str, Model]]:
    for model in models:
        yield model.id, model
        for alias in model.aliases:
            if alias.startswith(_CLAUDE):
                yield alias, model


def _anthropic_page(
    named: list[tuple[str, Model]], request: BaseRequest, created: float
) -> dict[str, Any]:
    limit = _limit(request.query.get("limit"))
    names = [name for name, _ in named]
    after, before = request.query.get("after_id"), request.query.get("before_id")
    start, end = 0, len(named)
    if after is not None and after in names:
        start = names.index(after) + 1
    if before is not None and before in names:
        end = names.index(before)
        start = max(start, end - limit)
    page = named[start : min(end, start + limit)]
    return {
        "data": [_anthropic(name, model, created) for name, model in page],
        "has_more": start > 0 if before is not None else start + len(page) < end,
        "first_id": page[0][0] if page else None,
        "last_id": page[-1][0] if page else None,
    }


def _limit(text: str | None) -> int:
    if text is None:
        return _PAGE
    # Python refuses to read a number of thousands of digits.
    found = int(text) if len(text) < 10 and text.isascii() and text.isdigit() else 0
    if not 1 <= found <= _MAX_PAGE:
        raise BadRequest(f"limit must be a number from 1 to {_MAX_PAGE}.", param="limit")
    return found
