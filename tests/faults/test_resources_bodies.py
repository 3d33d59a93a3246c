"""Large bodies: nobody else waits for them, and together they stay within their budget."""

from __future__ import annotations

import asyncio
from collections import Counter

from tests.faults.conftest import Tell
from tests.faults.heavy import heavy_vendor, sent
from tests.faults.pacing import PacedVendor, Watching, model
from tests.faults.resources import MIB, taken
from tests.faults.serving import Installation, Serving, rounds, seen
from tests.faults.vendor import QuickVendor

STREAMS = 100
BOTH = ("openai-chat", "anthropic")
KINDS = (("same", "openai-chat"), ("other", "anthropic"))
# What a body may add to any event, in seconds; a test asserts ten times that.
SIZES = ((1, 0.010), (32, 0.250))


async def test_large_body_delays_no_event_of_others(
    site: Installation, vendor: QuickVendor, tell: Tell
) -> None:
    async with PacedVendor() as paced, heavy_vendor() as heavy:
        models = model("timed", paced.base_url, BOTH)
        models += model("same", heavy, BOTH) + model("other", heavy, ("openai-chat",))
        site.configure(vendor.base_url, extra=models)
        async with site.serving() as served:
            clients = Watching(served.base_url, site.secret)
            await clients.start(STREAMS)
            await served.until("kurol_streams_in_flight", STREAMS)
            alone = await clients.over(rounds(1.0, 5.0))
            for mib, most in SIZES:
                for name, protocol in KINDS:
                    figures = []
                    for _ in range(rounds(1, 5)):
                        clients.forget()
                        # A little under the limit of 32 MiB.
                        size = mib * MIB - 40_000
                        calls = await sent(
                            served.base_url, site.secret, name, size, protocol=protocol
                        )
                        slowest, events = clients.forget()
                        assert [each["status"] for each in calls] == [200], calls
                        assert events > STREAMS
                        figures.append(max(slowest - alone, 0.0))
                    said = ", ".join(f"{each * 1e3:.1f}" for each in figures)
                    tell(f"{mib} MiB, {name}: an event took at most {said} ms longer")
                    assert min(figures) < 10 * most
            paced.end()
            await seen(lambda: ended(clients))
            clients.close()
        tell(f"alone: {alone * 1e3:.1f} ms")


async def ended(clients: Watching) -> bool:
    """Return whether all streams have come to their end."""
    return clients.ended == STREAMS


async def test_bodies_of_all_stay_within_their_budget(
    site: Installation, vendor: QuickVendor, tell: Tell
) -> None:
    count, mib, budget = rounds((24, 8, 48), (100, 31, 256))
    async with heavy_vendor() as heavy:
        limits = f"max_body_bytes_in_flight = {budget * MIB}"
        site.configure(vendor.base_url, extra=model("same", heavy, BOTH), limits=limits)
        async with site.serving() as served:
            before = taken(served.process.pid).resident
            peak = asyncio.create_task(highest(served))
            calls = await sent(served.base_url, site.secret, "same", mib * MIB, count=count)
            peak.cancel()
            held, resident = await peak
            # Fewer than those after which an address has to wait.
            strangers = await sent(served.base_url, "sk-kurol-no", "same", mib * MIB, count=5)
            unread = (await served.metrics())["kurol_body_bytes_in_flight"]
            await served.until("kurol_requests_running", 0)
            after = taken(served.process.pid).resident
    statuses = Counter(each["status"] for each in calls)
    tell(
        f"{count} bodies of {mib} MiB: {dict(statuses)}, at most {held / MIB:.0f} of {budget} MiB"
        f" held, {resident / MIB:.0f} MiB resident ({before / MIB:.0f} before,"
        f" {after / MIB:.0f} after)"
    )
    assert set(statuses) == {200, 503}
    assert 0 < held <= budget * MIB
    # What is held, a copy of it on its way out, and what the sockets' readers have.
    assert resident - before < 2.5 * budget * MIB
    for each in calls:
        assert ("\r\nretry-after: 1" in each["head"]) is (each["status"] == 503)
    assert {each["status"] for each in strangers} == {401}
    assert unread == 0


async def highest(served: Serving) -> tuple[float, int]:
    """Return the most body bytes in flight and the most memory taken, until cancelled."""
    held, resident = 0.0, 0
    try:
        while True:
            held = max(held, (await served.metrics())["kurol_body_bytes_in_flight"])
            resident = max(resident, taken(served.process.pid).resident)
            await asyncio.sleep(0.02)
    except asyncio.CancelledError:
        return held, resident
