"""Connect: the settings of a tool, with the chosen model, and a key made for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, get_args

from aiohttp import web

from kurolproxy.connect.tools import TOOLS, Tool
from kurolproxy.connect.wanted import Shell, Wanted, facts_of
from kurolproxy.dashboard.router import Route
from kurolproxy.dashboard.visit import Visit
from kurolproxy.policy.catalog import Model, Plan
from kurolproxy.storage.errors import Limit, StoreError

PATH: Final = "/dashboard/connect"
_SHELLS: Final[Mapping[Shell, str]] = dict(
    zip(get_args(Shell), ("bash, zsh", "PowerShell"), strict=True)
)


async def show(visit: Visit) -> web.Response:
    """Show the settings of the tool that the address names."""
    return _page(visit, visit.query)


async def make_key(visit: Visit) -> web.Response:
    """Make a key that has the tool's name, and show it in the texts of this one answer."""
    desk, form = visit.desk, visit.form
    if not desk.once.take(form.get("once", ""), visit.token):
        return _page(visit, form, status=409, again=True)
    args = {"account_id": visit.account.id, "label": _tool(form).name}
    try:
        made = await desk.people.call("keys.create", args, visit.own)
    except Limit:
        text = visit.gettext("An account may have %(most)d keys: revoke one first.")
        return _page(visit, form, status=422, wrong=text % {"most": visit.site.max_keys})
    except StoreError as error:
        return _page(visit, form, status=422, wrong=visit.sentence(error))
    return _page(visit, form, made=made)


def _tool(asked: Mapping[str, str]) -> Tool:
    return TOOLS.get(asked.get("tool", ""), next(iter(TOOLS.values())))


def _page(
    visit: Visit,
    asked: Mapping[str, str],
    *,
    status: int = 200,
    made: dict[str, Any] | None = None,
    wrong: str = "",
    again: bool = False,
) -> web.Response:
    """Return the page.

    Args:
        asked: tool, model, small model and shell, as the address or the form has them.
        made: what ``keys.create`` said just now.
        wrong: why no key was made.
        again: the form was sent before.
    """
    desk, account = visit.desk, visit.account
    catalog = desk.catalog()
    plan = catalog.plans.get(account.plan)
    models = [] if plan is None else catalog.active(plan)
    tool = _tool(asked)
    choice = _chosen(visit, asked, models)
    steps = [] if choice is None else tool.steps(_wanted(visit, choice, plan, made, asked))
    seen = desk.live.tools_seen(account.id)
    return visit.render(
        "connect.html",
        block="settings" if visit.partial else None,
        status=status,
        tools=list(TOOLS.values()),
        tool=tool,
        shells=_SHELLS,
        shell=_shell(asked),
        models=[each.id for each in models],
        model=choice[0].id if choice else "",
        small=choice[1].id if choice else "",
        steps=steps,
        seen={each.slug for each in TOOLS.values() if any(map(each.sent, seen))},
        seq=desk.live.finished(account.id, None).last,
        once=desk.once.issue(visit.token),
        made=made,
        wrong=wrong,
        again=again,
    )


def _chosen(
    visit: Visit, asked: Mapping[str, str], models: list[Model]
) -> tuple[Model, Model] | None:
    """Return the model and the one for background calls; None: the plan has none."""
    if not models:
        return None
    catalog = visit.desk.catalog()
    model = catalog.find(asked.get("model", ""))
    model = model if model in models else models[0]
    small = catalog.find(asked.get("small", ""))
    return model, small if small in models else model


def _wanted(
    visit: Visit,
    choice: tuple[Model, Model],
    plan: Plan | None,
    made: dict[str, Any] | None,
    asked: Mapping[str, str],
) -> Wanted:
    model, small = (facts_of(each, plan) for each in choice)
    key = None if made is None else made["key"]
    return Wanted(visit.site.public_url, model, small, key, _shell(asked))


def _shell(asked: Mapping[str, str]) -> Shell:
    return "powershell" if asked.get("shell") == "powershell" else "bash"


ROUTES: Final = (Route("GET", PATH, show), Route("POST", PATH, make_key))
