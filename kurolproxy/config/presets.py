"""What is known of the usual vendors: base URL, protocols, paths, quirks.

A quirk is a flag of ``ModelTraits`` that differs from its careful default. Each is shown
by a recording or a golden file, named in the table of ``tests/config/test_presets.py``;
what only a vendor's documentation says is left to the operator's own flags.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from kurolproxy.ir import ModelTraits, ProtocolName

AVAILABLE: Final[tuple[ProtocolName, ...]] = (
    "openai-chat",
    "openai-responses",
    "anthropic",
    "gemini",
)
"""The protocols that this version has codecs for."""


@dataclass(frozen=True, slots=True)
class Preset:
    """One vendor, or one kind of server.

    Attributes:
        protocols: what it speaks, in order of preference; those without a codec are left out.
        base_url: None: everybody has their own, the file must name it.
        paths: protocol -> path template that replaces the usual one.
        auth_header: the header of the credential; None: the protocol's own.
        version_query: the query parameter that ``api_version`` becomes; None: it has none.
        needs_key: nothing is answered without a credential.
        traits: its quirks.
        hint: what stands in ``base_url`` when ``base_url`` is None.
    """

    protocols: tuple[ProtocolName, ...] = ("openai-chat",)
    base_url: str | None = None
    paths: Mapping[ProtocolName, str] = field(default_factory=lambda: MappingProxyType({}))
    auth_header: str | None = None
    version_query: str | None = None
    needs_key: bool = True
    traits: ModelTraits = field(default_factory=ModelTraits)
    hint: str = ""


PRESETS: Final[Mapping[str, Preset]] = MappingProxyType(
    {
        "openai": Preset(
            protocols=("openai-chat", "openai-responses"),
            base_url="https://api.openai.com",
            traits=ModelTraits(
                reasoning_family="openai",
                max_tokens_field="max_completion_tokens",
                developer_role=True,
                system_position="any",
                custom_tools=True,
            ),
        ),
        "anthropic": Preset(
            protocols=("anthropic",),
            base_url="https://api.anthropic.com",
            traits=ModelTraits(reasoning_family="claude"),
        ),
        "gemini": Preset(
            protocols=("gemini",),
            base_url="https://generativelanguage.googleapis.com",
            traits=ModelTraits(reasoning_family="gemini"),
        ),
        "openrouter": Preset(
            protocols=("openai-chat", "openai-responses"), base_url="https://openrouter.ai/api"
        ),
        "deepseek": Preset(
            base_url="https://api.deepseek.com",
            traits=ModelTraits(reasoning_family="deepseek", replay_reasoning_content=True),
        ),
        "groq": Preset(base_url="https://api.groq.com/openai"),
        "mistral": Preset(
            base_url="https://api.mistral.ai",
            # Its streams report usage unasked.
            traits=ModelTraits(stream_options=False),
        ),
        "xai": Preset(protocols=("openai-chat", "openai-responses"), base_url="https://api.x.ai"),
        # The deployment stands in the path, so the model's name does too.
        "azure": Preset(
            paths=MappingProxyType({"openai-chat": "/openai/deployments/{model}/chat/completions"}),
            auth_header="api-key",
            version_query="api-version",
            hint="https://NAME.openai.azure.com",
        ),
        "ollama": Preset(base_url="http://127.0.0.1:11434", needs_key=False),
        "vllm": Preset(base_url="http://127.0.0.1:8000", needs_key=False),
        # Its usual port, 8080, is the gateway's own: nothing is assumed.
        "llama.cpp": Preset(needs_key=False, hint="http://127.0.0.1:8081"),
    }
)


def offered(preset: Preset, available: tuple[ProtocolName, ...]) -> tuple[ProtocolName, ...]:
    """Return the protocols of a preset that this version can speak."""
    return tuple(each for each in preset.protocols if each in available)
