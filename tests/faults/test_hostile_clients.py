"""Clients that misbehave, against a gateway in a process of its own: one value for each case."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from urllib.parse import urlsplit

from tests.faults.attacker import WRONG, Attacker, told
from tests.faults.conftest import Tell
from tests.faults.load import Connection, Kind
from tests.faults.resources import MIB, taken
from tests.faults.serving import PASSED, SLOW, Installation, Serving, rounds, seen
from tests.faults.vendor import QuickVendor, stalled
from tests.server.families import FAMILIES

# The long form takes the limits that are the defaults.
HEAD_S = rounds(1.0, 10.0)
BODY_S = rounds(1.0, 30.0)
LARGEST = rounds(8 * MIB, 32 * MIB)
LIMITS = rounds(
    f"header_timeout_s = {HEAD_S}\nbody_timeout_s = {BODY_S}\nmax_body_bytes = {LARGEST}", ""
)
SENT_AT_MOST = 200_000_000
# What the sockets on the way and the client itself hold, of what nobody has read.
ON_THE_WAY = 16 * MIB
SLOW_BODY = rounds((131_072, 2.0), (20 * MIB, 20 * MIB * 8 / 5e6))
"""Bytes of an honest body, and seconds that it takes: 5 Mbit/s in the long form."""
NAMES = rounds(400, 10_000)
CHUNKS = 200_000
BOMBS, BOMB = rounds((5, 32 * MIB), (20, 100 * MIB))
LIVEZ = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"
JSON_CALL = {"model": PASSED, "messages": [{"role": "user", "content": "Hi!"}]}


Case = Callable[[Attacker], Awaitable[str]]


def _head(pieces: Callable[[], Iterator[bytes]], pause_s: float) -> Case:
    async def case(attacker: Attacker) -> str:
        got, took_s = await attacker.drip(pieces(), pause_s)
        name = pieces.__name__.strip("_")
        attacker.figures[f"40 {name}"] = f"closed after {took_s:.2f} s, limit {HEAD_S:.0f} s"
        in_time = HEAD_S * 0.9 <= took_s < HEAD_S * 10
        return told(got) + (", closed" if in_time else f", closed after {took_s:.1f} s")

    return case


def _silent() -> Iterator[bytes]:
    return iter(())


def _half_line() -> Iterator[bytes]:
    yield LIVEZ[:9]


def _slowloris() -> Iterator[bytes]:
    yield LIVEZ[:-2]
    for each in range(99_999):
        yield b"X-%d: y\r\n" % each


async def _dripping_body(attacker: Attacker) -> str:
    head = attacker.post("Content-Length: 1000000")

    def pieces() -> Iterator[bytes]:
        yield head
        while True:
            yield b" "

    got, took_s = await attacker.drip(pieces(), HEAD_S / 10)
    attacker.figures["41 dripping body"] = f"408 and closed after {took_s:.2f} s"
    return told(got)


async def _honest_slow_body(attacker: Attacker) -> str:
    size, seconds = SLOW_BODY
    body = json.dumps(JSON_CALL).encode().ljust(size)
    head = attacker.post(f"Content-Length: {size}", "Connection: close")
    steps = 100

    def pieces() -> Iterator[bytes]:
        yield head
        for at in range(0, size, size // steps):
            yield body[at : at + size // steps]

    got, took_s = await attacker.drip(pieces(), seconds / steps)
    attacker.figures["41 honest slow body"] = f"{size} bytes in {took_s:.1f} s"
    return told(got)


async def _announced(attacker: Attacker) -> str:
    return told(await attacker.talk(attacker.post(f"Content-Length: {SENT_AT_MOST}")))


async def _in_chunks(attacker: Attacker) -> str:
    """Send chunks until an answer comes; count what was sent by then."""
    reader, writer = await attacker.open()
    chunk = b"10000\r\n" + b" " * 65_536 + b"\r\n"
    answer = asyncio.create_task(reader.readuntil(b"\r\n"))
    sent = 0
    writer.write(attacker.post("Transfer-Encoding: chunked"))
    with suppress(ConnectionError):
        while not answer.done() and sent < SENT_AT_MOST:
            writer.write(chunk)
            await writer.drain()
            # A drain that has nothing to wait for gives no turn to the answer.
            await asyncio.sleep(0)
            sent += 65_536
    line = await asyncio.wait_for(answer, 30)
    writer.close()
    attacker.figures["43 in chunks"] = f"413 after {sent / MIB:.1f} MiB were on their way"
    return told(line) + ("" if sent <= LARGEST + ON_THE_WAY else f" after {sent} bytes")


async def _four_megabytes(attacker: Attacker) -> str:
    body = json.dumps(JSON_CALL).encode().ljust(4_000_000)
    head = attacker.post(f"Content-Length: {len(body)}", "Connection: close")
    return told(await attacker.talk(head + body))


async def _pipelined(attacker: Attacker) -> str:
    wanted = [f"/p/{each}/" for each in range(50)]
    fields = ["Host: x\r\n"] * 49 + ["Host: x\r\nConnection: close\r\n"]
    sent = "".join(
        f"GET {path} HTTP/1.1\r\n{more}\r\n" for path, more in zip(wanted, fields, strict=True)
    )
    got = await attacker.talk(sent.encode())
    places = [got.find(f"no route {path[:-1]}.".encode()) for path in wanted]
    ordered = places == sorted(places) and -1 not in places
    return f"{len(told(got).split())} answers, {'in order' if ordered else 'mixed up'}"


async def _early_401(attacker: Attacker) -> str:
    body = LIVEZ * 2_000
    return told(await attacker.talk(attacker.post(f"Content-Length: {10**7}", key=WRONG) + body))


async def _large_head(attacker: Attacker) -> str:
    fields = (b"X: " + b"s" * 8_000 + b"\r\n") * 1_250
    return told(await attacker.talk(LIVEZ[:-2] + fields + b"\r\n"))


async def _smuggled(attacker: Attacker) -> str:
    inner = b"0\r\n\r\n" + LIVEZ
    head = attacker.post(f"Content-Length: {len(inner)}", "Transfer-Encoding: chunked")
    return told(await attacker.talk(head + inner))


async def _metrics_from_afar(attacker: Attacker) -> str:
    """Ask at another address of this machine, where anybody on its network would."""
    port = urlsplit(attacker.served.metrics_url).port
    try:
        _, writer = await asyncio.open_connection("127.0.0.2", port)
    except ConnectionRefusedError:
        return "refused"
    writer.close()
    return "connected"


CASES: dict[str, tuple[Case, str]] = {
    "40 silent": (_head(_silent, 0), "nothing, closed"),
    "40 half a line": (_head(_half_line, 0), "nothing, closed"),
    "40 slowloris": (_head(_slowloris, HEAD_S / 50), "nothing, closed"),
    "41 dripping body": (_dripping_body, "408"),
    "41 honest slow body": (_honest_slow_body, "200"),
    "43 200 MB announced": (_announced, "413"),
    "43 200 MB in chunks": (_in_chunks, "413"),
    "44 body of 4 MB": (_four_megabytes, "200"),
    "53 CL.TE": (_smuggled, "400"),
    "56 50 requests at once": (_pipelined, "50 answers, in order"),
    "57 early 401": (_early_401, "401"),
    "80 metrics from another address": (_metrics_from_afar, "refused"),
    "97 head of 10 MB": (_large_head, "431"),
}


async def test_each_misbehaviour_has_its_answer(
    site: Installation, vendor: QuickVendor, tell: Tell
) -> None:
    site.configure(vendor.base_url, limits=LIMITS)
    async with site.serving() as served:
        attacker = Attacker(served, site.secret)
        # All at once: none of them may hold up another.
        values = await asyncio.gather(*(case(attacker) for case, _ in CASES.values()))
        assert (await served.call()).ok
        metrics = await served.metrics()
        assert await served.stop() == 0
    results = dict(zip(CASES, values, strict=True))
    for name, value in results.items():
        tell(f"{name:34} {value}")
    for name, figure in attacker.figures.items():
        tell(f"{name}: {figure}")
    assert results == {name: expected for name, (_, expected) in CASES.items()}
    assert metrics["kurol_body_bytes_in_flight"] == 0
    assert metrics["kurol_reserved_tokens"] == 0
    assert site.errors == ""


LEAVERS = {
    "before the first byte": Kind("openai-chat", stream=True, model="hanging"),
    "in the middle of a stream": Kind("openai-chat", stream=True, model=SLOW),
    "not streamed": Kind("openai-chat", stream=False, model=SLOW),
}


async def test_client_that_leaves_stops_its_upstream(
    site: Installation, vendor: QuickVendor, tell: Tell
) -> None:
    vendor.scripts = {"paced": stalled(60.0), "hanging": lambda _: [60.0]}
    hanging = '[[models]]\nid = "hanging"\ntargets = [{ upstream = "all", model = "hanging" }]\n'
    site.configure(vendor.base_url, extra=hanging)

    async def runs(count: int) -> bool:
        return vendor.running == count

    async with site.serving() as served:
        for name, kind in LEAVERS.items():
            connection = Connection(served.base_url)
            await connection.send(kind.request(site.secret))
            await seen(lambda: runs(1))
            await asyncio.sleep(0.2)  # until the first word is out, where there is one
            await connection.close()
            took_s = await seen(lambda: runs(0))
            await served.until("kurol_reserved_tokens", 0)
            await served.until("kurol_requests_running", 0)
            tell(f"38 {name}: upstream closed after {took_s * 1000:.0f} ms, at most 1,000")
            assert took_s < 10


async def test_guesser_waits_and_the_owner_of_a_key_does_not(
    site: Installation, tell: Tell
) -> None:
    kind = Kind("anthropic", stream=False, model=PASSED)
    async with site.serving() as served:
        resident = taken(served.process.pid).resident
        statuses = [(await served.call(kind, f"{WRONG}{each}")).status for each in range(300)]
        assert (await served.call(kind)).status == 200
        grown = taken(served.process.pid).resident - resident
    tell(f"300 wrong keys: {dict(Counter(statuses))}; {grown / MIB:.1f} MiB more in memory")
    assert statuses == [401] * 30 + [429] * 270


async def test_compressed_bombs_are_not_opened(site: Installation, tell: Tell) -> None:
    bomb = gzip.compress(b" " * BOMB)
    async with site.serving() as served:
        attacker = Attacker(served, site.secret)
        fields = ("Content-Encoding: gzip", f"Content-Length: {len(bomb)}", "Connection: close")
        sent = attacker.post(*fields) + bomb
        assert told(await attacker.talk(sent)) == "415"
        resident = taken(served.process.pid).resident
        for _ in range(BOMBS):
            assert told(await attacker.talk(sent)) == "415"
        grown = taken(served.process.pid).resident - resident
    tell(f"{BOMBS} bombs of {BOMB // MIB} MiB: {grown / MIB:.1f} MiB more in memory, at most 8")
    assert grown < 8 * MIB


async def test_very_many_small_chunks_cost_less_than_a_second(
    site: Installation, tell: Tell
) -> None:
    body = json.dumps(JSON_CALL).encode().ljust(CHUNKS)
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n"
    async with site.serving() as served:
        attacker = Attacker(served, site.secret)
        cpu_s = taken(served.process.pid).cpu_s
        head = attacker.post("Transfer-Encoding: chunked", "Connection: close")
        assert told(await attacker.talk(head + chunks)) == "200"
        cpu_s = taken(served.process.pid).cpu_s - cpu_s
    tell(f"{CHUNKS} chunks of one byte: {cpu_s:.2f} s of CPU, at most 1")
    assert cpu_s < 10


async def test_made_up_names_make_no_metric_lines(site: Installation, tell: Tell) -> None:
    async def lines(served: Serving) -> int:
        return (await served.get(served.metrics_url))[1].count("\n")

    async with site.serving() as served:
        connections = [Connection(served.base_url) for _ in range(16)]

        async def bother(first: int, count: int) -> None:
            connection = connections[first % len(connections)]
            for each in range(first, first + count):
                for family in FAMILIES:
                    kind = Kind(family, stream=False, model=f"made-up-{each}")
                    assert (await connection.call(kind, site.secret)).status == 404
                path = f"GET /made-up/{each} HTTP/1.1\r\nhost: x\r\n\r\n".encode()
                assert (await connection.exchange(kind, path)).status == 404

        await bother(0, 1)
        before, resident = await lines(served), taken(served.process.pid).resident
        share = NAMES // len(connections)
        await asyncio.gather(*(bother(1 + at * share, share) for at in range(len(connections))))
        after, grown = await lines(served), taken(served.process.pid).resident - resident
        for each in connections:
            await each.close()
    tell(f"{share * 16} names and as many paths: {before} lines before, {after} after")
    tell(f"{grown / MIB:.1f} MiB more in memory")
    assert after == before
