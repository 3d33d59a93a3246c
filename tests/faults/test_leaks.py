"""Calls that fail in every way: what they held is given back, and each has one row."""

from __future__ import annotations

import asyncio
import random
import re
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from tests.fakes.answers import refusing_url
from tests.faults.ailing import AILMENTS
from tests.faults.books import Books
from tests.faults.conftest import Tell
from tests.faults.load import Call, Connection, Kind, kinds
from tests.faults.serving import MAIL, Installation, Serving, rounds
from tests.faults.vendor import QuickVendor, paced

CALLS = rounds(600, 10_000)
CLIENTS = 64
# A second is the least that the configuration takes for most of them.
_TIMEOUTS = """
connect_timeout_s = 1
first_content_timeout_s = 1
idle_timeout_s = 1
answer_timeout_s = 1
"""
_LIMITS = """
body_timeout_s = 1
stalled_reader_timeout_s = 1
max_event_bytes = 2_000_000
max_body_bytes = 200_000
failed_logins_per_minute = 1_000_000
"""
_MODELS = """
[[upstreams]]
name = "nobody"
base_url = "{nobody}"
protocols = ["openai-chat"]

[[models]]
id = "refuse"
targets = [{{ upstream = "nobody", model = "any" }}]
"""
# Each has upstreams of its own: what lets one credential rest stops no other model.
_MODEL = """
[[upstreams]]
name = "{name}-all"
base_url = "{vendor}"
protocols = ["openai-chat", "openai-responses", "anthropic", "gemini"]
api_keys = ["vendor-key"]

[[upstreams]]
name = "{name}-chat"
base_url = "{vendor}"
protocols = ["openai-chat"]
api_keys = ["vendor-key"]

[[models]]
id = "{name}"
targets = [{{ upstream = "{name}-all", model = "{name}" }}]

[[models]]
id = "{name}-translated"
targets = [{{ upstream = "{name}-chat", model = "{name}" }}]
"""
_REQUESTS = re.compile(r'kurol_requests_total\{.*model="([^"]*)".*outcome="([^"]*)".*\} (\S+)')
_LIMITED = ("rate_limited", "quota_exceeded", "concurrency_limited")


@dataclass(slots=True)
class Mob:
    """Clients that call ailing models, and behave badly themselves.

    Attributes:
        calls: those that somebody waited for.
        done: how many of each behaviour there were.
    """

    served: Serving
    narrow: str
    seed: int
    calls: list[Call] = field(default_factory=list)
    done: Counter[str] = field(default_factory=Counter)

    async def run(self, calls: int) -> None:
        """Make so many calls, some at once."""
        dice = random.Random(self.seed)
        named = [*AILMENTS, "refuse", "slow"]
        every = kinds(*named, *(f"{each}-translated" for each in AILMENTS))
        numbers = count()

        async def client() -> None:
            while next(numbers) < calls:
                behaviour = dice.choices(*zip(*_BEHAVIOURS, strict=True))[0]
                self.done[behaviour.__name__] += 1
                await behaviour(self, dice.choice(every), dice)

        await asyncio.gather(*(client() for _ in range(CLIENTS)))

    async def waits(self, kind: Kind, dice: random.Random) -> None:
        """Call and wait for whatever comes."""
        self.calls.append(await self.served.call(kind))

    async def leaves(self, kind: Kind, dice: random.Random) -> None:
        """Call and hang up at some moment."""
        with suppress(TimeoutError):
            async with asyncio.timeout(dice.random() * dice.choice([0.01, 0.1, 1.0])):
                await self.served.call(kind)

    async def breaks_off(self, kind: Kind, dice: random.Random) -> None:
        """Send a part of a request."""
        request = kind.request(self.served.site.secret)
        connection = Connection(self.served.base_url)
        await connection.send(request[: dice.randrange(1, len(request))])
        await asyncio.sleep(dice.random() * 0.1)
        await connection.close()

    async def stalls(self, kind: Kind, dice: random.Random) -> None:
        """Call for a long answer and read none of it."""
        kind = Kind(kind.protocol, kind.stream, "flooding")
        connection = Connection(self.served.base_url)
        await connection.send(kind.request(self.served.site.secret))
        await asyncio.sleep(1.5)
        await connection.close()

    async def errs(self, kind: Kind, dice: random.Random) -> None:
        """Send a body that makes no sense, or a wrong key, or a model of nobody's."""
        key = self.served.site.secret
        wrong: list[tuple[bytes, int]] = [
            (kind.request("sk-kurol-of-nobody"), 401),
            (Kind(kind.protocol, kind.stream, "no-such-model").request(key), 404),
            (kind.request(key).replace(b'"Hi!"', b'"Hi!'), 400),
            (kind.request(key).replace(b'"Hi!"', b'"\\ud800"'), 400),
            (kind.request(key).replace(b"application/json", b"multipart/form"), 415),
        ]
        request, status = dice.choice(wrong)
        length = len(request.partition(b"\r\n\r\n")[2])
        request = re.sub(rb"content-length: \d+", b"content-length: %d" % length, request)
        connection = Connection(self.served.base_url)
        call = await connection.exchange(kind, request)
        await connection.close()
        assert call.status == status, (call, request)

    async def exceeds(self, kind: Kind, dice: random.Random) -> None:
        """Call with a key that may do little."""
        self.calls.append(await self.served.call(kind, self.narrow))


