"""The four endpoint families asked by hand, and a gateway with one model behind each protocol."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import aiohttp
import pytest

from kurolproxy.ir import ProtocolName
from kurolproxy.server.state import Clock
from tests.conftest import PLANTED_KEY, Running
from tests.fakes.recordings import Figures

FAMILIES: tuple[ProtocolName, ...] = ("openai-chat", "openai-responses", "anthropic", "gemini")
SHORT: Mapping[str, str] = {
    "openai-chat": "chat",
    "openai-responses": "responses",
    "anthropic": "messages",
    "gemini": "gemini",
}
USAGE = Figures(prompt=30, completion=12, cache_read=8, cache_write=0, reasoning=5)
"""What every vendor here can tell; Gemini has no word for tokens written to a cache."""

every_family = pytest.mark.parametrize("family", FAMILIES, ids=[SHORT[each] for each in FAMILIES])
both_ways = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])

LIMIT_HEADERS = ("x-ratelimit-", "anthropic-ratelimit-")


def model_of(upstream: ProtocolName) -> str:
    """Return the model that is reached by a protocol."""
    return f"m-{SHORT[upstream]}"


def configuration(base_url: str, plans: str = "", *, server: str = "", model: str = "") -> str:
    """Return a configuration: one upstream and one model for each protocol.

    Args:
        model: more lines for each model.
    """
    text = f"""
[server]
listen = "127.0.0.1:0"
state_dir = "state"
contact = "ops@example.org"
{server}
[metrics]
listen = "127.0.0.1:0"
[[plans]]
name = "default"
models = ["*"]
{plans}
"""
    for name in FAMILIES:
        text += f"""
[[upstreams]]
name = "{SHORT[name]}"
base_url = "{base_url}"
protocols = ["{name}"]
api_keys = ["{PLANTED_KEY}"]
[[models]]
id = "{model_of(name)}"
targets = [{{ upstream = "{SHORT[name]}", model = "plain" }}]
{model}
"""
    return text


def plan(name: str, **limits: object) -> str:
    """Return one plan of a configuration."""
    models = limits.pop("models", ["*"])
    lines = [f"{key} = {json.dumps(value)}" for key, value in {"models": models, **limits}.items()]
    return "\n".join(["[[plans]]", f'name = "{name}"', *lines, ""])


class Hands:
    """A clock that a test moves by hand; it begins at noon of a day in UTC."""

    def __init__(self, running: Running) -> None:
        self.now = 1_000.0
        self.unix = datetime(2031, 5, 6, 12, tzinfo=UTC).timestamp()
        running.gateway.state.clock = Clock(lambda: self.now, lambda: self.unix)

    def move(self, seconds: float) -> None:
        """Let time go on."""
        self.now += seconds
        self.unix += seconds


@dataclass(frozen=True, slots=True)
class Got:
    """One answer of the gateway.

    Attributes:
        headers: names in lower case.
    """

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)

    @property
    def advice(self) -> tuple[str | None, str | None]:
        """What is said of a repetition: ``retry-after`` and ``x-should-retry``."""
        return self.headers.get("retry-after"), self.headers.get("x-should-retry")

    @property
    def limits(self) -> dict[str, str]:
        """The rate-limit headers, of whatever dialect."""
        return {
            name: value for name, value in self.headers.items() if name.startswith(LIMIT_HEADERS)
        }


_CAPS = {
    "openai-chat": "max_completion_tokens",
    "openai-responses": "max_output_tokens",
    "anthropic": "max_tokens",
}
_PATHS = {
    "openai-chat": "/v1/chat/completions",
    "openai-responses": "/v1/responses",
    "anthropic": "/v1/messages",
}


def request(
    family: ProtocolName, model: str, *, stream: bool = False, cap: int = 10
) -> tuple[str, dict[str, Any]]:
    """Return path and body of one call in the words of a family."""
    if family == "gemini":
        method = "streamGenerateContent?alt=sse" if stream else "generateContent"
        body = {
            "contents": [{"role": "user", "parts": [{"text": "x"}]}],
            "generationConfig": {"maxOutputTokens": cap},
        }
        return f"/v1beta/models/{model}:{method}", body
    said = "input" if family == "openai-responses" else "messages"
    body = {"model": model, said: [{"role": "user", "content": "x"}], _CAPS[family]: cap}
    return _PATHS[family], {**body, "stream": True} if stream else body


async def ask(
    http: aiohttp.ClientSession,
    running: Running,
    key: str,
    family: ProtocolName,
    *,
    model: str | None = None,
    stream: bool = False,
    cap: int = 10,
    headers: Mapping[str, str] | None = None,
    sent: bytes | None = None,
) -> Got:
    """Ask one family, by default for the model behind its own protocol.

    Args:
        sent: the body, when it is to be another one.
    """
    path, body = request(family, model or model_of(family), stream=stream, cap=cap)
    given = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    data = json.dumps(body).encode() if sent is None else sent
    url = running.base_url + path
    async with http.post(url, data=data, headers={**given, **(headers or {})}) as got:
        return await received(got)


async def get(
    http: aiohttp.ClientSession, running: Running, path: str, headers: Mapping[str, str]
) -> Got:
    """Get one path."""
    async with http.get(running.base_url + path, headers=headers) as got:
        return await received(got)


async def received(got: aiohttp.ClientResponse) -> Got:
    """Read an answer to its end."""
    low = {name.lower(): value for name, value in got.headers.items()}
    return Got(got.status, low, await got.read())


async def rows(running: Running) -> list[dict[str, Any]]:
    """Return the ledger, oldest first."""
    await running.gateway.state.usage.flush()
    found = await running.gateway.database.read("SELECT * FROM usage ORDER BY rowid")
    return [dict(row) for row in found]


def metric(running: Running, name: str, *labels: str) -> float:
    """Return the value of one counter; 0 when nothing was counted.

    Args:
        labels: pieces as ``upstream="chat"``.
    """
    lines = running.gateway.state.metrics.render().decode().splitlines()
    values = [
        float(line.rpartition(" ")[2])
        for line in lines
        if line.partition("{")[0].partition(" ")[0] == name and all(each in line for each in labels)
    ]
    return sum(values)
