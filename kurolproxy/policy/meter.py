"""What accounts have running, spent and held right now, and the grant of one call."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from math import inf

from kurolproxy.policy.bucket import TokenBucket
from kurolproxy.policy.catalog import Plan
from kurolproxy.policy.keys import Key, KeyTable
from kurolproxy.policy.quota import Case, DailyQuota, Reservation

_FIRST_PRUNE = 1_024


class Meter:
    """What one account, or one key that narrows it, has running, spent and held."""

    __slots__ = ("bucket", "quota", "running")

    def __init__(self, day: date) -> None:
        self.bucket: TokenBucket | None = None
        self.quota = DailyQuota(None, day)
        self.running = 0

    def follow(self, requests_per_minute: int | None, daily_tokens: int | None, day: date) -> None:
        """Take on the limits as they are now: a plan may have changed since the last call."""
        self.quota.allowance = daily_tokens
        self.quota.turn(day)
        if requests_per_minute is None:
            self.bucket = None
        elif self.bucket is None:
            self.bucket = TokenBucket(requests_per_minute)
        elif self.bucket.requests_per_minute != requests_per_minute:
            self.bucket.resize(requests_per_minute)

    def wait_s(self, now: float) -> float:
        """Return the seconds until a request is free; 0.0 when one is."""
        return 0.0 if self.bucket is None else self.bucket.wait_s(now)

    def idle(self, now: float, day: date) -> bool:
        """Return whether a new meter would behave the same from here on."""
        quota = self.quota
        if self.running or (quota.day == day and (quota.used or quota.reserved)):
            return False
        return self.bucket is None or self.bucket.idle(now)


Meters = tuple[Meter, ...]
"""Of one call: the account's, and the key's when it narrows limits."""


def take(meters: Meters, now: float) -> Meter | None:
    """Spend one request of account and key, or of neither.

    Returns:
        None when it was allowed, else the meter that makes the call wait longest.
    """
    slowest, wait_s = None, 0.0
    for meter in meters:
        wait = meter.wait_s(now)
        if wait > wait_s:
            slowest, wait_s = meter, wait
    if slowest is not None:
        return slowest
    for meter in meters:
        if meter.bucket is not None:
            meter.bucket.take(now)
    return None


def give_back(meters: Meters, now: float) -> None:
    """Return one request to account and key, to each as often as its bucket allows."""
    for meter in meters:
        if meter.bucket is not None:
            meter.bucket.give_back(now)


def tightest_bucket(meters: Meters, now: float) -> TokenBucket | None:
    """Return the bucket with the fewest requests left; None when nothing limits them."""
    if len(meters) == 1:
        return meters[0].bucket
    buckets = [meter.bucket for meter in meters if meter.bucket is not None]
    return min(
        buckets, key=lambda each: (each.remaining(now), each.requests_per_minute), default=None
    )


def tightest_quota(meters: Meters) -> DailyQuota:
    """Return the quota with the least room; the account's when none is limited."""
    if len(meters) == 1:
        return meters[0].quota
    return min((meter.quota for meter in meters), key=_room)


def _room(quota: DailyQuota) -> float:
    room = quota.room
    return inf if room is None else room


