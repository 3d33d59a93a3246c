"""The tools that settings are written for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from kurolproxy.connect.claude_code import claude_code
from kurolproxy.connect.codex import codex
from kurolproxy.connect.editors import cline, kilo, roo_code
from kurolproxy.connect.gemini_cli import gemini_cli
from kurolproxy.connect.sdks import curl, node_sdks, python_sdks
from kurolproxy.connect.wanted import Step, Wanted
from kurolproxy.ir import ProtocolName


@dataclass(frozen=True, slots=True)
class Tool:
    """One tool.

    Attributes:
        slug: as ``detect.tool_of`` names it.
        protocols: what it speaks to the gateway.
        steps: what to do, in order.
        seen_as: what its requests are known as, where that is not the slug alone.
    """

    slug: str
    name: str
    protocols: tuple[ProtocolName, ...]
    steps: Callable[[Wanted], list[Step]]
    seen_as: tuple[str, ...] = ()

    def sent(self, slug: str) -> bool:
        """Return whether a request that ``detect.tool_of`` knows by this slug may be its."""
        return slug in (self.seen_as or (self.slug,))


_ALL: Final = (
    Tool("claude-code", "Claude Code", ("anthropic",), claude_code),
    Tool("codex", "Codex", ("openai-responses",), codex),
    Tool("cline", "Cline", ("openai-chat",), cline),
    Tool("roo-code", "Roo Code", ("openai-chat",), roo_code),
    Tool("kilo", "Kilo", ("openai-chat",), kilo),
    Tool("gemini-cli", "Gemini CLI", ("gemini",), gemini_cli),
    Tool(
        "curl",
        "curl, PowerShell",
        ("openai-chat", "openai-responses", "anthropic", "gemini"),
        curl,
        ("curl", "powershell"),
    ),
    Tool("python", "Python", ("openai-chat", "anthropic", "gemini"), python_sdks),
    Tool("node", "Node", ("openai-chat", "anthropic", "gemini"), node_sdks),
)
TOOLS: Final[Mapping[str, Tool]] = {each.slug: each for each in _ALL}
"""Slug -> tool, in the order that people are shown."""
