"""Tools are known by what they really send."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from kurolproxy.connect.detect import tool_of

# Seen on the wire with the versions of docs/clients.md, but for the extensions of editors.
SENT: tuple[tuple[str, Mapping[str, str]], ...] = (
    ("claude-code", {"User-Agent": "claude-cli/2.1.330 (external, sdk-cli)", "x-app": "cli"}),
    ("codex", {"User-Agent": "codex_exec/0.169.0 (Debian 12.0.0; x86_64) unknown (codex_exec)"}),
    ("codex", {"User-Agent": "codex_cli_rs/0.169.0 (Mac OS 15.1; arm64) vscode/1.99"}),
    (
        "cline",
        {
            "User-Agent": "ai-sdk/openai-compatible/3.0.37 ai-sdk/provider-utils/5.0.30"
            " runtime/bun/1.3.13"
        },
    ),
    ("cline", {"User-Agent": "OpenAI/JS 5.12.2", "X-Title": "Cline"}),
    ("cline", {"User-Agent": "Cline/3.40.0"}),
    ("roo-code", {"User-Agent": "RooCode/3.53.0", "X-Title": "Roo Code"}),
    ("roo-code", {"User-Agent": "OpenAI/JS 5.12.2", "x-title": "Roo Code"}),
    (
        "kilo",
        {
            "User-Agent": "Kilo-Code/7.7.7 ai-sdk/provider-utils/4.0.27 runtime/bun/1.3.14",
            "x-title": "Kilo Code",
        },
    ),
    ("gemini-cli", {"User-Agent": "GeminiCLI-tui/0.61.0/gemini-3-pro (linux; x64; terminal)"}),
    ("gemini-cli", {"User-Agent": "GeminiCLI/0.20.0/gemini-3-pro (darwin; arm64)"}),
    ("qwen-code", {"User-Agent": "QwenCode/0.24.4 (linux; x64)"}),
    ("opencode", {"User-Agent": "opencode/1.18.33 ai-sdk/provider-utils/4 runtime/bun/1.3"}),
    ("continue", {"User-Agent": "Continue/IDE"}),
    ("aider", {"User-Agent": "OpenAI/Python 1.99", "X-Title": "Aider"}),
    ("curl", {"User-Agent": "curl/7.88.1"}),
    ("python", {"User-Agent": "OpenAI/Python 3.54.0"}),
    ("python", {"User-Agent": "AsyncAnthropic/Python 2.12.0"}),
    ("python", {"User-Agent": "google-genai-sdk/3.4.0 gl-python/3.11.7"}),
    ("python", {"User-Agent": "Python/3.11 aiohttp/3.14.5"}),
    ("node", {"User-Agent": "OpenAI/JS 7.57.0"}),
    ("node", {"User-Agent": "Anthropic/JS 1.12.0"}),
    ("node", {"User-Agent": "google-genai-sdk/3.1.0 gl-node/v24.21.0"}),
    ("node", {"User-Agent": "ai-sdk/openai/4.0.118 ai-sdk/provider-utils/5 runtime/node.js/24"}),
    ("node", {"User-Agent": "node"}),
    (
        "powershell",
        {"User-Agent": "Mozilla/5.0 (Windows NT; Windows NT 10.0) WindowsPowerShell/5.1.19041"},
    ),
    ("powershell", {"User-Agent": "Mozilla/5.0 (Linux; Debian 12; en-US) PowerShell/7.5.0"}),
    ("", {"User-Agent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/140.0"}),
    ("", {"User-Agent": ""}),
    ("", {}),
)


@pytest.mark.parametrize(
    ("tool", "headers"), SENT, ids=[f"{tool or 'nobody'}-{i}" for i, (tool, _) in enumerate(SENT)]
)
def test_tool_is_known_by_its_headers(tool: str, headers: Mapping[str, str]) -> None:
    assert tool_of(CIMultiDict(headers)) == tool


@given(st.text(), st.text())
def test_any_header_has_a_tool_or_none(agent: str, title: str) -> None:
    found = tool_of(CIMultiDict({"User-Agent": agent, "X-Title": title}))
    assert isinstance(found, str)


def test_a_header_of_any_length_is_looked_at_in_bounds() -> None:
    assert tool_of(CIMultiDict({"User-Agent": "x" * 1_000_000 + "runtime/bun"})) == ""
    surrogates = b"\xff\xfecurl/8".decode("utf-8", "surrogateescape")
    assert tool_of(CIMultiDict({"User-Agent": surrogates})) == ""
