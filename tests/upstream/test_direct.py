"""The upstream client on the wire: framing, reuse, back-pressure, ends."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable

import pytest
import trustme
from yarl import URL

from kurolproxy.errors import UpstreamError, UpstreamTimeout
from kurolproxy.upstream.address import Address
from kurolproxy.upstream.client import Answer, Call
from kurolproxy.upstream.connection import StaleConnection
from kurolproxy.upstream.direct import DirectClient, request_head
from tests.fakes.answers import refusing_url
from tests.fakes.raw import READ, RESET, RawStep, RawUpstream

LIMIT = 1_000_000
WITHIN_S = 5.0


@pytest.fixture
async def client() -> AsyncIterator[DirectClient]:
    async with sending() as made:
        yield made


@contextlib.asynccontextmanager
async def sending(tls: ssl.SSLContext | None = None) -> AsyncIterator[DirectClient]:
    made = DirectClient(tls)
    try:
        yield made
    finally:
        await made.close()
        await asyncio.sleep(0)


def call(base_url: str, body: bytes = b"{}", **more: object) -> Call:
    address = Address.of(URL(base_url + "/v1/x?a=b"))
    return Call(address, {"x-one": "1"}, body, **more)  # type: ignore[arg-type]


def head(*headers: str, status: str = "200 OK") -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status}", *headers, "", ""]).encode()


def sized(body: bytes, *headers: str) -> bytes:
    return head(f"content-length: {len(body)}", *headers) + body


def chunked(*pieces: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    body = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    return head("transfer-encoding: chunked") + body + end


async def whole(client: DirectClient, upstream: RawUpstream) -> bytes:
    answer = await client.send(call(upstream.base_url))
    try:
        return await answer.body(LIMIT)
    finally:
        answer.close()


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(WITHIN_S):
        while not true():  # noqa: ASYNC110  # what is waited for has no event
            await asyncio.sleep(0.005)


# --- requests -----------------------------------------------------------------------------


async def test_request_goes_out_as_it_was_given(client: DirectClient) -> None:
    async with RawUpstream([READ, sized(b"ok")]) as upstream:
        await whole(client, upstream)
        host = upstream.base_url.removeprefix("http://")
        sent = (
            f"POST /v1/x?a=b HTTP/1.1\r\nhost: {host}\r\nx-one: 1\r\ncontent-length: 2\r\n\r\n{{}}"
        )
        assert bytes(upstream.received[0]) == sent.encode()


@pytest.mark.parametrize(
    ("url", "authority", "origin"),
    [
        ("https://api.example.org/v1", "api.example.org", (True, "api.example.org", 443)),
        ("http://api.example.org", "api.example.org", (False, "api.example.org", 80)),
        ("http://api.example.org:8000/", "api.example.org:8000", (False, "api.example.org", 8000)),
        ("https://[::1]:8443/a", "[::1]:8443", (True, "::1", 8443)),
    ],
)
def test_address_is_taken_apart(url: str, authority: str, origin: tuple[bool, str, int]) -> None:
    found = Address.of(URL(url))
    assert found.authority == authority
    assert (found.origin.tls, found.origin.host, found.origin.port) == origin


@pytest.mark.parametrize("value", ["a\r\nx-two: 2", "a\nb", "a\rb"])
def test_header_with_a_line_break_is_never_sent(value: str) -> None:
    address = Address.of(URL("http://x"))
    with pytest.raises(UpstreamError, match="line break"):
        request_head(address, {"x-one": value}, 0)


def test_header_of_foreign_bytes_goes_on_as_the_same_bytes() -> None:
    value = b"caf\xe9".decode("utf-8", "surrogateescape")
    assert b"x-one: caf\xe9\r\n" in request_head(Address.of(URL("http://x")), {"x-one": value}, 0)


async def test_large_body_arrives_whole(client: DirectClient) -> None:
    body = bytes(range(256)) * 20_000
    async with RawUpstream([READ, sized(b"ok")]) as upstream:
        answer = await client.send(call(upstream.base_url, body))
        assert await answer.body(LIMIT) == b"ok"
        assert bytes(upstream.received[0]).partition(b"\r\n\r\n")[2] == body


async def test_others_get_their_turn_while_a_large_body_goes_out(client: DirectClient) -> None:
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    async with RawUpstream([READ, sized(b"ok")]) as upstream:
        await whole(client, upstream)  # the connection stands
        other = asyncio.create_task(count())
        await (await client.send(call(upstream.base_url, bytes(4_194_304)))).body(LIMIT)
        other.cancel()
    assert turns >= 16


async def test_answer_before_the_end_of_the_request_is_taken(client: DirectClient) -> None:
    done = asyncio.Event()

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(head("content-length: 4", status="413 Too Large") + b"much")
        await done.wait()  # and reads nothing more
        writer.close()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    answer = await client.send(call(url, bytes(64_000_000)))
    assert (answer.status, await answer.body(LIMIT)) == (413, b"much")
    answer.close()
    # Half a request was sent: nothing else may follow it on this connection.
    await until(lambda: client.connections == 0)
    done.set()
    server.close()
    await server.wait_closed()


# --- answers ------------------------------------------------------------------------------

BODIES: list[tuple[str, bytes, bytes]] = [
    ("sized", sized(b"hello"), b"hello"),
    ("empty", sized(b""), b""),
    ("chunked", chunked(b"he", b"llo"), b"hello"),
    (
        "chunked with extensions",
        chunked(b"").partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
        b"5;x=y\r\nhello\r\n0\r\nx-trailer: 1\r\n\r\n",
        b"hello",
    ),
    ("until the end of the connection", head("content-type: text/plain") + b"hello", b"hello"),
    ("HTTP/1.0", b"HTTP/1.0 200 OK\r\n\r\nhello", b"hello"),
    (
        "behind 103 and 100",
        head("link: </a>", status="103 Early Hints")
        + head(status="100 Continue")
        + sized(b"hello"),
        b"hello",
    ),
    ("no content", head(status="204 No Content"), b""),
]


@pytest.mark.parametrize("size", [None, 1, 7])
@pytest.mark.parametrize("answer", [row[1:] for row in BODIES], ids=[row[0] for row in BODIES])
async def test_every_framing_is_read(
    client: DirectClient, answer: tuple[bytes, bytes], size: int | None
) -> None:
    sent, body = answer
    pieces = [sent] if size is None else [sent[at : at + size] for at in range(0, len(sent), size)]
    steps: list[RawStep] = [READ]
    for piece in pieces:
        steps += [piece, 0.0]
    async with RawUpstream(steps) as upstream:
        assert await whole(client, upstream) == body


BROKEN: list[tuple[str, bytes, str]] = [
    ("nothing", b"", "without an answer"),
    ("half a head", b"HTTP/1.1 200 OK\r\ncontent-le", "without an answer"),
    ("no HTTP", b"<html>\r\n\r\n", "not valid HTTP"),
    ("bare line feeds", b"HTTP/1.1 200 OK\nx: 1\n\nhi", "not valid HTTP"),
    ("two lengths", head("content-length: 2", "content-length: 3") + b"hi", "not valid HTTP"),
    ("length and chunks", head("content-length: 2", "transfer-encoding: chunked"), "not valid"),
    ("a coding", head("transfer-encoding: gzip") + b"hi", "not valid HTTP"),
    (
        "a coding before chunks",
        head("transfer-encoding: gzip", "transfer-encoding: chunked") + b"0\r\n\r\n",
        "not valid HTTP",
    ),
    ("an upgrade", head("upgrade: x", "connection: upgrade", status="101 Switching"), "not valid"),
    ("many fields", head(*("x:",) * 257, "content-length: 0"), "not valid HTTP"),
    ("an endless head", b"HTTP/1.1 200 OK\r\n" + b"x: " + b"a" * 100_000, "not valid HTTP"),
    ("half a body", head("content-length: 9") + b"half", "broke off"),
    ("half a chunk", chunked(b"half", end=b"9\r\nha"), "broke off"),
    ("no last chunk", chunked(b"half", end=b""), "broke off"),
    ("a wrong chunk", chunked(b"half", end=b"zz\r\n"), "not valid HTTP"),
]


@pytest.mark.parametrize("sent", [row[1:] for row in BROKEN], ids=[row[0] for row in BROKEN])
async def test_broken_answer_is_an_upstream_error(
    client: DirectClient, sent: tuple[bytes, str]
) -> None:
    async with RawUpstream([READ, sent[0]]) as upstream:
        with pytest.raises(UpstreamError, match=sent[1]) as caught:
            await whole(client, upstream)
        assert not isinstance(caught.value, StaleConnection)
        await until(lambda: client.connections == 0)


async def test_what_came_before_a_break_is_read_first(client: DirectClient) -> None:
    async with RawUpstream([READ, chunked(b"half", end=b"zz\r\n")]) as upstream:
        answer = await client.send(call(upstream.base_url))
        assert await answer.read() == b"half"
        with pytest.raises(UpstreamError):
            await answer.read()


async def test_reset_in_the_body_is_a_broken_answer(client: DirectClient) -> None:
    # Without a length the end of the connection is the end of the body, but a reset is none.
    async with RawUpstream([READ, head() + b"half", 0.05, RESET]) as upstream:
        with pytest.raises(UpstreamError, match="broke off"):
            await whole(client, upstream)


async def test_answer_over_the_limit_is_refused(client: DirectClient) -> None:
    async with RawUpstream([READ, sized(b"x" * 5_000)]) as upstream:
        answer = await client.send(call(upstream.base_url))
        with pytest.raises(UpstreamError, match="too large"):
            await answer.body(4_999)
        answer.close()


async def test_answer_that_begins_before_the_end_of_the_request_is_read_on(
    client: DirectClient,
) -> None:
    done = asyncio.Event()

    def unsent() -> int:
        return sum(each._transport.get_write_buffer_size() for each in client._all)  # type: ignore[union-attr]

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        before = 0
        while before == 0 or unsent() != before:  # until the sender is stuck
            before = unsent()
            await asyncio.sleep(0.02)
        writer.write(head("content-length: 8", status="400 Bad Request") + b"half")
        await done.wait()  # and reads nothing more
        writer.write(b"more")
        await writer.drain()
        writer.transport.abort()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        async with asyncio.timeout(WITHIN_S):
            answer = await client.send(call(url, bytes(64_000_000)))
            assert (answer.status, await answer.read()) == (400, b"half")
            done.set()
            assert await answer.read() == b"more"
        answer.close()
    finally:
        done.set()
        server.close()
        await server.wait_closed()


async def test_second_answer_changes_nothing_of_the_first(client: DirectClient) -> None:
    second = head("content-length: 0", "content-type: text/html", status="500 No")
    script = [READ, sized(b"ok", "content-type: application/json") + second]
    async with RawUpstream(script) as upstream:
        answer = await client.send(call(upstream.base_url))
        assert (answer.status, answer.content_type) == (200, "application/json")
        assert await answer.body(LIMIT) == b"ok"
        answer.close()
        await until(lambda: client.connections == 0)


async def test_head_is_told(client: DirectClient) -> None:
    sent = head(
        "Content-Type: Text/Event-Stream; charset=utf-8", "Retry-After: 7",
        "content-length: 0", status="429 Slow down",
    )  # fmt: skip
    async with RawUpstream([READ, sent]) as upstream:
        answer: Answer = await client.send(call(upstream.base_url))
        assert (answer.status, answer.content_type) == (429, "text/event-stream")
        assert answer.retry_after_s == 7


# --- connections --------------------------------------------------------------------------


async def test_connection_serves_again(client: DirectClient) -> None:
    async with RawUpstream([READ, sized(b"1"), READ, chunked(b"2"), READ, sized(b"3")]) as upstream:
        assert [await whole(client, upstream) for _ in range(3)] == [b"1", b"2", b"3"]
        assert upstream.connections == 1


@pytest.mark.parametrize(
    "first",
    [
        sized(b"1", "connection: close"),
        b"HTTP/1.0 200 OK\r\ncontent-length: 1\r\n\r\n1",
        sized(b"1") + b"more than that",
        sized(b"1") + sized(b"2"),
    ],
    ids=["asked to close", "HTTP/1.0", "bytes behind it", "a second answer behind it"],
)
async def test_connection_that_cannot_be_trusted_is_not_used_again(
    client: DirectClient, first: bytes
) -> None:
    async with RawUpstream([READ, first, 5.0], [READ, sized(b"ok")]) as upstream:
        assert await whole(client, upstream) == b"1"
        assert await whole(client, upstream) == b"ok"


async def test_bytes_between_two_requests_end_the_connection(client: DirectClient) -> None:
    late = asyncio.Event()
    scripts: list[list[RawStep]] = [[READ, sized(b"1"), late, sized(b"evil"), 5.0]]
    async with RawUpstream(*scripts, [READ, sized(b"2")]) as upstream:
        assert await whole(client, upstream) == b"1"
        late.set()
        await until(lambda: client.connections == 0)
        assert await whole(client, upstream) == b"2"


async def test_kept_connection_that_died_is_replaced_once(client: DirectClient) -> None:
    scripts: list[list[RawStep]] = [[READ, sized(b"1"), READ], [READ, sized(b"2")]]
    async with RawUpstream(*scripts) as upstream:
        assert await whole(client, upstream) == b"1"
        # The server takes the second request and closes without a byte.
        assert await whole(client, upstream) == b"2"
        assert upstream.connections == 2


async def test_new_connection_without_an_answer_is_not_tried_again(client: DirectClient) -> None:
    scripts: list[list[RawStep]] = [[READ, sized(b"1"), READ], [READ], [READ, sized(b"3")]]
    async with RawUpstream(*scripts) as upstream:
        await whole(client, upstream)
        with pytest.raises(UpstreamError, match="without an answer"):
            await whole(client, upstream)
        assert upstream.connections == 2


async def test_kept_connection_that_broke_in_the_head_is_an_error(client: DirectClient) -> None:
    scripts: list[list[RawStep]] = [[READ, sized(b"1"), READ, b"HTTP/1.1 2"], [READ, sized(b"2")]]
    async with RawUpstream(*scripts) as upstream:
        await whole(client, upstream)
        with pytest.raises(UpstreamError, match="without an answer"):
            await whole(client, upstream)


async def test_idle_connection_goes_after_half_a_minute(client: DirectClient) -> None:
    async with RawUpstream([READ, sized(b"1"), READ]) as upstream:
        await whole(client, upstream)
        now = asyncio.get_running_loop().time()
        client.sweep(now + 29)
        await asyncio.sleep(0.02)
        assert client.connections == 1
        client.sweep(now + 31)
        await until(lambda: client.connections == 0)


async def test_answer_that_is_given_up_ends_its_connection(client: DirectClient) -> None:
    async with RawUpstream([READ, chunked(b"half", end=b""), 5.0]) as upstream:
        answer = await client.send(call(upstream.base_url))
        assert await answer.read() == b"half"
        answer.close()
        assert await upstream.client_gone() == 0
        await until(lambda: client.connections == 0)


async def test_cancelled_request_ends_its_connection(client: DirectClient) -> None:
    async with RawUpstream([READ, 5.0]) as upstream:
        task = asyncio.create_task(client.send(call(upstream.base_url)))
        await until(lambda: b"\r\n\r\n{}" in b"".join(upstream.received))
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        assert await upstream.client_gone() == 0


async def test_left_answer_gives_its_connection_back_at_its_end(client: DirectClient) -> None:
    end = asyncio.Event()
    script: list[RawStep] = [READ, chunked(b"all", end=b""), end, b"0\r\n\r\n", READ, sized(b"2")]
    async with RawUpstream(script) as upstream:
        answer = await client.send(call(upstream.base_url))
        assert await answer.read() == b"all"
        answer.leave()
        answer.close()
        end.set()
        await until(lambda: bool(client._free.get(call(upstream.base_url).address.origin)))
        assert await whole(client, upstream) == b"2"
        assert upstream.connections == 1


async def test_dial_that_is_cancelled_at_any_moment_leaves_nothing(client: DirectClient) -> None:
    async def leave(upstream: RawUpstream, turns: int) -> None:
        task = asyncio.create_task(client.send(call(upstream.base_url)))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    async with RawUpstream([READ, 5.0]) as upstream:
        # Many at once, so that the loop goes to the network between any two steps.
        await asyncio.gather(*(leave(upstream, at % 40) for at in range(400)))
        await until(lambda: client.connections == 0)


@pytest.mark.parametrize("rest", [b"", b"ffff\r\n" + b"x" * 65_535 + b"\r\nffff\r\n" + b"x" * 9])
async def test_left_answer_that_does_not_end_is_given_up(client: DirectClient, rest: bytes) -> None:
    async with RawUpstream([READ, chunked(b"all", end=rest), 5.0]) as upstream:
        answer = await client.send(call(upstream.base_url))
        await answer.read()
        answer.leave()
        client.sweep(asyncio.get_running_loop().time() + 0.3)
        assert await upstream.client_gone() == 0


# --- pieces and back-pressure -------------------------------------------------------------


async def test_pieces_go_on_as_they_came(client: DirectClient) -> None:
    two, three = asyncio.Event(), asyncio.Event()
    steps: list[RawStep] = [
        READ, chunked(b"one", end=b""), two, b"3\r\ntwo\r\n", three, b"5\r\nthree\r\n0\r\n\r\n"
    ]  # fmt: skip
    seen: list[bytes] = []

    def take(piece: bytes) -> bool:
        seen.append(piece)
        {1: two, 2: three}.get(len(seen), asyncio.Event()).set()
        return True

    async with RawUpstream(steps) as upstream:
        answer = await client.send(call(upstream.base_url))
        await answer.pipe(take)
    assert seen == [b"one", b"two", b"three", b""]


async def test_pipe_ends_when_it_is_told_to(client: DirectClient) -> None:
    go = asyncio.Event()
    steps: list[RawStep] = [READ, chunked(b"one", end=b""), go, b"3\r\ntwo\r\n0\r\n\r\n"]
    seen: list[bytes] = []

    def once(piece: bytes) -> bool:
        seen.append(piece)
        return False

    async with RawUpstream(steps) as upstream:
        answer = await client.send(call(upstream.base_url))
        await answer.pipe(once)
        go.set()
        await answer.pipe(once)
        assert (seen, await answer.read()) == ([b"one", b"two"], b"")


async def test_fault_of_the_taker_comes_out_of_pipe(client: DirectClient) -> None:
    go = asyncio.Event()

    def take(piece: bytes) -> bool:
        raise ZeroDivisionError(piece)

    async with RawUpstream([READ, head(), go, b"x", 5.0]) as upstream:
        answer = await client.send(call(upstream.base_url))
        piping = asyncio.create_task(answer.pipe(take))
        await asyncio.sleep(0)
        go.set()
        with pytest.raises(ZeroDivisionError):
            await piping
        answer.close()


async def test_break_in_the_stream_ends_pipe_behind_what_came(client: DirectClient) -> None:
    seen: list[bytes] = []

    def take(piece: bytes) -> bool:
        seen.append(piece)
        return True

    async with RawUpstream([READ, chunked(b"one", end=b""), 0.02, RESET]) as upstream:
        answer = await client.send(call(upstream.base_url))
        with pytest.raises(UpstreamError, match="broke off"):
            await answer.pipe(take)
    assert seen == [b"one"]


async def test_answer_that_nobody_reads_stops_the_upstream(client: DirectClient) -> None:
    sent = 0
    megabyte = head() + bytes(1_048_576)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await reader.readuntil(b"{}")
        with contextlib.suppress(ConnectionError):
            for _ in range(64):
                writer.write(megabyte)
                await writer.drain()
                sent += len(megabyte)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    answer = await client.send(call(f"http://127.0.0.1:{port}"))
    await asyncio.sleep(0.3)
    held = sent
    # What the two sockets hold may be some megabytes; all of it is 64.
    assert held < 32 * 1_048_576
    size = 0
    while piece := await answer.read():
        size += len(piece)
    assert size > 63 * 1_048_576
    answer.close()
    server.close()
    await server.wait_closed()


# --- connecting ---------------------------------------------------------------------------


async def test_nobody_there_is_an_upstream_error(client: DirectClient) -> None:
    with pytest.raises(UpstreamError, match="could not be reached"):
        await client.send(call(refusing_url()))


async def test_unknown_name_is_an_upstream_error(client: DirectClient) -> None:
    with pytest.raises(UpstreamError, match="name could not be resolved"):
        await client.send(call("http://nobody.invalid"))


async def test_connection_that_does_not_stand_in_time_is_a_timeout() -> None:
    async with RawUpstream([READ, 5.0]) as upstream, sending(ssl.create_default_context()) as tls:
        # The other side never answers the handshake.
        url = upstream.base_url.replace("http:", "https:")
        with pytest.raises(UpstreamTimeout, match="in time"):
            await tls.send(call(url, connect_timeout_s=0.05))


def _pair() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Return the TLS settings of a server of localhost, and of a client that trusts it."""
    authority = trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(server)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    return server, trusting


async def _tls_server(context: ssl.SSLContext) -> tuple[asyncio.Server, str]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                await reader.readuntil(b"{}")
                writer.write(sized(b"secret"))
        writer.close()

    server = await asyncio.start_server(serve, "localhost", 0, ssl=context)
    return server, f"https://localhost:{server.sockets[0].getsockname()[1]}"


async def test_tls_is_spoken_and_kept() -> None:
    theirs, ours = _pair()
    server, url = await _tls_server(theirs)
    async with sending(ours) as client:
        for _ in range(2):
            answer = await client.send(call(url))
            assert await answer.body(LIMIT) == b"secret"
        assert client.connections == 1
    server.close()
    await server.wait_closed()


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"], ids=["authority", "name"])
async def test_certificate_that_is_not_trusted_is_refused(host: str) -> None:
    theirs, ours = _pair()
    server, url = await _tls_server(theirs)
    trust = None if host == "localhost" else ours
    async with sending(trust) as client:
        with pytest.raises(UpstreamError, match="TLS"):
            await client.send(call(url.replace("localhost", host)))
    server.close()
    await server.wait_closed()
