"""Clients and vendors that behave in every way at once, for as long as somebody likes."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field

from tests.fakes.answers import refusing_url
from tests.fakes.faulty_modes import Mode
from tests.faults.heavy import body
from tests.faults.load import Connection, Kind, kinds
from tests.faults.resources import Taken, taken
from tests.faults.serving import PASSED, SLOW, TRANSLATED, Serving

_LARGE = 1_500_000
_MODEL = """
[[upstreams]]
name = "{name}"
base_url = "{url}"
protocols = {protocols}
api_keys = ["vendor-key"]

[[models]]
id = "{name}"
targets = [{{ upstream = "{name}", model = "{mode}" }}]
{limits}
"""
_ALL = '["openai-chat", "openai-responses", "anthropic", "gemini"]'


def names(mode: str) -> tuple[str, str]:
    """Return the models of a way to fail: one passes bytes, one translates."""
    return mode, f"{mode}-translated"


def models(table: dict[str, Mode], url: str) -> str:
    """Return the configuration of two models for each way to fail, each with its upstream."""
    text = ""
    for mode, each in table.items():
        for name, protocols in zip(names(mode), (_ALL, '["openai-chat"]'), strict=True):
            there = refusing_url() if mode == "refuse" else url
            text += _MODEL.format(
                name=name, url=there, protocols=protocols, mode=mode, limits=each.limits
            )
    return text


@dataclass(slots=True)
class Chaos:
    """Clients that call, leave, break off, stall and err; half of their calls go well.

    Attributes:
        statuses: of the answers that somebody waited for.
        done: how many of each behaviour there were.
        samples: what the gateway took, once a second.
    """

    served: Serving
    failing: Iterable[str]
    seed: int
    clients: int = 100
    statuses: Counter[int | None] = field(default_factory=Counter)
    done: Counter[str] = field(default_factory=Counter)
    samples: list[Taken] = field(default_factory=list)
    _until: float = 0.0

    async def run(self, seconds: float) -> None:
        """Behave like that for a while."""
        dice = random.Random(self.seed)
        well = kinds(PASSED, TRANSLATED, SLOW)
        ill = kinds(*(name for mode in self.failing for name in names(mode)))
        loop = asyncio.get_running_loop()
        self._until = loop.time() + seconds

        async def client() -> None:
            while loop.time() < self._until:
                behaviour = dice.choices(*zip(*_BEHAVIOURS, strict=True))[0]
                self.done[behaviour.__name__] += 1
                await behaviour(self, dice.choice(dice.choice([well, ill])), dice)

        watching = asyncio.create_task(self._watch())
        await asyncio.gather(*(client() for _ in range(self.clients)))
        watching.cancel()

    async def _watch(self) -> None:
        while True:
            self.samples.append(taken(self.served.process.pid))
            await asyncio.sleep(1.0)

    async def waits(self, kind: Kind, dice: random.Random) -> None:
        """Call and wait for whatever comes, a few times on one connection."""
        connection = Connection(self.served.base_url)
        for _ in range(dice.randrange(1, 4)):
            self.statuses[(await connection.call(kind, self.served.site.secret)).status] += 1
        await connection.close()

    async def leaves(self, kind: Kind, dice: random.Random) -> None:
        """Call and hang up at some moment."""
        with suppress(TimeoutError):
            async with asyncio.timeout(dice.random() * dice.choice([0.01, 0.1, 1.0])):
                await self.served.call(kind)

    async def breaks_off(self, kind: Kind, dice: random.Random) -> None:
        """Send a part of a request, sometimes after a whole one."""
        request = kind.request(self.served.site.secret)
        connection = Connection(self.served.base_url)
        await connection.send(request[: dice.randrange(1, len(request))])
        await asyncio.sleep(dice.random())
        await connection.close()

    async def stalls(self, kind: Kind, dice: random.Random) -> None:
        """Call for a long answer and read none of it."""
        kind = Kind("openai-chat", stream=True, model=dice.choice(names("flood")))
        connection = Connection(self.served.base_url)
        await connection.send(kind.request(self.served.site.secret))
        await asyncio.sleep(1.5)
        await connection.close()

    async def errs(self, kind: Kind, dice: random.Random) -> None:
        """Send a body that makes no sense, or call a model of nobody's."""
        key = self.served.site.secret
        nobodys = Kind(kind.protocol, kind.stream, "no-such-model").request(key)
        wrong = (nobodys, kind.request(key).replace(b'"Hi!"', b'"Hi" '))
        connection = Connection(self.served.base_url)
        self.statuses[(await connection.exchange(kind, dice.choice(wrong))).status] += 1
        await connection.close()

    async def is_large(self, kind: Kind, dice: random.Random) -> None:
        """Call with a body that is worked on in steps."""
        kind = Kind("openai-chat", stream=False, model=dice.choice([PASSED, TRANSLATED]))
        data = body(kind.model, _LARGE)
        head, _, _ = kind.request(self.served.site.secret).partition(b"content-length")
        request = head + b"content-length: %d\r\n\r\n" % len(data) + data
        connection = Connection(self.served.base_url)
        self.statuses[(await connection.exchange(kind, request)).status] += 1
        await connection.close()


_BEHAVIOURS = [
    (Chaos.waits, 60),
    (Chaos.leaves, 25),
    (Chaos.breaks_off, 5),
    (Chaos.stalls, 2),
    (Chaos.errs, 6),
    (Chaos.is_large, 0.3),
]
