"""What one account has running, spent and held right now, and the grant of one call."""

from __future__ import annotations

from copy import copy
from datetime import date
from math import inf

from kurolproxy.policy.bucket import TokenBucket
from kurolproxy.policy.catalog import Plan
from kurolproxy.policy.quota import Case, DailyQuota, Reservation


class Meter:
    """What one account, or one key that narrows it, has running, spent and held.

    Args:
        quota: of the day that counts; a later day's takes its place.
    """

    __slots__ = ("bucket", "quota", "running")

    def __init__(self, quota: DailyQuota) -> None:
        self.bucket: TokenBucket | None = None
        self.quota = quota
        self.running = 0

    def follow(self, requests_per_minute: int | None, daily_tokens: int | None) -> None:
        """Take on the limits as they are now: a plan may have changed since the last call."""
        self.quota.allowance = daily_tokens
        if requests_per_minute is None:
            self.bucket = None
        elif self.bucket is None:
            self.bucket = TokenBucket(requests_per_minute)
        elif self.bucket.requests_per_minute != requests_per_minute:
            self.bucket.resize(requests_per_minute)

    def under(self, requests_per_minute: int | None, daily_tokens: int | None) -> Meter:
        """Return the same meter under these limits, to look at; nothing is changed."""
        own = None if self.bucket is None else self.bucket.requests_per_minute
        if own == requests_per_minute and self.quota.allowance == daily_tokens:
            return self
        seen = Meter(self.quota.under(daily_tokens))
        seen.running = self.running
        seen.bucket = copy(self.bucket)
        seen.follow(requests_per_minute, daily_tokens)
        return seen

    def wait_s(self, now: float) -> float:
        """Return the seconds until a request is free; 0.0 when one is."""
        return 0.0 if self.bucket is None else self.bucket.wait_s(now)

    def idle(self, now: float) -> bool:
        """Return whether a new meter with the same quota would behave the same."""
        return not self.running and (self.bucket is None or self.bucket.idle(now))


Meters = tuple[Meter, ...]
"""Of one call: the account's, and the key's when it narrows limits."""


def slowest(meters: Meters, now: float) -> Meter | None:
    """Return the meter that makes a call wait longest; None when none does."""
    found, wait_s = None, 0.0
    for meter in meters:
        wait = meter.wait_s(now)
        if wait > wait_s:
            found, wait_s = meter, wait
    return found


def spend(meters: Meters, now: float) -> None:
    """Spend one request of account and key, when ``slowest`` found none that waits."""
    for meter in meters:
        if meter.bucket is not None:
            meter.bucket.take(now)


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


class Tally:
    """The sums over all accounts, kept because adding them up would stall the loop.

    Attributes:
        running: calls admitted and not yet ended.
        reserved: tokens that they hold of their accounts' allowances.
    """

    __slots__ = ("reserved", "running")

    def __init__(self) -> None:
        self.running = 0
        self.reserved = 0


class Grant:
    """One admitted call: ends exactly once, by ``settle`` or by ``release``.

    The first of them counts and returns True; every later one changes nothing and
    returns False, so that a ``finally`` may end a call that may have ended already.

    Args:
        plan: the plan it was admitted under, for ``charge``.
        meters: whose buckets have just paid for it; it takes the slots itself.
        tokens: to reserve, as ``quota.decide`` said.
        tally: counts it among the others.
        case: which of the cases of the quota it was: ``fits`` or ``lowered``.
        output_cap: what to send upstream as the output cap of one answer; None: leave
            the client's own alone.
    """

    __slots__ = ("_meters", "_paid", "_reservation", "_tally", "case", "output_cap", "plan")

    def __init__(
        self,
        plan: Plan,
        meters: Meters,
        tokens: int,
        tally: Tally,
        *,
        case: Case,
        output_cap: int | None,
    ) -> None:
        self.plan = plan
        self.case: Case = case
        self.output_cap = output_cap
        self._meters = meters
        # A bucket that appears while the call runs was never paid and gets nothing back.
        self._paid = [meter.bucket for meter in meters if meter.bucket is not None]
        self._reservation = Reservation([meter.quota for meter in meters], tokens)
        self._tally = tally
        for meter in meters:
            meter.running += 1
        tally.running += 1
        tally.reserved += self._reservation.held

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
        for meter in self._meters:
            meter.running -= 1
        self._tally.running -= 1
        self._tally.reserved -= self._reservation.held
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
            for bucket in self._paid:
                bucket.give_back(now)
        return True
