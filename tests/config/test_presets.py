"""Every preset's quirk is shown by real traffic or by a golden file."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest

from kurolproxy.config.load import parse
from kurolproxy.config.presets import AVAILABLE, PRESETS, offered
from kurolproxy.ir import ModelTraits, ProtocolName
from kurolproxy.protocols import wire
from kurolproxy.protocols.base import TargetView
from kurolproxy.protocols.losses import Reader
from kurolproxy.protocols.normalise import normalise
from kurolproxy.protocols.registry import CODECS
from tests.fakes.recordings import Recording, expected, recording

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "presets"
Shows = Callable[[Recording], bool]


def _accepted(seen: Recording, field: str) -> bool:
    """The vendor answered a request that has this field."""
    return seen.status == 200 and field in seen.request_json


def _reports_usage_unasked(seen: Recording) -> bool:
    return "stream_options" not in seen.request_json and expected(seen).usage is not None


# Preset, flag, recording, what it shows.
RECORDED: list[tuple[str, str, str, Shows]] = [
    (
        "openai",
        "max_tokens_field",
        "chat-openai-json-schema-stream",
        lambda seen: _accepted(seen, "max_completion_tokens"),
    ),
    (
        "openai",
        "developer_role",
        "chat-openai-system-multiturn",
        lambda seen: seen.status == 200 and seen.request_json["messages"][0]["role"] == "developer",
    ),
    (
        "openai",
        "custom_tools",
        "chat-openai-tool-custom-nonfunction",
        lambda seen: seen.status == 200 and seen.request_json["tools"][0]["type"] == "custom",
    ),
    (
        "openai",
        "reasoning_family",
        "responses-openai-mcp-failed",
        lambda seen: b'"encrypted_content": "gAAAA' in seen.response,
    ),
    (
        "anthropic",
        "reasoning_family",
        "messages-anthropic-thinking-stream",
        lambda seen: bool(expected(seen).proofs),
    ),
    (
        "gemini",
        "reasoning_family",
        "gemini-google-thinking-signature-stream",
        lambda seen: b'"thoughtSignature"' in seen.response,
    ),
    (
        "deepseek",
        "reasoning_family",
        "chat-deepseek-reasoning-stream",
        lambda seen: b'"reasoning_content":"' in seen.response,
    ),
    ("mistral", "stream_options", "chat-mistral-reasoning-stream", _reports_usage_unasked),
]
# Preset, flag: tests/golden/presets/<preset>.<flag>.json shows what is sent because of it.
GOLDEN_FILES = [("openai", "system_position"), ("deepseek", "replay_reasoning_content")]


def test_every_quirk_is_shown_and_nothing_else_is_claimed() -> None:
    careful = ModelTraits()
    quirks = {
        (name, each.name)
        for name, preset in PRESETS.items()
        for each in dataclasses.fields(ModelTraits)
        if getattr(preset.traits, each.name) != getattr(careful, each.name)
    }
    assert quirks == {(name, flag) for name, flag, *_ in RECORDED} | set(GOLDEN_FILES)


@pytest.mark.parametrize(
    ("preset", "flag", "stem", "shows"), RECORDED, ids=[f"{p}-{f}" for p, f, *_ in RECORDED]
)
def test_recording_shows_the_quirk(preset: str, flag: str, stem: str, shows: Shows) -> None:
    assert getattr(PRESETS[preset].traits, flag) != getattr(ModelTraits(), flag)
    seen = recording(stem)
    assert seen.vendor in (preset, "google" if preset == "gemini" else preset)
    assert shows(seen)


@pytest.mark.parametrize(("preset", "flag"), GOLDEN_FILES, ids=lambda value: value)
def test_golden_file_shows_the_quirk(preset: str, flag: str) -> None:
    case = json.loads((GOLDEN / f"{preset}.{flag}.json").read_text())
    traits = PRESETS[preset].traits
    assert _sent(case, traits) == case["upstream"]
    careful = dataclasses.replace(traits, **{flag: getattr(ModelTraits(), flag)})
    assert _sent(case, careful) == case["upstream_without"]


def _sent(case: dict[str, object], traits: ModelTraits) -> object:
    """What a Messages request of the golden file becomes for a Chat target."""
    body = wire.load_object(wire.dumps(case["client"]))
    request = normalise(CODECS["anthropic"].decode_request(body))
    target = TargetView(model="m", public_model="m", traits=traits)
    sent = CODECS["openai-chat"].encode_request(Reader(request), target).body
    return json.loads(wire.dumps(sent["messages"]))


# --- addresses ----------------------------------------------------------------------------

# Preset, a recording of that vendor, the model's name in its path.
ADDRESSES = [
    ("openai", "chat-openai-text", ""),
    ("openai", "responses-openai-text", ""),
    ("anthropic", "messages-anthropic-text", ""),
    ("gemini", "gemini-google-text", "gemini-2.5-flash-lite"),
    ("openrouter", "responses-openrouter-comments-stream", ""),
    ("xai", "responses-xai-error-400", ""),
    ("openrouter", "chat-openrouter-emoji-stream", ""),
    ("deepseek", "chat-deepseek-length-stop-stream", ""),
    ("groq", "chat-groq-reasoning", ""),
    ("mistral", "chat-mistral-reasoning-stream", ""),
    ("xai", "chat-xai-text-stream", ""),
    ("azure", "chat-azure-content-filter-finish", "openllmetry-testing"),
    ("ollama", "chat-ollama-reasoning-stream", ""),
    ("vllm", "chat-vllm-length-stop-stream", ""),
    ("llama.cpp", "chat-llamacpp-reasoning-stream", ""),
]


_PROTOCOLS: dict[str, ProtocolName] = {
    "chat": "openai-chat",
    "responses": "openai-responses",
    "messages": "anthropic",
    "gemini": "gemini",
}


@pytest.mark.parametrize(("preset", "stem", "model"), ADDRESSES, ids=[a[1] for a in ADDRESSES])
def test_calls_go_where_the_vendor_was_recorded(preset: str, stem: str, model: str) -> None:
    called = urlsplit(recording(stem).path)
    text = f'[[upstreams]]\nname = "u"\npreset = "{preset}"\napi_keys = ["k"]\n'
    if PRESETS[preset].base_url is None:
        text += 'base_url = "https://host.example.org"\n'
    if preset == "azure":
        text += 'api_version = "2024-02-01"\n'
    upstream = parse(text, "config.toml", {}).catalog.upstreams["u"]
    protocol = _PROTOCOLS[stem.partition("-")[0]]
    assert protocol in upstream.protocols
    path = upstream.paths.get(protocol, CODECS[protocol].path).replace("{model}", model)
    assert urlsplit(upstream.base_url).path + path == called.path
    assert dict(upstream.query) == dict(parse_qsl(called.query))


def test_every_protocol_of_a_preset_has_a_recorded_address() -> None:
    listed = {
        (name, protocol)
        for name, preset in PRESETS.items()
        for protocol in offered(preset, AVAILABLE)
    }
    recorded = {(preset, _PROTOCOLS[stem.partition("-")[0]]) for preset, stem, _ in ADDRESSES}
    assert listed == recorded
    assert {name for name, _ in listed} == set(PRESETS)


def test_available_protocols_are_those_with_a_codec() -> None:
    assert set(AVAILABLE) == set(CODECS)
