"""What the log tells by itself: that calls are refused, that a plan or a day is lost."""

from __future__ import annotations

from collections.abc import Container, Iterable
from datetime import date

from kurolproxy.policy.admission import Admission
from kurolproxy.policy.keys import Account, Key
from kurolproxy.server.log import RequestLog
from kurolproxy.server.state import Clock


class Troubles:
    """Writes them down.

    Args:
        admission: knows the days that a wrong clock brought.
    """

    def __init__(self, log: RequestLog, clock: Clock, admission: Admission) -> None:
        self._log = log
        self._clock = clock
        self._admission = admission
        self._told_days: tuple[date, ...] = ()

    def tell(self, name: str, **fields: object) -> None:
        """Log an event."""
        self._log.event(self._clock.unix(), name, **fields)

    def memory(self, resident: int, limit: int) -> None:
        """Log that calls are refused: so many bytes are in use, so many may be."""
        self.tell("memory_short", resident_bytes=resident, limit_bytes=limit)

    def descriptors(self, limit: int) -> None:
        """Log that calls are refused."""
        self.tell("descriptors_short", limit=limit)

    def missing_plans(self, keys: Iterable[tuple[Key, Account]], plans: Container[str]) -> None:
        """Log each plan that accounts have and the file has not: their calls get a 403."""
        lost: dict[str, set[int]] = {}
        for _, account in keys:
            if account.active and account.plan not in plans:
                lost.setdefault(account.plan, set()).add(account.id)
        for plan, accounts in lost.items():
            self.tell("plan_missing", plan=plan, accounts=len(accounts))

    def ignored_days(self, _: float) -> None:
        """Log a day that a wrong clock brought, once it is found out; called at each sweep."""
        ignored = self._admission.ignored_days
        if ignored is self._told_days:
            return
        for day in ignored:
            if day not in self._told_days:
                self.tell("clock_was_wrong", ignored=day.isoformat())
        self._told_days = ignored
