"""What would become of a call, step by step, by the functions that decide about real ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Annotated, Any, Final, get_args

import msgspec
from msgspec import Meta

from kurolproxy.errors import GatewayError
from kurolproxy.ir import ProtocolName
from kurolproxy.policy.admission import Admission, Ask, Caller
from kurolproxy.policy.catalog import Catalog, Model, Plan, Target, matching
from kurolproxy.policy.choice import MAX_ATTEMPTS, Way, ways
from kurolproxy.policy.health import Health
from kurolproxy.storage.accounts import AccountStore
from kurolproxy.storage.errors import Invalid
from kurolproxy.storage.people import key_facts, stamp

_PROTOCOLS: Final[tuple[ProtocolName, ...]] = get_args(ProtocolName)
# A short question, whose answer's length the client leaves open.
_ASK: Final = Ask(prompt_estimate=0)


class Question(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``explain``: a model as a client names it, and the id of a key."""

    model: str
    key: Annotated[str, Meta(pattern="^[!-~]+$")]


@dataclass(frozen=True, slots=True)
class Moment:
    """One moment in the three times; see ``state.Clock``."""

    now: float
    unix: float
    today: date


@dataclass(frozen=True, slots=True)
class Explainer:
    """Explains calls.

    Attributes:
        catalog: the one in use.
        health: None: no gateway runs, so nobody knows what rests.
        moment: this one.
    """

    admission: Admission
    accounts: AccountStore
    catalog: Callable[[], Catalog]
    moment: Callable[[], Moment]
    health: Health | None = None

    async def explain(self, args: Mapping[str, Any]) -> dict[str, Any]:
        """Say what would become of a short call of a model with a key; nothing is counted.

        Args:
            args: the fields of ``Question``.

        Returns:
            JSON values: ``asked``; ``model`` (None: there is none, active or not); ``active``;
            ``key`` as ``people.key_facts`` has it; ``plan`` (None: the configuration has it
            no more); ``admitted``; ``refusal`` as the client would get it, also when no way
            to the model is open; ``limits``; ``targets``, in the order in which they are
            tried; ``attempts`` at most.

        Raises:
            Invalid: the arguments make no sense.
            NotFound: there is no such key.
        """
        try:
            question = msgspec.convert(args, Question)
        except msgspec.ValidationError as error:
            raise Invalid(f"explain: {error}") from error
        caller = Caller(*await self.accounts.owner_of(question.key))
        moment, catalog = self.moment(), self.catalog()
        model = catalog.known(question.model)
        plan = catalog.plans.get(caller.account.plan)
        refused, cap = self._rehearsed(caller, question.model, moment)
        found = [] if model is None else self._ways(model, moment)
        closed = self._closed(model, found, moment, caller.account.id)
        told = refused or closed
        return {
            "asked": question.model,
            "model": None if model is None else model.id,
            "active": None if model is None else model.active,
            "key": key_facts(caller.key, caller.account, moment.unix),
            "plan": _plan(plan, caller, model),
            "admitted": refused is None,
            "refusal": None if told is None else _refusal(told),
            "limits": {**self._limits(caller, plan, moment), "output_cap": cap},
            "targets": []
            if model is None
            else self._targets(model, found, moment, caller.account.id),
            "attempts": MAX_ATTEMPTS,
        }

    def _rehearsed(
        self, caller: Caller, name: str, moment: Moment
    ) -> tuple[GatewayError | None, int | None]:
        """Go the way of a call through admission, without any effect.

        Returns:
            why it is refused, or the output cap that would be sent upstream.
        """
        admission = self.admission
        try:
            admission.check_key(caller.key, caller.account, moment.unix)
            model = admission.model(caller, name)
            cap = admission.rehearse(caller, model, _ASK, moment.now, moment.today)
        except GatewayError as error:
            return error, None
        return None, cap

    def _limits(self, caller: Caller, plan: Plan | None, moment: Moment) -> dict[str, Any]:
        standing = self.admission.standing(caller, moment.now, moment.today)
        return {
            "requests_per_minute": standing.requests_limit,
            "requests_left": standing.requests_remaining,
            "concurrent_requests": None if plan is None else plan.concurrent_requests,
            "running": self.admission.running_of(caller, moment.today),
            "daily_tokens": standing.tokens_limit,
            "tokens_used": standing.tokens_used,
            "tokens_reserved": standing.tokens_reserved,
            "tokens_left": standing.tokens_remaining,
            "tokens_reset_at": stamp(standing.tokens_resets_at.timestamp()),
        }

    # --- targets ----------------------------------------------------------------------

    def _ways(self, model: Model, moment: Moment) -> list[Way]:
        """Return the ways to a model in their order.

        Those of one priority stand in the order of the file: which of them comes first is
        drawn by weight for each session, ``share`` is how often.
        """
        found = ways(model, lambda: None, lambda: 1.0)
        return found if self.health is None else self.health.order(found, moment.now)

    def _closed(
        self, model: Model | None, found: list[Way], moment: Moment, account: int
    ) -> GatewayError | None:
        """Return the error of a model to which no way is open; None: one is, or nobody knows."""
        health = self.health
        if health is None or model is None:
            return None
        if any(_is_open(health, way, moment, account) for way in found):
            return None
        return health.refusal(found, model.id, moment.now, account)

    def _targets(
        self, model: Model, found: list[Way], moment: Moment, account: int
    ) -> list[dict[str, Any]]:
        grouped: dict[int, list[Way]] = {}
        for way in found:
            grouped.setdefault(id(way.target), []).append(way)
        return [self._target(model, each, moment, account) for each in grouped.values()]

    def _target(
        self, model: Model, found: list[Way], moment: Moment, account: int
    ) -> dict[str, Any]:
        target = found[0].target
        upstream = target.upstream
        health = self.health
        return {
            "upstream": upstream.name,
            "model": target.model,
            "priority": target.priority,
            "weight": target.weight,
            "share": _share(model, target),
            "credentials": len(upstream.api_keys),
            "protocols": {each: target.protocol_for(each) for each in _PROTOCOLS},
            "tools_with_reasoning": target.thinks_with_tools_in,
            "max_concurrent": upstream.max_concurrent,
            "running": None if health is None else health.running(upstream),
            "open": None
            if health is None
            else any(_is_open(health, way, moment, account) for way in found),
            "resting": None if health is None else _rests(health, found, moment, account),
        }