_BEHAVIOURS = [
    (Mob.waits, 60),
    (Mob.leaves, 20),
    (Mob.breaks_off, 5),
    (Mob.stalls, 2),
    (Mob.errs, 8),
    (Mob.exceeds, 5),
]


async def test_nothing_is_held_after_calls_that_failed_in_every_way(
    site: Installation, vendor: QuickVendor, tell: Tell
) -> None:
    vendor.scripts = {**AILMENTS, "paced": paced(0.05)}
    models = "".join(_MODEL.format(name=each, vendor=vendor.base_url) for each in AILMENTS)
    models += _MODELS.format(nobody=refusing_url())
    site.configure(vendor.base_url, timeouts=_TIMEOUTS, limits=_LIMITS, extra=models)
    narrow = await asyncio.to_thread(
        site.key, "--requests-per-minute", "5", "--daily-tokens", "5000", email=MAIL
    )
    seed = random.randrange(1 << 32)
    async with site.serving() as served:
        mob = Mob(served, str(narrow["key"]), seed)
        await mob.run(CALLS)
        # Those that hung up last may take the longest limit.
        await served.until("kurol_requests_running", 0)
        await served.written()
        metrics = await served.metrics()
        status = await running(site)
        admitted = await admissions(served)
        books = Books.open(site.database)
        # It still serves as before.
        assert (await served.call()).ok
        assert await served.stop() == 0
    outcomes = Counter(each.status for each in mob.calls)
    tell(f"seed {seed}: {dict(mob.done)}")
    tell(f"{len(books.rows)} rows; {dict(outcomes)}; {metrics['kurol_reserved_tokens']:.0f} held")
    assert metrics["kurol_reserved_tokens"] == 0
    assert metrics["kurol_streams_in_flight"] == 0
    assert metrics["kurol_body_bytes_in_flight"] == 0
    assert status["reserved_tokens"] == status["requests_in_flight"] == 0
    books.check()
    assert len(books.rows) == admitted
    assert {200, 400, 429, 502, 504} <= set(outcomes)
    answered = [each.id for each in mob.calls if each.status in (200, 502, 504)]
    assert set(answered) <= set(books.rows)
    complained = [
        each
        for each in site.errors.splitlines()
        if "never retrieved" in each or "Traceback" in each
    ]
    assert complained == []
    assert [each for each in served.events() if each["event"] == "fault"] == []


async def running(site: Installation) -> dict[str, Any]:
    """Return what the verb ``status`` tells."""
    value: dict[str, Any] = await asyncio.to_thread(site.json, "status")
    return value


async def admissions(served: Serving) -> int:
    """Return how many calls were admitted: those of a known model that no limit refused."""
    _, text = await served.get(served.metrics_url)
    found = [_REQUESTS.fullmatch(each) for each in text.splitlines()]
    return sum(
        int(float(each[3]))
        for each in found
        if each and each[1] != "other" and each[2] not in _LIMITED
    )
