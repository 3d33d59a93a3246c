"""What the pages for admins read out of paths and filters."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Final

from kurolproxy.dashboard.answers import PageError
from kurolproxy.dashboard.visit import Visit

_LARGEST_ID: Final = 2**53
_FLUSH_S: Final = 0.3


def account_id(visit: Visit) -> int:
    """Return the account that the path names.

    Raises:
        PageError: it names none.
    """
    found = number(visit.params["id"])
    if found is None:
        raise PageError(404, "missing")
    return found


def number(text: str) -> int | None:
    """Return a number as ids and cursors are; None when it is none."""
    plain = text.isascii() and text.isdecimal() and len(text) <= len(str(_LARGEST_ID))
    return int(text) if plain and 0 < int(text) <= _LARGEST_ID else None


def text(visit: Visit, name: str, *, longest: int = 254) -> str:
    """Return a text of the query without the spaces around it, cut when it is absurdly long."""
    return visit.query.get(name, "").strip()[:longest]


def moment(text: str) -> float | None:
    """Return a date, or a date and a time, in UTC as unix seconds; None when it is neither.

    Years are those that dates of people have: everything can be computed with them.
    """
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    if not 2000 <= found.year < 9000:
        return None
    return (found if found.tzinfo is not None else found.replace(tzinfo=UTC)).timestamp()


async def flushed(flush: Callable[[], Awaitable[bool]]) -> bool:
    """Write what was settled so far into the database, if that goes quickly.

    Returns:
        whether everything is there; else it comes soon.
    """
    with suppress(TimeoutError):
        async with asyncio.timeout(_FLUSH_S):
            return await flush()
    return False
