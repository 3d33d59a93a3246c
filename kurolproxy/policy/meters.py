"""The meters of all accounts and keys, and their quotas by day."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from datetime import date

from kurolproxy.policy.catalog import Plan
from kurolproxy.policy.days import DAYS_KEPT, HeldDay, resets_at
from kurolproxy.policy.keys import Key, KeyTable
from kurolproxy.policy.meter import Meter, Meters, Tally
from kurolproxy.policy.quota import DailyQuota

_SWEPT_FOR_A_NEW_ONE = 2

Owner = int | str
"""Whose meter it is: an account's id, or the id of a key that narrows its account."""


class MeterTable:
    """The meters of accounts and keys that called lately, and their quotas by day.

    A quota lives as long as its day is remembered. A meter is forgotten once it is idle:
    each new one looks at two others in turn, so that the table never holds many more than
    call, and no call ever pays for going through all of them.

    Args:
        keys: whose keys may have a meter.

    Attributes:
        day: the UTC day that counts.
        resets_at: when it ends, aware UTC.
        tally: the sums over all accounts.
    """

    def __init__(self, keys: KeyTable) -> None:
        self.day = date.min
        self.resets_at = resets_at(date.min)
        self.tally = Tally()
        self._keys = keys
        self._held = HeldDay()
        # The day that counted last stands last: that order decides which is dropped.
        self._sheets: dict[date, dict[Owner, DailyQuota]] = {}
        self._sheet: dict[Owner, DailyQuota] = {}
        self._meters: dict[Owner, Meter] = {}
        self._in_turn: deque[Owner] = deque()
        self._to_sweep = 0

    def __len__(self) -> int:
        return len(self._meters) + sum(map(len, self._sheets.values()))

    @property
    def ignored_days(self) -> tuple[date, ...]:
        """Days of a clock that was wrong while this runs; see ``HeldDay.ignored``."""
        return self._held.ignored

    def restore(self, day: date, *, accounts: Mapping[int, int], keys: Mapping[str, int]) -> None:
        """Begin with a day and its sums; ``Admission.restore`` says more."""
        self._turn(day)
        self._fill(self._sheet, day, accounts, keys)

    def remember(self, day: date, *, accounts: Mapping[int, int], keys: Mapping[str, int]) -> None:
        """Take over the sums of a day beside it; ``Admission.remember`` says more."""
        if day in self._sheets or len(self._sheets) == DAYS_KEPT:
            return
        self._held.remember(day)
        sheet: dict[Owner, DailyQuota] = {}
        self._fill(sheet, day, accounts, keys)
        self._sheets = {day: sheet, **self._sheets}

    def of(self, key: Key, plan: Plan, now: float, today: date) -> Meters:
        """Return the meters of a key's call, at the day that counts and with today's limits.

        Args:
            today: the clock's day; ``days.HeldDay`` says which day counts.
        """
        self._turn(today)
        if self._to_sweep:
            # Before the meters of this call are picked up: they may be idle still.
            self._sweep(now)
        account = self._meter(key.account_id)
        account.follow(plan.requests_per_minute, plan.daily_tokens)
        if not key.narrows_limits:
            return (account,)
        narrowed = self._meter(key.id)
        narrowed.follow(key.requests_per_minute, key.daily_tokens)
        return (account, narrowed)

    def look(self, key: Key, plan: Plan | None, today: date) -> Meters:
        """Return what ``of`` would, to look at: nothing is made, kept or changed.

        Args:
            plan: None when the configuration lost it: then nothing limits the account.
        """
        self._turn(today)
        account = self._seen(key.account_id)
        if plan is None:
            account = account.under(None, None)
        else:
            account = account.under(plan.requests_per_minute, plan.daily_tokens)
        if not key.narrows_limits:
            return (account,)
        return (account, self._seen(key.id).under(key.requests_per_minute, key.daily_tokens))

    def _meter(self, owner: Owner) -> Meter:
        meter = self._meters.get(owner)
        quota = self._sheet.get(owner)
        if quota is None:
            quota = self._sheet[owner] = DailyQuota(None, self.day)
        if meter is None:
            meter = self._meters[owner] = Meter(quota)
            self._in_turn.append(owner)
            self._to_sweep += _SWEPT_FOR_A_NEW_ONE
        meter.quota = quota
        return meter

    def _seen(self, owner: Owner) -> Meter:
        known, quota = self._meters.get(owner), self._sheet.get(owner)
        if known is not None and known.quota is quota:
            return known
        seen = Meter(DailyQuota(None, self.day) if quota is None else quota)
        if known is not None:
            seen.bucket, seen.running = known.bucket, known.running
        return seen

    def _fill(
        self,
        sheet: dict[Owner, DailyQuota],
        day: date,
        accounts: Mapping[int, int],
        keys: Mapping[str, int],
    ) -> None:
        owners: list[tuple[Owner, int]] = list(accounts.items())
        owners += [each for each in keys.items() if self._keys.narrows_limits(each[0])]
        for owner, used in owners:
            quota = sheet[owner] = DailyQuota(None, day)
            quota.used = used

    def _turn(self, today: date) -> None:
        if not self._held.follow(today):
            return
        self.day = day = self._held.day
        self.resets_at = resets_at(day)
        self._sheet = self._sheets.pop(day, {})
        self._sheets[day] = self._sheet
        while len(self._sheets) > DAYS_KEPT:
            del self._sheets[next(iter(self._sheets))]

    def _sweep(self, now: float) -> None:
        """Look at the meters that were not looked at for longest, and forget the idle ones."""
        count, self._to_sweep = min(self._to_sweep, len(self._in_turn)), 0
        for _ in range(count):
            owner = self._in_turn.popleft()
            if self._meters[owner].idle(now):
                self._forget(owner)
            else:
                self._in_turn.append(owner)

    def _forget(self, owner: Owner) -> None:
        del self._meters[owner]
        quota = self._sheet.get(owner)
        if quota is None:
            return
        gone = isinstance(owner, str) and not self._keys.knows(owner)
        if gone or not (quota.used or quota.reserved):
            del self._sheet[owner]
