"""A whole gateway for a test: real sockets, a real database, its own registry."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from argon2 import PasswordHasher
from hypothesis import HealthCheck, settings

from kurolproxy.app import Gateway, Surroundings
from kurolproxy.config.load import parse
from kurolproxy.storage.passwords import Passwords
from tests.fakes.upstream import FakeUpstream

# Property tests are about results: on a busy machine an example may take its time. Loaded here,
# before any test module takes over what holds by default.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

PLANTED_KEY = "sk-upstream-credential-of-the-operator"


@dataclass(slots=True)
class Running:
    """A gateway that serves.

    Attributes:
        key: of an account on the plan ``default``.
        lines: reads what was logged so far.
    """

    gateway: Gateway
    base_url: str
    key: str
    log_path: Path

    def lines(self) -> str:
        """Return everything logged so far."""
        assert self.gateway.state.log.sync()
        return self.log_path.read_text()

    async def new_key(self, plan: str, **limits: object) -> str:
        """Make an account on a plan and return a key of it."""
        return await new_key(self.gateway, f"{plan}@example.org", plan, **limits)


async def new_key(gateway: Gateway, email: str, plan: str, **limits: Any) -> str:
    """Make an account where there is none, and a key of it; return the secret."""
    known = {account.email for account in await gateway.accounts.list_accounts()}
    if email not in known:
        await gateway.accounts.create_account(email, plan)
    _, secret = await gateway.accounts.create_key(email, **limits)
    return secret


Starter = Callable[..., Awaitable[Running]]


def cheap() -> Passwords:
    """Hash passwords for next to nothing."""
    return Passwords(PasswordHasher(time_cost=1, memory_cost=64, parallelism=1))


@pytest.fixture
async def fake() -> AsyncIterator[FakeUpstream]:
    """Yield a scripted vendor."""
    async with FakeUpstream() as upstream:
        yield upstream


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    """Yield an HTTP client."""
    async with aiohttp.ClientSession() as session:
        yield session


def toml(base_url: str, *, server: str = "", extra: str = "", model: str = "") -> str:
    """Return a configuration: each model of the fake vendor by both protocols.

    ``c-*`` models are reached by Chat, ``m-*`` by Messages; ``plain`` is the upstream's
    name of both.
    """
    return f"""
[server]
listen = "127.0.0.1:0"
state_dir = "state"
contact = "ops@example.org"
{server}
[metrics]
listen = "127.0.0.1:0"

[[upstreams]]
name = "chat"
base_url = "{base_url}"
protocols = ["openai-chat"]
api_keys = ["{PLANTED_KEY}"]

[[upstreams]]
name = "messages"
base_url = "{base_url}"
protocols = ["anthropic"]
api_keys = ["{PLANTED_KEY}"]

[[models]]
id = "c-model"
aliases = ["claude-c"]
targets = [{{ upstream = "chat", model = "plain", reasoning_family = "gpt" }}]
context_window = 200_000
{model}

[[models]]
id = "m-model"
targets = [{{ upstream = "messages", model = "plain", reasoning_family = "claude" }}]
{model}

[[plans]]
name = "default"
models = ["*"]
{extra}
"""


def behind_demo(base_url: str, models: dict[str, str], plans: str) -> str:
    """Return a configuration of models of the demo vendor, by Chat and Messages.

    Args:
        models: the gateway's id of each model -> the vendor's.
        plans: the tables of the plans.
    """
    tables = "".join(
        f"[[models]]\nid = {json.dumps(id_)}\n"
        f'targets = [{{ upstream = "demo", model = "{name}" }}]\n'
        for id_, name in models.items()
    )
    return f"""
[server]
listen = "127.0.0.1:0"
state_dir = "state"
[metrics]
listen = ""
[[upstreams]]
name = "demo"
base_url = "{base_url}"
protocols = ["openai-chat", "anthropic"]
api_keys = ["vendor-key"]
{tables}{plans}"""


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Starter]:
    """Yield a function that starts a gateway from a configuration text."""
    async with contextlib.AsyncExitStack() as stack:

        async def run(text: str, *, passwords: Callable[[], Passwords] = cheap) -> Running:
            folder = tmp_path / str(time.monotonic_ns())
            folder.mkdir()
            text = text.replace('state_dir = "state"', f'state_dir = "{folder / "state"}"')
            log = stack.enter_context((folder / "log").open("wb"))
            around = Surroundings(passwords=passwords)
            config = parse(text, "test.toml", {})
            gateway = Gateway(config, log_fd=log.fileno(), around=around)
            await gateway.start()
            stack.push_async_callback(gateway.stop)
            host, port = gateway.addresses[0]
            key = await new_key(gateway, "someone@example.org", "default")
            return Running(gateway, f"http://{host}:{port}", key, folder / "log")

        yield run


@pytest.fixture
async def gateway(fake: FakeUpstream, start: Starter) -> Running:
    """Return a gateway in front of the scripted vendor."""
    return await start(toml(fake.base_url))


async def soon(check: Callable[[], bool], within_s: float = 5.0) -> None:
    """Wait until a condition holds; fail when it does not in time."""
    async with asyncio.timeout(within_s):
        while not check():  # noqa: ASYNC110  # what is waited for has no event
            await asyncio.sleep(0.01)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many recordings were replayed through the gateway."""
    name = "test_client_sees_what_was_recorded["
    passed = [
        each.nodeid for each in terminalreporter.stats.get("passed", ()) if name in each.nodeid
    ]
    stems = {each.partition(name)[2].rsplit("-", 1)[0] for each in passed}
    terminalreporter.write_line(f"recordings replayed: {len(stems)}, exchanges: {len(passed)}")
