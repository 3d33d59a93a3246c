"""Nobody sees the end of an answer whose row is not in the journal, whatever way it takes."""

from __future__ import annotations

import json
import re
from typing import Any

import aiohttp
import pytest

from kurolproxy.ir import ProtocolName
from kurolproxy.server import exchange
from kurolproxy.server.reply import ClientStream
from kurolproxy.storage.ledger import Ledger
from kurolproxy.storage.rows import UsageRow
from tests.conftest import Running, Starter
from tests.fakes.answers import Answer, failure, json_answer, stream_answer
from tests.fakes.upstream import FakeUpstream
from tests.pairs.vendors import Turn, frames, late, protocol_of, streams, vendor, whole
from tests.server.families import (
    FAMILIES,
    SHORT,
    USAGE,
    configuration,
    model_of,
    plan,
    request,
    rows,
)

ENDS: dict[ProtocolName, re.Pattern[bytes]] = {
    "openai-chat": re.compile(rb"\[DONE\]"),
    "openai-responses": re.compile(rb"response\.(completed|incomplete|failed)"),
    "anthropic": re.compile(rb"message_stop"),
    "gemini": re.compile(rb'"finishReason"\s*:\s*"[A-Z]'),
}
WORDS = ("Hello, this ", "is text.")
ANY = re.compile(rb".")
BOOKED, SYNCED = b"<booked>", b"<synced>"


def told(turn: Turn) -> Any:
    return vendor(turn)


def other_form(turn: Turn) -> Any:
    """Answer whole who asked for a stream, and the reverse."""

    def answer(seen: Any) -> Answer:
        protocol = protocol_of(seen)
        if streams(seen):
            return json_answer(whole(protocol, turn))
        return stream_answer(frames(protocol, turn))

    return answer


def in_one_packet(turn: Turn) -> Any:
    def answer(seen: Any) -> Answer:
        protocol = protocol_of(seen)
        if streams(seen):
            return stream_answer([b"".join(frames(protocol, turn))])
        return json_answer(whole(protocol, turn))

    return answer


def without_a_mark(turn: Turn) -> Any:
    """Leave out what some vendors do at the end of a Chat stream."""

    def answer(seen: Any) -> Answer:
        protocol = protocol_of(seen)
        if not streams(seen):
            return json_answer(whole(protocol, turn))
        return stream_answer([each for each in frames(protocol, turn) if b"[DONE]" not in each])

    return answer


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Return what goes to clients, and when a row is added, in their order."""
    order: list[bytes] = []
    add, write, answer = Ledger.add, ClientStream.write, exchange.whole

    def adding(self: Ledger, row: UsageRow) -> None:
        add(self, row)
        order.append(BOOKED)

    def writing(self: ClientStream, piece: bytes) -> None:
        order.append(piece)
        write(self, piece)

    def answering(*given: Any, **more: Any) -> Any:
        order.append(given[3])
        return answer(*given, **more)

    monkeypatch.setattr(Ledger, "add", adding)
    monkeypatch.setattr(ClientStream, "write", writing)
    monkeypatch.setattr(exchange, "whole", answering)
    return order


@pytest.fixture
async def running(fake: FakeUpstream, start: Starter) -> Running:
    return await start(configuration(fake.base_url, plan("day", daily_tokens=1_000_000)))


async def asked(
    http: aiohttp.ClientSession,
    running: Running,
    client: ProtocolName,
    upstream: ProtocolName,
    form: str,
) -> tuple[int, bytes]:
    path, body = request(client, model_of(upstream), stream=form != "whole")
    if form == "array":
        path = path.removesuffix("?alt=sse")
    headers = {"authorization": f"Bearer {await running.new_key('day')}"}
    async with http.post(running.base_url + path, json=body, headers=headers) as got:
        return got.status, await got.read()


# Only Gemini has a stream without events.
FORMS = [(client, form) for client in FAMILIES for form in ("whole", "stream")]
FORMS.append(("gemini", "array"))
forms = pytest.mark.parametrize(
    ("client", "form"), FORMS, ids=[f"{SHORT[client]}-{form}" for client, form in FORMS]
)
upstreams = pytest.mark.parametrize("upstream", FAMILIES, ids=[SHORT[each] for each in FAMILIES])


@pytest.mark.parametrize("usage", [True, False], ids=["told", "untold"])
@pytest.mark.parametrize("way", [told, other_form, in_one_packet, without_a_mark])
@upstreams
@forms
async def test_row_is_in_the_journal_before_the_end_goes_out(
    client: ProtocolName,
    upstream: ProtocolName,
    form: str,
    way: Any,
    usage: bool,
    running: Running,
    seen: list[bytes],
    fake: FakeUpstream,
    http: aiohttp.ClientSession,
) -> None:
    fake.always(way(Turn(words=WORDS, usage=USAGE if usage or upstream == "anthropic" else None)))
    status, answer = await asked(http, running, client, upstream, form)
    assert status == 200
    assert b"".join(each for each in seen if each != BOOKED) == answer
    assert seen.count(BOOKED) == 1
    before = b"".join(seen[: seen.index(BOOKED)])
    if form == "whole":
        assert before == b""
        json.loads(answer)
    assert ENDS[client].search(before) is None
    if form != "whole":
        assert ENDS[client].search(answer)
    [row] = await rows(running)
    assert (row["outcome"], row["status"]) == ("ok", 200)


def breaks_off(turn: Turn) -> Any:
    def answer(seen: Any) -> Answer:
        protocol = protocol_of(seen)
        if streams(seen):
            return stream_answer(late(protocol, turn, "broke"))
        return failure(500, protocol=protocol)

    return answer


@pytest.mark.parametrize("way", [told, breaks_off])
@upstreams
@forms
async def test_strict_row_is_on_the_disk_before_the_end_goes_out(
    client: ProtocolName,
    upstream: ProtocolName,
    form: str,
    way: Any,
    start: Starter,
    seen: list[bytes],
    fake: FakeUpstream,
    http: aiohttp.ClientSession,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    durable = Ledger.durable

    async def waiting(self: Ledger) -> None:
        await durable(self)
        seen.append(SYNCED)

    monkeypatch.setattr(Ledger, "durable", waiting)
    plans = plan("day", daily_tokens=1_000_000)
    text = configuration(fake.base_url, plans) + '[ledger]\ndurability = "strict"\n'
    running = await start(text)
    fake.always(way(Turn(words=WORDS, usage=USAGE)))
    _, answer = await asked(http, running, client, upstream, form)
    assert seen.count(SYNCED) == seen.count(BOOKED) == 1
    at = seen.index(SYNCED)
    assert seen[at - 1] == BOOKED
    behind = b"".join(seen[at + 1 :])
    assert (ENDS[client] if way is told and form != "whole" else ANY).search(behind)
    assert answer.endswith(behind)


@forms
async def test_fault_in_the_settlement_keeps_nothing_and_loses_no_row(
    client: ProtocolName,
    form: str,
    running: Running,
    fake: FakeUpstream,
    http: aiohttp.ClientSession,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object) -> None:
        raise ValueError("a fault of ours")

    fake.always(failure(500, protocol=client))
    state = running.gateway.state
    with monkeypatch.context() as patched:
        patched.setattr(exchange.Exchange, "_count", fail)
        assert (await asked(http, running, client, client, form))[0] == 500
    assert (len(state.deadlines), state.bodies.held) == (0, 0)
    assert (state.admission.running, state.admission.reserved) == (0, 0)
    assert len(await rows(running)) == 1
