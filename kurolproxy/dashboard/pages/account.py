"""The account: who it is, what its plan allows, where it stands today, light or dark."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from kurolproxy.dashboard.router import Route
from kurolproxy.dashboard.visit import Visit
from kurolproxy.storage.errors import Invalid

PATH: Final = "/dashboard/account"
_THEMES: Final = ("light", "dark")
_YEAR_S: Final = 31_536_000


async def show(visit: Visit) -> web.Response:
    """Show the account."""
    return _page(visit)


async def rename(visit: Visit) -> web.Response:
    """Change the name that is displayed."""
    name = visit.form.get("name", "")
    args = {"account_id": visit.account.id, "name": name}
    try:
        await visit.desk.people.call("users.rename", args, visit.own)
    except Invalid as error:
        return _page(visit, name=name, wrong=visit.sentence(error))
    return visit.redirect(PATH, said="renamed")


async def choose_theme(visit: Visit) -> web.Response:
    """Remember light, dark, or what the system has."""
    chosen = visit.form.get("theme", "")
    response = visit.redirect(PATH, said="theme")
    if chosen in _THEMES:
        response.set_cookie(
            "kurol-theme",
            chosen,
            max_age=_YEAR_S,
            path="/",
            secure=visit.site.secure,
            samesite="Strict",
        )
    else:
        response.del_cookie("kurol-theme", path="/", secure=visit.site.secure, samesite="Strict")
    return response


def _page(visit: Visit, *, name: str | None = None, wrong: str = "") -> web.Response:
    desk, account = visit.desk, visit.account
    today = desk.times.today()
    plan = desk.catalog().plans.get(account.plan)
    return visit.render(
        "account.html",
        status=422 if wrong else 200,
        name=account.name if name is None else name,
        wrong=wrong,
        said=visit.query.get("said", ""),
        plan=plan,
        models=0 if plan is None else len(desk.catalog().active(plan)),
        standing=desk.admission.standing(visit.caller, desk.times.now(), today),
        running=desk.admission.running_of(visit.caller, today),
    )


ROUTES: Final = (
    Route("GET", PATH, show),
    Route("POST", PATH + "/name", rename),
    Route("POST", PATH + "/theme", choose_theme),
)
