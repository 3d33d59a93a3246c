"""A crash between journal and database: nothing is lost, and nothing is counted twice."""

from __future__ import annotations

import asyncio
import random
import shutil
import sys
from collections import Counter
from dataclasses import dataclass, field
from itertools import cycle, islice

import pytest

from tests.cli.sites import LIMIT_S
from tests.faults.books import Books, ids_of
from tests.faults.conftest import Tell
from tests.faults.crashing import POINTS
from tests.faults.load import Call, Load
from tests.faults.serving import PASSED, Installation, Serving, module, rounds

CRASHES = rounds(3, 56)
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="open files are found in /proc")
SHORT = ("in-commit", "journal", "after-commit")


@dataclass(slots=True)
class Story:
    """Crash after crash, and the answers that came whole meanwhile."""

    site: Installation
    calls: list[Call] = field(default_factory=list)
    at_start: Counter[str] = field(default_factory=Counter)
    deaths: Counter[str] = field(default_factory=Counter)

    async def crash(self, point: str) -> None:
        """Call a gateway until it dies at a point."""
        times = str(random.randint(1, 200 if point == "journal" else 3))
        served = await self.site.start(*module("crashing", point, times))
        try:
            load = await _called(served)
            if load is None:
                # The point was reached while the last one's journal was imported.
                self.at_start[point] += 1
            else:
                await asyncio.wait_for(served.process.wait(), LIMIT_S)
                await load.finish()
                self.calls += load.calls
        finally:
            await served.kill()
        self.deaths[f"{point} {served.process.returncode}"] += 1


async def _called(served: Serving) -> Load | None:
    """Begin to call a gateway; None: it died before it served."""
    ready = asyncio.create_task(served.ready())
    died = asyncio.create_task(served.process.wait())
    await asyncio.wait({ready, died}, return_when=asyncio.FIRST_COMPLETED)
    if served.process.returncode is not None:
        await asyncio.gather(ready, return_exceptions=True)
        return None
    await ready
    died.cancel()
    load = served.load(PASSED, rate=300.0)
    load.start()
    return load


async def test_crash_between_journal_and_database_loses_and_doubles_nothing(
    site: Installation, tell: Tell
) -> None:
    story = Story(site)
    for point in SHORT if len(SHORT) == CRASHES else islice(cycle(POINTS), CRASHES):
        await story.crash(point)
    kept = site.folder / "kept"
    shutil.copytree(site.journal, kept)
    async with site.serving() as served:
        await served.written()
        books = Books.open(site.database)
    tell(
        f"{CRASHES} crashes ({dict(story.deaths)}), {sum(story.at_start.values())} of them at "
        f"a start; {len(books.rows)} rows, lost {len(books.lost(story.calls))}"
    )
    books.check()
    assert books.lost(story.calls) == []
    assert max(ids_of(story.calls).values()) == 1
    # SIGXFSZ is what ends a process in the middle of a write.
    assert {each.split()[1] for each in story.deaths} <= {"-9", "-25"}
    # The same journal once more: all of it stands in the database already.
    shutil.copytree(kept, site.journal, dirs_exist_ok=True)
    async with site.serving() as served:
        await served.written()
        assert Books.open(site.database) == books
