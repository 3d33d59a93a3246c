"""A power cut: at most two seconds of usage are gone, and nothing at all with ``strict``."""

from __future__ import annotations

import asyncio
import random
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.faults.books import Books
from tests.faults.conftest import Tell
from tests.faults.load import Call, Load
from tests.faults.recording import Disk
from tests.faults.serving import PASSED, TRANSLATED, Installation, module, rounds
from tests.faults.vendor import QuickVendor

ROUNDS = rounds(1, 5)
# Files of the journal are deleted for the first time after some two seconds.
SECONDS = rounds(2.5, 6.0)
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="open files are found in /proc")
RATE = 150
# What reached the disk of SQLite's files: what was synced, or all that was written.
DATABASE = rounds(("late",), ("late", "early"))
PROMISED_S = {"normal": 2.0, "strict": 0.0}


def begin(site: Installation, notes: Path) -> None:
    """Make a folder for notes: what is there before the gateway begins is on the disk."""
    notes.mkdir()
    shutil.copyfile(site.database, notes / "kurolproxy.db")


async def cut(site: Installation, notes: Path) -> tuple[Load, float]:
    """Call a gateway and kill it; return its load, and when it died."""
    begin(site, notes)
    async with site.serving(*module("recording", str(notes))) as served:
        load = served.load(PASSED, TRANSLATED, rate=RATE)
        load.start()
        await asyncio.sleep(SECONDS + random.random())
        died = asyncio.get_running_loop().time()
        await served.kill()
        await load.finish()
    return load, died


def oldest(calls: Sequence[Call], lost: Sequence[str]) -> float:
    """Return when the oldest of some answers ended; infinity when there is none."""
    return min((each.ended for each in calls if each.id in set(lost)), default=float("inf"))


@pytest.mark.parametrize("database", DATABASE)
@pytest.mark.parametrize("durability", PROMISED_S)
async def test_power_cut_costs_no_more_usage_than_was_promised(
    durability: str, database: str, site: Installation, vendor: QuickVendor, tell: Tell
) -> None:
    site.configure(vendor.base_url, ledger=f'durability = "{durability}"')
    for number in range(ROUNDS):
        load, died = await cut(site, site.folder / f"notes{number}")
        disk = Disk.of(site.folder / f"notes{number}")
        disk.after_the_cut(site.state_dir, whole_database=database == "early")
        async with site.serving() as served:
            await served.written()
            books = Books.open(site.database)
        calls, failed = load.calls, load.failed
        lost = books.lost(calls)
        behind = max(0.0, died - oldest(calls, lost))
        tell(
            f"{sum(each.ok for each in calls)} answers, {len(lost)} lost, of the last "
            f"{behind:.2f} s; the longest sync took {disk.longest_sync_s * 1000:.0f} ms"
        )
        books.check()
        assert disk.sizes
        assert failed == []
        # A disk that is busy with something else is none of ours.
        assert behind <= PROMISED_S[durability] + (durability == "normal") * disk.longest_sync_s
