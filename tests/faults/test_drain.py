"""SIGTERM: what runs comes to its end, nothing new comes in, and the ledger is exact."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Mapping
from typing import Any

from kurolproxy.cli.control import ControlClient
from tests.faults.books import Books
from tests.faults.conftest import Tell
from tests.faults.leaving import STREAMS, Streams, gone, plain, told_to
from tests.faults.load import Call, Connection
from tests.faults.serving import PASSED, Installation, Serving, rounds, seen
from tests.faults.vendor import QuickVendor, paced, stalled

ERRORS: Mapping[str, bytes] = {
    "openai-chat": b'data: {"error"',
    "openai-responses": b"event: response.failed",
    "anthropic": b"event: error",
    "gemini": b'data: {"error"',
}


async def status(site: Installation) -> Any:
    """Ask the gateway itself, over its control socket."""

    def ask() -> Any:
        client = ControlClient.connect(site.state_dir)
        assert client is not None
        with client:
            return client.call("status", {})

    return await asyncio.to_thread(ask)


async def is_closed(served: Serving) -> bool:
    """Return whether nobody listens any more."""
    return (await served.call()).error == "ConnectionRefusedError"


async def test_streams_end_with_their_end_mark_and_the_ledger_is_exact(
    site: Installation, vendor: QuickVendor, tell: Tell
) -> None:
    vendor.scripts["paced"] = stalled(1.5)
    loop = asyncio.get_running_loop()
    async with site.serving() as served:
        first = await served.call()
        idle = Connection(served.base_url)
        before = await idle.call(plain(PASSED), site.secret)
        streams = await Streams.open(served)
        await told_to(served, signal.SIGTERM, "stopping")
        stopping = loop.time()
        ready, _ = await served.get(served.metrics_url.replace("/metrics", "/readyz"))
        told = await status(site)
        closed = await is_closed(served)
        # Its connection was idle, and is closed: nothing is read from it but its end.
        assert idle._streams is not None
        rest = await asyncio.wait_for(idle._streams[0].read(), 5)
        in_flight = (await served.metrics())["kurol_streams_in_flight"]
        calls = await streams.ended()
        last = max(each.ended for each in calls)
        code, over = await gone(served)
        await idle.close()
    assert (ready, told["draining"], closed, rest) == (503, True, True, b"")
    assert told["streams_in_flight"] == in_flight == STREAMS
    assert [each.ok for each in calls] == [True] * STREAMS
    assert code == 0
    assert over - last < 10
    books = Books.open(site.database)
    books.check()
    assert books.lost([first, before, *calls]) == []
    assert len(books.rows) == STREAMS + 2
    tell(f"last stream {last - stopping:.2f} s after the signal, exit {over - last:.3f} s later")


async def test_new_request_on_a_busy_connection_is_refused_and_closes_it(
    site: Installation, vendor: QuickVendor
) -> None:
    vendor.scripts["paced"] = stalled(0.6)
    async with site.serving() as served:
        streams = await Streams.open(served, 4)
        await told_to(served, signal.SIGTERM, "stopping")
        busy = streams.connections[0]
        await busy.send(plain(PASSED).request(site.secret))
        first = (await streams._tasks[0]).ok
        second = Call(plain(PASSED), 0.0)
        await asyncio.wait_for(busy._read(second), 5)
        await streams.ended()
        code, _ = await gone(served)
    assert (first, second.status, code) == (True, 503, 0)
    assert b'"overloaded"' in second.body
    assert b"\r\nconnection: close" in second.head


async def test_calls_that_outlast_the_limit_end_with_an_error_of_their_own_form(
    site: Installation, vendor: QuickVendor, tell: Tell
) -> None:
    vendor.scripts["paced"] = stalled(30.0)
    site.configure(vendor.base_url, server="drain_timeout_s = 0.5")
    loop = asyncio.get_running_loop()
    async with site.serving() as served:
        streams = await Streams.open(served, 8)
        begun = loop.time()
        served.process.send_signal(signal.SIGTERM)
        calls = await streams.ended()
        code, over = await gone(served)
        (ended,) = [each for each in served.events() if each["event"] == "calls_ended"]
    assert code == 0
    assert 0.5 <= over - begun < 5.5
    assert ended["calls"] == 8
    for call in calls:
        assert (call.error, call.whole) == ("", False)
        assert ERRORS[call.kind.protocol] in call.body
        assert b"shutting down" in call.body
    books = Books.open(site.database)
    books.check()
    assert {each.id for each in calls} == set(books.rows)
    tell(f"8 streams of 30 s, limit 0.5 s: exit after {over - begun:.2f} s")


async def test_second_signal_ends_it_at_once_and_loses_nothing(
    site: Installation, vendor: QuickVendor, tell: Tell
) -> None:
    vendor.scripts["paced"] = stalled(30.0)
    loop = asyncio.get_running_loop()
    async with site.serving() as served:
        answered = [await served.call() for _ in range(5)]
        streams = await Streams.open(served, 8)
        await told_to(served, signal.SIGTERM, "stopping")
        begun = loop.time()
        served.process.send_signal(signal.SIGTERM)
        code, over = await gone(served)
        calls = await streams.ended()
    assert code == 0
    assert over - begun < 10
    assert [each.whole for each in calls] == [False] * 8
    books = Books.open(site.database)
    books.check()
    assert books.lost(answered) == []
    assert {each.id for each in [*answered, *calls]} == set(books.rows)
    tell(f"exit {over - begun:.2f} s after the second signal")


async def test_calls_are_served_while_a_load_balancer_has_yet_to_notice(
    site: Installation, vendor: QuickVendor
) -> None:
    site.configure(vendor.base_url, server="drain_delay_s = 0.6")
    loop = asyncio.get_running_loop()
    async with site.serving() as served:
        begun = loop.time()
        await told_to(served, signal.SIGTERM, "stopping")
        ready, text = await served.get("/readyz")
        call = await served.call()
        code, over = await gone(served)
    assert (ready, "draining" in text) == (503, True)
    assert (call.ok, code) == (True, 0)
    assert over - begun >= 0.6


async def test_request_whose_body_is_still_coming_is_served(site: Installation) -> None:
    async with site.serving() as served:
        request = plain(PASSED).request(site.secret)
        connection = Connection(served.base_url)
        await connection.send(request[:-10])
        body = request.partition(b"\r\n\r\n")[2]
        await served.until("kurol_body_bytes_in_flight", len(body) - 10)
        await told_to(served, signal.SIGTERM, "stopping")
        await seen(lambda: is_closed(served))
        await connection.send(request[-10:])
        call = Call(plain(PASSED), 0.0)
        await asyncio.wait_for(connection._read(call), 5)
        code, _ = await gone(served)
    assert (call.status, call.whole, code) == (200, True, 0)
    assert b"\r\nconnection: close" in call.head


async def test_process_that_stood_still_cuts_no_stream(
    site: Installation, vendor: QuickVendor, tell: Tell
) -> None:
    stopped_s = rounds(2.5, 30.0)
    vendor.scripts["paced"] = paced(0.3)
    site.configure(vendor.base_url, timeouts="idle_timeout_s = 1\nfirst_content_timeout_s = 2")
    async with site.serving() as served:
        streams = await Streams.open(served, 12)
        served.process.send_signal(signal.SIGSTOP)
        await asyncio.sleep(stopped_s)
        served.process.send_signal(signal.SIGCONT)
        calls = await streams.ended()
    assert [each.ok for each in calls] == [True] * 12
    tell(f"stopped for {stopped_s} s with an idle limit of 1 s: 12 of 12 streams whole")
