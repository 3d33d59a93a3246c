"""Models of my plan: what they take and cost, and a text that calls each of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from aiohttp import web

from kurolproxy.connect.calls import ENDPOINTS, Call, Endpoint, in_bash, in_powershell
from kurolproxy.connect.programs import in_python
from kurolproxy.connect.wanted import facts_of
from kurolproxy.dashboard.answers import PageError
from kurolproxy.dashboard.router import Route
from kurolproxy.dashboard.visit import Visit
from kurolproxy.ir import ProtocolName
from kurolproxy.policy.catalog import Model, Plan, Price

PATH: Final = "/dashboard/models"
Thinking = Literal["yes", "no", "unknown"]


@dataclass(frozen=True, slots=True)
class Shown:
    """A model as its user sees it.

    Attributes:
        max_output_tokens: the smaller of the model's and the plan's.
        protocols: of the endpoints whose calls reach it untranslated.
    """

    id: str
    aliases: tuple[str, ...]
    context_window: int | None
    max_output_tokens: int | None
    price: Price | None
    thinking: Thinking
    protocols: frozenset[ProtocolName]

    @property
    def native(self) -> str:
        """The titles of the endpoints whose calls reach it untranslated."""
        return ", ".join(each.title for each in ENDPOINTS.values() if each.name in self.protocols)

    @property
    def names(self) -> str:
        """All that it is called by."""
        return " ".join((self.id, *self.aliases))

    def is_like(self, words: Sequence[str]) -> bool:
        """Return whether each of some words, in lower case, stands in a name of it."""
        names = self.names.casefold()
        return all(each in names for each in words)


async def show(visit: Visit) -> web.Response:
    """Show the models of the plan, and how to call the chosen one."""
    plan = visit.desk.catalog().plans.get(visit.account.plan)
    models = [] if plan is None else visit.desk.catalog().active(plan)
    wanted = visit.query.get("q", "")
    words = wanted.casefold().split()
    every = [_shown(each, plan) for each in models]
    found = [each for each in every if each.is_like(words)]
    endpoint = ENDPOINTS.get(visit.query.get("endpoint", ""), ENDPOINTS["openai-chat"])
    chosen = _chosen(visit.query.get("model"), every)
    return visit.render(
        "models.html",
        models=found,
        total=len(every),
        plan=plan,
        wanted=wanted,
        chosen=chosen,
        endpoints=list(ENDPOINTS.values()),
        endpoint=endpoint,
        texts=None if chosen is None else _texts(visit, chosen, endpoint),
    )


def _chosen(name: str | None, models: Sequence[Shown]) -> Shown | None:
    """Return the model of an id or alias.

    Raises:
        PageError: there is none in the plan.
    """
    if name is None:
        return None
    for each in models:
        if name == each.id or name in each.aliases:
            return each
    raise PageError(404, "missing")


def _shown(model: Model, plan: Plan | None) -> Shown:
    facts = facts_of(model, plan)
    return Shown(
        model.id,
        model.aliases,
        facts.context_window,
        facts.max_output_tokens,
        model.price,
        _thinking(model),
        frozenset(each for target in model.targets for each in target.protocols),
    )


def _thinking(model: Model) -> Thinking:
    """Return whether a model thinks before it answers, as far as the configuration says."""
    traits = [each.traits for each in model.targets]
    if any({*each.efforts} - {"none"} or each.tools_with_reasoning for each in traits):
        return "yes"
    return "no" if all(each.thinking == "none" for each in traits) else "unknown"


def _texts(visit: Visit, model: Shown, endpoint: Endpoint) -> dict[str, str]:
    call = Call(visit.site.public_url, model.id, endpoint)
    return {
        "bash": in_bash(call),
        "PowerShell": in_powershell(call),
        "Python": in_python(call),
    }


ROUTES: Final = (Route("GET", PATH, show),)
