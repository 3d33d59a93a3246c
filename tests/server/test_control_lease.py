"""What the control socket does with the ledger: flush it, and pause it for a connection."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from kurolproxy.server import control
from kurolproxy.server.control import SOCKET_NAME, ControlServer
from tests.server.desks import Ledger, control_of

LIMIT_S = 10.0


class Talk:
    """One connection to the control socket."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer

    async def ask(self, verb: str, **args: Any) -> dict[str, Any]:
        self.writer.write(json.dumps({"verb": verb, "args": args}).encode() + b"\n")
        line = await asyncio.wait_for(self._reader.readline(), LIMIT_S)
        answer: dict[str, Any] = json.loads(line)
        return answer


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


@asynccontextmanager
async def talking(
    ledger: Ledger, *, at_hand: bool = True
) -> AsyncIterator[tuple[ControlServer, Talk]]:
    """Serve a control socket with a ledger and connect to it."""
    # A path of a socket is short.
    with TemporaryDirectory() as folder:
        async with control_of(Path(folder), ledger, at_hand=at_hand) as server:
            talk = Talk(*await asyncio.open_unix_connection(f"{folder}/{SOCKET_NAME}"))
            try:
                yield server, talk
            finally:
                talk.writer.close()


async def test_flush_says_that_nothing_is_missing(ledger: Ledger) -> None:
    async with talking(ledger) as (_, talk):
        answer = await talk.ask("ledger.flush")
    assert (answer, ledger.log) == ({"ok": True, "result": {"missing": 0}}, ["flush"])


async def test_flush_that_the_disk_refuses_says_how_many_rows_are_missing(ledger: Ledger) -> None:
    ledger.whole = False
    async with talking(ledger) as (_, talk):
        assert (await talk.ask("ledger.flush"))["result"] == {"missing": 7}


async def test_pause_lasts_as_long_as_its_connection(ledger: Ledger) -> None:
    async with talking(ledger) as (_, talk):
        assert (await talk.ask("ledger.pause"))["result"] == {"missing": 0}
        assert (await talk.ask("status"))["ok"] is True
        assert ledger.log == ["flush", "pause", "status"]
        talk.writer.close()
        await asyncio.wait_for(ledger.resumed.wait(), LIMIT_S)
    assert ledger.log == ["flush", "pause", "status", "resume"]


async def test_pause_of_a_connection_that_fell_silent_ends(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert control._IDLE_S == 60.0
    monkeypatch.setattr(control, "_IDLE_S", 0.05)
    async with talking(ledger) as (_, talk):
        await talk.ask("ledger.pause")
        await asyncio.wait_for(ledger.resumed.wait(), LIMIT_S)


async def test_pause_ends_when_the_gateway_stops(ledger: Ledger) -> None:
    async with talking(ledger) as (server, talk):
        await talk.ask("ledger.pause")
        await asyncio.wait_for(server.stop(), LIMIT_S)
        assert ledger.log == ["flush", "pause", "resume"]


@pytest.mark.parametrize("verb", ["ledger.flush", "ledger.pause"])
async def test_verbs_of_the_ledger_take_no_arguments(ledger: Ledger, verb: str) -> None:
    async with talking(ledger) as (_, talk):
        assert (await talk.ask(verb, since=1))["kind"] == "invalid"
    assert ledger.log == []


@pytest.mark.parametrize("verb", ["ledger.flush", "ledger.pause"])
async def test_gateway_without_a_ledger_says_so(ledger: Ledger, verb: str) -> None:
    async with talking(ledger, at_hand=False) as (_, talk):
        assert (await talk.ask(verb))["kind"] == "unavailable"
