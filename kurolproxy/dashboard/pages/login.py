"""``/dashboard/login`` and ``/dashboard/logout``: in by a password, out for good."""

from __future__ import annotations

from contextlib import suppress
from typing import Final

from aiohttp import web

from kurolproxy.dashboard import answers, entering, guard
from kurolproxy.dashboard.router import LOGIN, Route
from kurolproxy.dashboard.visit import Visit
from kurolproxy.storage.errors import NotFound
from kurolproxy.storage.passwords import PasswordsBusy

_LONGEST_EMAIL: Final = 254


async def show(visit: Visit) -> web.Response:
    """Show the form; whoever is logged in already goes on to where he wanted to."""
    target = entering.own_path(visit.query.get("next", ""))
    if visit.known:
        return answers.redirect(target)
    return _form(visit, target)


async def log_in(visit: Visit) -> web.Response:
    """Begin a session, when email and password are those of an account."""
    target = entering.own_path(visit.form.get("next", ""))
    email = visit.form.get("email", "").strip()[:_LONGEST_EMAIL]
    password = visit.form.get("password", "")
    found = await entering.proven(visit, email, email, password)
    if found is None:
        return _form(visit, target, email, "wrong")
    accounts = visit.desk.accounts
    try:
        account = await accounts.get_account(email)
        if not account.active:
            # He has shown that it is his: there is nothing to hide from him.
            return _form(visit, target, email, "disabled")
        response = await entering.enter(visit, account, target, password_hash=found)
    except NotFound:
        return _form(visit, target, email, "wrong")
    if visit.desk.passwords.outdated(found):
        # Another time will do as well.
        with suppress(PasswordsBusy):
            renewed = await visit.desk.passwords.hash(password)
            await accounts.renew_hash(account.id, found, renewed)
    return response


def _form(visit: Visit, target: str, email: str = "", fault: str = "") -> web.Response:
    status = 422 if fault else 200
    return entering.form(visit, "login.html", status, next=target, email=email, fault=fault)


async def arrive(visit: Visit) -> web.Response:
    """Look whether the browser kept the cookie."""
    return entering.arrived(visit)


async def log_out(visit: Visit) -> web.Response:
    """End the session on the server, and take the cookie away."""
    if visit.session is not None:
        await visit.desk.logins.end(visit.session)
    response = visit.redirect(LOGIN)
    guard.drop_token(response, visit.site)
    return response


ROUTES: Final = (
    Route("GET", LOGIN, show, needs="nobody"),
    Route("POST", LOGIN, log_in, needs="nobody"),
    Route("GET", entering.ENTERED, arrive, needs="nobody"),
    Route("POST", "/dashboard/logout", log_out, needs="nobody"),
)
