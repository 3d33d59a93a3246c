"""Answers that came compressed although they were asked for plain: opened piece by piece."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable

from kurolproxy.upstream import faults
from kurolproxy.upstream.client import Answer
from kurolproxy.upstream.pieces import collect, pipe

_PLAIN = ("", "identity")
_GZIP = ("gzip", "x-gzip")
_GZIP_WINDOW = 16 + zlib.MAX_WBITS
_STEP = 65_536
# JSON and text shrink to a tenth, with much that repeats to a fortieth; a bomb to a thousandth.
_FREE = 16_777_216
_RATIO = 100


def opened(answer: Answer) -> Answer:
    """Return an answer whose pieces are plain: the one that is given, when it is.

    An encoding that we cannot undo fails when the body is read: the head says enough for
    some errors.
    """
    coding = answer.coding
    if not coding:
        return answer
    name = coding.strip().lower()
    if name in _PLAIN:
        return answer
    return OpenedAnswer(answer) if name in _GZIP else ClosedAnswer(answer)


class _Wrapped:
    """An answer around another one."""

    __slots__ = ("_answer",)

    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    @property
    def status(self) -> int:
        """HTTP status."""
        return self._answer.status

    @property
    def content_type(self) -> str:
        """Media type, lower case, without parameters."""
        return self._answer.content_type

    @property
    def coding(self) -> str:
        """Nothing: what is read here is plain."""
        return ""

    @property
    def retry_after_s(self) -> float | None:
        """Seconds that the ``retry-after`` header asks for."""
        return self._answer.retry_after_s

    async def read(self) -> bytes:
        """Return the next piece."""
        return await self._answer.read()

    async def pipe(self, take: Callable[[bytes], bool]) -> None:
        """Hand each piece to ``take`` until it says False."""
        await pipe(self.read, take)

    async def body(self, limit: int) -> bytes:
        """Return all of the body."""
        return await collect(self.read, limit)

    def leave(self) -> None:
        """Nothing more of the body is needed."""
        self._answer.leave()

    def close(self) -> None:
        """Give the connection up, or back."""
        self._answer.close()


class ClosedAnswer(_Wrapped):
    """An answer whose encoding we cannot undo: it has a head and no body."""

    __slots__ = ()

    async def read(self) -> bytes:
        """Fail.

        Raises:
            UpstreamError: always.
        """
        raise faults.compressed()


class OpenedAnswer(_Wrapped):
    """The plain form of a gzipped answer.

    A piece is at most ``_STEP`` bytes, and other calls get their turn between two pieces of
    the same read: some bytes may stand for a thousand times as many.
    """

    __slots__ = ("_full", "_held", "_member", "_read", "_written")

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer)
        # Between two members of the format, and before the first, there is none.
        self._member: zlib._Decompress | None = None
        self._held = b""
        # The last step was as large as it may be: more may follow without further input.
        self._full = False
        self._read = 0
        self._written = 0

    async def read(self) -> bytes:
        """Return the next piece, ``b""`` at the end.

        Raises:
            UpstreamError: it is no gzip, breaks off, or grows out of all proportion.
        """
        while True:
            if self._held or self._full:
                await asyncio.sleep(0)
            else:
                self._held = await self._answer.read()
                self._read += len(self._held)
                if not self._held:
                    if self._member is not None:
                        raise faults.broken_off()
                    return b""
            if piece := self._step():
                return piece

    def _step(self) -> bytes:
        member = self._member
        if member is None:
            member = self._member = zlib.decompressobj(_GZIP_WINDOW)
        try:
            piece = member.decompress(self._held, _STEP)
        except zlib.error:
            raise faults.not_gzip() from None
        self._full = len(piece) == _STEP and not member.eof
        if member.eof:
            # Another member may follow, or zeros that fill a block.
            self._member = None
            self._held = member.unused_data.lstrip(b"\0")
        else:
            self._held = member.unconsumed_tail
        self._written += len(piece)
        if self._written > _FREE and self._written > _RATIO * self._read:
            raise faults.too_large()
        return piece
