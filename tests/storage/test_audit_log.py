"""The audit trail as an admin reads it."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest

from kurolproxy.storage.audit_log import AuditFilter, AuditLog, AuditPage
from kurolproxy.storage.database import Database
from kurolproxy.storage.records import AuditEntry
from kurolproxy.storage.walking import Pace

ENTRIES = [
    AuditEntry(
        1_000.0 + number,
        ("operator", "Root@example.org", "ann@example.org")[number % 3],
        ("account.create", "account.set-plan", "key.create", "key.revoke")[number % 4],
        f"person-{number}@example.org" if number % 4 < 2 else f"key_{number:04d}",
        {"plan": f"Plan-{number}"} if number % 4 == 1 else {},
    )
    for number in range(60)
]


@pytest.fixture
async def log(database: Database) -> AuditLog:
    made = AuditLog(database, lambda: Pace(step=7))
    for entry in ENTRIES:
        await made.note(entry)
    return made


CASES: list[tuple[str, AuditFilter, Callable[[AuditEntry], bool]]] = [
    ("all", AuditFilter(), lambda each: True),
    ("actor", AuditFilter(actor="root@"), lambda each: each.actor.startswith("Root")),
    ("action", AuditFilter(action="key.revoke"), lambda each: each.action == "key.revoke"),
    ("kind of action", AuditFilter(action="key."), lambda each: each.action.startswith("key.")),
    ("subject", AuditFilter(subject="KEY_0007"), lambda each: each.subject == "key_0007"),
    ("detail", AuditFilter(subject="plan-13"), lambda each: each.detail == {"plan": "Plan-13"}),
    (
        "together",
        AuditFilter("ann", "key.", "key_"),
        lambda each: each.actor[:3] == "ann" and each.action[:3] == "key",
    ),
    ("percent", AuditFilter(subject="%"), lambda each: False),
    ("quote", AuditFilter(actor="' OR 1=1 --"), lambda each: False),
]


async def test_pages_together_are_what_a_plain_filter_finds(log: AuditLog) -> None:
    for name, wanted, is_wanted in CASES:
        pages = [await log.page(wanted, limit=5)]
        while pages[-1].older is not None:
            pages.append(await log.page(wanted, limit=5, before=pages[-1].older))
        found = [each for page in pages for each in page.entries]
        assert found == [each for each in reversed(ENTRIES) if is_wanted(each)], name
        assert all(len(page.entries) <= 5 and page.searched_to is None for page in pages)


async def test_search_that_stops_says_how_far_it_came(database: Database, log: AuditLog) -> None:
    ticks = itertools.count()
    hurried = AuditLog(database, lambda: Pace(step=10, clock=lambda: float(next(ticks))))
    page = await hurried.page(AuditFilter(actor="nobody"), limit=5)
    assert page == AuditPage([], 51, 1_050.0)
    pages = 1
    while page.older is not None:
        page = await hurried.page(AuditFilter(actor="nobody"), limit=5, before=page.older)
        pages += 1
    assert pages == 6


async def test_trail_without_entries_is_empty(database: Database) -> None:
    assert await AuditLog(database).page(AuditFilter(), limit=5) == AuditPage([])
