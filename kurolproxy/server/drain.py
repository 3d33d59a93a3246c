"""How the gateway leaves: nothing new comes in, what runs ends well, the rest is told.

States, in this order only:

    serving --signal--> leaving --delay--> draining --last call, or the limit--> ended

leaving: readiness says no, calls are served (a load balancer has yet to notice).
draining: nobody is listened to any more, idle connections are closed, a new request on a
busy one is refused; what runs goes on until the limit, and is then ended with an error of
its own form. A second signal ends each state at once.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from kurolproxy.errors import Overloaded
from kurolproxy.server.listeners import Listener
from kurolproxy.server.state import State

_POLL_S = 0.02
# A client that takes its last bytes slowly, and one after the second signal.
_FLUSH_S = 2.0
_HURRY_S = 0.2


@dataclass(frozen=True, slots=True)
class Patience:
    """What a leaving gateway waits for.

    Attributes:
        delay_s: from the signal until the listening sockets are closed.
        limit_s: from the signal until running calls are ended.
    """

    delay_s: float
    limit_s: float


async def drain(state: State, listener: Listener, patience: Patience, hurry: asyncio.Event) -> int:
    """Let the calls end that run.

    Args:
        hurry: set: do not wait any longer.

    Returns:
        how many calls did not end by themselves, and were ended with an error.
    """
    loop = asyncio.get_running_loop()
    until = loop.time() + max(patience.limit_s, patience.delay_s)
    state.leaving = True
    await _pause(patience.delay_s, hurry)
    state.draining = True
    listener.stop_accepting()
    while len(state.deadlines) and loop.time() < until and not hurry.is_set():
        listener.close_idle()
        await _pause(_POLL_S, hurry)
    ended = len(state.deadlines)
    patience_s = _HURRY_S if hurry.is_set() else _FLUSH_S
    if ended:
        state.metrics.calls_ended_by_shutdown += ended
        state.deadlines.end_all(_shutting_down)
        await state.deadlines.emptied(patience_s)
    await _let_go(listener, loop.time() + patience_s)
    return ended


async def _let_go(listener: Listener, until: float) -> None:
    """Close each connection once its client took what was written."""
    server, loop = listener.server, asyncio.get_running_loop()
    while server.connections and loop.time() < until:
        listener.close_idle()
        await asyncio.sleep(_POLL_S)


async def _pause(seconds: float, hurry: asyncio.Event) -> None:
    if seconds <= 0:
        return
    try:
        async with asyncio.timeout(seconds):
            await hurry.wait()
    except TimeoutError:
        return


def _shutting_down() -> Overloaded:
    return Overloaded("The gateway is shutting down; try again in a second.", retry_after_s=1)
