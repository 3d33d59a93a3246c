"""Work on large bodies: one at a time, in steps, with a turn for everybody else in between.

A thread would not help: the parser holds the interpreter's lock as long as it works.
"""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from typing import TypeVar

from kurolproxy.protocols.asked import PARSED_BYTES
from kurolproxy.protocols.nesting import STEP, finished

T = TypeVar("T")


class Turns:
    """Who works on a large body, and who waits to.

    Were they worked on side by side, a turn of the loop would take a step of each of them.

    Attributes:
        waiting: how many wait.
    """

    def __init__(self) -> None:
        self._one = asyncio.Lock()
        self.waiting = 0

    async def take(self, size: int, steps: Generator[None, None, T]) -> T:
        """Take the steps of some work; return what it returns.

        A body of up to 256 KiB is worked on at once, one of up to 1 MiB waits for nobody;
        of larger ones whoever came first goes on first.

        Args:
            size: bytes of the body.
        """
        if size <= STEP:
            return finished(steps)
        if size <= PARSED_BYTES:
            return await _slowly(steps)
        self.waiting += 1
        try:
            await self._one.acquire()
        finally:
            self.waiting -= 1
        try:
            return await _slowly(steps)
        finally:
            self._one.release()


async def _slowly(steps: Generator[None, None, T]) -> T:
    while True:
        try:
            next(steps)
        except StopIteration as done:
            return done.value  # type: ignore[no-any-return]  # StopIteration is not generic
        await asyncio.sleep(0)
