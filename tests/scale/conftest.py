"""A large ledger, made once, and a gateway that serves from it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from tests.cli.sites import AS_ROOT, COMMAND, clean_environment
from tests.scale.building import Size, add_day, build

SIZE = Size()
LIMIT_S = 600.0
"""What one command may take before a test gives it up."""

_CONFIG = """
[server]
listen = "127.0.0.1:{port}"
state_dir = "state"

[metrics]
listen = ""

[ledger]
detail_days = 36_500

[[upstreams]]
name = "lab"
base_url = "http://127.0.0.1:1"
protocols = ["openai-chat"]
api_keys = ["vendor-key"]

[[models]]
id = "model-0"
targets = [{{ upstream = "lab", model = "model-0" }}]

[[plans]]
name = "team"
models = ["model-*"]
daily_tokens = 100_000_000
"""


@dataclass(frozen=True, slots=True)
class Run:
    """A command that has ended well.

    Attributes:
        took_s: from its start to its end, the start of Python included.
    """

    took_s: float
    out: str
    err: str

    @property
    def value(self) -> Any:
        """What it printed, as JSON."""
        return json.loads(self.out)


@dataclass(frozen=True, slots=True)
class Large:
    """An installation with a large ledger."""

    folder: Path
    port: int

    def command(self, *args: str) -> list[str]:
        """Return the command line of a verb."""
        return [*COMMAND, "--config", str(self.folder / "kurolproxy.toml"), *args]

    def run(self, *args: str) -> Run:
        """Run a verb in a process of its own."""
        began = time.perf_counter()
        done = subprocess.run(
            self.command(*args),
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            env=clean_environment(),
            check=False,
        )
        took_s = time.perf_counter() - began
        assert done.returncode == 0, done.stderr
        return Run(took_s, done.stdout, done.stderr)

    def get(self, path: str, **headers: str) -> int:
        """Ask the gateway; return the status, 0 when nobody listens."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", path, headers=headers)
            return connection.getresponse().status
        except ConnectionError:
            return 0
        finally:
            connection.close()

    @contextmanager
    def serving(self) -> Iterator[Started]:
        """Run the gateway in a process of its own, from its first 200 of ``/readyz``."""
        began = time.perf_counter()
        process = subprocess.Popen(
            self.command("serve", *AS_ROOT), stdout=subprocess.DEVNULL, env=clean_environment()
        )
        try:
            while self.get("/readyz") != 200:
                assert process.poll() is None, "serve has ended"
                assert time.perf_counter() - began < LIMIT_S
                time.sleep(0.01)
            yield Started(process.pid, time.perf_counter() - began)
        finally:
            process.terminate()
            process.wait(LIMIT_S)


@dataclass(frozen=True, slots=True)
class Started:
    """A gateway that has just begun to serve."""

    pid: int
    ready_s: float

    def cpu_s(self) -> float:
        """Return the seconds of CPU that it has spent so far; 0.0 where nobody tells."""
        stat = Path(f"/proc/{self.pid}/stat")
        if not stat.exists():
            return 0.0
        fields = stat.read_text().rpartition(") ")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory_mib(self, name: str) -> float:
        """Return a figure of its memory: ``VmRSS``, now; ``VmHWM``, the most so far."""
        status = Path(f"/proc/{self.pid}/status")
        if not status.exists():
            pytest.skip("the memory of a process is told by Linux alone")
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(lines[name].split()[0]) / 1024


@pytest.fixture(scope="session")
def large() -> Large:
    """Return the installation with the large ledger; made when it is not there yet."""
    cache = os.environ.get("KUROL_SCALE_CACHE")
    if not cache:
        pytest.skip("KUROL_SCALE_CACHE names no folder: run make test-scale")
    folder = Path(cache) / f"{SIZE.keys}-keys-{SIZE.rows}-rows"
    today = datetime.now(UTC).date()
    state = folder / "state"
    if not state.exists():
        new = folder / "new"
        new.mkdir(mode=0o700, parents=True, exist_ok=True)
        database = new / "kurolproxy.db"
        database.unlink(missing_ok=True)
        build(database, SIZE, today)
        new.rename(state)
    add_day(state / "kurolproxy.db", SIZE, today)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    config = folder / "kurolproxy.toml"
    config.write_text(_CONFIG.format(port=port))
    config.chmod(0o600)
    return Large(folder, port)


@pytest.fixture(scope="module")
def started(large: Large) -> Iterator[Started]:
    """Yield a gateway that serves from the large ledger."""
    with large.serving() as started:
        yield started
