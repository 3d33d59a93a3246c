"""Sockets that the service manager owns: connections wait while no process runs."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from kurolproxy.server.listeners import BadSocket, inherited
from tests.cli.sites import AS_ROOT, COMMAND, clean_environment
from tests.faults.leaving import plain, told_to
from tests.faults.load import Connection
from tests.faults.serving import PASSED, Installation, Serving, module


@asynccontextmanager
async def activated(site: Installation, **sockets: socket.socket) -> AsyncIterator[Serving]:
    """Run the gateway with sockets that this process made."""
    handed = ",".join(f"{name}:{each.fileno()}" for name, each in sockets.items())
    command = (*module("activated", handed, "--", *COMMAND), "--config", str(site.config))
    log_path = site.folder / "log"
    with log_path.open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *(*command, "serve", *AS_ROOT),
            env=clean_environment(),
            stdout=log,
            pass_fds=[each.fileno() for each in sockets.values()],
        )
    served = Serving(site, process, log_path, time.monotonic())
    try:
        await served.ready()
        yield served
    finally:
        await served.stop()


async def test_connections_wait_during_a_restart_and_the_next_process_serves_them(
    site: Installation,
) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as main,
        socket.create_server(("127.0.0.1", 0)) as metrics,
    ):
        where = [f"127.0.0.1:{each.getsockname()[1]}" for each in (main, metrics)]
        async with activated(site, main=main, metrics=metrics) as served:
            (started,) = [each for each in served.events() if each["event"] == "started"]
            assert [*started["listen"], started["metrics"]] == where
            assert (await served.call()).ok
            await served.metrics()
        # Nobody runs now: they connect and ask all the same.
        waiting = [Connection(served.base_url) for _ in range(20)]
        asked = [asyncio.create_task(each.call(plain(PASSED), site.secret)) for each in waiting]
        await asyncio.sleep(0.1)
        assert not any(each.done() for each in asked)
        async with activated(site, main=main, metrics=metrics):
            calls = await asyncio.wait_for(asyncio.gather(*asked), 20)
            for each in waiting:
                await each.close()
    assert [each.ok for each in calls] == [True] * 20


async def test_one_that_leaves_lets_new_connections_wait(site: Installation) -> None:
    with socket.create_server(("127.0.0.1", 0)) as main:
        async with activated(site, main=main) as served:
            busy = Connection(served.base_url)
            running = asyncio.create_task(busy.call(plain("slow"), site.secret))
            await served.until("kurol_requests_running", 1)
            await told_to(served, signal.SIGTERM, "stopping")
            late = Connection(served.base_url)
            # Accepted by the kernel, read by nobody: not refused.
            await late.send(plain(PASSED).request(site.secret))
            assert (await running).ok
            await served.process.wait()
            await late.close()
            await busy.close()


# --- what is handed over ----------------------------------------------------------------


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"LISTEN_FDS": "1"},
        {"LISTEN_PID": "1", "LISTEN_FDS": "1"},
        {"LISTEN_PID": "7", "LISTEN_FDS": "x"},
        {"LISTEN_PID": "7", "LISTEN_FDS": "\u00b2"},
        {"LISTEN_PID": "7", "LISTEN_FDS": "9" * 5_000},
        {"LISTEN_PID": "7", "LISTEN_FDS": "0"},
    ],
    ids=["nothing", "no pid", "of another process", "no number", "a power", "no count", "none"],
)
def test_nothing_is_taken_that_is_not_ours(environ: dict[str, str]) -> None:
    found = inherited(environ, 7)
    assert (found.main, found.metrics) == ((), ())


BAD = [
    ("datagrams", socket.AF_INET, socket.SOCK_DGRAM, "does not listen"),
    ("not listening", socket.AF_INET, socket.SOCK_STREAM, "does not listen"),
    ("a path", socket.AF_UNIX, socket.SOCK_STREAM, "no TCP socket"),
]


@pytest.mark.parametrize(
    ("family", "kind", "said"), [each[1:] for each in BAD], ids=[each[0] for each in BAD]
)
def test_socket_that_cannot_be_listened_at_is_refused(
    family: socket.AddressFamily, kind: socket.SocketKind, said: str
) -> None:
    with socket.socket(family, kind) as bad:
        fd = os.dup(bad.fileno())
        with pytest.raises(BadSocket, match=said):
            inherited({"LISTEN_PID": "7", "LISTEN_FDS": "1"}, 7, first_fd=fd)


def test_file_is_refused() -> None:
    read, write = os.pipe()
    os.close(write)
    with pytest.raises(BadSocket, match="is no socket"):
        inherited({"LISTEN_PID": "7", "LISTEN_FDS": "1"}, 7, first_fd=read)
    os.close(read)


def test_sockets_are_told_apart_by_name_and_not_inherited_further() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as main,
        socket.create_server(("127.0.0.1", 0)) as metrics,
    ):
        first = 200
        for number, each in enumerate((metrics, main)):
            os.dup2(each.fileno(), first + number)
        environ = {
            "LISTEN_PID": "7",
            "LISTEN_FDS": "2",
            "LISTEN_FDNAMES": "metrics:kurolproxy.socket",
        }
        found = inherited(environ, 7, first_fd=first)
        assert [each.getsockname() for each in found.main] == [main.getsockname()]
        assert [each.getsockname() for each in found.metrics] == [metrics.getsockname()]
        for each in (*found.main, *found.metrics):
            assert not each.get_inheritable()
            each.close()
