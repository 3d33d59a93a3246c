"""``demo``: everything in one process, without a vendor and without a configuration."""

from __future__ import annotations

import getpass
import json
import os
import secrets
import shlex
import signal
import socket
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import Any, Final, get_args

import click
import uvloop

from kurolproxy.app import Gateway
from kurolproxy.cli.failure import Failed
from kurolproxy.cli.output import json_option, print_json
from kurolproxy.cli.running import ENDING, PortTaken, ended_by, start
from kurolproxy.config.load import parse
from kurolproxy.config.model import Config
from kurolproxy.config.presets import AVAILABLE
from kurolproxy.demo.script import CONTEXT_WINDOW, MAX_OUTPUT_TOKENS, MODELS
from kurolproxy.demo.vendor import DemoVendor
from kurolproxy.ir import ProtocolName
from kurolproxy.server.control import SOCKET_NAME
from kurolproxy.storage.links import LINK_PATH

_HOST: Final = "127.0.0.1"
_PORT: Final = 8080
_METRICS_PORT: Final = 9469
_PORTS_TRIED: Final = 200
_STARTS: Final = 5
_PREFIX: Final = "kurolproxy-demo-"
_EMAIL: Final = "demo@example.org"
_PLAN: Final = "demo"
_TRAITS: Final[Mapping[str, Any]] = {
    "reasoning_family": "demo",
    "developer_role": True,
    "custom_tools": True,
    "system_position": "any",
}
"""What the demo vendor takes beyond the careful defaults."""
_LIMITS: Final[Mapping[str, Any]] = {
    "name": _PLAN,
    "models": ["*"],
    "requests_per_minute": 6_000,
    "daily_tokens": 1_000_000_000,
    "concurrent_requests": 500,
}


@dataclass(frozen=True, slots=True)
class Site:
    """Where the demo keeps its state, and how its vendor is reached."""

    state_dir: Path
    vendor_url: str
    vendor_key: str


@dataclass(frozen=True, slots=True)
class Running:
    """What a visitor needs to know.

    Attributes:
        dashboard_url: logs in whoever opens it on this machine, as often as he likes.
        metrics_url: of the Prometheus text.
    """

    dashboard_url: str
    base_url: str
    key: str
    models: tuple[str, ...]
    metrics_url: str
    pid: int


@click.command()
@click.option(
    "--port",
    type=click.IntRange(0, 65_535),
    default=_PORT,
    show_default=True,
    help="The port to serve at; when it is busy, the next free one.",
)
@json_option
def demo(*, port: int, as_json: bool) -> None:
    """Try everything without a vendor and without a configuration.

    A gateway with a vendor of its own, four models, one account and one key. What it
    keeps is in a temporary folder, which goes with it.
    """
    with TemporaryDirectory(prefix=_PREFIX, dir=_temporary()) as folder:
        uvloop.run(_demo(port, Path(folder), as_json=as_json))


def _temporary() -> str:
    """Return the folder for temporary ones; a usual one where the user's is too deep."""
    usual = gettempdir()
    # The control socket's path has at most 100 bytes; the random part of a name has 8.
    longest = os.path.join(usual, _PREFIX + "x" * 8, SOCKET_NAME)
    return usual if len(os.fsencode(longest)) <= 100 else "/tmp"  # noqa: S108 - private inside


async def _demo(port: int, folder: Path, *, as_json: bool) -> None:
    # A closed terminal ends it as Ctrl-C does: the folder must not be left behind.
    end = ended_by((*ENDING, signal.SIGHUP))
    async with AsyncExitStack() as stack:
        vendor_key = secrets.token_urlsafe(32)
        vendor = DemoVendor(api_key=vendor_key)
        await vendor.start(_HOST, 0)
        stack.push_async_callback(vendor.stop)
        site = Site(folder, vendor.base_url, vendor_key)
        gateway = await _started(site, port)
        stack.push_async_callback(gateway.stop)
        # First, or the gateway would wait for the slow model's streams to end.
        stack.push_async_callback(vendor.stop)
        running = await _open(gateway)
        if as_json:
            print_json(asdict(running))
        else:
            click.echo(_welcome(running))
        await end.wait()


async def _started(site: Site, port: int) -> Gateway:
    """Start a gateway at the first free port from ``port`` on."""
    for _ in range(_STARTS):
        listen, metrics = _free_ports(port)
        # The log would stand between the lines for the visitor: it goes to stderr.
        gateway = Gateway(configure(site, listen, metrics), log_fd=2)
        try:
            await start(gateway)
        except PortTaken:
            # Somebody was faster than we after we had looked.
            continue
        return gateway
    raise Failed("other programs take every port that was free a moment ago")


