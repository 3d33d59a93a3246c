"""The table of hostile upstreams: its cells, the gateway they are asked of, and what is heard."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import aiohttp

from kurolproxy.app import Gateway
from kurolproxy.config.load import parse
from kurolproxy.ir import ProtocolName
from tests.conftest import Running, new_key
from tests.fakes.answers import SECRET, refusing_url
from tests.fakes.faulty import FaultyUpstream, Thief
from tests.fakes.faulty_answers import TOKEN
from tests.fakes.faulty_modes import AS_IT_IS, CUT, FAILED, GOOD, LATE, Mode, modes
from tests.faults.hostile_hearing import hearing
from tests.server.families import FAMILIES, SHORT, Got, received, request

ACROSS: Mapping[ProtocolName, ProtocolName] = {
    "openai-chat": "anthropic",
    "openai-responses": "gemini",
    "anthropic": "openai-responses",
    "gemini": "openai-chat",
}
"""What each endpoint is translated to; together these are all four."""
NOBODY = "vendor.invalid"

_HEAD = """
[server]
listen = "127.0.0.1:0"
state_dir = "{state_dir}"
{server}
[metrics]
listen = "127.0.0.1:0"
[[plans]]
name = "default"
models = ["*"]
"""
_CELL = """
[[upstreams]]
name = "{name}"
base_url = "{url}"
protocols = ["{protocol}"]
api_keys = ["{secret}"]
{proxy}
[[models]]
id = "{name}"
targets = [{{ upstream = "{name}", model = "{mode}" }}]
{limits}
"""
# None of them may reach an upstream.
_EVIL = {
    "cookie": "a=b",
    "x-evil": "1",
    "x-forwarded-for": "10.0.0.1",
    "forwarded": "for=10.0.0.1",
    "x-kurol-secret": "1",
    "accept-encoding": "gzip, br",
    "x-portkey-custom-host": "http://evil.invalid",
    "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
}
UP = frozenset(
    {
        "host", "content-type", "content-length", "accept", "accept-encoding", "user-agent",
        "authorization", "x-api-key", "x-goog-api-key", "anthropic-version", "connection",
    }
)  # fmt: skip
"""The headers that an upstream may see of these calls."""
DOWN = frozenset(
    {
        "content-type", "content-length", "transfer-encoding", "connection", "x-request-id",
        "request-id", "cache-control", "x-accel-buffering", "retry-after", "x-should-retry",
        "x-kurol-dropped",
    }
)  # fmt: skip
"""The headers that a client may see of these calls, on a plan without limits."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One call of the table.

    Attributes:
        passed: the upstream speaks the client's own protocol.
    """

    mode: str
    client: ProtocolName
    stream: bool
    passed: bool

    @property
    def upstream(self) -> ProtocolName:
        """The protocol of the upstream."""
        return self.client if self.passed else ACROSS[self.client]

    @property
    def label(self) -> str:
        """Its column of the table."""
        form = "stream" if self.stream else "whole"
        return f"{SHORT[self.client]} {form} {'passed' if self.passed else 'translated'}"

    @property
    def model(self) -> str:
        """The model that is asked: each cell has an upstream of its own, which may rest."""
        return f"{self.mode}.{self.label.replace(' ', '.')}"


def every_cell(mode: str) -> list[Cell]:
    """Return the whole row of a mode."""
    return [
        Cell(mode, client, stream, passed)
        for client in FAMILIES
        for stream in (False, True)
        for passed in (True, False)
    ]


def some_cells(mode: str, turn: int) -> list[Cell]:
    """Return a part of the row, another one at each turn: each form at one endpoint."""
    return [
        Cell(mode, FAMILIES[(turn + 2 * stream + passed) % len(FAMILIES)], stream, passed)
        for stream in (False, True)
        for passed in (True, False)
    ]


def configuration(
    cells: Iterable[Cell],
    table: Mapping[str, Mode],
    url: str,
    state_dir: Path,
    *,
    proxied: bool = False,
    server: str = "",
) -> str:
    """Return a configuration with an upstream and a model for each cell."""
    text = _HEAD.format(state_dir=state_dir, server=server)
    for cell in cells:
        there = refusing_url() if cell.mode == "refuse" else url
        text += _CELL.format(
            name=cell.model,
            url=f"http://{NOBODY}" if proxied else there,
            proxy=f'proxy = "{there}"' if proxied else "",
            protocol=cell.upstream,
            secret=SECRET,
            mode=cell.mode,
            limits=table[cell.mode].limits,
        )
    return text


@dataclass(slots=True)
class World:
    """A gateway in front of the faulty vendor.

    Attributes:
        proxied: the vendor is reached as a proxy.
        results: what was heard, by mode and column.
        leaks: the cells whose answer held what it must not.
    """

    running: Running
    vendor: FaultyUpstream
    thief: Thief
    table: Mapping[str, Mode]
    http: aiohttp.ClientSession
    proxied: bool
    results: dict[str, dict[str, str]] = field(default_factory=dict)
    leaks: list[str] = field(default_factory=list)

    async def heard(self, cells: Iterable[Cell]) -> dict[str, str]:
        """Make the calls of some cells; return what was heard, by column."""
        cells = list(cells)
        mode = self.table[cells[0].mode]
        if mode.large:
            told = [await self._hear(each) for each in cells]
        else:
            told = list(await asyncio.gather(*map(self._hear, cells)))
        found = {cell.label: each for cell, each in zip(cells, told, strict=True)}
        self.results.setdefault(cells[0].mode, {}).update(found)
        return found

    def expected(self, cells: Iterable[Cell]) -> dict[str, str]:
        """Return what must be heard, by column."""
        return {
            each.label: self.table[each.mode].expected(stream=each.stream, passed=each.passed)
            for each in cells
        }

    async def call(self, cell: Cell) -> Got:
        """Make the call of one cell."""
        path, body = request(cell.client, cell.model, stream=cell.stream)
        headers = {"authorization": f"Bearer {self.running.key}", **_EVIL}
        url = self.running.base_url + path
        async with self.http.post(url, json=body, headers=headers) as answer:
            return await received(answer)

    async def _hear(self, cell: Cell) -> str:
        got = await self.call(cell)
        self._look_for_leaks(cell, got)
        told = hearing(cell.client, got, self.table[cell.mode].text, stream=cell.stream)
        booked = await self._booked(got.headers["x-request-id"])
        return told + self._complaint(cell, told, booked)

    def _look_for_leaks(self, cell: Cell, got: Got) -> None:
        text = json.dumps(got.headers).encode() + got.body
        words = (SECRET, SECRET.lower(), TOKEN, self.running.key, NOBODY)
        if any(each.encode() in text for each in words) or not set(got.headers) <= DOWN:
            self.leaks.append(f"{cell.model}: {got.headers} {got.body[:2_000]!r}")

    async def _booked(self, request_id: str) -> list[dict[str, Any]]:
        await self.running.gateway.state.usage.flush()
        found = await self.running.gateway.database.read(
            "SELECT * FROM usage WHERE request_id = ?", (request_id,)
        )
        return [dict(each) for each in found]

    def _complaint(self, cell: Cell, told: str, booked: list[dict[str, Any]]) -> str:
        """Return what is wrong with the row of a call, "" when nothing is."""
        if len(booked) != 1:
            return f", {len(booked)} rows"
        (row,), mode = booked, self.table[cell.mode]
        outcome = _OUTCOMES.get(told.partition(" never")[0].partition(" after")[0], "")
        if row["outcome"] != outcome:
            return f", booked as {row['outcome']}"
        if outcome == "ok" and bool(row["estimated"]) != mode.estimated:
            return f", estimated: {row['estimated']}"
        figures = (row["prompt"], row["completion"])
        if mode.figures is not None and figures != mode.figures:
            return f", booked as {figures}"
        return ""


_OUTCOMES: Mapping[str, str] = {
    GOOD: "ok",
    AS_IT_IS: "ok",
    FAILED: "upstream_error",
    LATE: "upstream_error",
    "504": "upstream_timeout",
    CUT: "upstream_timeout",
    "400": "bad_request",
    "413": "too_large",
}


@asynccontextmanager
async def hostile_world(
    folder: Path,
    cells: Iterable[Cell],
    *,
    proxied: bool = False,
    server: str = "",
    limits: str | None = None,
) -> AsyncIterator[World]:
    """Serve a gateway whose models are some cells.

    Args:
        proxied: the vendor is reached as a proxy.
        server: more lines of ``[server]``.
        limits: those of every model, in the place of its mode's.
    """
    async with Thief() as thief:
        table = all_modes(thief)
        if limits is not None:
            table = {name: replace(mode, limits=limits) for name, mode in table.items()}
        scripts = {name: mode.script for name, mode in table.items()}
        async with FaultyUpstream(scripts) as vendor, aiohttp.ClientSession() as http:
            text = configuration(
                cells, table, vendor.base_url, folder / "state", proxied=proxied, server=server
            )
            with (folder / "log").open("wb") as log:
                gateway = Gateway(parse(text, "hostile.toml", {}), log_fd=log.fileno())
                await gateway.start()
                host, port = gateway.addresses[0]
                key = await new_key(gateway, "someone@example.org", "default")
                running = Running(gateway, f"http://{host}:{port}", key, folder / "log")
                try:
                    yield World(running, vendor, thief, table, http, proxied)
                finally:
                    await gateway.stop()


def all_modes(thief: Thief | None = None) -> dict[str, Mode]:
    """Return every mode; ``refuse`` needs no script, nobody listens there."""
    found = modes(thief.base_url if thief is not None else "http://thief.invalid")
    return {"refuse": found["close-first"], **found}


# --- the table as text ----------------------------------------------------------------------


def lines(results: Mapping[str, Mapping[str, str]], table: Mapping[str, Mode]) -> Iterator[str]:
    """Yield the table: fault x endpoint; whole/stream where bytes pass, then translated."""
    yield f"{'fault':>19} " + "".join(f"{SHORT[each]:<36}" for each in FAMILIES)
    for name in sorted(results, key=lambda each: (table[each].row, each)):
        row = results[name]
        cells = [
            "/".join(row.get(each.label, "-") for each in every_cell(name) if each.client == client)
            for client in FAMILIES
        ]
        yield f"{table[name].row:>2} {name:>16} " + "".join(f"{each:<36}" for each in cells)
