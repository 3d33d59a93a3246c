"""An answer that comes from an upstream: its head, and its body piece by piece."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from kurolproxy.errors import GatewayError
from kurolproxy.upstream import faults, retrying
from kurolproxy.upstream.pieces import collect

_MAX_UNREAD = 65_536


class Source(Protocol):
    """The connection that an answer comes from."""

    def leave(self, answer: StreamedAnswer) -> None:
        """Wait for the end of an answer that nobody reads any more."""
        ...

    def give_up(self, answer: StreamedAnswer) -> None:
        """End the connection unless this answer has left it already."""
        ...

    def go_on(self, answer: StreamedAnswer) -> None:
        """Read on after a pause."""
        ...


class StreamedAnswer:
    """An answer that comes through a ``Connection``.

    Attributes:
        status: 0 until the head is whole.
        headers: the few that we read, names in lower case.
        whole: the body ended as its framing says.
        error: why nothing more comes.
    """

    __slots__ = (
        "_connection",
        "_loop",
        "_pieces",
        "_take",
        "_unread",
        "_waiter",
        "error",
        "headers",
        "status",
        "whole",
    )

    def __init__(self, connection: Source, loop: asyncio.AbstractEventLoop) -> None:
        self._connection = connection
        self._loop = loop
        self._pieces: list[bytes] = []
        self._unread = 0
        self._take: Callable[[bytes], bool] | None = None
        self._waiter: asyncio.Future[bool] | None = None
        self.status = 0
        self.headers: dict[str, str] = {}
        self.whole = False
        self.error: GatewayError | None = None

    @property
    def content_type(self) -> str:
        """Media type, lower case, without parameters."""
        return faults.media_type(self.headers.get("content-type", ""))

    @property
    def coding(self) -> str:
        """The ``content-encoding`` as it came."""
        return self.headers.get("content-encoding", "")

    @property
    def retry_after_s(self) -> float | None:
        """Seconds that the ``retry-after`` header asks for."""
        return retrying.seconds(self.headers.get("retry-after"), self.headers.get("date"))

    # --- for who reads ------------------------------------------------------------

    async def head(self) -> None:
        """Wait until the head is whole."""
        if not self.status and self.error is None:
            await self._wait()
        if not self.status and self.error is not None:
            raise self.error

    async def read(self) -> bytes:
        """Return the next piece, ``b""`` at the end."""
        while not self._pieces:
            if self.whole:
                return b""
            if self.error is not None:
                raise self.error
            await self._wait()
        return self._unqueue()

    async def pipe(self, take: Callable[[bytes], bool]) -> None:
        """Hand each piece to ``take`` as it comes, and ``b""`` at the end, until it says False."""
        while True:
            if self._pieces:
                if not take(self._unqueue()):
                    return
            elif self.whole:
                take(b"")
                return
            elif self.error is not None:
                raise self.error
            else:
                self._take = take
                try:
                    if await self._wait():
                        return
                finally:
                    self._take = None

    async def body(self, limit: int) -> bytes:
        """Return all of the body."""
        return await collect(self.read, limit)

    def leave(self) -> None:
        """Nothing more of the body is needed."""
        self._connection.leave(self)

    def close(self) -> None:
        """Give the connection up; a whole answer has given it back already."""
        self._connection.give_up(self)

    async def _wait(self) -> bool:
        """Wait for anything new; True: ``take`` has had enough."""
        self._waiter = self._loop.create_future()
        try:
            return await self._waiter
        finally:
            self._waiter = None

    def _unqueue(self) -> bytes:
        pieces = self._pieces
        piece = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        if self._unread > _MAX_UNREAD:
            self._connection.go_on(self)
        self._unread = 0
        return piece

    # --- for the connection -------------------------------------------------------

    @property
    def behind(self) -> bool:
        """Whether so much was not read yet that no more may come."""
        return self._unread > _MAX_UNREAD

    def add(self, piece: bytes) -> bool:
        """Take a piece from the network; False: do not read on for now."""
        take = self._take
        if take is None:
            self._pieces.append(piece)
            self._unread += len(piece)
            self.wake()
            return not self.behind
        try:
            more = take(piece)
        except Exception as error:  # raised again where ``pipe`` is awaited
            self._take = None
            if self._waiter is not None and not self._waiter.done():
                self._waiter.set_exception(error)
            return True
        if not more:
            self._take = None
            if self._waiter is not None and not self._waiter.done():
                self._waiter.set_result(True)
        return True

    def wake(self) -> None:
        """Tell who waits that there is something new."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(False)

    def fail(self, error: GatewayError) -> None:
        """Nothing more comes."""
        if self.error is None and not self.whole:
            self.error = error
        self.wake()
