"""The fake vendors do what a script says, and see what is done to them."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator

import aiohttp
import pytest
from yarl import URL

from tests.fakes.answers import (
    CUTS,
    SECRET,
    Answer,
    bytes_answer,
    failure,
    frame,
    json_answer,
    refusing_url,
    replay,
    stream_answer,
)
from tests.fakes.raw import READ, RESET, RawStep, RawUpstream, http
from tests.fakes.recordings import needs_recordings, recording
from tests.fakes.upstream import FakeUpstream, SeenRequest

SHORT = "chat-mistral-tool-no-index-stream"


@pytest.fixture
async def fake() -> AsyncIterator[FakeUpstream]:
    async with FakeUpstream() as server:
        yield server


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(
        auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar()
    ) as session:
        yield session


async def test_request_is_kept_as_it_arrived(
    fake: FakeUpstream, client: aiohttp.ClientSession
) -> None:
    fake.always(json_answer({"ok": True}))
    body = b'{"model" : "m1", "n":12345678901234567890}'
    url = f"{fake.base_url}/v1/chat%2Fx/completions?beta=true"
    async with client.post(URL(url, encoded=True), data=body, headers={"X-Api-Key": "k"}) as answer:
        assert await answer.json() == {"ok": True}
        assert answer.headers["x-upstream-secret"] == SECRET
    seen = fake.last
    assert (seen.method, seen.path) == ("POST", "/v1/chat%2Fx/completions?beta=true")
    assert seen.body == body
    assert seen.model == "m1"
    assert seen.header("x-api-key") == "k"
    assert ("X-Api-Key", "k") in seen.headers
    assert seen.outcome == "answered"


@pytest.mark.parametrize(
    ("path", "model"),
    [
        ("/v1beta/models/gemini-2:generateContent", "gemini-2"),
        ("/v1beta/models/tuned/a:b:streamGenerateContent?alt=sse", "tuned/a:b"),
    ],
)
async def test_gemini_model_stands_in_the_path(path: str, model: str) -> None:
    assert SeenRequest("POST", path, (), b"{}", 0).model == model


async def test_answers_are_taken_by_model_then_in_order(
    fake: FakeUpstream, client: aiohttp.ClientSession
) -> None:
    fake.answer(json_answer(1), json_answer(2))
    fake.answer(json_answer("a"), model="a")
    fake.always(json_answer("every b"), model="b")
    fake.always(lambda seen: json_answer(f"handled {seen.model}"))
    got = []
    for model in ("a", "b", "b", "b", "a"):
        async with client.post(fake.base_url, json={"model": model}) as answer:
            got.append(await answer.json())
    assert got == ["a", 1, 2, "every b", "handled a"]


async def test_unscripted_request_is_a_500_that_is_remembered(
    fake: FakeUpstream, client: aiohttp.ClientSession
) -> None:
    async with client.post(f"{fake.base_url}/v1/messages", json={}) as answer:
        assert answer.status == 500
    assert [seen.path for seen in fake.unscripted] == ["/v1/messages"]


@pytest.mark.parametrize(
    ("protocol", "kind"),
    [
        ("openai-chat", {"type": "invalid_request_error"}),
        ("anthropic", {"type": "rate_limit_error"}),
        ("gemini", {"status": "RESOURCE_EXHAUSTED", "code": 429}),
    ],
)
async def test_failure_speaks_the_vendors_form(
    fake: FakeUpstream, client: aiohttp.ClientSession, protocol: str, kind: dict[str, object]
) -> None:
    fake.answer(failure(429, "slow down", protocol=protocol, retry_after="7"))
    async with client.get(fake.base_url) as answer:
        error = (await answer.json())["error"]
        assert (answer.status, answer.headers["retry-after"]) == (429, "7")
    assert error["message"] == "slow down"
    assert {name: error[name] for name in kind} == kind


class _Reads(asyncio.Protocol):
    """Keep what each read of the network returned."""

    def __init__(self) -> None:
        self.reads: list[bytes] = []
        self.closed = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        self.reads.append(data)

    def connection_lost(self, error: Exception | None) -> None:
        self.error = error
        self.closed.set()


async def _reads(base_url: str) -> _Reads:
    host, port = base_url.removeprefix("http://").split(":")
    transport, protocol = await asyncio.get_running_loop().create_connection(
        _Reads, host, int(port)
    )
    transport.write(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
    await asyncio.wait_for(protocol.closed.wait(), 10)
    return protocol


@needs_recordings
@pytest.mark.parametrize("cut", CUTS)
async def test_recording_arrives_whole_however_it_is_cut(
    fake: FakeUpstream, client: aiohttp.ClientSession, cut: int | None
) -> None:
    seen = recording(SHORT)
    fake.answer(replay(seen, cut=cut))
    async with client.get(fake.base_url) as answer:
        assert await answer.read() == seen.response
        assert answer.headers["content-type"] == seen.content_type


@needs_recordings
@pytest.mark.parametrize("cut", [1, 7, 64])
async def test_each_piece_is_a_read_of_its_own(fake: FakeUpstream, cut: int) -> None:
    seen = recording(SHORT)
    fake.answer(replay(seen, cut=cut))
    connection = await _reads(fake.base_url)
    count = -(-len(seen.response) // cut)
    # Beside the pieces: the head and the last chunk, which may come with a neighbour.
    assert count <= len(connection.reads) <= count + 2
    assert b"".join(connection.reads).endswith(b"0\r\n\r\n")


@needs_recordings
async def test_recorded_error_keeps_its_status_and_its_headers(
    fake: FakeUpstream, client: aiohttp.ClientSession
) -> None:
    seen = recording("messages-anthropic-error-429")
    fake.answer(replay(seen))
    async with client.get(fake.base_url) as answer:
        assert (answer.status, await answer.read()) == (429, seen.response)
        assert answer.headers["content-length"] == str(len(seen.response))
        for name, value in seen.headers.items():
            assert answer.headers[name] == value


@needs_recordings
@pytest.mark.parametrize("end", ["close", "reset"])
async def test_broken_stream_ends_in_the_middle(
    fake: FakeUpstream, client: aiohttp.ClientSession, end: str
) -> None:
    seen = recording(SHORT)
    fake.answer(replay(seen, stop_at=300, end=end))  # type: ignore[arg-type]  # parametrized
    async with client.get(fake.base_url) as answer:
        assert await answer.content.readexactly(300) == seen.response[:300]
        with pytest.raises(aiohttp.ClientError):
            await answer.content.read()
    assert fake.last.outcome == "broken"


async def test_reset_is_seen_as_a_reset(fake: FakeUpstream) -> None:
    fake.answer(stream_answer([b"a"], end="reset"), stream_answer([b"a"], end="close"))
    assert isinstance((await _reads(fake.base_url)).error, ConnectionResetError)
    assert (await _reads(fake.base_url)).error is None


async def test_orderly_end_without_a_terminal_event(
    fake: FakeUpstream, client: aiohttp.ClientSession
) -> None:
    fake.answer(stream_answer([frame({"a": 1}), frame("x", "note")]))
    async with client.get(fake.base_url) as answer:
        assert await answer.read() == b'data: {"a":1}\n\nevent: note\ndata: x\n\n'
        assert answer.headers["content-type"] == "text/event-stream"


async def test_stream_waits_for_its_events(
    fake: FakeUpstream, client: aiohttp.ClientSession
) -> None:
    held = fake.hold()
    fake.answer(stream_answer([b"one", held, 0.0, b"two"]))
    async with client.get(fake.base_url) as answer:
        assert await answer.content.readany() == b"one"
        assert fake.last.outcome is None
        fake.release()
        assert await answer.content.read() == b"two"


async def test_head_waits_for_its_event(fake: FakeUpstream, client: aiohttp.ClientSession) -> None:
    fake.answer(Answer((b"{}",), hold=fake.hold()))
    call = asyncio.ensure_future(client.get(fake.base_url))
    await fake.received(1)
    assert not call.done()
    fake.release()
    async with await call as answer:
        assert await answer.read() == b"{}"


@pytest.mark.parametrize("hold_head", [True, False])
async def test_client_that_leaves_is_noticed(
    fake: FakeUpstream, client: aiohttp.ClientSession, hold_head: bool
) -> None:
    held = fake.hold()
    fake.answer(Answer(hold=held) if hold_head else stream_answer([b"a", held]))
    call = asyncio.ensure_future(client.get(fake.base_url))
    await fake.received(1)
    if hold_head:
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
    else:
        (await call).close()
    assert await fake.client_gone() is fake.last
    assert fake.last.outcome == "gone"


async def test_client_that_stays_is_not_called_gone(
    fake: FakeUpstream, client: aiohttp.ClientSession
) -> None:
    fake.always(json_answer({}))
    for _ in range(3):
        async with client.get(fake.base_url) as answer:
            await answer.read()
    with pytest.raises(TimeoutError):
        await fake.client_gone(within_s=0.01)
    assert fake.connections == 1
    assert [seen.connection for seen in fake.requests] == [0, 0, 0]


async def test_stop_ends_what_hangs(client: aiohttp.ClientSession) -> None:
    fake = FakeUpstream()
    await fake.start()
    fake.answer(stream_answer([b"a", asyncio.Event()]))
    async with client.get(fake.base_url) as answer:
        assert await answer.content.readany() == b"a"
        await asyncio.wait_for(fake.stop(), 5)
        with pytest.raises(aiohttp.ClientError):
            await answer.content.read()


async def test_any_bytes_and_headers_can_be_answered(
    fake: FakeUpstream, client: aiohttp.ClientSession
) -> None:
    packed = gzip.compress(b"{}")
    fake.answer(bytes_answer(packed, "text/html", headers={"content-encoding": "gzip"}, cut=3))
    fake.answer(bytes_answer(b"", None, status=204))
    async with client.get(fake.base_url) as answer:
        assert await answer.read() == packed
        assert answer.headers["content-encoding"] == "gzip"
        assert answer.headers["content-type"] == "text/html"
    async with client.get(fake.base_url) as answer:
        assert answer.status == 204


async def test_nobody_listens_at_the_refusing_url(client: aiohttp.ClientSession) -> None:
    with pytest.raises(aiohttp.ClientConnectorError):
        await client.get(refusing_url())


# --- TCP alone ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "script",
    [
        [],
        [RESET],
        [READ],
        [READ, b"ELK/9 what\r\n\r\n"],
        [READ, b"HTTP/1.1 2x0 OK\r\n\r\n"],
        [READ, http(b"{", headers=["content-length: 9"])],
        [READ, http(b"zz\r\n{}\r\n0\r\n\r\n", headers=["transfer-encoding: chunked"])],
    ],
    ids=["close", "reset", "read-close", "garbage", "garbage-status", "short", "bad-chunk"],
)
async def test_raw_answer_is_as_bad_as_it_was_written(
    client: aiohttp.ClientSession, script: list[RawStep]
) -> None:
    async with RawUpstream(script) as raw:
        with pytest.raises((aiohttp.ClientError, ConnectionError)):
            async with client.post(raw.base_url, json={"model": "m"}) as answer:
                await answer.read()


async def test_raw_scripts_go_by_connection_and_the_last_repeats(
    client: aiohttp.ClientSession,
) -> None:
    async with RawUpstream([READ, http(b"one")], [READ, http(b"two")]) as raw:
        got = []
        for _ in range(3):
            async with client.post(raw.base_url, data=b'{"x":1}') as answer:
                got.append(await answer.read())
        assert got == [b"one", b"two", b"two"]
        assert raw.connections == 3
        assert all(received.endswith(b'{"x":1}') for received in raw.received)


async def test_raw_upstream_notices_a_client_that_leaves(client: aiohttp.ClientSession) -> None:
    async with RawUpstream([READ, http(b"x"), asyncio.Event()]) as raw:
        async with client.get(raw.base_url) as answer:
            assert await answer.content.readany() == b"x"
            answer.close()
        assert await raw.client_gone() == 0


async def test_raw_keep_alive_connection_can_die_before_its_second_answer(
    client: aiohttp.ClientSession,
) -> None:
    whole = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"
    async with RawUpstream([READ, whole, READ]) as raw:
        async with client.post(raw.base_url, data=b"first") as answer:
            assert await answer.read() == b"{}"
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await client.post(raw.base_url, data=b"second")
        assert raw.received[0].count(b"POST / HTTP/1.1") == 2
