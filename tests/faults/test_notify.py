"""What the service manager is told, on a socket of the test's own."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from kurolproxy.server.notify import Notifier
from tests.faults.leaving import Streams, gone, told_to
from tests.faults.serving import Installation, long_form, seen
from tests.faults.vendor import QuickVendor, stalled


class Manager:
    """The receiving end of ``sd_notify``.

    Attributes:
        address: what ``NOTIFY_SOCKET`` says.
        got: every message so far, and when it came.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self.got: list[tuple[float, str]] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.bind("\0" + address[1:] if address.startswith("@") else address)

    def read(self) -> list[str]:
        """Take what has come; return all messages so far."""
        while True:
            try:
                text = self._socket.recv(65_536).decode()
            except BlockingIOError:
                return [text for _, text in self.got]
            self.got.append((time.monotonic(), text))

    async def told(self, word: str, times: int = 1) -> str:
        """Wait for the message that begins with a word; return it."""

        async def came() -> bool:
            return len(self._with(word)) >= times

        await seen(came)
        return self._with(word)[times - 1]

    def close(self) -> None:
        """Listen no more."""
        self._socket.close()

    def _with(self, word: str) -> list[str]:
        return [each for each in self.read() if each.startswith(word)]


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest) -> Iterator[Manager]:
    """Yield a manager, under both kinds of names."""
    with TemporaryDirectory() as folder:
        name = Path(folder).name
        made = Manager(f"@kurol-{name}" if request.param == "abstract" else f"{folder}/notify")
        yield made
        made.close()


@pytest.mark.parametrize("manager", ["abstract"], indirect=True)
async def test_life_of_the_process_is_told(
    manager: Manager, site: Installation, vendor: QuickVendor
) -> None:
    vendor.scripts["paced"] = stalled(2.5)
    async with site.serving(NOTIFY_SOCKET=manager.address, WATCHDOG_USEC="600000") as served:
        assert "STATUS=serving, 0 streams, 0 calls" in await manager.told("READY=1")
        streams = await Streams.open(served, 4)
        await manager.told("STATUS=serving, 4 streams, 4 calls")
        before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1_000
        served.process.send_signal(signal.SIGHUP)
        reloading = (await manager.told("RELOADING=1")).splitlines()
        await manager.told("READY=1", times=2)
        await manager.told("WATCHDOG=1", times=4)
        await told_to(served, signal.SIGTERM, "stopping")
        assert "STATUS=" in await manager.told("STOPPING=1")
        # Alive also while streams come to their end.
        count = sum(each == "WATCHDOG=1" for each in manager.read())
        await manager.told("WATCHDOG=1", times=count + 2)
        await streams.ended()
        code, _ = await gone(served)
    assert code == 0
    now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1_000
    name, _, at = reloading[1].partition("=")
    assert (name, before <= int(at) <= now) == ("MONOTONIC_USEC", True)
    order = [each.partition("\n")[0] for each in manager.read()]
    kept = [each for each in order if not each.startswith(("WATCHDOG", "STATUS"))]
    assert kept == ["READY=1", "RELOADING=1", "READY=1", "STOPPING=1"]


@pytest.mark.skipif(not long_form(), reason="the other test sees that the loop tells it")
@pytest.mark.parametrize("manager", ["path"], indirect=True)
async def test_loop_that_stands_still_is_not_alive(manager: Manager, site: Installation) -> None:
    async with site.serving(NOTIFY_SOCKET=manager.address, WATCHDOG_USEC="300000") as served:
        await manager.told("WATCHDOG=1", times=2)
        served.process.send_signal(signal.SIGSTOP)
        await asyncio.sleep(0.1)
        count = len(manager.read())
        await asyncio.sleep(0.5)
        still = len(manager.read())
        served.process.send_signal(signal.SIGCONT)
        await manager.told("WATCHDOG=1", times=4)
    assert still == count


# --- the object ---------------------------------------------------------------------------


def test_alive_at_a_third_of_what_the_manager_waits(manager: Manager) -> None:
    notifier = Notifier(manager.address, watchdog_s=30.0)
    for tenth in range(301):
        notifier.tick(1_000 + tenth / 10)
    notifier.close()
    assert sum(each == "WATCHDOG=1" for each in manager.read()) == 4


@pytest.mark.parametrize(
    ("environ", "alive"),
    [
        ({"WATCHDOG_USEC": "3000000"}, 1),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "7"}, 1),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "8"}, 0),
        ({"WATCHDOG_USEC": "0"}, 0),
        ({"WATCHDOG_USEC": "\u00b2"}, 0),
        ({}, 0),
    ],
    ids=["any process", "ours", "another process", "none", "no number", "not asked for"],
)
def test_watchdog_is_served_when_it_is_ours(
    environ: dict[str, str], alive: int, manager: Manager
) -> None:
    notifier = Notifier.of({"NOTIFY_SOCKET": manager.address, **environ}, 7)
    notifier.tick(1.0)
    notifier.close()
    assert sum(each == "WATCHDOG=1" for each in manager.read()) == alive


@pytest.mark.parametrize("address", ["", "vsock:2:1234", "relative"])
def test_nothing_is_said_where_nobody_listens(address: str) -> None:
    notifier = Notifier.of({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "1000"}, os.getpid())
    notifier.ready()
    notifier.reloading()
    notifier.tick(1.0)
    notifier.stopping()
    notifier.close()


def test_reload_that_the_end_cuts_off_says_nothing_behind_it(manager: Manager) -> None:
    notifier = Notifier(manager.address)
    notifier.reloading()
    notifier.stopping()
    notifier.ready()
    notifier.close()
    assert [each.partition("\n")[0] for each in manager.read()] == ["RELOADING=1", "STOPPING=1"]


def test_manager_that_sleeps_hears_the_last_of_us_and_not_all(manager: Manager) -> None:
    notifier = Notifier(manager.address, watchdog_s=0.3)
    count = iter(range(10_000))
    notifier.status = lambda: f"{next(count)} streams"
    for second in range(1_000):
        notifier.tick(10.0 + second)
    assert len(notifier._unsent) <= 16
    notifier.stopping()
    heard = manager.read()
    for _ in range(5):
        notifier.tick(1_009.0)
        heard += manager.read()
    notifier.close()
    assert any(each.startswith("STOPPING=1") for each in heard)
    assert "STATUS=999 streams" in heard


def test_manager_that_is_gone_harms_nobody(manager: Manager) -> None:
    notifier = Notifier(manager.address, watchdog_s=0.3)
    manager.close()
    notifier.ready()
    notifier.tick(1.0)
    notifier.close()


def test_what_a_busy_manager_does_not_take_is_said_later(manager: Manager) -> None:
    notifier = Notifier(manager.address)
    sent = 2_000
    for _ in range(sent):
        notifier.ready()
    while len(manager.read()) < sent:
        notifier.tick(0.0)
    notifier.close()
    texts = [text for _, text in manager.got if text.startswith("READY=1")]
    assert len(texts) == sent
