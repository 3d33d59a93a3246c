"""Golden files of Gemini requests, both ways.

``KUROL_UPDATE_GOLDEN=1`` rewrites the expected files; read the diff like code.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from google.genai import types

from kurolproxy.protocols.base import TargetView
from kurolproxy.protocols.gemini.request_decode import decode_request
from tests.protocols.gemini.request_support import encoded, target
from tests.protocols.goldens import cases, golden_read, golden_sent, stems

# Name of a request -> the target it is encoded for; any other has the careful defaults.
TARGETS: dict[str, TargetView] = {
    "python_sdk_tools": target(
        reasoning_family="gemini", thinking="budget", tool_result_media=True
    ),
    "ai_sdk_result": target(hosted_tools=("web_search",)),
    "thoughts": target(reasoning_family="gemini"),
    "legacy_schema": target(gemini_schema="legacy"),
    "everything_else": target(32_000, prefill=True, allow_service_tier=True),
    "enum_answer": target(thinking_can_disable=False, efforts=("low", "high")),
}
CASES = cases("gemini", "request", "json")
NAMES = stems(CASES)


def test_there_are_cases_for_every_target() -> None:
    assert len(CASES) >= 11
    assert set(TARGETS) <= set(NAMES)


def test_every_case_is_explained() -> None:
    told = (CASES[0].parent / "ORIGINS-request.md").read_text()
    assert [name for name in NAMES if f"| {name} |" not in told] == []


@pytest.mark.parametrize("path", CASES, ids=NAMES)
def test_request_is_read(path: Path) -> None:
    request = decode_request(json.loads(path.read_bytes()))
    golden_read(path, request)


@pytest.mark.parametrize("path", CASES, ids=NAMES)
def test_request_is_written_as_the_sdk_knows_it(path: Path) -> None:
    request = decode_request(json.loads(path.read_bytes()))
    sent = encoded(request, TARGETS.get(path.stem))
    golden_sent(path.with_suffix(".gemini.json"), sent)
    _check_known(sent[0].body)


def _check_known(body: dict[str, object]) -> None:
    """Let the vendor's types read every field: they refuse what they do not know."""
    readers = {
        "systemInstruction": types.Content,
        "toolConfig": types.ToolConfig,
        "generationConfig": types.GenerationConfig,
    }
    lists = {"contents": types.Content, "tools": types.Tool}
    for name, value in body.items():
        if name in lists:
            assert isinstance(value, list)
            for each in value:
                lists[name].model_validate(each)
        elif name in readers:
            readers[name].model_validate(value)
        else:
            assert name == "serviceTier"
            types.ServiceTier(value)
