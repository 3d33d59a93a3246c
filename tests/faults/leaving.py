"""Streams that are open while the gateway is asked to leave or to read its configuration."""

from __future__ import annotations

import asyncio
import signal
from dataclasses import dataclass, field

from tests.faults.load import Call, Connection, Kind, kinds
from tests.faults.serving import SLOW, Serving, seen

STREAMS = 50


@dataclass(slots=True)
class Streams:
    """Calls that run, each on a connection of its own, in all four protocols in turn.

    Attributes:
        connections: in the order of the calls.
    """

    served: Serving
    connections: list[Connection] = field(default_factory=list)
    _tasks: list[asyncio.Task[Call]] = field(default_factory=list)

    @classmethod
    async def open(cls, served: Serving, count: int = STREAMS) -> Streams:
        """Open streams, and wait until the gateway has all of them."""
        streams = cls(served)
        asked = [each for each in kinds(SLOW) if each.stream]
        for number in range(count):
            connection = Connection(served.base_url)
            call = connection.call(asked[number % len(asked)], served.site.secret)
            streams.connections.append(connection)
            streams._tasks.append(asyncio.create_task(call))
        await served.until("kurol_streams_in_flight", count)
        return streams

    async def ended(self) -> list[Call]:
        """Wait for all of them."""
        calls = await asyncio.gather(*self._tasks)
        for each in self.connections:
            await each.close()
        return calls


async def told_to(served: Serving, by: signal.Signals, event: str) -> float:
    """Send a signal, and wait for the line that says it was understood; return the seconds."""
    known = sum(each["event"] == event for each in served.events())
    served.process.send_signal(by)

    async def said() -> bool:
        return sum(each["event"] == event for each in served.events()) > known

    return await seen(said)


async def gone(served: Serving) -> tuple[int, float]:
    """Wait for the end of a process; return its exit code and when it was over."""
    code = await asyncio.wait_for(served.process.wait(), 30)
    return code, asyncio.get_running_loop().time()


def plain(model: str) -> Kind:
    """Return a call that is answered whole."""
    return Kind("openai-chat", stream=False, model=model)
