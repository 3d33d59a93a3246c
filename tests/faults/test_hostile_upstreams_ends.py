"""Upstreams that do not come to an end, or to a beginning, while a client already reads."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.conftest import soon
from tests.faults.hostile import Cell, World, every_cell, hostile_world
from tests.faults.hostile_hearing import Heard, hearing

SILENT = ("hang-first", "hang-headers", "comments-only", "pings", "created")
STREAMS = [each.label for each in every_cell("x") if each.stream]
# Signs of life soon, so that the head is out before the first content has to come.
LIVELY = "keepalive_interval_s = 0.1"
LIMIT = "first_content_timeout_s = 1"
_TIMEOUTS = {"upstream_timeout", "timeout_error", "DEADLINE_EXCEEDED"}


def cell(mode: str, label: str) -> Cell:
    return next(each for each in every_cell(mode) if each.label == label)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """Yield a gateway that shows signs of life soon."""
    modes = (*SILENT, "done-then-hang")
    cells = [each for mode in modes for each in every_cell(mode)]
    async with hostile_world(tmp_path, cells, server=LIVELY, limits=LIMIT) as made:
        yield made


async def test_head_that_is_out_is_followed_by_an_error_when_nothing_comes(world: World) -> None:
    async def heard(mode: str, label: str) -> tuple[int, str, bool, str]:
        asked = cell(mode, label)
        got = await world.call(asked)
        told = Heard.of(asked.client, got.body)
        timed_out = told.error in _TIMEOUTS and not told.late
        return got.status, told.text, told.ended, "timeout" if timed_out else str(told.error)

    asked = [(mode, label) for mode in SILENT for label in STREAMS]
    found = await asyncio.gather(*(heard(*each) for each in asked))
    wanted = (200, "", False, "timeout")
    assert dict(zip(asked, found, strict=True)) == dict.fromkeys(asked, wanted)


async def test_end_is_seen_at_once_and_the_connection_never_used_again(world: World) -> None:
    loop = asyncio.get_running_loop()

    async def ended(label: str) -> bool:
        asked = cell("done-then-hang", label)
        begun = loop.time()
        got = await world.call(asked)
        assert hearing(asked.client, got, world.table[asked.mode].text, stream=True) == "ok"
        # It takes some milliseconds; the upstream would hang for ten minutes.
        return loop.time() - begun < 1.0

    for _ in range(2):
        assert all(await asyncio.gather(*map(ended, STREAMS)))
        await soon(lambda: not world.vendor.open, within_s=2.0)
    used = [each.connection for each in world.vendor.of("done-then-hang")]
    assert len(used) == len(set(used)) == 2 * len(STREAMS)