async def _open(gateway: Gateway) -> Running:
    """Make the account and the key of the visitor."""
    accounts = gateway.accounts
    await accounts.create_account(_EMAIL, _PLAN, name="Demo", role="admin")
    _, secret = await accounts.create_key(_EMAIL, label="demo")
    _, token = await accounts.links.create("login", who=_EMAIL)
    assert gateway.metrics_address is not None
    return Running(
        dashboard_url=f"http://{gateway.addresses[0]}{LINK_PATH}{token}",
        base_url=f"http://{gateway.addresses[0]}",
        key=secret,
        models=tuple(MODELS),
        metrics_url=f"http://{gateway.metrics_address}/metrics",
        pid=os.getpid(),
    )


def configure(site: Site, port: int, metrics_port: int) -> Config:
    """Return the demo's configuration, read as every other is."""
    spoken = [each for each in get_args(ProtocolName) if each in AVAILABLE]
    lines = [
        "[server]",
        _line("listen", f"{_HOST}:{port}"),
        _line("state_dir", str(site.state_dir)),
        "[metrics]",
        _line("listen", f"{_HOST}:{metrics_port}"),
        "[log]",
        _line("requests", "errors"),
        _line("format", "text"),
        "[[upstreams]]",
        _line("name", "demo"),
        _line("base_url", site.vendor_url),
        _line("protocols", spoken),
        _line("api_keys", [site.vendor_key]),
    ]
    for model in MODELS:
        lines += [
            "[[models]]",
            _line("id", model),
            f"targets = [{{ upstream = {_toml('demo')}, model = {_toml(model)} }}]",
            _line("context_window", CONTEXT_WINDOW),
            _line("max_output_tokens", MAX_OUTPUT_TOKENS),
            *(_line(name, value) for name, value in _TRAITS.items()),
        ]
    lines += ["[[plans]]", *(_line(name, value) for name, value in _LIMITS.items())]
    return parse("\n".join(lines), "demo", {})


def _line(name: str, value: Any) -> str:
    return f"{name} = {_toml(value)}"


def _toml(value: Any) -> str:
    # Of these values, JSON is TOML; only a ${ would be a reference.
    return json.dumps(value).replace("${", "$${")


def _free_ports(port: int) -> tuple[int, int]:
    """Return a port to serve at and one for metrics; 0, any, stays 0."""
    listen = _free_port(port, taken=0) if port else 0
    return listen, _free_port(_METRICS_PORT, taken=listen)


def _free_port(first: int, *, taken: int) -> int:
    for port in range(first, min(first + _PORTS_TRIED, 65_536)):
        with socket.socket() as probe:
            # As the listener will: a port whose last connection just ended is free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((_HOST, port))
                probe.listen(1)
            except OSError:
                continue
        if port != taken:
            return port
    return 0


def _welcome(running: Running) -> str:
    """Return what a visitor reads."""
    url, key = running.base_url, running.key
    port = url.rpartition(":")[2]
    question = {
        "model": running.models[0],
        "stream": True,
        "messages": [{"role": "user", "content": "Hello!"}],
    }
    curl = [
        "curl",
        "-N",
        f"{url}/v1/chat/completions",
        "-H",
        f"Authorization: Bearer {key}",
        "-H",
        "Content-Type: application/json",
        "-d",
        json.dumps(question),
    ]
    return f"""\
Kurol Proxy runs, with a vendor of its own. Ctrl-C ends it and removes all that it keeps.

  Dashboard  {running.dashboard_url}
  base URL   {url}
  API key    {key}
  models     {", ".join(running.models)}
  metrics    {running.metrics_url}

A first answer:
  {shlex.join(curl)}

OpenAI SDKs:
  export OPENAI_BASE_URL={url}/v1 OPENAI_API_KEY={key}
Anthropic SDKs:
  export ANTHROPIC_BASE_URL={url} ANTHROPIC_API_KEY={key}
Google SDKs:
  export GOOGLE_GEMINI_BASE_URL={url} GEMINI_API_KEY={key}
This command line, as in `kurolproxy ask {running.models[0]} Hello`:
  export KUROL_BASE_URL={url} KUROL_API_KEY={key}
Claude Code, Codex, Cline, Roo Code, Kilo, Gemini CLI and others: the page Connect, or
  kurolproxy connect codex --model {running.models[0]}

When this is a VM, on your own machine first:
  ssh -L {port}:{_HOST}:{port} {_login()}
"""


def _login() -> str:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        # A container's user need not have a name.
        user = "USER"
    return f"{user}@{socket.gethostname()}"
