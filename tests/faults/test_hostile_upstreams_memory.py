"""What hostile upstreams leave behind in a real process: memory, and nothing else."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kurolproxy.ir import ProtocolName
from kurolproxy.server.deadlines import Watch
from kurolproxy.server.exchange import Exchange
from kurolproxy.server.relay import Relay
from tests.conftest import soon
from tests.fakes.faulty import FaultyUpstream
from tests.fakes.faulty_modes import GOOD, Mode
from tests.faults.conftest import Tell
from tests.faults.hostile import all_modes, every_cell, hostile_world
from tests.faults.load import Kind
from tests.faults.serving import Installation, Serving, rounds
from tests.server.families import FAMILIES

REPEATS = 20
MB = 1_000_000
# row -> how much a process may have grown at the end, and at the worst moment, in MB
GROWN = {25: 4, 28: 40, 29: 64}
PEAK = {25: 8, 28: 40, 29: 64}
# An answer that is let through is held in several forms for a moment, and one of Responses
# says its text five times.
LET_THROUGH = 250
_PROTOCOLS = ", ".join(f'"{each}"' for each in FAMILIES)
_UPSTREAM = """
[[upstreams]]
name = "{name}"
base_url = "{url}"
protocols = [{protocols}]
[[models]]
id = "{name}"
targets = [{{ upstream = "{name}", model = "{mode}" }}]
"""


class Memory:
    """The resident memory of a process.

    Args:
        pid: of the process.
    """

    def __init__(self, pid: int) -> None:
        self._folder = Path(f"/proc/{pid}")
        self._before = self._read("VmRSS")
        # The peak begins anew.
        (self._folder / "clear_refs").write_text("5")

    @property
    def grown(self) -> float:
        """By how many MB it grew."""
        return (self._read("VmRSS") - self._before) / MB

    @property
    def peak(self) -> float:
        """By how many MB it had grown at the worst moment."""
        return (self._read("VmHWM") - self._before) / MB

    def _read(self, name: str) -> int:
        text = (self._folder / "status").read_text()
        return int(text.partition(f"{name}:")[2].split(maxsplit=1)[0]) * 1_024


def measured() -> dict[str, Mode]:
    """Return the modes whose memory is looked at."""
    return {name: mode for name, mode in all_modes().items() if mode.row in GROWN}


def shapes(name: str, calls: int) -> Iterator[Kind]:
    """Yield calls of a model in the four endpoints, streamed and not, in turn."""
    every: list[tuple[ProtocolName, bool]] = [
        (each, (at + turn) % 2 == 0) for turn in range(2) for at, each in enumerate(FAMILIES)
    ]
    for number in range(calls):
        protocol, stream = every[number % len(every)]
        yield Kind(protocol, stream, name)


async def told(served: Serving, name: str, mode: Mode, calls: int) -> None:
    """Call a model so often, and check what comes."""
    for kind in shapes(name, calls):
        call = await served.call(kind)
        wanted = mode.expected(stream=kind.stream, passed=True)
        assert call.status == (200 if wanted == GOOD else 502), (name, kind, call.body[:500])
        assert call.whole


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux's /proc")
async def test_memory_stays_where_it_was(site: Installation, tell: Tell) -> None:
    modes = measured()
    scripts = {name: mode.script for name, mode in modes.items()}
    async with FaultyUpstream(scripts) as vendor:
        # A target that failed so often rests: the calls that warm up have one of their own.
        extra = "".join(
            _UPSTREAM.format(
                name=f"{mode}{end}", url=vendor.base_url, mode=mode, protocols=_PROTOCOLS
            )
            for mode in modes
            for end in ("", "-warm")
        )
        site.configure(vendor.base_url, extra=extra)
        async with site.serving() as served:
            for name, mode in modes.items():
                # The C library keeps what the largest answers took, once.
                await told(served, f"{name}-warm", mode, rounds(4, 8))
            for name, mode in modes.items():
                await _measure(served, name, mode, tell)
            assert await served.stop() == 0
    assert "never retrieved" not in site.errors
    assert "Traceback" not in site.errors


async def _measure(served: Serving, name: str, mode: Mode, tell: Tell) -> None:
    memory = Memory(served.process.pid)
    await told(served, name, mode, rounds(4, REPEATS) if mode.large else REPEATS)
    await asyncio.sleep(0)
    grown, peak = memory.grown, memory.peak
    tell(f"{mode.row} {name:>16}: {grown:6.1f} MB more, {peak:6.1f} MB at the peak")
    assert grown < GROWN[mode.row]
    assert peak < (LET_THROUGH if mode.large and mode.stream == GOOD else PEAK[mode.row])


@pytest.mark.parametrize("mode", ["well", "close-mid", "s500", "gzip-bomb", "bad-json-event"])
async def test_call_that_is_over_leaves_nothing_to_the_collector(mode: str, tmp_path: Path) -> None:
    cells = [each for each in every_cell(mode) if each.client in FAMILIES[:2]]
    async with hostile_world(tmp_path, cells) as world:
        await world.heard(cells)
        gc.collect()
        with keeping_garbage() as found:
            for each in cells:
                await world.call(each)
            await soon(lambda: len(world.running.gateway.state.deadlines) == 0)
            await asyncio.sleep(0.05)
    assert [each for each in found if isinstance(each, Exchange | Relay | Watch)] == []


@contextmanager
def keeping_garbage() -> Iterator[list[object]]:
    """Yield a list that holds at the end what the collector had to find by itself."""
    found: list[object] = []
    gc.disable()
    try:
        yield found
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        found.extend(gc.garbage)
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
