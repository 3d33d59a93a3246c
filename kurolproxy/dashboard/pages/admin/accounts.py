"""Accounts: search them, make one, invite somebody to make his own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlencode

from aiohttp import web

from kurolproxy.dashboard.pages.admin import asked
from kurolproxy.dashboard.pages.admin.account import show_made
from kurolproxy.dashboard.router import Route
from kurolproxy.dashboard.visit import Visit
from kurolproxy.policy.keys import AccountRole
from kurolproxy.storage.account_list import Search, accounts_like
from kurolproxy.storage.errors import StoreError
from kurolproxy.storage.links import LINK_PATH

PATH: Final = "/dashboard/admin/accounts"
INVITES: Final = "/dashboard/admin/invites"

_ROWS: Final = 50
_ROLES: Final[Mapping[str, AccountRole]] = {"user": "user", "admin": "admin"}
_STATES: Final[Mapping[str, bool]] = {"active": True, "disabled": False}
_FILTERS: Final = ("q", "plan", "role", "state")
_NEW: Final = ("email", "name", "plan", "role")
_INVITE: Final = ("email", "plan", "role")


# --- the list ---------------------------------------------------------------------------


async def show(visit: Visit) -> web.Response:
    """Show some accounts, the newest first."""
    desk = visit.desk
    typed = {name: asked.text(visit, name) for name in _FILTERS}
    wanted = Search(
        typed["q"],
        typed["plan"] or None,
        _ROLES.get(typed["role"]),
        _STATES.get(typed["state"]),
    )
    before = asked.number(visit.query.get("older", ""))
    page = await accounts_like(desk.database, wanted, before=before, limit=_ROWS)
    used = {name: text for name, text in typed.items() if text}
    last = page.rows[-1].account.id if page.rows else ""
    return visit.render(
        "admin/accounts.html",
        block="found" if visit.partial else None,
        typed=typed,
        filtered=bool(used or before),
        rows=page.rows,
        older=f"{PATH}?{urlencode({**used, 'older': last})}" if page.more else "",
        plans=[(each, each) for each in _plans(visit, typed["plan"])],
        missing=lambda plan: plan not in desk.catalog().plans,
        said=visit.query.get("said", ""),
    )


def _plans(visit: Visit, chosen: str = "") -> list[str]:
    """Return the names of the plans; one that is gone was asked for by address."""
    known = list(visit.desk.catalog().plans)
    return known if not chosen or chosen in known else [*known, chosen]


# --- a new one --------------------------------------------------------------------------


async def show_new(visit: Visit) -> web.Response:
    """Show the forms that make an account and that invite somebody."""
    return await _forms(visit)


async def create(visit: Visit) -> web.Response:
    """Make an account, and show a link once that sets its password."""
    typed = {name: visit.form.get(name, "") for name in _NEW}
    people = visit.desk.people
    try:
        made = await people.call("users.create", _with_role(typed), visit.as_admin)
    except StoreError as error:
        status = 409 if error.field == "" else 422
        return await _forms(visit, new=typed, wrong=_wrong(visit, error, _NEW), status=status)
    args = {"kind": "password", "account_id": made["id"]}
    link = await people.call("links.create", args, visit.as_admin)
    return await show_made(visit, made["id"], link)


async def invite(visit: Visit) -> web.Response:
    """Make an invitation, and show its link once."""
    typed = {name: visit.form.get(name, "") for name in _INVITE}
    if not visit.desk.once.take(visit.form.get("once", ""), visit.token):
        return await _forms(visit, invited=typed, again=True, status=409)
    args = {"kind": "invite", **_with_role(typed), "email": typed["email"].strip() or None}
    try:
        link = await visit.desk.people.call("links.create", args, visit.as_admin)
    except StoreError as error:
        wrong = _wrong(visit, error, _INVITE)
        return await _forms(visit, invited=typed, invite_wrong=wrong, status=422)
    return await _forms(visit, link=link)


async def revoke_invite(visit: Visit) -> web.Response:
    """Make an invitation good for nothing."""
    await visit.desk.people.call("links.revoke", {"id": visit.params["id"]}, visit.as_admin)
    return visit.redirect(f"{PATH}/new", said="revoked")


async def _forms(
    visit: Visit,
    *,
    status: int = 200,
    new: Mapping[str, str] | None = None,
    invited: Mapping[str, str] | None = None,
    wrong: Mapping[str, str] | None = None,
    invite_wrong: Mapping[str, str] | None = None,
    link: Mapping[str, Any] | None = None,
    again: bool = False,
) -> web.Response:
    desk = visit.desk
    invites = await desk.people.call("links.list", {"kind": "invite"}, visit.as_admin)
    return visit.render(
        "admin/account_new.html",
        status=status,
        new=new or dict.fromkeys(_NEW, ""),
        invited=invited or dict.fromkeys(_INVITE, ""),
        wrong=wrong or {},
        invite_wrong=invite_wrong or {},
        link=link,
        link_url=None if link is None else url_of(visit, link),
        again=again,
        once=desk.once.issue(visit.token),
        invites=invites,
        plans=[(each, each) for each in _plans(visit)],
        said=visit.query.get("said", ""),
    )


def _with_role(typed: Mapping[str, str]) -> dict[str, Any]:
    return {**typed, "role": _ROLES.get(typed["role"], "user")}


def _wrong(visit: Visit, error: StoreError, fields: tuple[str, ...]) -> dict[str, str]:
    """Return a refusal at its field, or at none."""
    return {error.field if error.field in fields else "": visit.sentence(error)}


def url_of(visit: Visit, link: Mapping[str, Any]) -> str:
    """Return the address to hand over; it is shown once."""
    return f"{visit.site.public_url}{LINK_PATH}{link['token']}"


ROUTES: Final = (
    Route("GET", PATH, show, needs="admin"),
    Route("POST", PATH, create, needs="admin"),
    Route("GET", f"{PATH}/new", show_new, needs="admin"),
    Route("POST", INVITES, invite, needs="admin"),
    Route("POST", INVITES + "/{id}/revoke", revoke_invite, needs="admin"),
)
