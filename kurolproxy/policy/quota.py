"""Tokens of a UTC day: reserve them before a call, settle them after it.

The day of a call is the day of its admission, whenever it ends. Nothing runs at
midnight: the day is part of what a quota is kept under (``meters.MeterTable``), and
``days.HeldDay`` says which day counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Literal, NamedTuple

Case = Literal["fits", "lowered", "held", "spent"]
"""The four answers to a call that asks for tokens.

``fits``: prompt and output cap are reserved. ``lowered``: only with a smaller output cap,
which is reserved exactly. ``held``: it would fit if nothing were reserved. ``spent``: the
rest of the day's tokens is too little.
"""

SMALLEST_ANSWER = 1_024
"""An output cap is not lowered below this: a shorter answer is of no use to an agent."""
DEFAULT_OUTPUT_TOKENS = 8_192
"""Reserved for an answer when client, model and plan all leave its length open.

Nothing is sent upstream in that case, so such an answer may be longer and overshoot the
allowance by what it is longer.
"""


class Need(NamedTuple):
    """What one call could cost.

    Attributes:
        prompt: estimated tokens of the prompt.
        hold: completion tokens to reserve for one answer.
        n: answers asked for.
        floor: the smallest output cap of one answer that still makes sense.
    """

    prompt: int
    hold: int
    n: int = 1
    floor: int = 1

    @property
    def least_answer(self) -> int:
        """The fewest completion tokens with which the call is let in."""
        whole = self.hold * self.n
        return min(whole, max(SMALLEST_ANSWER, self.floor * self.n))


class Decision(NamedTuple):
    """What is to become of one call.

    Attributes:
        tokens: to reserve; 0 unless the case is ``fits`` or ``lowered``.
        output_cap: of one answer, in the case ``lowered`` only.
    """

    case: Case
    tokens: int = 0
    output_cap: int | None = None


_HELD = Decision("held")
_SPENT = Decision("spent")
_UNLIMITED = Decision("fits")


def decide(need: Need, *, room: int | None, free: int | None) -> Decision:
    """Say which of the four cases a call is.

    Args:
        room: allowance less used less reserved, the smallest of all limits that apply;
            None when there is none.
        free: the same, if nothing were reserved.
    """
    if room is None or free is None:
        return _UNLIMITED
    fit = _fit(need, room)
    if fit is not None:
        return fit
    return _SPENT if _fit(need, free) is None else _HELD


def _fit(need: Need, room: int) -> Decision | None:
    room -= need.prompt
    hold = need.hold * need.n
    if hold <= room:
        return Decision("fits", need.prompt + hold)
    lowered = room // need.n
    if room < SMALLEST_ANSWER or lowered < need.floor:
        return None
    return Decision("lowered", need.prompt + lowered * need.n, lowered)


class DailyQuota:
    """Tokens used and reserved on one day, of one account or of a key that narrows it.

    Another day is another object. A running call keeps those of its admission, so that it
    is settled there, whatever day counts by then.

    Args:
        allowance: tokens of the day; None: unlimited, then nothing is ever reserved and
            only the use is counted. May be set anew at any time.
        day: the UTC day.
    """

    __slots__ = ("allowance", "day", "reserved", "used")

    def __init__(self, allowance: int | None, day: date) -> None:
        self.allowance = allowance
        self.day = day
        self.used = 0
        self.reserved = 0

    def under(self, allowance: int | None) -> DailyQuota:
        """Return the same figures under another allowance, to look at."""
        if allowance == self.allowance:
            return self
        other = DailyQuota(allowance, self.day)
        other.used, other.reserved = self.used, self.reserved
        return other

    @property
    def free(self) -> int | None:
        """What would be left if nothing were reserved; negative after an overshoot."""
        return None if self.allowance is None else self.allowance - self.used

    @property
    def room(self) -> int | None:
        """What is left for another reservation; negative after an overshoot."""
        return None if self.allowance is None else self.allowance - self.used - self.reserved


def narrowest(quotas: Sequence[DailyQuota]) -> tuple[int | None, int | None]:
    """Return the smallest ``room`` and the smallest ``free`` of all limited quotas."""
    least_room = least_free = None
    for quota in quotas:
        room, free = quota.room, quota.free
        if room is None or free is None:
            continue
        least_room = room if least_room is None else min(room, least_room)
        least_free = free if least_free is None else min(free, least_free)
    return least_room, least_free


class Reservation:
    """Tokens held for one running call, in every quota that the call counts for.

    Args:
        quotas: of the account, and of the key when it narrows; all of the same day.
        tokens: to hold, as ``decide`` said; nothing is held in an unlimited quota.

    Attributes:
        day: the UTC day of the admission.
        open: whether the call is not settled yet.
        held: what is held of the account's own quota.
    """

    __slots__ = ("_limited", "_quotas", "_tokens", "day", "held", "open")

    def __init__(self, quotas: Sequence[DailyQuota], tokens: int) -> None:
        self.day = quotas[0].day
        self.open = True
        self.held = 0 if quotas[0].allowance is None else tokens
        self._quotas = quotas
        self._tokens = tokens
        # Remembered, because an allowance may come or go while the call runs.
        self._limited = [quota for quota in quotas if quota.allowance is not None]
        for quota in self._limited:
            quota.reserved += tokens

    def settle(self, charged: int) -> bool:
        """Replace the reservation by what the call really used.

        Args:
            charged: tokens; 0 when nothing was produced.

        Returns:
            False, and nothing changes, when it was settled before.
        """
        if not self.open:
            return False
        self.open = False
        for quota in self._limited:
            quota.reserved -= self._tokens
        for quota in self._quotas:
            quota.used += max(0, charged)
        return True
