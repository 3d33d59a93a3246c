"""What can be done with an answer that is read piece by piece."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from kurolproxy.upstream import faults

Read = Callable[[], Awaitable[bytes]]
"""Returns the next piece, ``b""`` at the end."""


async def collect(read: Read, limit: int) -> bytes:
    """Return all pieces as one.

    Raises:
        UpstreamError: they are more than ``limit`` bytes; and whatever ``read`` raises.
    """
    pieces: list[bytes] = []
    size = 0
    while piece := await read():
        size += len(piece)
        if size > limit:
            # Who keeps the error keeps this frame, and all that it holds.
            pieces.clear()
            raise faults.too_large()
        pieces.append(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


async def pipe(read: Read, take: Callable[[bytes], bool]) -> None:
    """Hand each piece to ``take``, and ``b""`` at the end, until it says False."""
    data = b"?"
    while data:
        data = await read()
        if not take(data):
            return
