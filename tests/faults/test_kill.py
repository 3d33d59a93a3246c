"""kill -9 under load: who got an answer whole is in the ledger, with its tokens, once."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass

from tests.faults.books import Books, ids_of
from tests.faults.conftest import Tell
from tests.faults.load import Call, Load
from tests.faults.serving import Installation, rounds

RATE = 200
ROUNDS = rounds(2, 10)
SECONDS = rounds(0.7, 4.0)
HEAD = "round  answers  a second  failed  in flight  lost  extra  counted twice  serves again in"


@dataclass(frozen=True, slots=True)
class Round:
    """One life of the gateway, and what the next found of it.

    Attributes:
        seconds: how long it was called.
        in_flight: calls that ran when it was killed.
        back_s: from the start of the next process until it had answered a call.
        known: the request ids that were in the ledger before.
        others: those of calls that are not the load's.
    """

    load: Load
    seconds: float
    in_flight: int
    back_s: float
    books: Books
    known: frozenset[str]
    others: frozenset[str]

    @property
    def extra(self) -> set[str]:
        """What is in the ledger although no client got it whole."""
        whole = {each.id for each in self.load.whole}
        return set(self.books.rows) - self.known - self.others - whole

    def check(self) -> None:
        """Fail when a promise was not kept."""
        self.books.check()
        assert not self.load.failed
        assert len(self.load.whole) > 10 * self.seconds
        assert not self.books.lost(self.load.whole)
        assert len(self.extra) <= self.in_flight
        # Ten times what was promised: it is a figure of the machine, too.
        assert self.back_s < 20

    def __str__(self) -> str:
        whole, twice = len(self.load.whole), self.books.sums[0] - len(self.books.rows)
        return (
            f"{whole:7}  {whole / self.seconds:8.0f}  {len(self.load.failed):6}  "
            f"{self.in_flight:9}  {len(self.books.lost(self.load.whole)):4}  "
            f"{len(self.extra):5}  {twice:13}  {self.back_s:13.2f} s"
        )


async def killed_and_started_again(site: Installation, known: frozenset[str]) -> Round:
    """Call a gateway, kill it in the middle of that, and start the next one."""
    async with site.serving() as served:
        load = served.load(rate=RATE)
        begun = time.monotonic()
        load.start()
        await asyncio.sleep(SECONDS + random.random())
        in_flight, seconds = load.open, time.monotonic() - begun
        await served.kill()
        await load.finish()
    async with site.serving() as again:
        first = await again.call()
        back_s = time.monotonic() - again.begun
        await again.written()
        books = Books.open(site.database)
    assert first.ok
    others = frozenset([first.id or ""])
    return Round(load, seconds, in_flight, back_s, books, known, others)


async def test_killed_gateway_has_every_answer_in_its_ledger(
    site: Installation, tell: Tell
) -> None:
    tell(HEAD)
    made = []
    known: frozenset[str] = frozenset()
    for number in range(ROUNDS):
        each = await killed_and_started_again(site, known)
        tell(f"{number + 1:5}  {each}")
        made.append(each)
        known = frozenset(each.books.rows)
    for each in made:
        each.check()
    # No id was given to two answers, also not by two processes.
    assert set(ids_of(calls_of(made)).values()) == {1}
    # What an earlier round wrote is still there, as it was.
    assert not made[-1].books.lost(calls_of(made))


def calls_of(made: list[Round]) -> Iterator[Call]:
    """Yield the whole answers of several rounds."""
    for each in made:
        yield from each.load.whole
