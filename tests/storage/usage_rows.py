"""Rows of usage for tests, and a database that holds some."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from typing import Any

from kurolproxy.storage.database import Database
from kurolproxy.storage.rows import UsageRow
from kurolproxy.storage.usage import import_rows

MONDAY, TUESDAY = date(2026, 3, 2), date(2026, 3, 3)
NOON = 1_772_452_800.0
"""2026-03-02 12:00 UTC."""

_PLAIN = UsageRow(
    request_id="",
    day=MONDAY,
    started_at=NOON,
    account_id=1,
    key_id="key_a",
    model="gpt-4o",
    upstream="openai",
    client_protocol="openai-chat",
    upstream_protocol="openai-chat",
    status=200,
    outcome="ok",
    prompt=100,
    completion=20,
    cache_read=10,
    cache_write=5,
    reasoning=8,
    charged=120,
    estimated=False,
    streamed=True,
    duration_ms=1_500,
    ttft_ms=300,
)


def row(request_id: str, **fields: Any) -> UsageRow:
    """Return a row of Monday noon, but for what is said otherwise."""
    return _PLAIN._replace(request_id=request_id, **fields)


async def write(database: Database, rows: Iterable[UsageRow]) -> None:
    """Import rows, some hundred in a transaction."""
    waiting = list(rows)
    for start in range(0, len(waiting), 500):
        await import_rows(database, waiting[start : start + 500])