class Grant:
    """One admitted call: ends exactly once, by ``settle`` or by ``release``.

    The first of them counts and returns True; every later one changes nothing and
    returns False, so that a ``finally`` may end a call that may have ended already.

    Args:
        plan: the plan it was admitted under, for ``charge``.
        meters: whose bucket has paid for it already; it takes the slot itself.
        tokens: to reserve, as ``quota.decide`` said.
        case: which of the cases of the quota it was: ``fits`` or ``lowered``.
        output_cap: what to send upstream as the output cap of one answer; None: leave
            the client's own alone.
    """

    __slots__ = ("_meters", "_reservation", "case", "output_cap", "plan")

    def __init__(
        self, plan: Plan, meters: Meters, tokens: int, *, case: Case, output_cap: int | None
    ) -> None:
        self.plan = plan
        self.case: Case = case
        self.output_cap = output_cap
        self._meters = meters
        self._reservation = Reservation([meter.quota for meter in meters], tokens)
        meters[0].running += 1

    @property
    def day(self) -> date:
        """The UTC day the call is billed to: that of its admission."""
        return self._reservation.day

    @property
    def open(self) -> bool:
        """Whether the call has not ended yet."""
        return self._reservation.open

    def settle(self, charged: int) -> bool:
        """End the call: count what it used, drop the reservation, free the slot.

        Args:
            charged: tokens, as ``admission.charge`` weighs them.

        Returns:
            whether this ended the call.
        """
        if not self._reservation.settle(charged):
            return False
        self._meters[0].running -= 1
        return True

    def release(self, *, refund_request: bool, now: float) -> bool:
        """End a call that used nothing.

        Args:
            refund_request: give the request of the minute back: the call ended in our
                own 502, 503 or 504 before any content.
            now: seconds of the monotonic clock.

        Returns:
            whether this ended the call.
        """
        if not self.settle(0):
            return False
        if refund_request:
            give_back(self._meters, now)
        return True


class MeterTable:
    """The meters of all accounts and keys that called lately, and the day they are at.

    A meter that says nothing (nothing running, used or held, the bucket full) is
    forgotten at the turn of the day and whenever the table has doubled.

    Args:
        keys: whose keys may have a meter.
    """

    def __init__(self, keys: KeyTable) -> None:
        self.day = date.min
        self._keys = keys
        self._accounts: dict[int, Meter] = {}
        self._narrowed: dict[str, Meter] = {}
        self._prune_at = _FIRST_PRUNE

    def __len__(self) -> int:
        return len(self._accounts) + len(self._narrowed)

    def restore(self, day: date, *, accounts: Mapping[int, int], keys: Mapping[str, int]) -> None:
        """Take over the sums of a day from the ledger; ``Admission.restore`` says more."""
        self.day = max(self.day, day)
        for account_id, used in accounts.items():
            self._accounts.setdefault(account_id, Meter(self.day)).quota.restore(day, used)
        for key_id, used in keys.items():
            if self._keys.narrows_limits(key_id):
                self._narrowed.setdefault(key_id, Meter(self.day)).quota.restore(day, used)

    def of(self, key: Key, plan: Plan | None, now: float, today: date) -> Meters:
        """Return the meters of a key's call, at today's day and with today's limits.

        Args:
            plan: None when the configuration lost it: then nothing limits the account.
            today: an earlier day than one seen before counts as that: a clock that is set
                back gives no second allowance.
        """
        self._turn(today, now)
        account = self._accounts.get(key.account_id)
        if account is None:
            account = self._accounts[key.account_id] = Meter(self.day)
        if plan is None:
            account.follow(None, None, self.day)
        else:
            account.follow(plan.requests_per_minute, plan.daily_tokens, self.day)
        if not key.narrows_limits:
            return (account,)
        narrowed = self._narrowed.get(key.id)
        if narrowed is None:
            narrowed = self._narrowed[key.id] = Meter(self.day)
        narrowed.follow(key.requests_per_minute, key.daily_tokens, self.day)
        return (account, narrowed)

    @property
    def reserved(self) -> int:
        """Tokens that running calls hold of their accounts' allowances."""
        return sum(meter.quota.reserved for meter in self._accounts.values())

    @property
    def running(self) -> int:
        """Calls admitted and not yet ended."""
        return sum(meter.running for meter in self._accounts.values())

    def _turn(self, today: date, now: float) -> None:
        if today > self.day:
            self.day = today
            self._prune(now)
        elif len(self) >= self._prune_at:
            self._prune(now)

    def _prune(self, now: float) -> None:
        self._accounts = {
            id_: meter for id_, meter in self._accounts.items() if not meter.idle(now, self.day)
        }
        self._narrowed = {
            id_: meter
            for id_, meter in self._narrowed.items()
            if self._keys.knows(id_) and not meter.idle(now, self.day)
        }
        self._prune_at = max(_FIRST_PRUNE, 2 * len(self))
