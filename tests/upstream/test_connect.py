"""Names with several addresses: tried in turn, the first connection wins."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from kurolproxy.errors import UpstreamError, UpstreamTimeout
from kurolproxy.upstream.address import Origin
from kurolproxy.upstream.connect import Dialler

HOST = "several.invalid"


class Names:
    """What the names of the tests resolve to.

    Attributes:
        asked: how often somebody asked.
    """

    def __init__(self, resolve: Callable[..., Awaitable[Any]]) -> None:
        self.addresses: list[tuple[socket.AddressFamily, str, int]] = []
        self.asked = 0
        self._resolve = resolve

    async def look_up(self, host: str, port: int, **more: Any) -> Any:
        """Stand in for the resolver of the loop, which uvloop asks for addresses, too."""
        if host != HOST:
            return await self._resolve(host, port, **more)
        self.asked += 1
        return [
            (family, socket.SOCK_STREAM, 6, "", (address, at))
            for family, address, at in self.addresses
        ]


@pytest.fixture
async def names(monkeypatch: pytest.MonkeyPatch) -> Names:
    loop = asyncio.get_running_loop()
    found = Names(loop.getaddrinfo)
    monkeypatch.setattr(loop, "getaddrinfo", found.look_up)
    return found


@contextlib.asynccontextmanager
async def listening() -> AsyncIterator[tuple[tuple[socket.AddressFamily, str, int], list[int]]]:
    """Yield an address that takes connections, and the numbers of those it took."""
    taken: list[int] = []
    running: set[asyncio.Task[object] | None] = set()

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        taken.append(len(taken))
        running.add(asyncio.current_task())
        with contextlib.suppress(ConnectionError):
            await reader.read()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    server = await asyncio.start_server(take, "127.0.0.1", 0)
    try:
        yield (socket.AF_INET, "127.0.0.1", server.sockets[0].getsockname()[1]), taken
    finally:
        server.close()
        await asyncio.gather(*(each for each in running if each is not None))
        await server.wait_closed()


@contextlib.contextmanager
def refusing() -> Iterator[tuple[socket.AddressFamily, str, int]]:
    """Yield an address whose port is bound, without a listener."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield socket.AF_INET, "127.0.0.1", held.getsockname()[1]


@contextlib.contextmanager
def hanging() -> Iterator[tuple[socket.AddressFamily, str, int]]:
    """Yield an address whose queue of connections is full: nobody answers a new one."""
    with contextlib.ExitStack() as stack:
        held = stack.enter_context(socket.socket())
        held.bind(("127.0.0.1", 0))
        held.listen(0)
        for _ in range(4):
            filling = stack.enter_context(socket.socket())
            filling.setblocking(False)
            filling.connect_ex(held.getsockname())
        yield socket.AF_INET, "127.0.0.1", held.getsockname()[1]


class Held(asyncio.Protocol):
    """A connection that was made."""

    def __init__(self) -> None:
        self.lost = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def connection_lost(self, error: Exception | None) -> None:
        self.lost.set()


async def dialled(dialler: Dialler, timeout_s: float = 5.0) -> int:
    """Connect, and return the port that was reached."""
    made = await dialler.dial(Origin(False, HOST, 80), Held, timeout_s)
    port: int = made.transport.get_extra_info("peername")[1]
    made.transport.close()
    await made.lost.wait()
    return port


@pytest.mark.parametrize("first", [refusing, hanging], ids=["refuses", "hangs"])
async def test_next_address_is_tried_when_the_first_fails(
    first: Callable[[], contextlib.AbstractContextManager[tuple[socket.AddressFamily, str, int]]],
    names: Names,
) -> None:
    async with listening() as (good, _):
        with first() as bad:
            names.addresses = [bad, good]
            assert await dialled(Dialler()) == good[2]


async def test_first_address_that_answers_in_time_is_the_only_one_asked(names: Names) -> None:
    async with listening() as (first, taken), listening() as (second, other):
        names.addresses = [first, second]
        assert await dialled(Dialler()) == first[2]
        await asyncio.sleep(0.3)
        assert (len(taken), len(other)) == (1, 0)


async def test_families_take_turns(names: Names) -> None:
    # Nobody listens there, and each refusal lets the next one begin at once.
    with refusing() as bad:
        async with listening() as (good, _):
            six = (socket.AF_INET6, "::1", bad[2])
            names.addresses = [six, six, six, good]
            assert await dialled(Dialler()) == good[2]


async def test_name_is_asked_once_in_a_while(names: Names) -> None:
    async with listening() as (good, _):
        names.addresses = [good]
        dialler = Dialler()
        for _ in range(3):
            await dialled(dialler)
        assert names.asked == 1


@pytest.mark.parametrize(("seconds", "asked"), [(55, 1), (61, 2)])
async def test_name_is_asked_again_after_a_minute(seconds: float, asked: int, names: Names) -> None:
    async with listening() as (good, _):
        names.addresses = [good]
        dialler = Dialler()
        await dialled(dialler)
        ((origin, known),) = dialler._known.items()
        # As if it were some time ago.
        dialler._known[origin] = replace(known, until=known.until - seconds)
        await dialled(dialler)
        assert names.asked == asked


async def test_name_is_asked_again_after_a_failure(names: Names) -> None:
    async with listening() as (good, _):
        dialler = Dialler()
        with refusing() as bad:
            names.addresses = [bad]
            with pytest.raises(UpstreamError, match="could not be reached"):
                await dialled(dialler)
            names.addresses = [good]
            assert await dialled(dialler) == good[2]


async def test_all_addresses_together_have_one_limit(names: Names) -> None:
    with hanging() as one, hanging() as other:
        names.addresses = [one, other]
        dialler = Dialler()
        with pytest.raises(UpstreamTimeout, match="in time"):
            await dialled(dialler, 0.6)
        assert dialler._known == {}
