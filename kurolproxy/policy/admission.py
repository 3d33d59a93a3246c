"""The questions before a call, in order: 401, 404, 403, 429 concurrency, rate, quota."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import NamedTuple

from kurolproxy.errors import GatewayError, ModelNotFound, Unauthenticated
from kurolproxy.policy import refusals
from kurolproxy.policy.catalog import Catalog, Model, Plan, matches
from kurolproxy.policy.keys import Account, Key, KeyTable, state_of
from kurolproxy.policy.meter import (
    Grant,
    Meters,
    give_back,
    slowest,
    spend,
    tightest_bucket,
    tightest_quota,
)
from kurolproxy.policy.meters import MeterTable
from kurolproxy.policy.quota import (
    DEFAULT_OUTPUT_TOKENS,
    SMALLEST_ANSWER,
    Decision,
    Need,
    decide,
    narrowest,
)
from kurolproxy.tokens import MAX_TOKENS_COUNTED, Usage

_MAX_REMEMBERED = 4_096


@dataclass(frozen=True, slots=True)
class Caller:
    """Whose call it is."""

    key: Key
    account: Account


# Made for every call, and a tuple is made in a third of the time of a frozen record.
class Ask(NamedTuple):
    """What one call asks for, as far as limits care.

    Attributes:
        prompt_estimate: tokens of the prompt, as ``policy/estimate.py`` sees them.
        max_tokens: the output cap of one answer that the client stated.
        n: answers asked for.
        thinking_budget: tokens of thinking that the client stated; they count as output.
    """

    prompt_estimate: int
    max_tokens: int | None = None
    n: int = 1
    thinking_budget: int | None = None


class Standing(NamedTuple):
    """Where a caller stands: of account and key always the narrower limit.

    Narrower is the one with less left. A limit that is None is unlimited, and so is what
    remains of it.

    Attributes:
        requests_reset_s: seconds until the whole burst is free again.
        tokens_remaining: neither used nor reserved; never negative.
        tokens_resets_at: aware UTC.
    """

    requests_limit: int | None
    requests_remaining: int | None
    requests_reset_s: float | None
    tokens_limit: int | None
    tokens_used: int
    tokens_reserved: int
    tokens_remaining: int | None
    tokens_resets_at: datetime


def charge(usage: Usage, plan: Plan) -> int:
    """Return what a call counts against the day's tokens: cached ones by the plan's weight."""
    cached = max(0, min(usage.cache_read, usage.prompt))
    discount = cached - round(cached * plan.cached_tokens_weight)
    return max(0, min(usage.total - discount, MAX_TOKENS_COUNTED))


class Admission:
    """Who may call what, how often and how much, decided without a clock or an await.

    Args:
        keys: shared with whoever changes keys and accounts; looked at for every call.
        contact: whom to write to, for the texts of the 403 and of the daily 429; may be "".
    """

    def __init__(self, catalog: Catalog, keys: KeyTable, *, contact: str = "") -> None:
        self._catalog = catalog
        self._keys = keys
        self._contact = contact
        self._table = MeterTable(keys)
        # (plan, the key's narrowing, name as written) -> model: matching patterns costs
        # more than all the rest. Only names that exist and are allowed come in.
        self._allowed: dict[tuple[str, tuple[str, ...] | None, str], Model] = {}

    # --- life -------------------------------------------------------------------------

    def replace_catalog(self, catalog: Catalog, *, contact: str | None = None) -> None:
        """Take a reloaded configuration; running calls keep what they were granted."""
        self._catalog = catalog
        self._allowed.clear()
        if contact is not None:
            self._contact = contact

    def restore(self, day: date, *, accounts: Mapping[int, int], keys: Mapping[str, int]) -> None:
        """Take over the sums of a day from the ledger, at a start and before any call.

        Args:
            day: the day to go on with; see ``days.starting_days``.
            accounts: account id -> tokens charged that day.
            keys: key id -> tokens charged that day; the key table is filled already.
        """
        self._table.restore(day, accounts=accounts, keys=keys)

    def remember(self, day: date, *, accounts: Mapping[int, int], keys: Mapping[str, int]) -> None:
        """Take over the sums of another day, after ``restore`` and before any call.

        It is a day that a clock set right may come to; see ``days.Start.others``. No more
        than ``days.DAYS_KEPT`` days are kept in all: further ones are left out.
        """
        self._table.remember(day, accounts=accounts, keys=keys)

    @property
    def day(self) -> date:
        """The UTC day that calls are billed to; the clock's, but for one that was set back."""
        return self._table.day

    @property
    def ignored_days(self) -> tuple[date, ...]:
        """Days of a clock that was wrong, and set right, while this runs; the last 8."""
        return self._table.ignored_days

    @property
    def reserved(self) -> int:
        """Tokens that running calls hold of their accounts' allowances."""
        return self._table.tally.reserved

    @property
    def running(self) -> int:
        """Calls admitted and not yet ended."""
        return self._table.tally.running

    # --- who and what -----------------------------------------------------------------

    def authenticate(self, secret: str | None, unix_now: float) -> Caller:
        """Find out whose call it is.

        Args:
            secret: the key as it was sent; None when there was none.
            unix_now: seconds since 1970, for the expiry of keys.

        Raises:
            Unauthenticated: no key, or none that may call models.
        """
        if not secret:
            raise Unauthenticated(refusals.NO_KEY)
        found = self._keys.find(secret)
        if found is None:
            raise Unauthenticated(refusals.INVALID_KEY)
        self.check_key(*found, unix_now)
        return Caller(*found)

    def check_key(self, key: Key, account: Account, unix_now: float) -> None:
        """See to it that a key may call models now.

        Raises:
            Unauthenticated: it may not; the text is the same for whatever ended it.
        """
        state = state_of(key, account, unix_now)
        if key.admin and state in ("valid", "account is no admin"):
            raise Unauthenticated(refusals.MANAGEMENT_KEY)
        if state != "valid":
            raise Unauthenticated(refusals.INVALID_KEY)

    def plan(self, caller: Caller) -> Plan:
        """Return the plan of a caller.

        Raises:
            PlanForbidden: the configuration has no such plan any more.
        """
        return self._plan_of(self._as_now(caller).account)

    def model(self, caller: Caller, name: str) -> Model:
        """Return the model that a caller means and may call.

        Args:
            name: an id or an alias, exactly as written.

        Raises:
            ModelNotFound: there is no active model of this name.
            PlanForbidden: it is outside the plan, or outside what the key narrows it to.
        """
        caller = self._as_now(caller)
        plan = self._plan_of(caller.account)
        question = (plan.name, caller.key.models, name)
        known = self._allowed.get(question)
        if known is not None:
            return known
        model = self._catalog.find(name)
        if model is None:
            raise self.unknown_model(caller, name)
        self._check_model(caller, plan, model, name)
        if len(self._allowed) >= _MAX_REMEMBERED:
            self._allowed.clear()
        self._allowed[question] = model
        return model

    def models(self, caller: Caller) -> list[Model]:
        """Return the active models that a caller may call, in the order of the file.

        Raises:
            PlanForbidden: the configuration has no such plan any more.
        """
        caller = self._as_now(caller)
        active = self._catalog.active(self._plan_of(caller.account))
        return [model for model in active if in_subset(caller.key, model)]

    def unknown_model(self, caller: Caller, name: str) -> ModelNotFound:
        """Return the error for a name that no active model has, with the caller's own like it."""
        own = (each for model in self.models(caller) for each in (model.id, *model.aliases))
        return refusals.unknown_model(name, own)

    def _check_model(self, caller: Caller, plan: Plan, model: Model, name: str) -> None:
        in_plan = plan.allows(model.id)
        if in_plan and in_subset(caller.key, model):
            return
        rule = (
            "is outside the models that this key was narrowed to"
            if in_plan
            else f"is not in the plan '{plan.name}' of this account"
        )
        allowed = [each.id for each in self.models(caller)]
        raise refusals.foreign_model(name, rule, allowed, self._contact)

    # --- how often and how much -------------------------------------------------------

    def admit(self, caller: Caller, model: Model, ask: Ask, now: float, today: date) -> Grant:
        """Admit one call, or say why not; nothing is held for a refused one.

        Args:
            now: seconds of the monotonic clock.
            today: the clock's UTC day; ``days.HeldDay`` says which day counts.

        Raises:
            Unauthenticated: the key was revoked since ``authenticate``.
            BadRequest: the plan's output cap leaves no room for the thinking budget.
            ConcurrencyLimited: the plan's requests at once are all running.
            RateLimited: requests per minute, or running requests hold the rest of the
                day's tokens.
            QuotaExceeded: the rest of the day's tokens is too little.
        """
        caller = self._still_valid(caller)
        plan = self._plan_of(caller.account)
        lowered, need = _wanted(plan, model, ask)
        meters = self._enter(caller, plan, now, today)
        try:
            decision = self._decide(need, plan, meters)
        except GatewayError:
            give_back(meters, now)
            raise
        cap = lowered if decision.output_cap is None else decision.output_cap
        tally = self._table.tally
        return Grant(plan, meters, decision.tokens, tally, case=decision.case, output_cap=cap)

    def rehearse(
        self, caller: Caller, model: Model, ask: Ask, now: float, today: date
    ) -> int | None:
        """Go through ``admit`` without any effect: nothing is spent, held or kept.

        Returns:
            the output cap that would be sent upstream; None: the client's own.

        Raises:
            GatewayError: as ``admit``, but for a revoked key.
        """
        plan = self._plan_of(caller.account)
        lowered, need = _wanted(plan, model, ask)
        meters = self._table.look(caller.key, plan, today)
        _check_pace(meters, plan, now)
        decision = self._decide(need, plan, meters)
        return lowered if decision.output_cap is None else decision.output_cap

    def admit_count(self, caller: Caller, now: float, today: date) -> Grant:
        """Admit a call that only counts tokens: it takes a slot and a request, no tokens.

        Raises:
            Unauthenticated: the key was revoked since ``authenticate``.
            ConcurrencyLimited: the plan's requests at once are all running.
            RateLimited: requests per minute.
        """
        caller = self._still_valid(caller)
        plan = self._plan_of(caller.account)
        meters = self._enter(caller, plan, now, today)
        return Grant(plan, meters, 0, self._table.tally, case="fits", output_cap=None)

    def standing(self, caller: Caller, now: float, today: date) -> Standing:
        """Return where a caller stands, for the rate-limit headers and ``/v1/usage``."""
        caller = self._as_now(caller)
        plan = self._catalog.plans.get(caller.account.plan)
        meters = self._table.look(caller.key, plan, today)
        bucket = tightest_bucket(meters, now)
        quota = tightest_quota(meters)
        room = quota.room
        return Standing(
            requests_limit=None if bucket is None else bucket.requests_per_minute,
            requests_remaining=None if bucket is None else bucket.remaining(now),
            requests_reset_s=None if bucket is None else bucket.reset_s(now),
            tokens_limit=quota.allowance,
            tokens_used=quota.used,
            tokens_reserved=quota.reserved,
            tokens_remaining=None if room is None else max(0, room),
            tokens_resets_at=self._table.resets_at,
        )

    def running_of(self, caller: Caller, today: date) -> int:
        """Return how many calls of a caller's account run."""
        plan = self._catalog.plans.get(caller.account.plan)
        return self._table.look(caller.key, plan, today)[0].running

    def _plan_of(self, account: Account) -> Plan:
        plan = self._catalog.plans.get(account.plan)
        if plan is None:
            raise refusals.missing_plan(account.plan, self._contact)
        return plan

    def _as_now(self, caller: Caller) -> Caller:
        """Return a caller as it is now: what it came with may be minutes old.

        A body is read between ``authenticate`` and ``admit``, and an answer takes its time
        before its headers are written. The limits of an old plan must not come back then.
        """
        found = self._keys.current(caller.key)
        return caller if found is None else _renewed(caller, *found)

    def _still_valid(self, caller: Caller) -> Caller:
        """Return a caller as it is now; a revocation counts from its return on."""
        found = self._keys.current(caller.key)
        if found is None or found[0].revoked or not found[1].active:
            raise Unauthenticated(refusals.INVALID_KEY)
        return _renewed(caller, *found)

    def _enter(self, caller: Caller, plan: Plan, now: float, today: date) -> Meters:
        """Pass concurrency and requests per minute; a refused call spends nothing."""
        meters = self._table.of(caller.key, plan, now, today)
        _check_pace(meters, plan, now)
        spend(meters, now)
        return meters

    def _decide(self, need: Need, plan: Plan, meters: Meters) -> Decision:
        """Say what of the day's tokens a call gets."""
        quotas = [meter.quota for meter in meters]
        room, free = narrowest(quotas)
        decision = decide(need, room=room, free=free)
        if decision.case == "held":
            quota = tightest_quota(meters)
            raise refusals.held(quota, _whose(plan, first=quota is quotas[0]))
        if decision.case == "spent":
            limited = [quota for quota in quotas if quota.free is not None]
            quota = min(limited, key=lambda each: each.free or 0)
            whose = _whose(plan, first=quota is quotas[0])
            raise refusals.spent(quota, need, whose, self._contact)
        return decision


