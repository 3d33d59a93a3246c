"""What a refused caller reads: the rule that refused it, and what to do."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from heapq import nlargest
from itertools import islice
from math import ceil

from kurolproxy.errors import (
    BadRequest,
    ConcurrencyLimited,
    ModelNotFound,
    PlanForbidden,
    QuotaExceeded,
    RateLimited,
)
from kurolproxy.policy.catalog import Plan
from kurolproxy.policy.days import resets_at
from kurolproxy.policy.quota import DailyQuota, Need

NO_KEY = (
    "No API key was sent. Send one as 'Authorization: Bearer sk-kurol-...', "
    "'x-api-key' or 'x-goog-api-key'."
)
# One text for all of them: which it is, is nobody's business but the owner's.
INVALID_KEY = (
    "This API key is not valid: it is unknown, revoked or expired, or its account is "
    "disabled. Check it, or make a new one."
)
MANAGEMENT_KEY = (
    "This is a management key: it cannot call models. Use a key of the account "
    "that was made without management rights."
)
_MAX_NAME_CHARS = 200
_MAX_MODELS_NAMED = 10
# What a wrong name costs must not grow with what is sent or with the catalog.
_MAX_LIKE_CHARS = 64
_MAX_LIKE_NAMES = 100
_LIKE = 0.7
_SLOT_RETRY_S = 1
_HELD_RETRY_S = 5


def missing_plan(name: str, contact: str) -> PlanForbidden:
    """Say that the configuration has lost the account's plan."""
    text = (
        f"The plan '{_cut(name)}' of this account is missing in the configuration of this "
        "gateway. Its operator has to bring the plan back or give the account another one."
    )
    return PlanForbidden(_with_contact(text, contact))


def unknown_model(name: str, own: Iterable[str]) -> ModelNotFound:
    """Say that no active model has this name, and which one is like it.

    Args:
        own: ids and aliases that the caller may call.
    """
    shown = _cut(name)
    near = _like(shown, own)
    hint = "" if near is None else f" Did you mean '{near}'?"
    return ModelNotFound(
        f"There is no model '{shown}'.{hint} GET /v1/models lists the models of this key.",
        param="model",
    )


def foreign_model(name: str, rule: str, allowed: list[str], contact: str) -> PlanForbidden:
    """Say that a model is not for this caller, and which are.

    Args:
        rule: what excludes it, as the sentence's verb.
        allowed: ids of the caller's own models; at most ten are named.
    """
    text = f"The model '{_cut(name)}' {rule}. {_listed(allowed)}"
    return PlanForbidden(_with_contact(text, contact), param="model")


def thinking_over_plan(plan: Plan, thinking_budget: int) -> BadRequest:
    """Say that the plan's output cap is too small for the thinking that was asked for."""
    return BadRequest(
        f"The plan '{plan.name}' allows {plan.max_output_tokens:,} output tokens for one answer, "
        f"thinking included: a thinking budget of {thinking_budget:,} leaves too little for the "
        "answer. Lower it, or turn thinking off."
    )


def all_running(running: int, plan: Plan) -> ConcurrencyLimited:
    """Say that the plan's requests at once are all running."""
    return ConcurrencyLimited(
        f"{running} requests of this account are running; the plan '{plan.name}' allows "
        f"{plan.concurrent_requests} at once. Wait for one to end.",
        retry_after_s=_SLOT_RETRY_S,
    )


def too_fast(whose: str, requests_per_minute: int, wait_s: float) -> RateLimited:
    """Say that the minute's requests are spent, and when the next one is free."""
    retry_after_s = max(1, ceil(wait_s))
    return RateLimited(
        f"Too many requests: {whose} allows {requests_per_minute:,} per minute. The next one is "
        f"free in {retry_after_s} s.",
        retry_after_s=retry_after_s,
    )


def held(quota: DailyQuota, whose: str) -> RateLimited:
    """Say that running requests hold the rest of the day's tokens."""
    return RateLimited(
        f"Running requests hold the rest of today's tokens: of the {quota.allowance:,} of {whose} "
        f"{quota.used:,} are used and {quota.reserved:,} reserved. Try again when one of the "
        "requests has ended, or ask for fewer output tokens.",
        retry_after_s=_HELD_RETRY_S,
    )


def spent(quota: DailyQuota, need: Need, whose: str, contact: str) -> QuotaExceeded:
    """Say that the day's tokens are used up, or that too few are left for this call."""
    allowance, left = quota.allowance or 0, quota.free or 0
    if left <= 0:
        text = f"Today's {allowance:,} tokens of {whose} are used up."
    else:
        text = (
            f"Of today's {allowance:,} tokens of {whose} {left:,} are left, too few for this "
            f"request: it needs about {need.prompt:,} for the prompt and at least "
            f"{need.least_answer:,} for the answer."
        )
    reset = resets_at(quota.day)
    text = f"{text} The next allowance starts at {reset:%Y-%m-%d %H:%M} UTC."
    return QuotaExceeded(_with_contact(text, contact), resets_at=reset)


def _like(name: str, own: Iterable[str]) -> str | None:
    """Return the name most like a wrong one, None when none is much like it."""
    wanted = name[:_MAX_LIKE_CHARS].casefold()
    pairs = _pairs(wanted)
    folded = {each[:_MAX_LIKE_CHARS].casefold(): each for each in islice(own, _MAX_LIKE_NAMES)}
    # Comparing letter by letter takes 50 us: only those that share most pairs of letters are.
    likely = nlargest(3, folded, key=lambda each: len(pairs & _pairs(each)))
    found = get_close_matches(wanted, likely, n=1, cutoff=_LIKE)
    return folded[found[0]] if found else None


def _pairs(text: str) -> set[str]:
    return {text[at : at + 2] for at in range(len(text) - 1)}


def _with_contact(text: str, contact: str) -> str:
    return f"{text} Contact: {contact}" if contact else text


def _listed(ids: list[str]) -> str:
    if not ids:
        return "No model is allowed."
    rest = len(ids) - _MAX_MODELS_NAMED
    more = f" and {rest} more (see GET /v1/models)" if rest > 0 else ""
    return f"Allowed are: {', '.join(ids[:_MAX_MODELS_NAMED])}{more}."


def _cut(name: str) -> str:
    # A path may bring lone surrogates, which no JSON writer takes.
    return name[:_MAX_NAME_CHARS].encode("utf-8", "replace").decode()
