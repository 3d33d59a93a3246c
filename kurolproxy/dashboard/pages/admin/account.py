"""One account: change it, disable it, delete it; its keys, its sessions, what it used."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from functools import reduce
from typing import Any, Final

from aiohttp import web

from kurolproxy.dashboard.devices import device_of
from kurolproxy.dashboard.pages.admin import asked
from kurolproxy.dashboard.router import Route
from kurolproxy.dashboard.visit import Visit
from kurolproxy.policy.admission import Caller
from kurolproxy.policy.keys import session_key, state_of
from kurolproxy.storage.account_list import one_account
from kurolproxy.storage.account_usage import Counts, used_by
from kurolproxy.storage.audit_log import AuditLog
from kurolproxy.storage.errors import Conflict, Invalid, NotFound
from kurolproxy.storage.key_list import keys_of, one_key_of, revoked_keys_of
from kurolproxy.storage.links import LINK_PATH
from kurolproxy.storage.records import AuditEntry

PATH: Final = "/dashboard/admin/accounts/{id}"
LIST: Final = "/dashboard/admin/accounts"

_DAYS: Final = 30
_REVOKED_SHOWN: Final = 50
_CHANGED: Final = ("name", "plan", "role")


async def show(visit: Visit) -> web.Response:
    """Show an account."""
    return await _page(visit, asked.account_id(visit))


async def show_made(visit: Visit, account_id: int, link: Mapping[str, Any]) -> web.Response:
    """Show an account that was made just now, with the link that sets its password."""
    return await _page(visit, account_id, link=link, said="made")


# --- changes ----------------------------------------------------------------------------


async def change(visit: Visit) -> web.Response:
    """Give an account another name, plan or role."""
    typed = {name: visit.form[name] for name in _CHANGED if name in visit.form}
    return await _tried(visit, "users.change", typed, said="changed")


async def disable(visit: Visit) -> web.Response:
    """Make all keys of an account invalid, and log it out."""
    return await _tried(visit, "users.disable", {}, said="disabled")


async def enable(visit: Visit) -> web.Response:
    """Let a disabled account call again."""
    return await _tried(visit, "users.enable", {}, said="enabled")


async def _tried(visit: Visit, verb: str, typed: dict[str, str], *, said: str) -> web.Response:
    """Change an account; why it cannot be changed stands on its page."""
    id_ = asked.account_id(visit)
    try:
        await visit.desk.people.call(verb, {"account_id": id_, **typed}, visit.as_admin)
    except NotFound:
        raise
    except (Conflict, Invalid) as error:
        field = error.field if error.field in typed else ""
        status = 409 if isinstance(error, Conflict) else 422
        return await _page(
            visit, id_, typed=typed, wrong={field: visit.sentence(error)}, status=status
        )
    return visit.redirect(f"{LIST}/{id_}", said=said)


async def delete(visit: Visit) -> web.Response:
    """Delete an account and its keys, once its email was typed."""
    id_ = asked.account_id(visit)
    account = (await one_account(visit.desk.database, id_)).account
    if visit.form.get("email", "").strip() != account.email:
        wrong = {"confirm": visit.gettext("Type the email of the account to delete it.")}
        return await _page(visit, id_, wrong=wrong, status=422)
    try:
        await visit.desk.people.call("users.delete", {"account_id": id_}, visit.as_admin)
    except Conflict as error:
        return await _page(visit, id_, wrong={"": visit.sentence(error)}, status=409)
    return visit.redirect(LIST, said="deleted")


async def make_link(visit: Visit) -> web.Response:
    """Make a link that sets the password, and show it once; an earlier one ends."""
    id_ = asked.account_id(visit)
    args = {"kind": "password", "account_id": id_}
    try:
        link = await visit.desk.people.call("links.create", args, visit.as_admin)
    except Conflict as error:
        return await _page(visit, id_, wrong={"": visit.sentence(error)}, status=409)
    return await _page(visit, id_, link=link)


async def end_sessions(visit: Visit) -> web.Response:
    """Log an account out everywhere."""
    desk, id_ = visit.desk, asked.account_id(visit)
    account = (await one_account(desk.database, id_)).account
    ended = await desk.logins.end_all(id_, but=visit.session)
    now, actor = desk.times.unix(), visit.as_admin.actor
    detail = {"sessions": ended}
    entry = AuditEntry(now, actor, "account.end-sessions", account.email, detail)
    await AuditLog(desk.database).note(entry)
    return visit.redirect(f"{LIST}/{id_}", said="logged-out")


async def revoke_key(visit: Visit) -> web.Response:
    """Make a key of an account invalid for ever, and end its calls where that is asked for."""
    desk, id_, key_id = visit.desk, asked.account_id(visit), visit.params["key"]
    await one_key_of(desk.database, id_, key_id)
    await desk.people.call("keys.revoke", {"id": key_id}, visit.as_admin)
    if visit.form.get("end") == "on":
        desk.end_calls(key_id)
    return visit.redirect(f"{LIST}/{id_}", said="revoked")


# --- the page ---------------------------------------------------------------------------


async def _page(
    visit: Visit,
    account_id: int,
    *,
    status: int = 200,
    typed: Mapping[str, str] | None = None,
    wrong: Mapping[str, str] | None = None,
    link: Mapping[str, Any] | None = None,
    said: str = "",
) -> web.Response:
    desk = visit.desk
    listed = await one_account(desk.database, account_id)
    account, unix = listed.account, desk.times.unix()
    caller = Caller(session_key(account_id), account)
    now, today = desk.times.now(), desk.times.today()
    plans = list(desk.catalog().plans)
    used = await _used(visit, account_id)
    return visit.render(
        "admin/account.html",
        status=status,
        listed=listed,
        who=account,
        typed={"name": account.name, "plan": account.plan, "role": account.role, **(typed or {})},
        wrong=wrong or {},
        link_url=None if link is None else f"{visit.site.public_url}{LINK_PATH}{link['token']}",
        said=said or visit.query.get("said", ""),
        plans=[(each, each) for each in dict.fromkeys([*plans, account.plan])],
        plan=desk.catalog().plans.get(account.plan),
        standing=desk.admission.standing(caller, now, today),
        running=desk.admission.running_of(caller, today),
        keys=await keys_of(desk.database, account_id),
        revoked=await revoked_keys_of(desk.database, account_id, _REVOKED_SHOWN),
        state=lambda key: state_of(key, account, unix),
        sessions=[each for each in desk.sessions.of(account_id) if not each.over(unix)],
        device=device_of,
        own=visit.session,
        used=used,
        total=reduce(Counts.plus, (counts for _, counts in used), Counts()),
        days=_DAYS,
    )


async def _used(visit: Visit, account_id: int) -> list[tuple[str, Counts]]:
    """Return what an account used on each of the last days on which it used anything."""
    today = visit.desk.times.today()
    days = [today - timedelta(days=number) for number in range(_DAYS)]
    await asked.flushed(visit.desk.flush)
    sums: dict[str, Counts] = {}
    for line in await used_by(visit.desk.database, account_id, "day", days):
        sums[line.place] = sums.get(line.place, Counts()).plus(line.counts)
    return sorted(sums.items(), reverse=True)


ROUTES: Final = (
    Route("GET", PATH, show, needs="admin"),
    Route("POST", PATH + "/change", change, needs="admin"),
    Route("POST", PATH + "/disable", disable, needs="admin"),
    Route("POST", PATH + "/enable", enable, needs="admin"),
    Route("POST", PATH + "/delete", delete, needs="admin"),
    Route("POST", PATH + "/password-link", make_link, needs="admin"),
    Route("POST", PATH + "/end-sessions", end_sessions, needs="admin"),
    Route("POST", PATH + "/keys/{key}/revoke", revoke_key, needs="admin"),
)
