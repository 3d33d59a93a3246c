"""A control socket with a ledger that only notes what it is asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from kurolproxy.policy.catalog import Catalog
from kurolproxy.policy.keys import KeyTable
from kurolproxy.server.control import Books, ControlServer, Desk
from kurolproxy.server.facts import Pieces
from kurolproxy.storage.accounts import AccountStore
from kurolproxy.storage.database import Database
from kurolproxy.storage.people import People


class Ledger:
    """What the control server knows of a ledger.

    Attributes:
        log: what it was asked, in order.
        whole: what a flush returns; 7 rows are pending.
    """

    def __init__(self) -> None:
        self.log: list[str] = []
        self.whole = True
        self.resumed = asyncio.Event()

    async def flush(self) -> bool:
        self.log.append("flush")
        return self.whole

    @asynccontextmanager
    async def paused(self) -> AsyncIterator[None]:
        self.log.append("pause")
        try:
            yield
        finally:
            self.log.append("resume")
            self.resumed.set()

    def status(self) -> dict[str, Any]:
        self.log.append("status")
        return {}

    def books(self) -> Books:
        return Books(self.flush, self.paused, lambda: 7)


async def _nobody(args: Any) -> Pieces:
    raise AssertionError("nobody asks for a report")


@asynccontextmanager
async def control_of(
    state_dir: Path, ledger: Ledger, *, at_hand: bool = True
) -> AsyncIterator[ControlServer]:
    """Serve the control socket of a state directory; ``at_hand``: its ledger too."""
    database = await Database.open(state_dir / "kurolproxy.db")
    people = People(AccountStore(database, KeyTable()), list)
    books = ledger.books() if at_hand else None
    desk = Desk(ledger.status, _nobody, lambda: Catalog([], [], []), lambda key: 0, books)
    server = ControlServer(state_dir, people, desk)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()
        await database.close()
