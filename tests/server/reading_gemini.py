"""Gemini, read by the Google GenAI SDK."""

from __future__ import annotations

import json
from typing import Any

from google import genai
from google.genai import types

from tests.fakes.expected_gemini import PartialCalls
from tests.fakes.recordings import Call, Figures, normal_json
from tests.server.seen import Seen

# Reasoning is shown to a Gemini client only when it asked for it. The SDK would go on by
# itself where an answer was cut, and call Python functions.
_CONFIG = types.GenerateContentConfig(
    thinking_config=types.ThinkingConfig(include_thoughts=True),
    automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
    automatic_continuation=False,
)


async def read_gemini(
    sdk: genai.Client, model: str, seen: Seen, *, stream: bool, **more: Any
) -> None:
    """Ask and read the answer."""
    more = {"model": model, "contents": "x", "config": _CONFIG, **more}
    calls = PartialCalls()
    if stream:
        async for piece in await sdk.aio.models.generate_content_stream(**more):
            _piece(piece, seen, calls)
    else:
        _piece(await sdk.aio.models.generate_content(**more), seen, calls)
    seen.calls = [Call(name, normal_json(json.dumps(given))) for name, given in calls.read()]


def _piece(piece: types.GenerateContentResponse, seen: Seen, calls: PartialCalls) -> None:
    for candidate in piece.candidates or ():
        for part in (candidate.content and candidate.content.parts) or ():
            _part(part, seen, calls)
        if candidate.finish_reason is not None:
            seen.finish = candidate.finish_reason.value
    feedback = piece.prompt_feedback
    if feedback is not None and feedback.block_reason is not None:
        seen.finish = feedback.block_reason.value
        seen.refusal += feedback.block_reason_message or ""
    if piece.usage_metadata is not None:
        seen.usage = _usage(piece.usage_metadata) or seen.usage


def _part(part: types.Part, seen: Seen, calls: PartialCalls) -> None:
    if part.thought:
        seen.reasoning += part.text or ""
    else:
        seen.text += part.text or ""
    if part.function_call is not None:
        calls.take(part.function_call.model_dump(by_alias=True, exclude_none=True))


def _usage(told: types.GenerateContentResponseUsageMetadata) -> Figures | None:
    figures = told.model_dump(exclude_none=True)
    if not any(name.endswith("token_count") for name in figures):
        return None
    thought = told.thoughts_token_count or 0
    return Figures(
        prompt=(told.prompt_token_count or 0) + (told.tool_use_prompt_token_count or 0),
        completion=(told.candidates_token_count or 0) + thought,
        cache_read=told.cached_content_token_count or 0,
        reasoning=thought,
    )
