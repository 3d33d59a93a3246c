"""How each agent is set up and started without a terminal: as ``kurolproxy connect`` prints it.

Only Codex with an id that it knows, and Kilo's built-in provider, are set up here.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from kurolproxy.ir import ProtocolName
from tests.clients.printed import Printed, printed
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
        key_in_text: the settings hold the key, otherwise they read it from the environment.
    """

    bench: Bench
    access: Access
    prompt: str
    model: str = MODEL
    key_in_text: bool = False

    def printed(self, tool: str) -> Printed:
        """Return what ``kurolproxy connect`` prints for a tool."""
        access = self.access
        return printed(tool, access.base_url, self.model, access.key, in_text=self.key_in_text)


Run = Callable[[Errand], Awaitable[Ran]]


@dataclass(frozen=True, slots=True)
class Agent:
    """One agent, set up in one way; ``protocol`` is what it speaks to the gateway."""

    name: str
    protocol: ProtocolName
    run: Run
    model: str = MODEL

    async def ask(
        self, bench: Bench, access: Access, prompt: str, *, key_in_text: bool = False
    ) -> Ran:
        """Let it do what the prompt says."""
        return await self.run(Errand(bench, access, prompt, self.model, key_in_text))


async def _claude_code(errand: Errand) -> Ran:
    # Without the sandbox root may not skip the questions.
    command = f"claude -p {shlex.quote(errand.prompt)} --dangerously-skip-permissions"
    return await errand.printed("claude-code").run(errand.bench, command, env={"IS_SANDBOX": "1"})


async def _codex_as_printed(errand: Errand) -> Ran:
    options = "--skip-git-repo-check --dangerously-bypass-approvals-and-sandbox"
    command = f"codex exec {options} {shlex.quote(errand.prompt)}"
    return await errand.printed("codex").run(errand.bench, command)


async def _gemini_cli(errand: Errand) -> Ran:
    command = f"gemini --skip-trust --yolo -p {shlex.quote(errand.prompt)}"
    return await errand.printed("gemini-cli").run(errand.bench, command)


async def _codex(errand: Errand) -> Ran:
    """Run Codex with what it knows of its own models, instead of a catalogue."""
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
    printed = errand.printed("cline")
    task = shlex.quote("Say hello.")
    command = printed.commands[-1]
    assert command.endswith(task)
    asked = command.removesuffix(task) + shlex.quote(errand.prompt)
    return await printed.run(errand.bench, asked)


async def _kilo_compatible(errand: Errand) -> Ran:
    command = f"kilo run --auto {shlex.quote(errand.prompt)}"
    return await errand.printed("kilo").run(errand.bench, command)


async def _kilo_openai(errand: Errand) -> Ran:
    """Run Kilo with its built-in provider, which speaks Responses."""
    access = errand.access
    config = {
        "provider": {
            "openai": {
                "options": {"baseURL": f"{access.base_url}/v1", "apiKey": access.key},
                "models": {errand.model: {"name": "Kurol"}},
            }
        },
        "enabled_providers": ["openai"],
        "autoupdate": False,
        "share": "disabled",
    }
    path = errand.bench.home / "kilo.json"
    path.write_text(json.dumps(config))
    options = ["--auto", "-m", f"openai/{errand.model}", errand.prompt]
    return await errand.bench.run("kilo", "run", *options, env={"KILO_CONFIG": str(path)})


# An id that an agent knows changes what it sends: Claude Code thinks with a budget, Codex
# offers apply_patch as a custom tool, or all tools in namespaces inside its input.
AGENTS = (
    Agent("Claude Code", "anthropic", _claude_code),
    Agent("Claude Code, claude-sonnet-4-5", "anthropic", _claude_code, "claude-sonnet-4-5"),
    Agent("Codex", "openai-responses", _codex_as_printed),
    Agent("Codex, gpt-5.5", "openai-responses", _codex, "gpt-5.5"),
    Agent("Codex, gpt-6-sol", "openai-responses", _codex, "gpt-6-sol"),
    Agent("Cline", "openai-chat", _cline),
    Agent("Gemini CLI", "gemini", _gemini_cli),
    Agent("Kilo (openai-compatible)", "openai-chat", _kilo_compatible),
    Agent("Kilo (openai)", "openai-responses", _kilo_openai),
)


def task(path: Path, line: str) -> str:
    """Return the piece of work that an agent is asked to do."""
    return f"Create the file {path}. It holds exactly this one line: {line}"
