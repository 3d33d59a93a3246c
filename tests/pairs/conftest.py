"""One gateway in front of one vendor that speaks all four protocols, for a whole module."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from tests.pairs.world import World, serving


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """Yield the gateway of a module."""
    async with serving(tmp_path_factory.mktemp("pairs")) as world:
        yield world


@pytest.fixture
def world(served: World) -> Iterator[World]:
    """Return the gateway with nothing scripted and nothing seen."""
    served.forget()
    yield served
    assert served.fake.unscripted == []
