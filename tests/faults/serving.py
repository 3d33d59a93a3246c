"""A gateway in a process of its own that can be killed and started again."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import aiohttp

from tests.cli.sites import AS_ROOT, COMMAND, LIMIT_S, Site, clean_environment
from tests.faults.load import Call, Connection, Kind, Load, kinds

T = TypeVar("T")

MAIL = "ann@example.org"
PASSED = "passed"
"""The vendor speaks all four protocols with this model: what is said passes as it is."""
TRANSLATED = "translated"
"""The vendor speaks Chat alone with this model."""
SLOW = "slow"
"""Each answer takes a while."""

_REFUSED_S = 20.0

_TEXT = """
[server]
listen = "127.0.0.1:0"
state_dir = "{state_dir}"
{server}

[metrics]
listen = "127.0.0.1:0"

[log]
requests = "none"

[ledger]
{ledger}

[timeouts]
{timeouts}

[limits]
{limits}

[[upstreams]]
name = "all"
base_url = "{vendor_url}"
protocols = ["openai-chat", "openai-responses", "anthropic", "gemini"]
api_keys = ["vendor-key"]

[[upstreams]]
name = "chat"
base_url = "{vendor_url}"
protocols = ["openai-chat"]
api_keys = ["vendor-key"]

[[models]]
id = "passed"
targets = [{{ upstream = "all", model = "quick" }}]

[[models]]
id = "translated"
targets = [{{ upstream = "chat", model = "quick" }}]

[[models]]
id = "slow"
targets = [{{ upstream = "all", model = "paced" }}]

[[plans]]
name = "team"
models = ["*"]
daily_tokens = 100_000_000_000_000
"""


@dataclass(slots=True)
class Installation(Site):
    """A configuration, a state directory and an account with a key.

    Attributes:
        state: the state directory; another folder than the usual when it is given.
        secret: of the account's key.
    """

    state: Path | None = None
    secret: str = ""
    key_id: str = ""
    extra: str = ""

    @property
    def state_dir(self) -> Path:
        """The state directory."""
        return self.state or self.folder / "state"

    @property
    def database(self) -> Path:
        """The file of the database."""
        return self.state_dir / "kurolproxy.db"

    @property
    def journal(self) -> Path:
        """The folder of the journal."""
        return self.state_dir / "journal"

    def configure(self, vendor_url: str, **sections: str) -> None:
        """Write the configuration.

        Args:
            sections: more lines of ``server``, ``ledger``, ``timeouts`` and ``limits``.
        """
        lines = {name: sections.get(name, "") for name in ("server", "ledger", "timeouts")}
        text = _TEXT.format(
            vendor_url=vendor_url,
            state_dir=self.state_dir,
            limits=sections.get("limits", ""),
            **lines,
        )
        self.config.write_text(text + sections.get("extra", ""))
        # It holds a secret: no warning of that is to stand among the errors.
        self.config.chmod(0o600)

    def people(self) -> None:
        """Make the account and its key."""
        self.account(MAIL)
        made = self.key(email=MAIL)
        self.secret, self.key_id = str(made["key"]), str(made["id"])

    @asynccontextmanager
    async def serving(  # type: ignore[override]
        self, *command: str, **env: str
    ) -> AsyncIterator[Serving]:
        """Run ``serve``, to its start; end it when it still runs then.

        Args:
            command: what runs it; the gateway itself when nothing is given.
            env: more environment.
        """
        served = await self.start(*command, **env)
        try:
            await served.ready()
            yield served
        finally:
            await served.stop()

    async def start(self, *command: str, **env: str) -> Serving:
        """Begin to run ``serve``."""
        log_path, error_path = self.folder / "log", self.folder / "errors"
        with log_path.open("wb") as log, error_path.open("ab") as errors:
            process = await asyncio.create_subprocess_exec(
                *(*(command or COMMAND), "--config", str(self.config), "serve", *AS_ROOT),
                env=clean_environment(**env),
                stdout=log,
                stderr=errors,
            )
        return Serving(self, process, log_path, time.monotonic())

    async def refused(self) -> tuple[int, str]:
        """Run a ``serve`` that must end by itself; return its exit code and stderr."""
        served = await self.start()
        try:
            code = await asyncio.wait_for(served.process.wait(), _REFUSED_S)
        finally:
            await served.kill()
        return code, self.errors

    @property
    def errors(self) -> str:
        """What all its processes wrote to stderr."""
        return (self.folder / "errors").read_text(errors="replace")


def module(name: str, *args: str) -> tuple[str, ...]:
    """Return the command that runs ``serve`` under one of these tests' modules."""
    return (sys.executable, "-m", f"tests.faults.{name}", *args)