def _check_pace(meters: Meters, plan: Plan, now: float) -> None:
    """Raise when the requests at once or those of the minute are spent."""
    running = meters[0].running
    if plan.concurrent_requests is not None and running >= plan.concurrent_requests:
        raise refusals.all_running(running, plan)
    slow = slowest(meters, now)
    if slow is not None:
        limit = 0 if slow.bucket is None else slow.bucket.requests_per_minute
        raise refusals.too_fast(_whose(plan, first=slow is meters[0]), limit, slow.wait_s(now))


def _whose(plan: Plan, *, first: bool) -> str:
    """Return whose limit it is: the first meter is the account's, the other the key's."""
    return f"the plan '{plan.name}'" if first else "this key"


def _renewed(caller: Caller, key: Key, account: Account) -> Caller:
    same = key is caller.key and account is caller.account
    return caller if same else Caller(key, account)


def in_subset(key: Key, model: Model) -> bool:
    """Return whether a key is not narrowed, or narrowed to patterns that the model matches."""
    return key.models is None or matches(key.models, model.id)


def _wanted(plan: Plan, model: Model, ask: Ask) -> tuple[int | None, Need]:
    """Return the output cap that plan or model lower, and what the call could cost."""
    lowered = _lower_cap(plan, model, ask)
    return lowered, _need(plan, model, ask, lowered)


