"""Browsers that watch live, as cheap as they come: they count what they are told."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NamedTuple
from urllib.parse import urlsplit

from kurolproxy.policy.keys import KeyTable
from kurolproxy.policy.sessions import SessionTable
from kurolproxy.storage.accounts import AccountStore
from kurolproxy.storage.database import Database
from kurolproxy.storage.sessions import SessionStore
from tests.faults.serving import Installation

OF_ACCOUNT = 20
"""So many streams one account may have."""


class Person(NamedTuple):
    """An account with a key and a session."""

    secret: str
    token: str


async def people(site: Installation, count: int) -> list[Person]:
    """Make accounts that are logged in, while the gateway does not run."""
    database = await Database.open(site.database)
    try:
        accounts = AccountStore(database, KeyTable())
        sessions = SessionStore(database, SessionTable())
        made = []
        for number in range(count):
            account = await accounts.create_account(f"{number}@example.org", "team")
            _, secret = await accounts.create_key(account.email)
            _, token = await sessions.create(account.id)
            made.append(Person(secret, token))
        return made
    finally:
        await database.close()


@dataclass(slots=True)
class Viewers:
    """Some streams of the live feed.

    Attributes:
        updates: how many came, to all of them.
        head: what the answers began with.
    """

    base_url: str
    updates: int = 0
    head: set[bytes] = field(default_factory=set)
    _open: list[asyncio.Transport] = field(default_factory=list)

    async def come(self, tokens: Sequence[str]) -> None:
        """Open a stream for each token, and wait until each was told how things stand."""
        begun, parts = self.updates, urlsplit(self.base_url)
        loop = asyncio.get_running_loop()
        for token in tokens:
            transport, _ = await loop.create_connection(
                lambda: _Reader(self), parts.hostname, parts.port
            )
            head = f"GET /dashboard/live HTTP/1.1\r\nhost: {parts.netloc}\r\n"
            transport.write(f"{head}cookie: kurol={token}\r\n\r\n".encode())
            self._open.append(transport)
        async with asyncio.timeout(30.0):
            while self.updates - begun < len(tokens):  # noqa: ASYNC110  # it has no event
                await asyncio.sleep(0.01)

    def go(self) -> None:
        """Close all streams."""
        for each in self._open:
            with suppress(OSError):
                each.close()
        self._open.clear()


class _Reader(asyncio.Protocol):
    def __init__(self, viewers: Viewers) -> None:
        self._viewers = viewers
        self._begun = False

    def data_received(self, data: bytes) -> None:
        if not self._begun:
            self._begun = True
            self._viewers.head.add(data.partition(b"\r\n")[0])
        self._viewers.updates += data.count(b"event: update\n")