@dataclass(slots=True)
class Serving:
    """A gateway that runs.

    Attributes:
        begun: when its process was started, in the monotonic clock.
        took_s: from there until it was ready and had answered a call.
    """

    site: Installation
    process: asyncio.subprocess.Process
    log_path: Path
    begun: float
    took_s: float = 0.0
    base_url: str = ""
    metrics_url: str = ""
    _http: list[aiohttp.ClientSession] = field(default_factory=list)

    def events(self) -> list[dict[str, Any]]:
        """Return what was logged so far."""
        text = self.log_path.read_text()
        return [json.loads(each) for each in text[: text.rfind("\n") + 1].splitlines()]

    async def ready(self) -> None:
        """Wait until it listens, says that it is ready, and has answered a call."""
        async with asyncio.timeout(LIMIT_S):
            while not (found := [e for e in self.events() if e["event"] == "started"]):
                assert self.process.returncode is None, f"serve has ended: {self.site.errors}"
                await asyncio.sleep(0.005)  # another process: nothing here could tell us
            self.base_url = f"http://{found[0]['listen'][0]}"
            self.metrics_url = f"http://{found[0]['metrics']}/metrics"
        await seen(self.is_ready)
        self.took_s = time.monotonic() - self.begun

    def load(self, *models: str, **options: Any) -> Load:
        """Return clients of it, that call every endpoint."""
        named = models or (PASSED, TRANSLATED, SLOW)
        return Load(self.base_url, self.site.secret, kinds(*named), **options)

    async def call(self, kind: Kind | None = None, key: str | None = None) -> Call:
        """Make one call on a connection of its own."""
        connection = Connection(self.base_url)
        kind = kind or Kind("openai-chat", stream=False, model=PASSED)
        try:
            return await connection.call(kind, self.site.secret if key is None else key)
        finally:
            await connection.close()

    async def get(self, path: str) -> tuple[int, str]:
        """Ask for a page; return status and text."""
        timeout = aiohttp.ClientTimeout(total=LIMIT_S)
        url = path if path.startswith("http") else self.base_url + path
        async with aiohttp.ClientSession(timeout=timeout) as http, http.get(url) as response:
            return response.status, await response.text()

    async def metrics(self) -> Mapping[str, float]:
        """Return every metric without labels; those with labels by their whole name."""
        _, text = await self.get(self.metrics_url)
        pairs = (re.fullmatch(r"(\S+) (\S+)", line) for line in text.splitlines())
        return {each[1]: float(each[2]) for each in pairs if each}

    async def until(self, metric: str, value: float, within_s: float = 30.0) -> float:
        """Wait until a metric has a value; return the seconds that took."""

        async def reached() -> bool:
            return (await self.metrics()).get(metric) == value

        return await seen(reached, within_s)

    async def is_ready(self) -> bool:
        """Return whether it says that it is ready."""
        return (await self.get("/readyz"))[0] == 200

    async def written(self, within_s: float = 30.0) -> float:
        """Wait until every row is in the database; return the seconds that took."""
        return await self.until("kurol_ledger_pending_rows", 0, within_s)

    async def kill(self) -> None:
        """End it without any chance to tidy up."""
        with suppress(ProcessLookupError):
            self.process.kill()
        await self.process.wait()

    async def stop(self) -> int:
        """End it in good order, when it still runs; return its exit code."""
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return await asyncio.wait_for(self.process.wait(), LIMIT_S)
        except TimeoutError:
            await self.kill()
            raise


async def seen(check: Callable[[], Awaitable[bool]], within_s: float = LIMIT_S) -> float:
    """Wait until something holds in another process; return the seconds that took."""
    begun = time.monotonic()
    async with asyncio.timeout(within_s):
        while not await check():  # noqa: ASYNC110  # another process has no event for us
            await asyncio.sleep(0.01)
    return time.monotonic() - begun


def long_form() -> bool:
    """Return whether the long forms of the tests were asked for."""
    return bool(os.environ.get("KUROL_LONG_FAULTS"))


def rounds(short: T, long: T) -> T:
    """Return how often something is done, for how long, or with what."""
    return long if long_form() else short
