"""The naive model of the limits: lists of events and fractions, nothing clever."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date
from fractions import Fraction
from math import ceil, floor

from kurolproxy.policy.catalog import Plan
from kurolproxy.policy.keys import Account, Key
from kurolproxy.policy.meter import Grant

DAYS_REMEMBERED = 4
Owner = int | str
"""An account's number, or the id of a key that narrows it."""


class Jar:
    """Requests of a minute: the share of the burst that is spent, as a fraction."""

    def __init__(self, limit: int, ms: int) -> None:
        self.spent = Fraction(0)
        self.at = ms
        self.refunds: list[int] = []
        self.resize(limit, ms)

    def resize(self, limit: int, ms: int) -> None:
        self.limit = limit
        self.since, self.taken, self.returned = ms, 0, 0

    def pass_time(self, ms: int) -> None:
        self.spent = max(Fraction(0), self.spent - Fraction(ms - self.at, 60_000))
        self.at = ms

    def wait_s(self, ms: int) -> Fraction:
        self.pass_time(ms)
        return max(Fraction(0), 60 * (self.spent + Fraction(1, self.limit) - 1))

    def take(self, ms: int) -> None:
        self.spent += Fraction(1, self.limit)
        self.taken += 1
        # Not by the same arithmetic: what a burst may be, from its start on.
        lasted = Fraction((ms - self.since) * self.limit, 60_000)
        assert self.taken - self.returned <= self.limit + floor(lasted)

    def give_back(self, ms: int) -> None:
        self.pass_time(ms)
        second = (1_000_000 + ms) // 1_000
        # A second late at most: only whole seconds are remembered.
        if sum(second - each <= 60 for each in self.refunds) < self.limit:
            self.refunds.append(second)
            self.spent = max(Fraction(0), self.spent - Fraction(1, self.limit))
            self.returned += 1


@dataclass(eq=False)
class Event:
    """One admitted call.

    Attributes:
        owners: whose tokens it counts for.
        holders: those of them that were limited when it was admitted.
        tokens: held while it runs.
        charged: None while it runs.
        booked: whether it has a row in the ledger.
        forgotten: its day was forgotten: nobody in memory counts it any more.
    """

    account: int
    key: str
    owners: tuple[Owner, ...]
    holders: tuple[Owner, ...]
    day: date
    tokens: int
    paid: list[Jar]
    grant: Grant
    booked: bool = True
    charged: int | None = None
    forgotten: bool = False


@dataclass
class Days:
    """Which day counts: the latest that did, unless the clock is more than one behind it."""

    counted: list[date] = field(default_factory=list)
    order: list[date] = field(default_factory=list)

    def show(self, clock: date) -> date:
        self.counted = [day for day in self.counted if (day - clock).days <= 1]
        now = max([*self.counted, clock])
        self.counted = sorted({*self.counted, now})[-DAYS_REMEMBERED:]
        self.order = [*(day for day in self.order if day != now), now][-DAYS_REMEMBERED:]
        return now


class Naive:
    """What the limits of a gateway do, as the design says it."""

    def __init__(self, start: date, accounts: Iterable[int]) -> None:
        self.events: list[Event] = []
        self.jars: dict[Owner, Jar] = {}
        self.days = Days()
        self.clock = self.real = self.day = start
        self.ms = 0
        self.plans: dict[str, Plan] = {}
        self.accounts = {
            number: Account(number, f"{number}@example.org", "", "user", "small")
            for number in accounts
        }

    def open(self) -> list[Event]:
        return [event for event in self.events if event.charged is None]

    def look_at_the_clock(self) -> None:
        self.day = self.days.show(self.clock)
        for event in self.events:
            event.forgotten |= event.day not in self.days.order

    def used(self, owner: Owner) -> int:
        return sum(
            event.charged or 0
            for event in self.events
            if owner in event.owners and event.day == self.day and not event.forgotten
        )

    def reserved(self, owner: Owner) -> int:
        return sum(
            event.tokens
            for event in self.open()
            if owner in event.holders and event.day == self.day and not event.forgotten
        )

    def limits(self, key: Key) -> dict[Owner, tuple[int | None, int | None]]:
        """Requests a minute and tokens a day of all that a call of this key counts for."""
        plan = self.plans[self.accounts[key.account_id].plan]
        found: dict[Owner, tuple[int | None, int | None]] = {
            key.account_id: (plan.requests_per_minute, plan.daily_tokens)
        }
        if key.requests_per_minute is not None or key.daily_tokens is not None:
            found[key.id] = (key.requests_per_minute, key.daily_tokens)
        return found

    def enter(self, key: Key) -> tuple[str, int | None] | list[Jar]:
        """Pass what comes before the tokens: the jars that paid, or the refusal."""
        account = self.accounts[key.account_id]
        if not account.active:
            return "unauthenticated", None
        plan = self.plans.get(account.plan)
        if plan is None:
            return "plan_forbidden", None
        self.look_at_the_clock()
        jars = []
        for owner, (minute, _) in self.limits(key).items():
            jar = self.jars.get(owner)
            if minute is None:
                self.jars.pop(owner, None)
                continue
            if jar is None:
                jar = self.jars[owner] = Jar(minute, self.ms)
            elif jar.limit != minute:
                jar.pass_time(self.ms)
                jar.resize(minute, self.ms)
            jars.append(jar)
        running = sum(event.account == account.id for event in self.open())
        if plan.concurrent_requests is not None and running >= plan.concurrent_requests:
            return "concurrency_limited", 1
        wait_s = max((jar.wait_s(self.ms) for jar in jars), default=Fraction(0))
        if wait_s > 0:
            return "rate_limited", max(1, ceil(wait_s))
        for jar in jars:
            jar.take(self.ms)
        return jars

    def tokens(self, key: Key, prompt: int, cap: int, n: int, floor_: int) -> tuple[str, int, int]:
        """The case by the letter of the design, what is held, and the lowered cap."""
        left = [
            (allowance - self.used(owner), self.reserved(owner))
            for owner, (_, allowance) in self.limits(key).items()
            if allowance is not None
        ]
        if not left:
            return "fits", 0, 0
        room = min(rest - held for rest, held in left)
        free = min(rest for rest, _ in left)
        for name, space in (("", room), ("held", free)):
            answer = space - prompt
            if cap * n <= answer:
                return name or "fits", prompt + cap * n, 0
            share = answer // n
            if answer >= 1_024 and share >= floor_:
                return name or "lowered", prompt + share * n, share
        return "quota_exceeded", 0, 0


def sums(rows: list[Event], day: date) -> tuple[dict[int, int], dict[str, int]]:
    """Return what the ledger says was charged on a day: by account and by key."""
    accounts: dict[int, int] = {}
    keys: dict[str, int] = {}
    for event in rows:
        if event.day == day:
            charged = event.charged or 0
            accounts[event.account] = accounts.get(event.account, 0) + charged
            keys[event.key] = keys.get(event.key, 0) + charged
    return accounts, keys