def _lower_cap(plan: Plan, model: Model, ask: Ask) -> int | None:
    """Return the output cap to send when plan or model are narrower than the client, else None.

    What is reserved must be what the upstream is told. A model's own largest answer is
    its upstream's rule: it is sent only in place of a larger wish.
    """
    own, cap, asked = model.max_output_tokens, plan.max_output_tokens, ask.max_tokens
    if asked is None:
        lowered = cap if cap is not None and (own is None or cap < own) else None
    else:
        lowered = min(
            (each for each in (own, cap) if each is not None and each < asked), default=None
        )
    if lowered is None or not ask.thinking_budget:
        return lowered
    if lowered >= ask.thinking_budget + SMALLEST_ANSWER:
        return lowered
    if lowered == cap:
        raise refusals.thinking_over_plan(plan, ask.thinking_budget)
    return None


def _need(plan: Plan, model: Model, ask: Ask, lowered: int | None) -> Need:
    cap = ask.max_tokens if lowered is None else lowered
    if cap is None:
        cap = model.max_output_tokens or DEFAULT_OUTPUT_TOKENS
    if plan.reserve_output_tokens is not None:
        cap = min(cap, plan.reserve_output_tokens)
    floor = ask.thinking_budget + SMALLEST_ANSWER if ask.thinking_budget else 1
    # Absurd figures of a client are the upstream's to refuse; they never become a credit.
    return Need(max(0, ask.prompt_estimate), max(0, cap), max(1, ask.n), max(1, floor))
