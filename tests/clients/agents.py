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
ALIASES = ("claude-sonnet-4-5", "gpt-5.5", "gpt-6-sol")


@dataclass(frozen=True, slots=True)
class Access:
    """What a user of the gateway is told.

    Attributes:
        base_url: without a path.
    """

    base_url: str
    key: str


@dataclass(frozen=True, slots=True)
class Errand:
    """One run of an agent.

    Attributes:
        model: what it asks the gateway for; agents treat ids that they know in ways of
            their own.
    """

    bench: Bench
    access: Access
    prompt: str
    model: str = MODEL


Run = Callable[[Errand], Awaitable[Ran]]


@dataclass(frozen=True, slots=True)
class Agent:
    """One agent, set up in one way; ``protocol`` is what it speaks to the gateway."""

    name: str
    protocol: ProtocolName
    run: Run
    model: str = MODEL

    async def ask(self, bench: Bench, access: Access, prompt: str) -> Ran:
        """Let it do what the prompt says."""
        return await self.run(Errand(bench, access, prompt, self.model))


async def _claude_code(errand: Errand) -> Ran:
    env = {
        "ANTHROPIC_BASE_URL": errand.access.base_url,
        "ANTHROPIC_AUTH_TOKEN": errand.access.key,
        "ANTHROPIC_MODEL": errand.model,
        "ANTHROPIC_SMALL_FAST_MODEL": errand.model,
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        # Without it root may not skip the questions.
        "IS_SANDBOX": "1",
    }
    options = ["-p", errand.prompt, "--dangerously-skip-permissions"]
    return await errand.bench.run("claude", *options, env=env)


async def _codex(errand: Errand) -> Ran:
    return await run_codex(errand)


async def run_codex(errand: Errand, *, idle_timeout_ms: int = 300_000) -> Ran:
    """Run Codex, with the gateway as a provider of its own.

    Args:
        idle_timeout_ms: how long it bears a stream without events; 300 000 is its default.
    """
    folder = errand.bench.home / ".codex"
    folder.mkdir()
    (folder / "config.toml").write_text(f"""
model = "{errand.model}"
model_provider = "kurol"

[model_providers.kurol]
name = "Kurol Proxy"
base_url = "{errand.access.base_url}/v1"
env_key = "KUROL_API_KEY"
wire_api = "responses"
request_max_retries = 0
stream_max_retries = 0
stream_idle_timeout_ms = {idle_timeout_ms}
""")
    options = ["--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox"]
    env = {"KUROL_API_KEY": errand.access.key, "CODEX_HOME": str(folder)}
    return await errand.bench.run("codex", "exec", *options, errand.prompt, env=env)


async def _cline(errand: Errand) -> Ran:
    bench, access = errand.bench, errand.access
    options = ["-p", "openai", "-b", f"{access.base_url}/v1", "-k", access.key, "-m", errand.model]
    signed_in = await bench.run("cline", "auth", *options)
    if signed_in.code != 0:
        return signed_in
    return await bench.run("cline", "-P", "openai", "-m", errand.model, errand.prompt)


async def _kilo_compatible(errand: Errand) -> Ran:
    own = {"npm": "@ai-sdk/openai-compatible", "name": "Kurol Proxy"}
    return await _kilo(errand, "kurol", own)


async def _kilo_openai(errand: Errand) -> Ran:
    return await _kilo(errand, "openai", {})


async def _kilo(errand: Errand, name: str, more: Mapping[str, Any]) -> Ran:
    access = errand.access
    provider = {
        **more,
        "options": {"baseURL": f"{access.base_url}/v1", "apiKey": access.key},
        "models": {errand.model: {"name": "Kurol"}},
    }
    config = {
        "provider": {name: provider},
        "enabled_providers": [name],
        "autoupdate": False,
        "share": "disabled",
    }
    path = errand.bench.home / "kilo.json"
    path.write_text(json.dumps(config))
    options = ["--auto", "-m", f"{name}/{errand.model}", errand.prompt]
    return await errand.bench.run("kilo", "run", *options, env={"KILO_CONFIG": str(path)})


# An id that an agent knows changes what it sends: Claude Code thinks with a budget, Codex
# offers apply_patch as a custom tool, or all tools in namespaces inside its input.
AGENTS = (
    Agent("Claude Code", "anthropic", _claude_code),
    Agent("Claude Code, claude-sonnet-4-5", "anthropic", _claude_code, "claude-sonnet-4-5"),
    Agent("Codex", "openai-responses", _codex),
    Agent("Codex, gpt-5.5", "openai-responses", _codex, "gpt-5.5"),
    Agent("Codex, gpt-6-sol", "openai-responses", _codex, "gpt-6-sol"),
    Agent("Cline", "openai-chat", _cline),
    Agent("Kilo (openai-compatible)", "openai-chat", _kilo_compatible),
    Agent("Kilo (openai)", "openai-responses", _kilo_openai),
)


def task(path: Path, line: str) -> str:
    """Return the piece of work that an agent is asked to do."""
    return f"Create the file {path}. It holds exactly this one line: {line}"
