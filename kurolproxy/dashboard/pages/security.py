"""``/dashboard/account/security``: my sessions and my password."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from kurolproxy.dashboard import answers, entering, guard
from kurolproxy.dashboard.devices import device_of
from kurolproxy.dashboard.router import LOGIN, Route
from kurolproxy.dashboard.visit import Visit
from kurolproxy.storage.passwords import BadPassword, check_password

PATH: Final = "/dashboard/account/security"


async def show(visit: Visit) -> web.Response:
    """Show the sessions, and the form for another password."""
    return await _page(visit)


async def _page(visit: Visit, wrong: dict[str, str] | None = None) -> web.Response:
    desk, account = visit.desk, visit.account
    assert visit.session is not None
    return visit.render(
        "security.html",
        status=422 if wrong else 200,
        sessions=[(each, device_of(each.agent)) for each in desk.sessions.of(account.id)],
        own=visit.session.digest,
        has_password=await desk.accounts.get_password_hash(account.id) is not None,
        wrong=wrong or {},
        done=visit.query.get("done", ""),
    )


async def change_password(visit: Visit) -> web.Response:
    """Replace the password; all sessions end, and this browser gets another one."""
    desk, account = visit.desk, visit.account
    current, wanted = visit.form.get("current", ""), visit.form.get("password", "")
    try:
        check_password(wanted)
    except BadPassword as error:
        return await _page(visit, entering.faults(visit, error))
    # Without one there is nothing to prove: he came in by a link.
    has_password = await desk.accounts.get_password_hash(account.id) is not None
    # Counted by itself: whoever fails to log in as him keeps him from nothing here.
    name = f"password of account {account.id}"
    if has_password and not await entering.proven(visit, account.id, name, current):
        return await _page(visit, {"current": visit.gettext("This is not your password.")})
    made = await entering.hashed(visit, wanted)
    await desk.accounts.set_password(account.id, made, actor=account.email)
    response = visit.redirect(PATH, done="password")
    await entering.begin_session(visit, account, response, password_hash=made)
    return response


async def end_one(visit: Visit) -> web.Response:
    """End one of my sessions; this one: I am logged out."""
    ended = await visit.desk.logins.end_one(visit.form.get("id", ""), visit.account.id)
    assert visit.session is not None
    if ended.digest != visit.session.digest:
        return visit.redirect(PATH, done="one")
    response = answers.redirect(LOGIN)
    guard.drop_token(response, visit.site)
    return response


async def end_others(visit: Visit) -> web.Response:
    """End all my sessions but this one."""
    await visit.desk.logins.end_all(visit.account.id, but=visit.session)
    return visit.redirect(PATH, done="others")


ROUTES: Final = (
    Route("GET", PATH, show),
    Route("POST", f"{PATH}/password", change_password),
    Route("POST", f"{PATH}/end", end_one),
    Route("POST", f"{PATH}/end-others", end_others),
)
