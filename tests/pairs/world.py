"""A gateway, its vendor and its clients, and the pairs they make."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from kurolproxy.app import Gateway
from kurolproxy.config.load import parse
from kurolproxy.ir import ProtocolName
from tests.conftest import PLANTED_KEY, new_key
from tests.fakes.upstream import FakeUpstream, SeenRequest
from tests.pairs.asks import Ask, Heard
from tests.pairs.clients import Clients
from tests.pairs.vendors import Turn, vendor

PROTOCOLS: tuple[ProtocolName, ...] = ("openai-chat", "openai-responses", "anthropic", "gemini")
PAIRS = [(client, upstream) for client in PROTOCOLS for upstream in PROTOCOLS]
SHORT: Mapping[ProtocolName, str] = {
    "openai-chat": "chat",
    "openai-responses": "responses",
    "anthropic": "messages",
    "gemini": "gemini",
}
FAMILIES: Mapping[ProtocolName, str] = {
    "openai-chat": "deepseek",
    "openai-responses": "gpt",
    "anthropic": "claude",
    "gemini": "gemini",
}
# What the vendors themselves take beyond the careful defaults.
_TRAITS: Mapping[ProtocolName, str] = {
    "openai-chat": "cache = 'explicit', replay_reasoning_content = true,"
    " max_tokens_field = 'max_completion_tokens'",
    "openai-responses": "cache = 'explicit'",
    "anthropic": "thinking = 'adaptive'",
    "gemini": "tool_result_media = true",
}

OLD_GEMINI = "model-gemini-legacy"
"""A model behind a Gemini backend that knows the restricted schema only."""


def _name(pair: tuple[ProtocolName, ProtocolName]) -> str:
    return f"{SHORT[pair[0]]}-{SHORT[pair[1]]}"


def pairs(some: Sequence[tuple[ProtocolName, ProtocolName]]) -> pytest.MarkDecorator:
    """Return the mark of a test that runs for some pairs."""
    ids = [_name(each) for each in some]
    return pytest.mark.parametrize(("client", "upstream"), some, ids=ids)


every_pair = pairs(PAIRS)
every_cross = pairs([pair for pair in PAIRS if pair[0] != pair[1]])
"""The pairs that need a translation."""
every_client = pytest.mark.parametrize("client", PROTOCOLS, ids=[SHORT[each] for each in PROTOCOLS])
every_upstream = pytest.mark.parametrize(
    "upstream", PROTOCOLS, ids=[SHORT[each] for each in PROTOCOLS]
)
both_ways = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
in_one_loop = pytest.mark.asyncio(loop_scope="module")
"""The tests of a module share its gateway, so they share its loop."""


def model_of(upstream: ProtocolName) -> str:
    """Return the model that is reached by a protocol."""
    return f"model-{SHORT[upstream]}"


def configuration(base_url: str) -> str:
    """Return a configuration with one upstream and one model for each protocol."""
    text = """
[server]
listen = "127.0.0.1:0"
state_dir = "state"
[metrics]
listen = "127.0.0.1:0"
[[plans]]
name = "default"
models = ["*"]
requests_per_minute = 1000000
"""
    for name in PROTOCOLS:
        traits = f"reasoning_family = '{FAMILIES[name]}', {_TRAITS[name]}"
        text += f"""
[[upstreams]]
name = "{SHORT[name]}"
base_url = "{base_url}"
protocols = ["{name}"]
api_keys = ["{PLANTED_KEY}"]
"""
        text += _model(model_of(name), name, traits)
    return text + _model(OLD_GEMINI, "gemini", "gemini_schema = 'legacy'")


def _model(id_: str, upstream: ProtocolName, traits: str) -> str:
    target = f"upstream = '{SHORT[upstream]}', model = 'plain', {traits}"
    return f"""
[[models]]
id = "{id_}"
targets = [{{ {target} }}]
"""


@dataclass(slots=True)
class World:
    """A gateway that serves, and both of its sides."""

    gateway: Gateway
    fake: FakeUpstream
    clients: Clients

    def forget(self) -> None:
        """Forget what was scripted and seen."""
        self.fake.requests.clear()
        self.fake.unscripted.clear()
        self.fake.always(vendor(Turn(words=("x",))))

    @property
    def last(self) -> SeenRequest:
        """What the vendor was sent last."""
        return self.fake.last

    async def booked(self) -> Any:
        """Return what the ledger says of the latest call."""
        await self.gateway.state.usage.flush()
        rows = await self.gateway.database.read("SELECT * FROM usage ORDER BY rowid")
        return rows[-1]

    @property
    def body(self) -> Any:
        """The JSON that the vendor was sent last."""
        return self.fake.last.json

    async def ask(
        self,
        client: ProtocolName,
        upstream: ProtocolName,
        ask: Ask | None = None,
        *turns: Turn,
        stream: bool = False,
    ) -> Heard:
        """Ask the model of one upstream through one SDK; the vendor says ``turns``."""
        if turns:
            self.fake.always(vendor(*turns))
        return await self.clients.ask(client, model_of(upstream), ask, stream=stream)


@contextlib.asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[World]:
    """Serve a gateway in front of a scripted vendor, with clients of it."""
    async with contextlib.AsyncExitStack() as stack:
        fake = await stack.enter_async_context(FakeUpstream())
        text = configuration(fake.base_url)
        text = text.replace('state_dir = "state"', f'state_dir = "{folder / "state"}"')
        log = stack.enter_context((folder / "log").open("wb"))
        gateway = Gateway(parse(text, "pairs.toml", {}), log_fd=log.fileno())
        await gateway.start()
        stack.push_async_callback(gateway.stop)
        host, port = gateway.addresses[0]
        key = await new_key(gateway, "pairs@example.org", "default")
        clients = Clients(f"http://{host}:{port}", key)
        stack.push_async_callback(clients.close)
        yield World(gateway, fake, clients)
