"""Which tool sent a request, by the headers that it sent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

# What a User-Agent begins with, up to the first slash or blank, in lower case. What the
# tools of docs/clients.md really send; "ai-sdk" and the SDKs are looked at again below.
_NAMES: Final[Mapping[str, str]] = {
    "claude-cli": "claude-code",
    "claude-code": "claude-code",
    "codex": "codex",
    "codex_exec": "codex",
    "codex_cli_rs": "codex",
    "codex-tui": "codex",
    "codex_vscode": "codex",
    "codex_sdk_ts": "codex",
    "cline": "cline",
    "roocode": "roo-code",
    "roo-code": "roo-code",
    "kilo": "kilo",
    "kilocode": "kilo",
    "kilo-code": "kilo",
    "geminicli": "gemini-cli",
    "geminicli-tui": "gemini-cli",
    "geminicli-vscode": "gemini-cli",
    "geminicli-acp": "gemini-cli",
    "geminicli-a2a-server": "gemini-cli",
    "qwencode": "qwen-code",
    "opencode": "opencode",
    "continue": "continue",
    "pi-coding-agent": "pi",
    "pi": "pi",
    "aider": "aider",
    "curl": "curl",
    "kurolproxy": "kurolproxy",
    "litellm": "python",
    "python": "python",
    "python-httpx": "python",
    "python-requests": "python",
    "python-urllib": "python",
    "node": "node",
    "node-fetch": "node",
    "undici": "node",
    "bun": "node",
    "axios": "node",
}

# What tools with a vendor's SDK inside say of themselves beside its User-Agent: the header
# X-Title, in lower case.
_TITLES: Final[Mapping[str, str]] = {
    "cline": "cline",
    "roo code": "roo-code",
    "kilo code": "kilo",
    "kilo": "kilo",
    "opencode": "opencode",
    "continue": "continue",
    "aider": "aider",
    "qwen code": "qwen-code",
}

# What stands anywhere in a User-Agent: SDKs, and what wears the name of a browser.
_MARKS: Final[tuple[tuple[str, str], ...]] = (
    # The CLI of Cline is compiled with Bun, and names the AI SDK only.
    ("runtime/bun", "cline"),
    ("powershell/", "powershell"),
    ("/python", "python"),
    ("gl-python/", "python"),
    ("/js", "node"),
    ("gl-node/", "node"),
    ("ai-sdk/", "node"),
)
_LOOKED_AT: Final = 200


def tool_of(headers: Mapping[str, str]) -> str:
    """Return the slug of the tool that sent a request.

    Args:
        headers: with names that are found in any case, as those of aiohttp are.

    Returns:
        for instance ``claude-code``, ``roo-code``, ``curl`` or ``python`` (any of the
        SDKs); "" when nothing tells.
    """
    agent = headers.get("User-Agent", "")[:_LOOKED_AT].lower()
    found = _NAMES.get(agent.partition("/")[0].partition(" ")[0])
    if found is not None:
        return found
    found = _TITLES.get(headers.get("X-Title", "")[:_LOOKED_AT].strip().lower())
    if found is not None:
        return found
    for mark, tool in _MARKS:
        if mark in agent:
            return tool
    return ""
