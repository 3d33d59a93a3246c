"""Upstreams that stall, lie and break off: every way x every endpoint, one value for each cell."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.conftest import soon
from tests.fakes.answers import SECRET
from tests.fakes.faulty_answers import TOKEN
from tests.faults.conftest import Tell
from tests.faults.hostile import (
    UP,
    Cell,
    World,
    all_modes,
    every_cell,
    hostile_world,
    lines,
    some_cells,
)
from tests.faults.serving import rounds

pytestmark = pytest.mark.asyncio(loop_scope="module")

LARGE = {name: mode.large for name, mode in all_modes().items()}


def cells_of(mode: str, *, proxied: bool) -> list[Cell]:
    """Return what is asked of a mode.

    The short form asks four of the sixteen cells, two where much is sent or a proxy stands
    between.
    """
    turn = list(LARGE).index(mode) + proxied
    return rounds(some_cells(mode, turn)[:: 1 + 2 * (LARGE[mode] or proxied)], every_cell(mode))


@pytest_asyncio.fixture(
    scope="module", loop_scope="module", params=[False, True], ids=["direct", "proxied"]
)
async def world(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[World]:
    """Yield a gateway with all cells; an HTTP proxy stands between it and its vendor, or none."""
    cells = [each for mode in LARGE for each in cells_of(mode, proxied=request.param)]
    folder = tmp_path_factory.mktemp("hostile")
    async with hostile_world(folder, cells, proxied=request.param) as made:
        yield made


@pytest.mark.parametrize("mode", LARGE)
async def test_every_endpoint_makes_the_same_of_a_fault(mode: str, world: World) -> None:
    cells = cells_of(mode, proxied=world.proxied)
    assert await world.heard(cells) == world.expected(cells)


# --- what must hold of all of them together; these tests come last --------------------------


async def test_table_is_printed(world: World, tell: Tell) -> None:
    tell("through a proxy" if world.proxied else "without a proxy")
    for line in lines(world.results, world.table):
        tell(line)


async def test_nothing_that_was_planted_came_out(world: World) -> None:
    assert world.leaks == []
    metrics = world.running.gateway.state.metrics.render().decode()
    for text in (world.running.lines(), metrics):
        for word in (SECRET, SECRET.lower(), TOKEN, world.running.key):
            assert word not in text


async def test_nobody_followed_a_redirect(world: World) -> None:
    for mode in (each for each in LARGE if each.startswith("redirect")):
        # Nor to the proxy, which would go on to the thief.
        assert len(world.vendor.of(mode)) == len(cells_of(mode, proxied=world.proxied))
    assert world.thief.caught == 0


async def test_upstreams_saw_no_header_but_those_on_the_list(world: World) -> None:
    seen = {name for each in world.vendor.requests for name, _ in each.headers}
    assert seen <= UP
    for each in world.vendor.requests:
        headers = dict(each.headers)
        assert headers["accept-encoding"] == "identity"
        assert all(world.running.key not in value for value in headers.values())


async def test_nothing_is_held_afterwards(world: World) -> None:
    state = world.running.gateway.state
    await soon(lambda: len(state.deadlines) == 0)
    assert state.admission.reserved == 0
    assert state.metrics.streams_in_flight == 0
    assert '"event":"fault"' not in world.running.lines()
