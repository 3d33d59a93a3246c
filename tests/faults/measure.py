"""What the ledger costs the loop: ``python -m tests.faults.measure [ROWS_A_SECOND] [SECONDS]``.

Prints what one ``Ledger.add`` takes, and how late a timer of 1 ms comes while so many rows
a second are journalled and imported, beside the same without any.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path
from time import perf_counter

import uvloop

from kurolproxy.storage.database import Database
from kurolproxy.storage.journal import FOLDER
from kurolproxy.storage.ledger import Ledger
from tests.faults.made_up import rows

_TICK_S = 0.001


class Ticker:
    """A timer that comes every millisecond, and how late it came."""

    def __init__(self) -> None:
        self.late: list[float] = []
        self._loop = asyncio.get_running_loop()
        self._handle = self._loop.call_later(_TICK_S, self._tick, perf_counter() + _TICK_S)

    def _tick(self, wanted: float) -> None:
        now = perf_counter()
        self.late.append(now - wanted)
        self._handle = self._loop.call_later(_TICK_S, self._tick, now + _TICK_S)

    def stop(self) -> None:
        """Tick no more."""
        self._handle.cancel()


async def idle(seconds: float) -> list[float]:
    """Return how late the timer comes when nothing else is done."""
    ticker = Ticker()
    await asyncio.sleep(seconds)
    ticker.stop()
    return ticker.late


async def busy(folder: Path, a_second: int, seconds: float) -> tuple[list[float], list[float], int]:
    """Add rows evenly; return what each took, how late the timer came, and what was left."""
    database = await Database.open(folder / "kurolproxy.db")
    ledger = Ledger(database, folder / FOLDER)
    await ledger.open()
    ledger.start()
    loop = asyncio.get_running_loop()
    fresh, took = rows(), []
    ticker = Ticker()
    begun = loop.time()
    while (passed := loop.time() - begun) < seconds:
        while len(took) < passed * a_second:
            row = next(fresh)
            before = perf_counter()
            ledger.add(row)
            took.append(perf_counter() - before)
        await asyncio.sleep(1 / a_second)
    ticker.stop()
    left = ledger.pending
    assert await ledger.close() == 0
    await database.close()
    return took, ticker.late, left


def told(name: str, values: list[float], unit: float) -> str:
    """Return the median, the 99th percentile and the largest of some figures."""
    values.sort()
    picked = (values[len(values) // 2], values[len(values) * 99 // 100], values[-1])
    return f"{name:24}" + "  ".join(f"{each * unit:9.2f}" for each in picked)


async def main(a_second: int, seconds: float) -> None:
    """Measure and print."""
    alone = await idle(seconds)
    with tempfile.TemporaryDirectory() as folder:
        took, late, left = await busy(Path(folder), a_second, seconds)
    print(f"{'':24}{'median':>9}  {'p99':>9}  {'largest':>9}")
    print(told("timer alone, ms", alone, 1e3))
    print(told(f"beside {a_second} rows/s, ms", late, 1e3))
    print(told("Ledger.add, us", took, 1e6))
    print(f"{len(took)} rows, {left} not yet imported at the end")


if __name__ == "__main__":
    asked = sys.argv[1:]
    uvloop.run(main(int(asked[0]) if asked else 1_000, float(asked[1]) if asked[1:] else 10.0))
