"""Random lives of a gateway's limits against a model that adds up lists of events.

The model knows nothing of meters, sheets and buckets: what is used is the sum of the
charges of the day's calls, what is reserved the sum of those that run, what a minute
allows is computed in fractions, and which day counts from the list of those that did.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from math import floor

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from kurolproxy.errors import GatewayError
from kurolproxy.policy.admission import Admission, Ask, Caller
from kurolproxy.policy.catalog import Catalog, Model, Plan
from kurolproxy.policy.days import starting_days
from kurolproxy.policy.keys import Account, Key, KeyTable, digest
from kurolproxy.policy.meter import Grant
from tests.policy.naive import Days, Event, Jar, Naive, sums

START = date(2026, 3, 2)
LARGEST_ANSWER = 200_000
MODEL = Model("m", (), max_output_tokens=LARGEST_ANSWER)
ACCOUNTS = (1, 2, 3)
# All of them divide a minute's microseconds: the model's fractions are exact then.
MINUTES = st.sampled_from([None, 1, 5, 10, 60, 60])
TOKENS = st.sampled_from([None, 1_500, 3_000, 5_000, 10_000, 30_000])
SLOTS = st.sampled_from([None, None, None, 2, 9])
PLANS = st.builds(
    Plan,
    name=st.sampled_from(["small", "large"]),
    models=st.just(("*",)),
    requests_per_minute=MINUTES,
    daily_tokens=TOKENS,
    concurrent_requests=SLOTS,
)
PICK = st.integers(0, 10**6)
WRONG = st.sampled_from([-1, 1, 1, 2, -2, 3, 9_000, 30_000, -20_000])


class Limits(RuleBasedStateMachine, Naive):
    """Accounts, keys, plans and calls; whatever happens, the sums agree with the model."""

    def __init__(self) -> None:
        super().__init__()
        Naive.__init__(self, START, ACCOUNTS)
        self.made = 0
        self.keys = KeyTable()

    @initialize(small=PLANS, large=PLANS)
    def begin(self, small: Plan, large: Plan) -> None:
        self.plans = {"small": replace(small, name="small"), "large": replace(large, name="large")}
        self.admission = Admission(self.catalog(), self.keys)
        for account in ACCOUNTS:
            self.add_key(account, None, None)
            self.add_key(account, 5, 5_000)

    # --- small things -------------------------------------------------------------------

    @property
    def now(self) -> float:
        return 1_000 + self.ms / 1_000

    def catalog(self) -> Catalog:
        return Catalog([], [MODEL], self.plans.values())

    def add_key(self, account: int, minute: int | None, tokens: int | None) -> None:
        self.made += 1
        name = f"k{self.made}"
        self.put(Key(name, account, "", digest(name), "", "", None, minute, tokens))

    def put(self, key: Key) -> None:
        self.keys.put(key, self.accounts[key.account_id])

    def put_account(self, account: Account) -> None:
        self.accounts[account.id] = account
        self.keys.put_account(account)

    def living(self) -> list[Key]:
        return sorted((key for key, _ in self.keys.all()), key=lambda key: int(key.id[1:]))

    def key(self, pick: int) -> Key:
        keys = self.living()
        return keys[pick % len(keys)]

    def caller(self, key: Key) -> Caller:
        return Caller(key, self.accounts[key.account_id])

    # --- calls --------------------------------------------------------------------------

    @rule(
        pick=PICK,
        prompt=st.integers(0, 3_000),
        cap=st.sampled_from([None, 10, 1_000, 2_000, 4_000]),
        n=st.sampled_from([1, 1, 3]),
        thinking=st.sampled_from([None, None, 1_024]),
        times=st.sampled_from([1, 3, 7]),
    )
    def admit(
        self, pick: int, prompt: int, cap: int | None, n: int, thinking: int | None, times: int
    ) -> None:
        key = self.key(pick)
        ask = Ask(prompt, cap, n, thinking)
        hold = LARGEST_ANSWER if cap is None else cap
        floor_ = 1 if thinking is None else thinking + 1_024
        for _ in range(times):
            entered = self.enter(key)
            if isinstance(entered, tuple):
                self.expect(key, ask, entered)
                continue
            case, tokens, lowered = self.tokens(key, prompt, hold, n, floor_)
            if case in ("held", "quota_exceeded"):
                for jar in entered:
                    jar.give_back(self.ms)
                self.expect(key, ask, (case, 5 if case == "held" else None))
                continue
            grant = self.admission.admit(self.caller(key), MODEL, ask, self.now, self.clock)
            assert (grant.case, grant.output_cap or 0) == (case, lowered)
            self.book(key, grant, tokens, entered)

    def expect(self, key: Key, ask: Ask | None, refusal: tuple[str, int | None]) -> None:
        caller = self.caller(key)
        try:
            if ask is None:
                self.admission.admit_count(caller, self.now, self.clock)
            else:
                self.admission.admit(caller, MODEL, ask, self.now, self.clock)
        except GatewayError as error:
            kind = "held" if "hold the rest" in error.message else error.kind
            seen: object = (kind, error.retry_after_s)
        else:
            seen = "let in"
        assert seen == refusal

    def book(self, key: Key, grant: Grant, tokens: int, paid: list[Jar], **more: bool) -> None:
        limits = self.limits(key)
        holders = tuple(owner for owner, (_, allowance) in limits.items() if allowance is not None)
        assert grant.day == self.day
        self.events.append(
            Event(
                key.account_id,
                key.id,
                tuple(limits),
                holders,
                self.day,
                tokens,
                paid,
                grant,
                **more,
            )
        )

    @rule(pick=PICK, more=st.integers(-1, 1), thinking=st.sampled_from([None, 1_024]))
    def admit_at_the_edge(self, pick: int, more: int, thinking: int | None) -> None:
        key = self.key(pick)
        if self.accounts[key.account_id].plan not in self.plans:
            return
        left = [
            allowance - self.used(owner) - self.reserved(owner)
            for owner, (_, allowance) in self.limits(key).items()
            if allowance is not None
        ]
        least = 1_024 + (thinking or 0)
        self.admit(pick, max(0, min(left, default=0) - least - more), None, 1, thinking, 1)

    @rule(pick=PICK)
    def count_tokens(self, pick: int) -> None:
        key = self.key(pick)
        entered = self.enter(key)
        if isinstance(entered, tuple):
            self.expect(key, None, entered)
            return
        grant = self.admission.admit_count(self.caller(key), self.now, self.clock)
        self.book(key, grant, 0, entered, booked=False)

    @precondition(lambda self: self.open())
    @rule(pick=PICK, share=st.sampled_from([0.0, 0.2, 1.0, 1.5]), times=st.integers(1, 4))
    def settle(self, pick: int, share: float, times: int) -> None:
        for number in range(min(times, len(self.open()))):
            event = self.open()[(pick + 7 * number) % len(self.open())]
            event.charged = floor((event.tokens or 700) * share) if event.booked else 0
            assert event.grant.settle(event.charged)

    @precondition(lambda self: self.open())
    @rule(pick=PICK, refund=st.booleans())
    def release(self, pick: int, refund: bool) -> None:
        event = self.open()[pick % len(self.open())]
        event.charged = 0
        assert event.grant.release(refund_request=refund, now=self.now)
        if refund:
            for jar in event.paid:
                jar.give_back(self.ms)

    @precondition(lambda self: len(self.open()) < len(self.events))
    @rule(pick=PICK, charged=st.integers(-5, 10_000))
    def end_again(self, pick: int, charged: int) -> None:
        ended = [event for event in self.events if event.charged is not None]
        grant = ended[pick % len(ended)].grant
        assert not grant.settle(charged)
        assert not grant.release(refund_request=True, now=self.now)

    # --- clocks -------------------------------------------------------------------------

    @rule(ms=st.sampled_from([1, 500, 999, 1_000, 6_000, 30_000, 60_000, 61_000, 3_600_000]))
    def wait(self, ms: int) -> None:
        self.ms += ms

    @rule(days=st.sampled_from([1, 1, 1, 3]))
    def midnight(self, days: int) -> None:
        self.real += timedelta(days=days)
        self.clock += timedelta(days=days)

    @rule(wrong=WRONG)
    def jump(self, wrong: int) -> None:
        self.clock = self.real + timedelta(days=wrong)

    @precondition(lambda self: self.clock != self.real)
    @rule()
    def set_right(self) -> None:
        self.clock = self.real

    @rule(pick=PICK, wrongs=st.lists(WRONG, min_size=1, max_size=4), between=st.booleans())
    def jump_and_spend(self, pick: int, wrongs: list[int], between: bool) -> None:
        for wrong in wrongs:
            self.jump(wrong)
            self.admit(pick, 300, 1_000, 1, None, 1)
            if between:
                self.set_right()
                self.all_sums_agree()
        self.settle_all()

    def settle_all(self) -> None:
        for event in self.open():
            event.charged = event.tokens if event.booked else 0
            assert event.grant.settle(event.charged)

    # --- plans and people ---------------------------------------------------------------

    @rule(plan=PLANS)
    def reload(self, plan: Plan) -> None:
        self.plans[plan.name] = plan
        self.admission.replace_catalog(self.catalog())

    @rule(pick=PICK, refund=st.booleans())
    def lift_the_limits_for_a_while(self, pick: int, refund: bool) -> None:
        plan = self.plans.get(self.accounts[self.key(pick).account_id].plan)
        if plan is None:
            return
        self.reload(replace(plan, requests_per_minute=None, daily_tokens=None))
        self.admit(pick, 300, 1_000, 1, None, 2)
        if self.open():
            self.settle(pick, 0.2, 1)
        self.all_sums_agree()
        self.reload(plan)
        self.admit(pick, 300, 10, 1, None, 2)
        if self.open():
            self.release(max(0, len(self.open()) - 3), refund)

    @precondition(lambda self: self.accounts[1].plan == "large" and "large" in self.plans)
    @rule()
    def lose_a_plan(self) -> None:
        del self.plans["large"]
        self.admission.replace_catalog(self.catalog())

    @rule(account=st.sampled_from(ACCOUNTS), plan=st.sampled_from(["small", "large"]))
    def set_plan(self, account: int, plan: str) -> None:
        self.put_account(replace(self.accounts[account], plan=plan))

    @rule(
        account=st.sampled_from(ACCOUNTS), active=st.sampled_from([True, True, True, True, False])
    )
    def set_active(self, account: int, active: bool) -> None:
        self.put_account(replace(self.accounts[account], active=active))

    @precondition(lambda self: len(self.keys) < 10)
    @rule(account=st.sampled_from(ACCOUNTS), minute=MINUTES, tokens=TOKENS)
    def create_key(self, account: int, minute: int | None, tokens: int | None) -> None:
        self.add_key(account, minute, tokens)

    @rule(pick=PICK, minute=MINUTES, tokens=TOKENS)
    def narrow_key(self, pick: int, minute: int | None, tokens: int | None) -> None:
        self.put(replace(self.key(pick), requests_per_minute=minute, daily_tokens=tokens))

    @rule(pick=PICK)
    def rotate_key(self, pick: int) -> None:
        key = self.key(pick)
        self.put(replace(key, digest=digest(f"{key.id} {self.ms} {len(self.events)}")))
        self.expect(replace(key, digest=b"old"), Ask(0, 0), ("unauthenticated", None))

    @precondition(lambda self: len(self.keys) > 3)
    @rule(pick=PICK)
    def revoke_key(self, pick: int) -> None:
        key = self.key(pick)
        self.keys.remove(key.id)
        self.expect(key, Ask(0, 0), ("unauthenticated", None))

    # --- a restart ----------------------------------------------------------------------

    @rule(killed=st.booleans(), asleep=st.sampled_from([0, 0, 1, 3]))
    def restart(self, killed: bool, asleep: int) -> None:
        for event in self.open():
            # A kill loses what had no row yet; an orderly end settles.
            event.charged, event.booked = (
                (0, False) if killed else (event.tokens // 2, event.booked)
            )
            event.grant.settle(event.charged)
        self.real += timedelta(days=asleep)
        self.clock += timedelta(days=asleep)
        rows = [event for event in self.events if event.booked]
        known = {event.day for event in rows}
        self.day = max(day for day in {*known, self.clock} if (day - self.clock).days <= 1)
        self.day = max(self.day, self.clock)
        before = sorted((day for day in known if day < self.day), reverse=True)[:2]
        astray = sorted(day for day in known if (day - self.clock).days > 1)[:1]
        self.days = Days(sorted([*before, self.day]), [*reversed([*before, *astray]), self.day])
        narrow = {key.id for key in self.living() if key.narrows_limits}
        for event in self.events:
            event.owners = (event.account, event.key) if event.key in narrow else (event.account,)
            event.forgotten = not event.booked or event.day not in self.days.order
        self.jars = {}
        self.admission = Admission(self.catalog(), self.keys)
        start = starting_days(self.clock, known)
        assert (start.day, set(start.others)) == (self.day, {*before, *astray})
        accounts, keys = sums(rows, start.day)
        self.admission.restore(start.day, accounts=accounts, keys=keys)
        for day in start.others:
            accounts, keys = sums(rows, day)
            self.admission.remember(day, accounts=accounts, keys=keys)

    # --- what always holds --------------------------------------------------------------

    @invariant()
    def all_sums_agree(self) -> None:
        if not self.events and not self.plans:
            return
        self.look_at_the_clock()
        held = sum(event.tokens for event in self.open() if event.account in event.holders)
        assert (self.admission.reserved, self.admission.running) == (held, len(self.open()))
        midnight = datetime.combine(self.day + timedelta(days=1), time.min, UTC)
        for key in self.living():
            if self.accounts[key.account_id].plan in self.plans:
                self.agrees(key)
                standing = self.admission.standing(self.caller(key), self.now, self.clock)
                assert standing.tokens_resets_at == midnight

    def agrees(self, key: Key) -> None:
        """Compare the figures of account and key one by one: a standing shows the narrower."""
        plan = self.plans[self.accounts[key.account_id].plan]
        meters = self.admission._table.look(key, plan, self.clock)
        limits = self.limits(key)
        assert len(meters) == len(limits)
        for meter, (owner, (minute, allowance)) in zip(meters, limits.items(), strict=True):
            quota = meter.quota
            assert (quota.used, quota.reserved) == (self.used(owner), self.reserved(owner))
            assert (quota.day, quota.allowance) == (self.day, allowance)
            kept = self.admission._table._meters.get(owner)
            running = sum(owner in event.owners for event in self.open())
            assert (0 if kept is None else kept.running) == running
            jar = self.jars.get(owner)
            if minute is None:
                assert meter.bucket is None
            elif jar is None or meter.bucket is None:
                assert meter.bucket is not None
                assert meter.bucket.remaining(self.now) == minute
            else:
                jar.pass_time(self.ms)
                assert meter.bucket.remaining(self.now) == floor((1 - jar.spent) * minute)

    def teardown(self) -> None:
        for event in self.open():
            event.grant.settle(0)
        if self.plans:
            assert (self.admission.reserved, self.admission.running) == (0, 0)


TestLimits = Limits.TestCase
TestLimits.settings = settings(
    max_examples=140,
    stateful_step_count=80,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
