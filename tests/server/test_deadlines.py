"""A call that two things end at once ends with an error, not with a broken connection."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from kurolproxy.errors import Overloaded, Unauthenticated, UpstreamTimeout
from kurolproxy.server.deadlines import Limit, Watch

REVOKED, DRAINED = Unauthenticated("revoked"), Overloaded("drained")
Ending = Callable[[Watch], None]
ENDINGS: dict[str, tuple[list[Ending], Exception]] = {
    "time, then revoked": ([lambda w: w.sweep(10.0), lambda w: w.end(REVOKED)], REVOKED),
    "revoked, then time": ([lambda w: w.end(REVOKED), lambda w: w.sweep(10.0)], REVOKED),
    "revoked, then drained": ([lambda w: w.end(REVOKED), lambda w: w.end(DRAINED)], REVOKED),
}


@pytest.mark.parametrize("name", ENDINGS)
async def test_two_ends_at_once_are_one(name: str) -> None:
    endings, told = ENDINGS[name]
    found: list[BaseException] = []

    async def wait() -> None:
        watch.deadline = 5.0
        try:
            with Limit(watch, lambda: UpstreamTimeout("too slow")):
                await asyncio.Event().wait()
        except (Exception, asyncio.CancelledError) as error:
            found.append(error)
        # Nothing is left over for the answer that is written now.
        await asyncio.sleep(0)

    watch = Watch(None, 15.0)
    task = watch.task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    for end in endings:
        end(watch)
    await task
    assert found == [told]


async def test_client_that_leaves_in_the_same_moment_has_left() -> None:
    async def wait() -> None:
        watch.deadline = 5.0
        with Limit(watch, lambda: UpstreamTimeout("too slow")):
            await asyncio.Event().wait()

    watch = Watch(None, 15.0)
    task = watch.task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    watch.sweep(10.0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
