"""The official SDKs, aimed at the gateway under test."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable

import pytest

from tests.conftest import Running
from tests.server.sdks import Sdks, connected

Connect = Callable[..., Sdks]


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    """Yield a function that makes clients of a gateway."""
    async with contextlib.AsyncExitStack() as stack:

        def make(running: Running, key: str | None = None) -> Sdks:
            sdks = connected(running.base_url, key or running.key)
            stack.push_async_callback(sdks.close)
            return sdks

        yield make


@pytest.fixture
def sdks(gateway: Running, connect: Connect) -> Sdks:
    """Return clients of the usual gateway."""
    return connect(gateway)
