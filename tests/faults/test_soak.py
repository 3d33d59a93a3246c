"""Nothing grows while everything goes wrong: ``make soak``, or ``KUROL_SOAK_S`` seconds of it."""

from __future__ import annotations

import asyncio
import os
import random
from statistics import linear_regression, median

import pytest

from tests.fakes.faulty import FaultyUpstream
from tests.faults.books import Books
from tests.faults.chaos import Chaos, models
from tests.faults.conftest import Tell
from tests.faults.hostile import all_modes
from tests.faults.resources import MIB, Taken, taken
from tests.faults.serving import Installation, Serving, long_form, seen
from tests.faults.vendor import QuickVendor, paced

SECONDS = float(os.environ.get("KUROL_SOAK_S") or 20.0)
# Kept connections to upstreams are closed after 30 s without a call.
QUIET_S = 60.0
# SQLite opens the database once for each of its threads, when that is first needed.
FILES = 6
# What calls of many kinds leave in the C library's heap comes and goes; over a long time it
# is flat.
GROWTH = 8 * MIB if SECONDS >= 600 else 64 * MIB
_LIMITS = """
body_timeout_s = 1
header_timeout_s = 1
idle_connection_timeout_s = 2
stalled_reader_timeout_s = 1
"""
_COMPLAINTS = ("never retrieved", "Traceback", "exception", "ResourceWarning")


@pytest.mark.skipif(
    not (long_form() or os.environ.get("KUROL_SOAK_S")),
    reason="make soak and make test-faults run it",
)
async def test_nothing_grows_while_everything_goes_wrong(
    site: Installation, vendor: QuickVendor, tell: Tell
) -> None:
    table = {name: mode for name, mode in all_modes().items() if not mode.large}
    table["flood"] = all_modes()["flood"]
    vendor.scripts = {"paced": paced(0.3)}
    seed = random.randrange(1 << 32)
    async with FaultyUpstream({name: mode.script for name, mode in table.items()}) as faulty:
        extra = models(table, faulty.base_url)
        site.configure(vendor.base_url, limits=_LIMITS, extra=extra)
        async with site.serving() as served:
            pid = served.process.pid
            # The test's own last connection, too, is closed then.
            await asyncio.sleep(1.0)
            before = taken(pid)
            chaos = Chaos(served, [name for name in table if name != "flood"], seed)
            await chaos.run(SECONDS)
            await served.until("kurol_requests_running", 0)
            await served.written()
            await seen(lambda: quiet(served, before), QUIET_S)
            after = taken(pid)
            metrics = await served.metrics()
            assert (await served.call()).ok
            assert await served.stop() == 0
    books = Books.open(site.database)
    resident = [each.resident for each in chaos.samples]
    early, late = parts(resident)
    seconds = range(len(resident) // 4, len(resident))
    slope = linear_regression(seconds, [resident[at] for at in seconds]).slope * 3_600
    tell(f"seed {seed}, {SECONDS:.0f} s: {dict(chaos.done)}")
    tell(f"{dict(chaos.statuses)}; {len(books.rows)} rows; {len(faulty.requests)} faulty answers")
    tell(
        f"resident {early / MIB:.1f} MiB, later {late / MIB:.1f} (slope {slope / MIB:.1f} MiB/h,"
        f" most {max(resident) / MIB:.0f}), {after.resident / MIB:.1f} at the end; descriptors"
        f" {before.descriptors}, most {max(each.descriptors for each in chaos.samples)},"
        f" {after.descriptors} at the end; CPU {(after.cpu_s - before.cpu_s) / SECONDS:.0%}"
    )
    assert late - early < GROWTH
    for name in ("reserved_tokens", "streams_in_flight", "body_bytes_in_flight"):
        assert metrics[f"kurol_{name}"] == 0
    books.check()
    assert {200, 400, 404, 502} <= set(chaos.statuses)
    assert [line for line in site.errors.splitlines() if complains(line)] == []
    assert [each for each in served.events() if each["event"] == "fault"] == []


async def quiet(served: Serving, before: Taken) -> bool:
    """Return whether the process has no more connections than at the start."""
    await asyncio.sleep(0.2)
    now = taken(served.process.pid)
    return now.sockets <= before.sockets and now.descriptors <= before.descriptors + FILES


def parts(values: list[int]) -> tuple[float, float]:
    """Return the median of the second quarter, the first behind the warm-up, and of the last."""
    quarter = max(1, len(values) // 4)
    return median(values[quarter : 2 * quarter]), median(values[-quarter:])


def complains(line: str) -> bool:
    """Return whether a line of stderr tells of an error that nobody looked at."""
    return any(each in line for each in _COMPLAINTS)
