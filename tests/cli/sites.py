"""An installation for a test: a configuration file, a state directory, verbs and processes."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from click.testing import CliRunner, Result

from kurolproxy.cli.main import main

LIMIT_S = 60.0
"""What a process may take to start or to end before a test gives it up."""
COMMAND = (sys.executable, "-m", "kurolproxy")
AS_ROOT = ("--allow-root",) if os.geteuid() == 0 else ()

_TEXT = """
[server]
listen = "127.0.0.1:0"
state_dir = "state"

[metrics]
listen = ""

[limits]
# Many clients of one address whose key was revoked: each is to see that.
failed_logins_per_minute = 1_000_000

[[upstreams]]
name = "demo"
base_url = "{vendor_url}"
protocols = ["openai-chat", "anthropic"]
api_keys = ["${{VENDOR_KEY}}"]

[[models]]
id = "demo-echo"
aliases = ["echo"]
targets = [{{ upstream = "demo", model = "demo-echo" }}]
context_window = 200_000
price = {{ prompt = 1.5 }}

[[models]]
id = "demo-slow"
targets = [{{ upstream = "demo", model = "demo-slow" }}]

[[plans]]
name = "team"
models = ["demo-*"]
daily_tokens = 2_000_000

[[plans]]
name = "solo"
models = ["demo-echo"]
requests_per_minute = 60
"""


def clean_environment(**more: str) -> dict[str, str]:
    """Return the environment of a verb: nothing of ours leaks in from the caller's shell."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("KUROL_")}
    return {**kept, **more}


@dataclass(slots=True)
class Site:
    """One configuration file and the state directory beside it."""

    folder: Path

    @property
    def config(self) -> Path:
        return self.folder / "kurolproxy.toml"

    @property
    def state_dir(self) -> Path:
        return self.folder / "state"

    def write(self, text: str | None = None, *, vendor_url: str = "http://127.0.0.1:1") -> None:
        """Write the configuration; None: the usual one."""
        self.config.write_text(_TEXT.format(vendor_url=vendor_url) if text is None else text)

    def run(self, *args: str, stdin: str | None = None, env: Mapping[str, str] = {}) -> Result:
        """Run a verb in this process."""
        hidden = dict.fromkeys(
            ["KUROL_CONFIG", "KUROL_API_KEY", "KUROL_BASE_URL", "VENDOR_KEY"], None
        )
        runner = CliRunner(env={**hidden, **env})
        return runner.invoke(main, ["--config", str(self.config), *args], input=stdin)

    def json(self, *args: str, **options: Any) -> Any:
        """Run a verb that succeeds; return the one JSON value that it prints."""
        result = self.run(*args, "--json", **options)
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    def account(
        self, email: str = "ann@example.org", plan: str = "team", role: str = "user"
    ) -> None:
        """Make an account."""
        self.json("users", "create", "--email", email, "--plan", plan, "--role", role)

    def key(self, *args: str, email: str = "ann@example.org") -> dict[str, Any]:
        """Make a key and return what is told of it."""
        made: dict[str, Any] = self.json("keys", "create", "--email", email, *args)
        return made

    async def verb(self, *args: str) -> tuple[int, str, str]:
        """Run a verb in a process of its own; return exit code, stdout and stderr."""
        return await finish(*COMMAND, "--config", str(self.config), *args)

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[Served]:
        """Run ``serve`` in a process of its own; end it, when it still runs then."""
        log_path = self.folder / "log"
        with log_path.open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                *(*COMMAND, "--config", str(self.config), "serve", *AS_ROOT),
                env=clean_environment(VENDOR_KEY="vendor-key"),
                stdout=log,
            )
        served = Served(process, log_path)
        try:
            await served.wait()
            yield served
        finally:
            await end(process)


@dataclass(slots=True)
class Served:
    """A gateway in a process of its own.

    Attributes:
        log_path: its standard output.
    """

    process: asyncio.subprocess.Process
    log_path: Path

    def events(self) -> list[dict[str, Any]]:
        """Return what was logged so far, but for the requests."""
        text = self.log_path.read_text()
        lines = [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]
        return [line for line in lines if line["event"] != "request"]

    @property
    def started(self) -> dict[str, Any]:
        """The line that it logged when it listened."""
        return next(each for each in self.events() if each["event"] == "started")

    @property
    def base_url(self) -> str:
        return f"http://{self.started['listen'][0]}"

    async def wait(self) -> None:
        """Wait until it listens."""
        async with asyncio.timeout(LIMIT_S):
            while not any(each["event"] == "started" for each in self.events()):
                assert self.process.returncode is None, "serve has ended"
                await asyncio.sleep(0.02)  # another process: nothing here could tell us

    async def kill(self) -> None:
        """End it without any chance to tidy up."""
        self.process.kill()
        await self.process.wait()


async def call(
    http: aiohttp.ClientSession, base_url: str, key: str, *, model: str = "demo-echo"
) -> aiohttp.ClientResponse:
    """Call a model; the answer is read whole."""
    body = {"model": model, "messages": [{"role": "user", "content": "Hi!"}]}
    headers = {"authorization": f"Bearer {key}"}
    url = f"{base_url}/v1/chat/completions"
    async with http.post(url, json=body, headers=headers) as response:
        await response.read()
        return response


async def told(site: Site, *args: str) -> dict[str, object]:
    """Run a verb in a process of its own, which must succeed; return its JSON."""
    code, out, err = await site.verb(*args, "--json")
    assert code == 0, err
    value: dict[str, object] = json.loads(out)
    return value


async def finish(*command: str, stdin: bytes = b"", **env: str) -> tuple[int, str, str]:
    """Run a program to its end; return exit code, stdout and stderr."""
    process = await asyncio.create_subprocess_exec(
        *command,
        env=clean_environment(**env),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        out, err = await asyncio.wait_for(process.communicate(stdin), LIMIT_S)
    finally:
        await end(process, signal.SIGKILL)
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def end(process: asyncio.subprocess.Process, by: signal.Signals = signal.SIGTERM) -> int:
    """End a process that still runs; return its exit code."""
    if process.returncode is None:
        process.send_signal(by)
    try:
        return await asyncio.wait_for(process.wait(), LIMIT_S)
    except TimeoutError:
        process.kill()
        await process.wait()
        raise
