"""How each agent is set up and started without a terminal."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kurolproxy.ir import ProtocolName
from tests.clients.running import Bench, Ran

MODEL = "kurol-model"


@dataclass(frozen=True, slots=True)
class Access:
    """What a user of the gateway is told.

    Attributes:
        base_url: without a path.
    """

    base_url: str
    key: str


Ask = Callable[[Bench, Access, str], Awaitable[Ran]]


@dataclass(frozen=True, slots=True)
class Agent:
    """One agent, set up in one way; ``protocol`` is what it speaks to the gateway."""

    name: str
    protocol: ProtocolName
    ask: Ask


async def _claude_code(bench: Bench, access: Access, prompt: str) -> Ran:
    env = {
        "ANTHROPIC_BASE_URL": access.base_url,
        "ANTHROPIC_AUTH_TOKEN": access.key,
        "ANTHROPIC_MODEL": MODEL,
        "ANTHROPIC_SMALL_FAST_MODEL": MODEL,
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        # Without it root may not skip the questions.
        "IS_SANDBOX": "1",
    }
    return await bench.run("claude", "-p", prompt, "--dangerously-skip-permissions", env=env)


def codex_config(access: Access, *, idle_timeout_ms: int = 300_000) -> str:
    """Return a configuration of Codex: the gateway as a provider of its own."""
    return f"""
model = "{MODEL}"
model_provider = "kurol"

[model_providers.kurol]
name = "Kurol Proxy"
base_url = "{access.base_url}/v1"
env_key = "KUROL_API_KEY"
wire_api = "responses"
request_max_retries = 0
stream_max_retries = 0
stream_idle_timeout_ms = {idle_timeout_ms}
"""


async def run_codex(bench: Bench, access: Access, prompt: str, config: str) -> Ran:
    """Run Codex with a configuration."""
    folder = bench.home / ".codex"
    folder.mkdir()
    (folder / "config.toml").write_text(config)
    options = ["--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox"]
    env = {"KUROL_API_KEY": access.key, "CODEX_HOME": str(folder)}
    return await bench.run("codex", "exec", *options, prompt, env=env)


async def _codex(bench: Bench, access: Access, prompt: str) -> Ran:
    return await run_codex(bench, access, prompt, codex_config(access))


async def _cline(bench: Bench, access: Access, prompt: str) -> Ran:
    env = {"CLINE_TELEMETRY_DISABLED": "1", "CLINE_NO_AUTO_UPDATE": "1"}
    options = ["-p", "openai", "-b", f"{access.base_url}/v1", "-k", access.key, "-m", MODEL]
    signed_in = await bench.run("cline", "auth", *options, env=env)
    if signed_in.code != 0:
        return signed_in
    return await bench.run("cline", "-P", "openai", "-m", MODEL, prompt, env=env)


async def _kilo_compatible(bench: Bench, access: Access, prompt: str) -> Ran:
    provider = {
        "npm": "@ai-sdk/openai-compatible",
        "name": "Kurol Proxy",
        "options": {"baseURL": f"{access.base_url}/v1", "apiKey": access.key},
        "models": {MODEL: {"name": "Kurol"}},
    }
    return await _kilo(bench, prompt, "kurol", provider)


async def _kilo_openai(bench: Bench, access: Access, prompt: str) -> Ran:
    provider = {
        "options": {"baseURL": f"{access.base_url}/v1", "apiKey": access.key},
        "models": {MODEL: {"name": "Kurol"}},
    }
    return await _kilo(bench, prompt, "openai", provider)


async def _kilo(bench: Bench, prompt: str, name: str, provider: Mapping[str, Any]) -> Ran:
    config = {
        "provider": {name: provider},
        "enabled_providers": [name],
        "autoupdate": False,
        "share": "disabled",
    }
    path = bench.home / "kilo.json"
    path.write_text(json.dumps(config))
    env = {"KILO_CONFIG": str(path), "KILO_DISABLE_AUTOUPDATE": "1", "KILO_TELEMETRY_LEVEL": "off"}
    return await bench.run("kilo", "run", "--auto", "-m", f"{name}/{MODEL}", prompt, env=env)


AGENTS = (
    Agent("Claude Code", "anthropic", _claude_code),
    Agent("Codex", "openai-responses", _codex),
    Agent("Cline", "openai-chat", _cline),
    Agent("Kilo (openai-compatible)", "openai-chat", _kilo_compatible),
    Agent("Kilo (openai)", "openai-responses", _kilo_openai),
)


def task(path: Path, line: str) -> str:
    """Return the piece of work that an agent is asked to do."""
    return f"Create the file {path}. It holds exactly this one line: {line}"
