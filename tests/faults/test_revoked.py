"""A key that was revoked: dead for every later call, also when the process dies at once."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from tests.cli.sites import COMMAND, finish
from tests.faults.load import Call, Connection, Kind, kinds
from tests.faults.serving import (
    PASSED,
    SLOW,
    TRANSLATED,
    Installation,
    Serving,
    long_form,
)
from tests.faults.vendor import QuickVendor, stalled

CLIENTS = 50


async def revoke(site: Installation, *flags: str) -> dict[str, Any]:
    """Run the verb in a process of its own, and return what it tells."""
    verb = ("keys", "revoke", site.key_id, *flags, "--json")
    code, out, err = await finish(*COMMAND, "--config", str(site.config), *verb)
    assert code == 0, err
    told: dict[str, Any] = json.loads(out)
    return told


class Callers:
    """Clients that call without a pause until they are told to stop."""

    def __init__(self, served: Serving) -> None:
        self.calls: list[Call] = []
        self.stopped = False
        self._served = served
        turns = kinds(PASSED, TRANSLATED)
        self._tasks = [
            asyncio.create_task(self._loop(turns[number % len(turns)])) for number in range(CLIENTS)
        ]

    async def _loop(self, kind: Kind) -> None:
        connection = Connection(self._served.base_url)
        while not self.stopped:
            call = await connection.call(kind, self._served.site.secret)
            self.calls.append(call)
            if call.error:
                break
        await connection.close()

    async def finish(self) -> None:
        """Let them end."""
        self.stopped = True
        await asyncio.gather(*self._tasks)


@pytest.mark.skipif(not long_form(), reason="tests/cli holds the short form of it")
async def test_no_call_is_admitted_once_the_command_has_returned(
    site: Installation, vendor: QuickVendor
) -> None:
    site.configure(vendor.base_url, limits="failed_logins_per_minute = 1_000_000")
    async with site.serving() as served:
        callers = Callers(served)
        while len(callers.calls) < CLIENTS:  # noqa: ASYNC110  # until each has called
            await asyncio.sleep(0.01)
        await revoke(site)
        returned = asyncio.get_running_loop().time()
        await asyncio.sleep(0.3)
        await callers.finish()
    after = [each for each in callers.calls if each.began > returned]
    assert {each.status for each in after} == {401}
    assert len(after) > CLIENTS
    assert any(each.ok for each in callers.calls)


async def test_revoked_now_ends_streams_with_an_error_and_outlives_a_kill(
    site: Installation, vendor: QuickVendor
) -> None:
    vendor.scripts["paced"] = stalled(30.0)
    streams = [each for each in kinds(SLOW) if each.stream]
    async with site.serving() as served:
        running = [asyncio.create_task(served.call(each)) for each in streams]
        await served.until("kurol_streams_in_flight", len(streams))
        await asyncio.sleep(0.2)  # until the first word of each is out
        told = await revoke(site, "--now")
        calls = await asyncio.gather(*running)
        await served.kill()
    assert told["ended_calls"] == len(streams)
    assert [each.status for each in calls] == [200] * len(streams)
    assert all(b"Every answer " in each.body for each in calls)
    assert all(b"error" in each.body for each in calls)
    assert not any(each.whole for each in calls)
    # Each connection ended as HTTP wants it: the clients see no break.
    assert {each.error for each in calls} == {""}
    async with site.serving() as served:
        assert (await served.call()).status == 401
