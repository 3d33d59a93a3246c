"""The demo vendor's model listings, in the shapes of OpenAI, Anthropic and Google."""

from __future__ import annotations

from typing import Any

from kurolproxy.demo.script import CONTEXT_WINDOW, MAX_OUTPUT_TOKENS, MODELS, DemoModel

# Listings say when a model was made; ours was never.
_CREATED = 1_700_000_000
_CREATED_AT = "2023-11-14T22:13:20Z"


def openai_model(model: DemoModel) -> dict[str, Any]:
    """Write one model as OpenAI lists it."""
    return {"id": model.id, "object": "model", "created": _CREATED, "owned_by": "demo"}


def anthropic_model(model: DemoModel) -> dict[str, Any]:
    """Write one model as Anthropic lists it."""
    return {
        "type": "model",
        "id": model.id,
        "display_name": model.name,
        "created_at": _CREATED_AT,
        "lifecycle": "active",
        "max_input_tokens": CONTEXT_WINDOW,
        "max_tokens": MAX_OUTPUT_TOKENS,
    }


def gemini_model(model: DemoModel) -> dict[str, Any]:
    """Write one model as Google lists it."""
    return {
        "name": f"models/{model.id}",
        "version": "1",
        "displayName": model.name,
        "description": f"{model.name} answers without any vendor.",
        "inputTokenLimit": CONTEXT_WINDOW,
        "outputTokenLimit": MAX_OUTPUT_TOKENS,
        "supportedGenerationMethods": ["generateContent", "countTokens"],
        "thinking": model.thinks,
    }


def openai_list() -> dict[str, Any]:
    """List every model as OpenAI does."""
    return {"object": "list", "data": [openai_model(model) for model in MODELS.values()]}


def anthropic_list() -> dict[str, Any]:
    """List every model as Anthropic does, on one page."""
    data = [anthropic_model(model) for model in MODELS.values()]
    return {
        "data": data,
        "has_more": False,
        "first_id": data[0]["id"],
        "last_id": data[-1]["id"],
    }


def gemini_list() -> dict[str, Any]:
    """List every model as Google does, on one page."""
    return {"models": [gemini_model(model) for model in MODELS.values()]}
