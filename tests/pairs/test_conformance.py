"""The conformance table is what the gateway does, and no cell of it ever gets worse."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from kurolproxy.ir import ProtocolName
from tests.pairs.conformance import GRADES, Cell, measure
from tests.pairs.features import FEATURES, Feature
from tests.pairs.table import PAGE, Key, committed, parse, render
from tests.pairs.world import PAIRS, World, every_pair, in_one_loop

UPDATE = bool(os.environ.get("KUROL_UPDATE_CONFORMANCE"))
WHOLE = len(PAIRS) * len(FEATURES)


@pytest.fixture(scope="module")
def measured() -> Iterator[dict[Key, Cell]]:
    """Collect the cells of this run; write the page when that is what the run is for."""
    cells: dict[Key, Cell] = {}
    yield cells
    if UPDATE and len(cells) == WHOLE:
        PAGE.write_text(render(cells))


@pytest.mark.parametrize("feature", FEATURES, ids=[each.name for each in FEATURES])
@every_pair
@in_one_loop
async def test_no_cell_gets_worse(
    client: ProtocolName,
    upstream: ProtocolName,
    feature: Feature,
    world: World,
    measured: dict[Key, Cell],
) -> None:
    cell = await measure(world, client, upstream, feature)
    assert cell.grade in GRADES
    # A loss that nobody is told of is a fault, whatever the page says.
    assert cell.grade != "lost", cell.why
    measured[client, upstream, feature.name] = cell
    if not UPDATE:
        # A cell that the page does not have yet fails the test below.
        standard = committed().get((client, upstream, feature.name), cell)
        assert not cell.worse_than(standard), f"{cell} is worse than {standard}: {cell.why}"


def test_page_is_what_was_measured(measured: dict[Key, Cell]) -> None:
    if len(measured) < WHOLE:
        pytest.skip("not every cell was measured")
    if not UPDATE:
        assert PAGE.read_text() == render(measured), "run `make conformance`"


def test_page_reads_back_as_it_was_written() -> None:
    cells = {
        (client, upstream, feature.name): Cell("emulated", ("effort", "sealed token"))
        for client, upstream in PAIRS
        for feature in FEATURES
    }
    cells[(*PAIRS[0], "text")] = Cell("exact")
    cells[(*PAIRS[0], "PDF")] = Cell("-")
    assert parse(render(cells)) == cells


WORSE = [
    (Cell("emulated", ("effort",)), Cell("exact"), True),
    (Cell("dropped"), Cell("emulated", ("effort",)), True),
    (Cell("emulated", ("effort", "sealed token")), Cell("emulated", ("effort",)), True),
    (Cell("emulated", ("effort",)), Cell("emulated", ("effort", "sealed token")), False),
    (Cell("exact"), Cell("dropped"), False),
    (Cell("exact"), Cell("exact"), False),
]


@pytest.mark.parametrize(("one", "other", "worse"), WORSE)
def test_grades_have_an_order(one: Cell, other: Cell, worse: bool) -> None:
    assert one.worse_than(other) is worse
