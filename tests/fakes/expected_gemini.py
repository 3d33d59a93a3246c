"""What a recording of Gemini's generateContent holds."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any

from tests.fakes.expected_common import Expected, Figures, Gathered, json_frames, message_of

# Vertex writes enums as numbers when it is asked to (``$alt=json;enum-encoding=int``).
_FINISH = {1: "STOP", 2: "MAX_TOKENS", 3: "SAFETY", 4: "RECITATION", 5: "OTHER"}
_STEP = re.compile(r"\.(\w+)|\[(\d+)\]")
_SCALARS = ("stringValue", "numberValue", "boolValue", "nullValue")


def read_answer(body: bytes) -> Expected:
    """Read a whole answer, a stream that came as one JSON array, or that of ``countTokens``."""
    value = json.loads(body)
    if "totalTokens" in value:
        return Expected(usage=Figures(prompt=value["totalTokens"]))
    return _read(value if isinstance(value, list) else [value])


def read_stream(body: bytes) -> Expected:
    """Read a stream."""
    return _read(json_frames(body))


def _read(pieces: Iterable[Mapping[str, Any]]) -> Expected:
    answer = Gathered()
    calls = PartialCalls()
    for piece in pieces:
        if "error" in piece:
            answer.error = message_of(piece)
        answer.usage = _usage(piece.get("usageMetadata") or {}) or answer.usage
        for candidate in piece.get("candidates") or []:
            _candidate(answer, calls, candidate)
        _blocked(answer, piece.get("promptFeedback") or {})
    for index, (name, arguments) in enumerate(calls.read()):
        answer.names[index] = name
        answer.arguments[index] = [json.dumps(arguments)]
    return answer.close()


def _candidate(answer: Gathered, calls: PartialCalls, candidate: Mapping[str, Any]) -> None:
    for part in (candidate.get("content") or {}).get("parts") or []:
        into = answer.reasoning if part.get("thought") else answer.text
        into.append(part.get("text") or "")
        answer.proofs.extend(filter(None, [part.get("thoughtSignature")]))
        if "functionCall" in part:
            calls.take(part["functionCall"])
    reason = candidate.get("finishReason")
    if reason is not None:
        answer.finish = _FINISH[reason] if isinstance(reason, int) else reason


def _blocked(answer: Gathered, feedback: Mapping[str, Any]) -> None:
    """Read why a prompt got no answer at all."""
    if feedback.get("blockReason"):
        answer.finish = feedback["blockReason"]
        answer.refusal.append(feedback.get("blockReasonMessage") or "")


class PartialCalls:
    """Calls, whole ones and such that Vertex sends in pieces.

    A piece names the places of its values by paths (``$.items[0].name``); a string goes
    on in the next piece while ``willContinue`` says so. The first piece has the name.
    """

    def __init__(self) -> None:
        self._calls: list[tuple[str, Any]] = []

    def take(self, call: Mapping[str, Any]) -> None:
        """Read one ``functionCall``."""
        if call.get("name"):
            self._calls.append((call["name"], call.get("args") or {}))
        for piece in call.get("partialArgs") or []:
            self._put(piece)

    def _put(self, piece: Mapping[str, Any]) -> None:
        value = next(piece[name] for name in _SCALARS if name in piece)
        place: Any = self._calls[-1][1]
        steps: list[Any] = [
            name or int(index) for name, index in _STEP.findall(piece["jsonPath"].removeprefix("$"))
        ]
        for step, following in pairwise(steps):
            empty: Any = [] if isinstance(following, int) else {}
            place = _grow(place, step, empty)
        if "stringValue" in piece:
            value = _grow(place, steps[-1], "") + value
        elif "nullValue" in piece:
            value = None
        _grow(place, steps[-1], value)
        place[steps[-1]] = value

    def read(self) -> list[tuple[str, Any]]:
        """Return name and arguments of each call, in order."""
        return self._calls


def _grow(place: Any, step: Any, empty: Any) -> Any:
    """Return what stands at a step, put there when nothing did."""
    if isinstance(place, dict):
        return place.setdefault(step, empty)
    place.extend([empty] if step == len(place) else [])
    return place[step]


def _usage(told: Mapping[str, Any]) -> Figures | None:
    if not any(name.endswith("TokenCount") for name in told):
        return None
    thought = told.get("thoughtsTokenCount") or 0
    return Figures(
        prompt=(told.get("promptTokenCount") or 0) + (told.get("toolUsePromptTokenCount") or 0),
        completion=(told.get("candidatesTokenCount") or 0) + thought,
        cache_read=told.get("cachedContentTokenCount") or 0,
        reasoning=thought,
    )
