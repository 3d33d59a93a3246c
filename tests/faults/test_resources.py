"""Memory and descriptors run short: calls that run go on, further ones are told so."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.faults.conftest import Tell
from tests.faults.load import Connection, Kind
from tests.faults.resources import MIB, taken, with_descriptors, with_memory
from tests.faults.serving import PASSED, SLOW, Installation, Serving, rounds, seen
from tests.faults.vendor import QuickVendor, paced

QUICK = Kind("openai-chat", stream=False, model=PASSED)
STREAM = Kind("openai-chat", stream=True, model=SLOW)


@asynccontextmanager
async def streams(served: Serving, count: int) -> AsyncIterator[list[asyncio.Task[Any]]]:
    """Run some streams, of which the first bytes have come."""
    tasks = [asyncio.create_task(served.call(STREAM)) for _ in range(count)]
    await served.until("kurol_streams_in_flight", count)
    try:
        yield tasks
    finally:
        await asyncio.gather(*tasks)


# --- descriptors ------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [rounds(96, 256)])
async def test_connections_beyond_the_descriptors_do_not_touch_what_runs(
    site: Installation, vendor: QuickVendor, tell: Tell, limit: int
) -> None:
    vendor.scripts = {"paced": paced(0.4)}
    crowd = limit * 400 // 256
    async with site.serving(*with_descriptors(limit)) as served:
        pid = served.process.pid
        begun = taken(pid).descriptors
        async with streams(served, limit // 12) as running:
            before = taken(pid)
            writers = await opened(served, crowd)
            await asyncio.sleep(1.0)
            after = taken(pid)
            refused = await left(writers)
            for each in writers:
                each.close()
            await seen(lambda: answers(served))
            metrics = await served.metrics()
        calls = [each.result() for each in running]
        assert all(call.ok for call in calls)
        assert metrics["kurol_ledger_writable"] == 1
        await served.until("kurol_requests_running", 0)
        # The upstream's connections are kept for a while.
        assert taken(pid).descriptors <= begun + 2 * len(calls) + 5
        events = [each for each in served.events() if each["event"] == "upstream_rests"]
    tell(
        f"{crowd} connections on {limit} descriptors: {refused} closed, most {after.descriptors}"
        f" taken, CPU {after.cpu_s - before.cpu_s:.2f} s in a second"
    )
    assert refused > 0
    assert after.descriptors < limit
    # A busy loop takes all of it.
    assert after.cpu_s - before.cpu_s < 0.5
    assert events == []
    assert "Too many open files" not in site.errors


async def opened(served: Serving, count: int) -> list[asyncio.StreamWriter]:
    """Open connections that say nothing."""
    host, _, port = served.base_url.removeprefix("http://").rpartition(":")
    made = await asyncio.gather(*(asyncio.open_connection(host, int(port)) for _ in range(count)))
    return [writer for _, writer in made]


async def left(writers: list[asyncio.StreamWriter]) -> int:
    """Return how many of some connections the other side has closed."""
    closed = 0
    for each in writers:
        reader = each.transport.get_protocol()._stream_reader  # type: ignore[attr-defined]
        closed += reader.at_eof() or reader.exception() is not None
    return closed


async def answers(served: Serving) -> bool:
    """Return whether a call is answered."""
    call = await served.call(QUICK)
    assert call.error or call.status in (200, 503), call
    return call.ok


async def test_upstream_is_not_blamed_when_we_have_no_descriptor_for_it(
    site: Installation, vendor: QuickVendor
) -> None:
    vendor.scripts = {"paced": paced(0.2)}
    async with site.serving(*with_descriptors(64)) as served:
        statuses: set[int] = set()
        # When the look at the descriptors comes in the middle of a burst, it refuses all of it.
        for _ in range(10):
            calls = await asyncio.gather(*(served.call(STREAM) for _ in range(60)))
            statuses |= {each.status for each in calls if not each.error}
            for each in calls:
                if each.status == 503:
                    assert b"no room for more connections" in each.body
                    assert b"retry-after: 1\r\n" in each.head
            await served.until("kurol_requests_running", 0)
            await seen(lambda: answers(served))
            if statuses == {200, 503}:
                break
        assert statuses == {200, 503}
        assert [each for each in served.events() if each["event"] == "upstream_rests"] == []


# --- memory -----------------------------------------------------------------------------


def limited(folder: Path, limit: int) -> Path:
    """Write control groups of both versions, of which one has a limit; return their folder."""
    group = folder / "cgroups" / "groups" / "gateway"
    group.mkdir(parents=True)
    (group / "memory.max").write_text(f"{limit}\n")
    (folder / "cgroups" / "own").write_text("4:memory:/other\n0::/gateway\n")
    return folder / "cgroups"


def large(size: int) -> bytes:
    """Return a body of about so many bytes."""
    body = {"model": PASSED, "messages": [{"role": "user", "content": "a" * size}]}
    return json.dumps(body).encode()


def head(key: str, length: int) -> bytes:
    """Return the head of a Chat call."""
    text = "POST /v1/chat/completions HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\n"
    return f"{text}authorization: Bearer {key}\r\ncontent-length: {length}\r\n\r\n".encode()


async def test_calls_are_refused_before_the_kernel_would_kill(
    site: Installation, tmp_path: Path, tell: Tell
) -> None:
    # A body is less than the tenth that is left when calls begin to be refused, and all of them
    # are less than what bodies may take together.
    limit, size = rounds((150 * MIB, 11 * MIB), (250 * MIB, 20 * MIB))
    body = large(size)
    async with site.serving(*with_memory(limited(tmp_path, limit))) as served:
        pid = served.process.pid
        metrics = await served.metrics()
        assert metrics["kurol_process_memory_limit_bytes"] == limit
        held: list[Connection] = []
        most = 0
        while not (await served.metrics())["kurol_memory_short"]:
            # All but the last byte: the body is held, and nobody is asked yet.
            held.append(Connection(served.base_url))
            await held[-1].send(head(site.secret, len(body)) + body[:-1])
            await asyncio.sleep(0.6)
            most = max(most, taken(pid).resident)
            assert len(held) < 14
        refused = await served.call(QUICK)
        assert refused.status == 503
        assert b"short of memory" in refused.body
        assert b"retry-after: 5\r\n" in refused.head
        # Those that were taken before are answered.
        first = await held[0].exchange(QUICK, body[-1:])
        for each in held:
            await each.close()
        took = await seen(lambda: answers(served), 10.0)
        after = taken(pid).resident
        told = [each for each in served.events() if each["event"] == "memory_short"]
    tell(
        f"limit {limit // MIB} MiB: refused with {len(held)} bodies of {size // MIB} MiB and"
        f" {most // MIB} MiB resident; {took:.2f} s later served again with {after // MIB} MiB"
    )
    assert first.ok
    assert most < limit
    assert after < 0.85 * limit
    assert [each["limit_bytes"] for each in told] == [limit]
