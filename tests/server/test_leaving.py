"""A gateway that leaves, in this process: what it counts and what it says meanwhile."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress

import aiohttp
import pytest

from tests.conftest import Starter, soon, toml
from tests.fakes.answers import Answer, chat_answer, stream_answer
from tests.fakes.upstream import FakeUpstream
from tests.server.test_stream_life import CHAT, ask, begin, sent, words


async def test_calls_that_are_ended_are_counted(
    start: Starter, fake: FakeUpstream, http: aiohttp.ClientSession
) -> None:
    running = await start(toml(fake.base_url, server="drain_timeout_s = 0.2"))
    fake.answer(stream_answer([*begin("c-model"), *words("c-model", ["ab"]), fake.hold()]))
    state = running.gateway.state
    reading = asyncio.create_task(ask(http, running, CHAT, sent("c-model")))
    await soon(lambda: state.metrics.streams_in_flight == 1)
    await running.gateway.leave(asyncio.Event())
    got = await reading
    assert (got.error is not None, got.looks_whole) == (True, False)
    assert "kurol_calls_ended_by_shutdown_total 1.0" in state.metrics.render().decode()
    assert '"event":"calls_ended","calls":1' in running.lines()


@pytest.mark.parametrize(
    ("path", "status", "word"),
    [("/metrics", 200, "kurol_"), ("/livez", 200, "ok"), ("/readyz", 503, "draining")],
)
async def test_metrics_listener_answers_probes_to_the_end(
    path: str,
    status: int,
    word: str,
    start: Starter,
    fake: FakeUpstream,
    http: aiohttp.ClientSession,
) -> None:
    running = await start(toml(fake.base_url))
    await running.gateway.leave(asyncio.Event())
    async with http.get(f"http://{running.gateway.metrics_address}{path}") as got:
        assert (got.status, word in await got.text()) == (status, True)
    with pytest.raises(aiohttp.ClientConnectorError):
        await http.get(running.base_url + path)


async def test_nothing_follows_an_answer_that_is_whole_but_not_read_yet(
    start: Starter, fake: FakeUpstream
) -> None:
    running = await start(toml(fake.base_url, server="drain_timeout_s = 0.3"))
    big = json.loads(chat_answer().steps[0])  # type: ignore[arg-type]
    big["choices"][0]["message"]["content"] = "y" * 20_000_000
    fake.answer(Answer((json.dumps(big).encode(),), content_type="application/json"))
    host, port = running.gateway.addresses[0]
    body = json.dumps(sent("c-model", stream=False)).encode()
    reader, writer = await asyncio.open_connection(host, port, limit=1_024)
    head = f"POST {CHAT} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {running.key}\r\n"
    writer.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
    await fake.received(1)
    await soon(lambda: running.gateway.state.admission.running == 0, within_s=10)
    leaving = asyncio.create_task(running.gateway.leave(asyncio.Event()))
    await soon(lambda: running.gateway.state.metrics.calls_ended_by_shutdown == 1)
    got = b""
    with suppress(ConnectionResetError):
        while piece := await reader.read(1 << 20):
            got += piece
    await leaving
    writer.close()
    assert (got[:12], got.count(b"HTTP/1.1 ")) == (b"HTTP/1.1 200", 1)


async def test_refusal_with_nothing_left_to_read_closes_the_connection_too(
    start: Starter, fake: FakeUpstream, http: aiohttp.ClientSession
) -> None:
    running = await start(toml(fake.base_url))
    running.gateway.state.draining = True
    headers = {"authorization": f"Bearer {running.key}"}
    async with http.post(running.base_url + CHAT, data=b"", headers=headers) as got:
        assert (got.status, got.headers.get("connection")) == (503, "close")
