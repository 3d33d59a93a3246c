"""Many connections that idle, wait, stall or flood: they cost little, and others nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.faults.conftest import Tell
from tests.faults.flooding import FloodVendor, reading
from tests.faults.load import Connection, Kind
from tests.faults.pacing import PacedVendor, Watching, model
from tests.faults.resources import MIB, taken
from tests.faults.serving import PASSED, Installation, Serving, rounds, seen
from tests.faults.vendor import QuickVendor, paced

KIB = 1 << 10
QUICK = Kind("openai-chat", stream=False, model=PASSED)
WAITING = Kind("openai-chat", stream=False, model="waits")
# What all of it may add to an event of others, in seconds; a test asserts ten times that.
DELAY_S = 0.050


@asynccontextmanager
async def beside(served: Serving, paced: PacedVendor) -> AsyncIterator[Watching]:
    """Run ten paced streams, which end whole."""
    clients = Watching(served.base_url, served.site.secret)
    await clients.start(10)
    await seen(lambda: has(len(paced.open) == 10))
    try:
        yield clients
        paced.end()
        await seen(lambda: has(clients.ended == 10))
    finally:
        clients.close()


async def has(value: bool) -> bool:
    """Return what is asked, for ``seen``."""
    return value


# --- idle -------------------------------------------------------------------------------


async def test_idle_connections_cost_little_and_nobody_waits_for_them(
    site: Installation, vendor: QuickVendor, tell: Tell
) -> None:
    count = rounds(500, 9_000)
    async with PacedVendor() as paced:
        extra = model("timed", paced.base_url, ("openai-chat",))
        site.configure(vendor.base_url, extra=extra, limits="header_timeout_s = 60")
        async with site.serving() as served, beside(served, paced) as clients:
            pid = served.process.pid
            # What the first hundred calls leave is no connection's.
            await calls(served, [Connection(served.base_url) for _ in range(100)], close=True)
            alone = await clients.over(rounds(0.4, 2.0))
            before = taken(pid)
            connections = [Connection(served.base_url) for _ in range(count)]
            await calls(served, connections)
            after = taken(pid)
            slowest = await clients.over(rounds(0.4, 2.0))
            for each in connections:
                await each.close()
    each_one = (after.resident - before.resident) / count
    tell(
        f"{count} idle connections: {each_one / KIB:.1f} KiB each; an event took"
        f" {slowest * 1e3:.1f} ms at most, {alone * 1e3:.1f} ms without them"
    )
    # The upstream's side of a call is closed after 30 s and shared: it is not counted.
    assert after.descriptors - before.descriptors >= count
    assert each_one < 10 * KIB
    assert slowest - alone < 10 * DELAY_S


async def calls(served: Serving, connections: list[Connection], *, close: bool = False) -> None:
    """Make a call on each connection, some at once."""
    for at in range(0, len(connections), 20):
        some = connections[at : at + 20]
        made = await asyncio.gather(*(each.call(QUICK, served.site.secret) for each in some))
        assert all(each.ok for each in made)
        if close:
            for each in some:
                await each.close()


async def test_idle_connections_are_closed_in_time(
    site: Installation, vendor: QuickVendor, tell: Tell
) -> None:
    site.configure(vendor.base_url, limits="header_timeout_s = 1\nidle_connection_timeout_s = 1")
    async with site.serving() as served:
        silent, half, called = (Connection(served.base_url) for _ in range(3))
        begun = asyncio.get_running_loop().time()
        await silent.send(b"")
        await half.send(b"POST /v1/chat/completions HTTP/1.1\r\nhost: t")
        call = await called.call(QUICK, site.secret)
        ended = await asyncio.gather(*(each.closed() for each in (silent, half, called)))
        for each in (silent, half, called):
            await each.close()
    took = [at - since for at, since in zip(ended, (begun, begun, call.ended), strict=True)]
    tell(
        f"limits of 1 s: nothing said {took[0]:.2f} s, half a head {took[1]:.2f} s,"
        f" behind a call {took[2]:.2f} s"
    )
    assert all(0.9 < each < 10.0 for each in took)


# --- readers that stall, and those that read all -----------------------------------------


@pytest.mark.parametrize(
    "protocols", rounds([("anthropic",)], [("anthropic",), ("openai-chat",)]), ids=str
)
async def test_stalled_reader_costs_little_and_is_closed(
    site: Installation, vendor: QuickVendor, tell: Tell, protocols: tuple[str, ...]
) -> None:
    count = rounds(10, 100)
    async with FloodVendor(20_000, 2_000, protocols[0]) as flood:
        extra = model("flood", flood.base_url, protocols)
        limits = "stalled_reader_timeout_s = 2"
        site.configure(vendor.base_url, extra=extra, limits=limits)
        async with site.serving() as served:
            pid = served.process.pid
            await calls(served, [Connection(served.base_url) for _ in range(20)], close=True)
            before = taken(pid).resident
            readers = [
                await reading(served.base_url, site.secret, "flood", stalled=True)
                for _ in range(count)
            ]
            await seen(lambda: has(len(flood.sent) == count))
            await asyncio.sleep(0.8)
            once, resident = list(flood.sent), taken(pid).resident
            await asyncio.sleep(0.4)
            assert flood.sent == once
            # The connection is only noticed to be gone by who reads.
            await seen(lambda: has(not flood.open))
            await served.until("kurol_streams_in_flight", 0)
            for each in readers:
                each.transport.resume_reading()
                await asyncio.wait_for(each.gone, 10.0)
            again = await served.call(QUICK)
    each_one = (resident - before) / count
    tell(f"{count} stalled readers: {each_one / KIB:.0f} KiB each")
    assert each_one <= MIB
    assert not any(each.whole for each in readers)
    assert again.ok


async def test_flood_comes_whole_and_nobody_waits_for_it(
    site: Installation, vendor: QuickVendor, tell: Tell
) -> None:
    events, size = rounds((5_000, 1_800), (20_000, 1_900))
    async with FloodVendor(events, size) as flood, PacedVendor() as paced:
        extra = model("flood", flood.base_url, ("openai-chat",))
        extra += model("timed", paced.base_url, ("openai-chat",))
        site.configure(vendor.base_url, extra=extra)
        async with site.serving() as served, beside(served, paced) as clients:
            alone = await clients.over(rounds(0.4, 2.0))
            before = taken(served.process.pid)
            clients.forget()
            reader = await reading(served.base_url, site.secret, "flood")
            await seen(lambda: has(reader.whole or reader.gone.done()))
            slowest, _ = clients.forget()
            after = taken(served.process.pid)
            # The clients and vendors of this test share one loop: the gateway's own is told, too.
            lag = (await served.metrics())["kurol_event_loop_lag_seconds"]
            reader.transport.abort()
    tell(
        f"{events} events, {events * len(flood.piece) / MIB:.0f} MiB: CPU"
        f" {(after.cpu_s - before.cpu_s) / events * 1e6:.0f} us an event; an event of others took"
        f" {slowest * 1e3:.1f} ms at most, {alone * 1e3:.1f} ms without it; the gateway's loop was"
        f" {lag * 1e3:.1f} ms late"
    )
    assert reader.whole
    assert reader.events == events
    assert slowest - alone < 10 * DELAY_S


# --- an upstream that makes everybody wait ------------------------------------------------


async def test_calls_that_wait_for_one_upstream_do_not_touch_other_models(
    site: Installation, vendor: QuickVendor, tell: Tell
) -> None:
    count = rounds(200, 1_000)
    # Long enough for all of them to arrive, also on a busy machine.
    hold_s = rounds(4.0, 12.0)
    slow = QuickVendor({"m": paced(hold_s / 3)})
    async with slow, PacedVendor() as timed:
        extra = model("waits", slow.base_url, ("openai-chat",))
        extra += model("timed", timed.base_url, ("openai-chat",))
        site.configure(vendor.base_url, extra=extra)
        async with site.serving() as served, beside(served, timed) as clients:
            alone = await clients.over(rounds(0.4, 2.0))
            waiting = [asyncio.create_task(served.call(WAITING)) for _ in range(count)]
            await seen(lambda: has(slow.running == count))
            clients.forget()
            during = [await served.call(QUICK) for _ in range(20)]
            still = slow.running
            slowest, _ = clients.forget()
            made = await asyncio.gather(*waiting)
    longest = max(each.took for each in during)
    tell(
        f"{count} calls wait at once: another model's answer took {longest * 1e3:.1f} ms at most,"
        f" an event {slowest * 1e3:.1f} ms ({alone * 1e3:.1f} ms without them)"
    )
    # None of them waited in a queue of ours.
    assert still == count
    assert all(each.ok for each in (*during, *made))
    assert longest < 10 * DELAY_S
    assert slowest - alone < 10 * DELAY_S
