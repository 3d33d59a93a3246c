"""A gateway in front of a scripted vendor of one protocol, and the installed clients."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import pytest

from kurolproxy.demo.vendor import DemoVendor
from kurolproxy.ir import ProtocolName
from tests.clients.agents import ALIASES, MODEL, Access
from tests.clients.running import Bench
from tests.clients.scripted import Script
from tests.conftest import Running, Starter

UPSTREAMS: tuple[ProtocolName, ...] = get_args(ProtocolName)
ROOT = Path(__file__).parent.parent.parent
_CONFIG = """
[server]
listen = "127.0.0.1:0"
state_dir = "state"
keepalive_interval_s = {keepalive_s}

[metrics]
listen = ""

[[upstreams]]
name = "scripted"
base_url = "{base_url}"
protocols = ["{protocol}"]
api_keys = ["vendor-key"]

[[models]]
id = "{model}"
aliases = {aliases}
targets = [{{ upstream = "scripted", model = "demo-think", reasoning_family = "demo" }}]
context_window = 200_000
max_output_tokens = 64_000
thinking = "adaptive"

[[plans]]
name = "default"
models = ["*"]
"""


@dataclass(frozen=True, slots=True)
class Stage:
    """All that one run of a client meets."""

    access: Access
    bench: Bench
    script: Script
    gateway: Running


Setting = Callable[..., Awaitable[Stage]]


@pytest.fixture(scope="session")
def installed() -> Path:
    """Return the folder that ``make test-clients`` installed the clients into."""
    folder = Path(os.environ.get("KUROL_CLIENTS_CACHE", ROOT / ".cache" / "clients")).absolute()
    if not (folder / "node_modules" / "node" / "bin" / "node").exists():
        pytest.fail(f"no clients in {folder}: `make test-clients` installs and runs them")
    return folder


@pytest.fixture
def bench(tmp_path: Path, installed: Path) -> Bench:
    """Return a home and a working folder that nobody used before."""
    home, work = tmp_path / "home", tmp_path / "work"
    home.mkdir()
    work.mkdir()
    return Bench(installed, home, work)


@pytest.fixture
async def setting(bench: Bench, start: Starter) -> AsyncIterator[Setting]:
    """Yield a function that puts a scripted vendor of one protocol behind a gateway."""
    async with contextlib.AsyncExitStack() as stack:

        async def make(
            protocol: ProtocolName, *, silence_s: float = 0.0, keepalive_s: float = 15.0
        ) -> Stage:
            script = Script(bench.work / "greeting.txt", slow=silence_s > 0)
            vendor = DemoVendor(api_key="vendor-key", pace_s=silence_s, answers=script)
            await vendor.start()
            stack.push_async_callback(vendor.stop)
            text = _CONFIG.format(
                base_url=vendor.base_url,
                protocol=protocol,
                model=MODEL,
                aliases=list(ALIASES),
                keepalive_s=keepalive_s,
            )
            gateway = await start(text)
            return Stage(Access(gateway.base_url, gateway.key), bench, script, gateway)

        yield make


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print which client did what on which upstream protocol, as a table of Markdown."""
    cells: dict[tuple[str, str], list[str]] = {}
    for outcome in ("passed", "failed"):
        for report in terminalreporter.stats.get(outcome, ()):
            told = dict(report.user_properties)
            if "client" in told:
                done = told["task"] if outcome == "passed" else f"{told['task']} FAILED"
                cells.setdefault((told["client"], told["upstream"]), []).append(done)
    if not cells:
        return
    clients = sorted({client for client, _ in cells}, key=str.lower)
    for row in [("client", *UPSTREAMS), ("---",) * (1 + len(UPSTREAMS))]:
        terminalreporter.write_line(f"| {' | '.join(row)} |")
    for client in clients:
        done = (", ".join(cells.get((client, upstream), ["-"])) for upstream in UPSTREAMS)
        terminalreporter.write_line(f"| {client} | {' | '.join(done)} |")
