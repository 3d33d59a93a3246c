"""``/dashboard/link/...``: what somebody may do who was given a link.

To look at a link changes nothing: programs that read mails look at every one.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Final

from aiohttp import web

from kurolproxy.dashboard import entering, guard
from kurolproxy.dashboard.router import Route
from kurolproxy.dashboard.visit import Visit
from kurolproxy.policy.keys import Account
from kurolproxy.storage.changes import NewAccount
from kurolproxy.storage.errors import Conflict, Invalid, NotFound, StoreError
from kurolproxy.storage.links import LINK_PATH, Link, LinkKind
from kurolproxy.storage.passwords import BadPassword, check_password
from kurolproxy.storage.records import checked_email, checked_text

PATH: Final = LINK_PATH + "{token}"


async def show(visit: Visit) -> web.Response:
    """Show what the link is for."""
    try:
        link = await _found(visit)
    except NotFound:
        return visit.render("link_gone.html", status=404)
    return _form(visit, link)


async def use(visit: Visit) -> web.Response:
    """Use the link, and log in who it is for."""
    try:
        link = await _found(visit)
        account = await _USES[link.kind](visit, link)
    except NotFound:
        return visit.render("link_gone.html", status=404)
    except (StoreError, BadPassword) as error:
        return _form(visit, link, entering.faults(visit, error))
    return await entering.enter(visit, account)


async def _found(visit: Visit) -> Link:
    link = await visit.desk.accounts.links.find(visit.params["token"])
    if link.kind == "login":
        guard.check_local(visit.request, visit.desk.address_of(visit.request))
    return link


def _form(visit: Visit, link: Link, wrong: Mapping[str, str] | None = None) -> web.Response:
    return entering.form(
        visit,
        "link.html",
        422 if wrong else 200,
        link=link,
        plans=list(visit.desk.catalog().plans),
        plan=visit.form.get("plan", visit.site.signup_plan),
        email=visit.form.get("email", ""),
        name=visit.form.get("name", ""),
        wrong=wrong or {},
    )


async def _make_account(visit: Visit, link: Link) -> Account:
    given, plans = visit.form, visit.desk.catalog().plans
    password = given.get("password", "")
    new = NewAccount(
        checked_email(link.email or given.get("email", "")),
        link.plan or given.get("plan", ""),
        checked_text(given.get("name", ""), "name"),
    )
    check_password(password)
    if not plans:
        raise Invalid("the configuration has no plan: add a [[plans]] table, then reload")
    if new.plan not in plans:
        raise Invalid("there is no such plan any more", field="plan")
    # What costs nothing is looked at first: the link stays good, and is tried as often as
    # somebody likes.
    with suppress(NotFound):
        await visit.desk.accounts.get_account(new.email)
        raise Conflict("there is an account with this email already", field="email")
    password_hash = await entering.hashed(visit, password)
    wanted = NewAccount(new.email, new.plan, new.name, link.role, password_hash)
    return await visit.desk.accounts.links.make_account(visit.params["token"], wanted)


async def _set_password(visit: Visit, link: Link) -> Account:
    password_hash = await entering.hashed(visit, visit.form.get("password", ""))
    return await visit.desk.accounts.links.set_password(visit.params["token"], password_hash)


async def _log_in(visit: Visit, link: Link) -> Account:
    assert link.account_id is not None
    return await visit.desk.accounts.get_account(link.account_id)


_USES: Final[Mapping[LinkKind, Callable[[Visit, Link], Awaitable[Account]]]] = {
    "setup": _make_account,
    "invite": _make_account,
    "password": _set_password,
    "login": _log_in,
}

ROUTES: Final = (
    Route("GET", PATH, show, needs="nobody"),
    Route("POST", PATH, use, needs="nobody"),
)
