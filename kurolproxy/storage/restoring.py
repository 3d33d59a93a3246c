"""What was used today, given back to admission after a start."""

from __future__ import annotations

from datetime import date

from kurolproxy.policy.admission import Admission
from kurolproxy.policy.days import starting_days
from kurolproxy.storage.reports import UsageReader


async def restore(admission: Admission, reader: UsageReader, today: date) -> tuple[date, ...]:
    """Take over the sums of the day, and of those that a wrong clock may come back to.

    Args:
        today: the clock's day in UTC.

    Returns:
        days of the ledger that are ignored: a clock was wrong when they were written.
    """
    start = starting_days(today, await reader.days_after(date.min))
    totals = await reader.totals(start.day)
    admission.restore(start.day, accounts=totals.accounts, keys=totals.keys)
    for day in start.others:
        totals = await reader.totals(day)
        admission.remember(day, accounts=totals.accounts, keys=totals.keys)
    return start.ignored