def _is_open(health: Health, way: Way, moment: Moment, account: int) -> bool:
    """Return whether a call of an account would be sent this way just now."""
    upstream = way.target.upstream
    limit = upstream.max_concurrent
    busy = limit is not None and health.running(upstream) >= limit
    return not busy and not health.resting(way, moment.now, account)


def _rests(health: Health, found: list[Way], moment: Moment, account: int) -> list[dict[str, Any]]:
    """Return what rests of the ways to one target; credentials by their number, from 1."""
    facts = []
    for number, way in enumerate(found, 1):
        for part, rest in health.resting(way, moment.now, account):
            wait_s = rest.until - moment.now
            facts.append(
                {
                    "credential": None if way.key is None else number,
                    "part": part,
                    "why": rest.why,
                    "seconds": round(wait_s, 1),
                    "until": stamp(round(moment.unix + wait_s, 3)),
                }
            )
    return facts


def _plan(plan: Plan | None, caller: Caller, model: Model | None) -> dict[str, Any] | None:
    """Return the plan, and the patterns by which it and the key take a model in."""
    if plan is None:
        return None
    own = caller.key.models
    return {
        "name": plan.name,
        "models": list(plan.models),
        "pattern": None if model is None else matching(plan.models, model.id),
        "key_models": None if own is None else list(own),
        "key_pattern": None if model is None or own is None else matching(own, model.id),
    }


def _refusal(error: GatewayError) -> dict[str, Any]:
    return {
        "kind": error.kind,
        "status": error.status,
        "message": error.message,
        "retry_after_s": error.retry_after_s,
    }


def _share(model: Model, target: Target) -> float:
    """Return which part of the sessions begins with a target, of those of its priority."""
    peers = [each.weight for each in model.targets if each.priority == target.priority]
    total = sum(max(0, each) for each in peers)
    return round(max(0, target.weight) / total, 3) if total else round(1 / len(peers), 3)
