"""Many who watch live cost little memory and little CPU, and the calls nothing (faults 83)."""

from __future__ import annotations

import asyncio
from statistics import median

from tests.faults.conftest import Tell
from tests.faults.load import Kind, Load
from tests.faults.resources import taken, with_descriptors
from tests.faults.serving import PASSED, Installation, Serving, rounds, seen
from tests.faults.vendor import QuickVendor
from tests.faults.viewers import OF_ACCOUNT, Person, Viewers, people

KIB = 1 << 10
RATE = 50.0
OK = {b"HTTP/1.1 200 OK"}


async def test_idle_viewer_takes_little_memory(site: Installation, tell: Tell) -> None:
    count = 500
    persons = await people(site, count // OF_ACCOUNT)
    tokens = [each.token for each in persons for _ in range(OF_ACCOUNT)]
    async with site.serving(*with_descriptors(4_096)) as served:
        pid, viewers = served.process.pid, Viewers(served.base_url)
        # What the first ten leave is no viewer's.
        await viewers.come(tokens[::50])
        viewers.go()
        await asyncio.sleep(rounds(0.2, 3.0))
        before = taken(pid)
        await viewers.come(tokens)
        await asyncio.sleep(rounds(0.3, 20.0))
        after = taken(pid)
        viewers.go()
    each_one = (after.resident - before.resident) / count
    tell(f"{count} idle viewers: {each_one / KIB:.1f} KiB each")
    assert viewers.head == OK
    assert after.sockets - before.sockets >= count
    assert each_one < 64 * KIB


async def test_viewers_cost_a_part_of_what_the_calls_cost(
    site: Installation, vendor: QuickVendor, tell: Tell
) -> None:
    persons = await people(site, 5)
    seconds, pairs = rounds((1.0, 1), (60.0, 3))
    alone: list[float] = []
    watched: list[float] = []
    async with site.serving() as served:
        await calling(served, persons, rounds(0.3, 5.0))
        for _ in range(pairs):
            alone.append(await calling(served, persons, seconds))
            viewers = Viewers(served.base_url)
            await viewers.come([each.token for each in persons for _ in range(OF_ACCOUNT)])
            begun = viewers.updates
            watched.append(await calling(served, persons, seconds))
            told = (viewers.updates - begun) / seconds / 100
            viewers.go()
            await seen(lambda: quiet(served))
            tell(
                f"{RATE:.0f} calls/s for {seconds:.0f} s: {alone[-1]:.2f} s of CPU alone,"
                f" {watched[-1]:.2f} s with 100 viewers, each told {told:.2f} times a second"
            )
            assert viewers.head == OK
            # A minute's rate over a short while: the ends of it count in.
            assert told <= 2.0 + 2 / seconds
    ratio = median(each / one for one, each in zip(alone, watched, strict=True))
    tell(f"100 viewers: CPU times {ratio:.2f}")
    assert ratio < 10


async def calling(served: Serving, persons: list[Person], seconds: float) -> float:
    """Call with all accounts for a while; return the CPU that the gateway took for it."""
    before = taken(served.process.pid).cpu_s
    kind = [Kind("openai-chat", stream=True, model=PASSED)]
    loads = [
        Load(served.base_url, each.secret, kind, rate=RATE / len(persons), clients=4)
        for each in persons
    ]
    await asyncio.gather(*(each.run(seconds) for each in loads))
    assert all(len(each.whole) == len(each.calls) for each in loads)
    return taken(served.process.pid).cpu_s - before


async def quiet(served: Serving) -> bool:
    """Return whether nothing is connected but us."""
    return taken(served.process.pid).sockets < 30
