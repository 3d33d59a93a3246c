"""Golden files of Responses requests, both ways; real requests; what others say of ours.

``KUROL_UPDATE_GOLDEN=1`` rewrites the expected files; read the diff like code.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from openai.types.responses import ToolParam
from openai.types.responses.response_input_item_param import ResponseInputItemParam
from openai.types.responses.response_text_config_param import ResponseTextConfigParam
from openai.types.shared_params import Reasoning
from pydantic import TypeAdapter

from kurolproxy.demo import responses_request as vendor
from kurolproxy.ir import Text, ToolCall
from kurolproxy.protocols import wire
from kurolproxy.protocols.base import TargetView
from kurolproxy.protocols.normalise import normalise
from kurolproxy.protocols.openai_responses.request_decode import decode_request
from tests.fakes.recordings import Recording, ids, needs_recordings, select
from tests.protocols.goldens import cases, golden_read, golden_sent, stems, unexplained
from tests.protocols.openai_responses.request_support import body, encoded, target

# Name of a request -> the target it is encoded for; any other has the careful defaults.
TARGETS: dict[str, TargetView] = {
    "media": target(cache="explicit"),
    "reasoning_replay": target(reasoning_family="openai"),
    "everything_else": target(
        32_000,
        allow_service_tier=True,
        efforts=("low", "medium", "high"),
        hosted_tools=("web_search",),
    ),
    "interrupted": target(forced_tool_choice=False, thinking="none"),
    "changes": target(allow_store=True, prefill=True),
}
REQUESTS = cases("openai_responses", "request", "json")
RECORDED = [each for each in select(protocol="responses") if each.request is not None]


def _written(path: Path) -> dict[str, Any]:
    return body(decode_request(json.loads(path.read_bytes())), TARGETS.get(path.stem))


def test_there_are_cases() -> None:
    assert len(REQUESTS) >= 10


def test_every_case_is_explained() -> None:
    assert unexplained("ORIGINS-request.md", REQUESTS) == []


@pytest.mark.parametrize("path", REQUESTS, ids=stems(REQUESTS))
def test_request_is_read(path: Path) -> None:
    request = decode_request(json.loads(path.read_bytes()))
    golden_read(path, request)


@pytest.mark.parametrize("path", REQUESTS, ids=stems(REQUESTS))
def test_request_is_written(path: Path) -> None:
    request = decode_request(json.loads(path.read_bytes()))
    golden_sent(path.with_suffix(".responses.json"), encoded(request, TARGETS.get(path.stem)))


# --- what we write, as others see it --------------------------------------------------------


def _checkable(sent: dict[str, Any]) -> dict[str, Any]:
    """Return a body without proofs, which nobody but the vendor can check.

    The demo vendor wants a name in every reference; OpenAI's own tools have none.
    """
    sent = json.loads(wire.dumps(sent))
    sent["input"] = [item for item in sent["input"] if item["type"] != "reasoning"]
    choice = sent.get("tool_choice")
    if isinstance(choice, dict) and "tools" in choice:
        choice["tools"] = [tool for tool in choice["tools"] if "name" in tool]
    return sent


# The vendor's own proofs are no seals of ours: what is written with them is read without.
PROOFLESS = [path for path in REQUESTS if path.stem != "reasoning_replay"]


@pytest.mark.parametrize("path", PROOFLESS, ids=stems(PROOFLESS))
def test_what_is_written_is_read_as_the_same_again(path: Path) -> None:
    sent = _written(path)
    view = TARGETS.get(path.stem)
    assert wire.dumps(body(decode_request(sent), view)) == wire.dumps(sent)


@pytest.mark.parametrize("path", REQUESTS, ids=stems(REQUESTS))
def test_vendor_takes_what_is_written(path: Path) -> None:
    """The demo vendor shares no code with the codec and refuses in OpenAI's words."""
    ask = vendor.read(_checkable(_written(path)), "fingerprint")
    assert ask.model == "up"


@cache
def adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


# Ids are required by these types and by nobody else: without storage they are not found.
IDS = {"assistant": {"id": "msg_1", "status": "completed"}, None: {"id": "rs_1"}}


@pytest.mark.parametrize("path", REQUESTS, ids=stems(REQUESTS))
def test_what_is_written_fits_the_types_of_the_sdk(path: Path) -> None:
    sent = _written(path)
    for item in sent["input"]:
        if item["type"] in ("message", "reasoning"):
            item = {**IDS.get(item.get("role"), {}), **item}
        if item.get("role") == "user":
            # Sound is taken by the vendor, but not yet by these types.
            item["content"] = [part for part in item["content"] if part["type"] != "input_audio"]
        adapter(ResponseInputItemParam).validate_python(item)
    for tool in sent.get("tools", ()):
        adapter(ToolParam).validate_python(tool)
    adapter(ResponseTextConfigParam).validate_python(sent.get("text", {}))
    adapter(Reasoning).validate_python(sent.get("reasoning", {}))


# --- recordings -----------------------------------------------------------------------------


@needs_recordings
def test_there_are_recorded_requests() -> None:
    assert len(RECORDED) >= 20


@pytest.mark.parametrize("recorded", RECORDED, ids=ids(RECORDED))
def test_recorded_request_keeps_what_was_said(recorded: Recording) -> None:
    wired = recorded.request_json
    request = normalise(decode_request(wired))
    assert request.model == wired["model"]
    assert request.unknown == 0
    parts = [part for message in request.messages for part in message.parts]
    words = [part.text for part in (*request.system, *parts) if isinstance(part, Text)]
    calls = [(part.id, part.name, part.args) for part in parts if isinstance(part, ToolCall)]
    assert sorted(words) == sorted(_words(wired))
    assert calls == _calls(wired)


@pytest.mark.parametrize("recorded", RECORDED, ids=ids(RECORDED))
def test_recorded_request_is_written_for_another_model(recorded: Recording) -> None:
    wired = recorded.request_json
    sent = body(decode_request(wired))
    assert sent["model"] == "up"
    assert sent["store"] is False
    assert sorted(_words(sent)) == sorted(_words(wired))
    assert _calls(sent) == _calls(wired)
    assert sent.get("stream") == (wired.get("stream") or None)
    vendor.read(_checkable(sent), "fingerprint")


def _words(wired: dict[str, Any]) -> list[str]:
    found = [wired["instructions"]] if wired.get("instructions") else []
    if isinstance(wired["input"], str):
        return [*found, wired["input"]]
    for item in wired["input"]:
        content = item.get("content")
        if isinstance(content, str):
            found.append(content)
        for part in content if isinstance(content, list) else ():
            found += [part["text"]] if "text" in part else []
    return found


def _calls(wired: dict[str, Any]) -> list[tuple[str, str, str]]:
    items = wired["input"] if isinstance(wired["input"], list) else []
    return [
        (item["call_id"], item["name"], item["arguments"])
        for item in items
        if item.get("type") == "function_call"
    ]
