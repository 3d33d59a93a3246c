"""A journal, a database and a ledger beside a clock of the test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from kurolproxy.storage.database import Database
from kurolproxy.storage.ledger import Ledger
from tests.storage.usage_rows import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "journal"


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    opened = await Database.open(tmp_path / "kurolproxy.db", busy_timeout_s=0.02)
    yield opened
    await opened.close()


@pytest.fixture
async def ledger(database: Database, folder: Path, clock: Clock) -> Ledger:
    """Return a ledger whose tasks do not run: a test does what they do."""
    made = Ledger(database, folder, clock=clock)
    await made.open()
    return made
