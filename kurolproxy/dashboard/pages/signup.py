"""``/dashboard/signup``: an account that somebody makes himself, where the operator allows it."""

from __future__ import annotations

from contextlib import suppress
from typing import Final

from aiohttp import web

from kurolproxy.dashboard import entering
from kurolproxy.dashboard.answers import PageError
from kurolproxy.dashboard.router import Route
from kurolproxy.dashboard.visit import Visit
from kurolproxy.storage.errors import Conflict, NotFound, StoreError
from kurolproxy.storage.passwords import BadPassword, check_password
from kurolproxy.storage.people import By
from kurolproxy.storage.records import checked_email, checked_text

PATH: Final = "/dashboard/signup"


async def show(visit: Visit) -> web.Response:
    """Show the form; where sign-up is not open, whom to ask."""
    if visit.site.signup != "open":
        return visit.render("signup.html", status=403, email="", name="", wrong={})
    return entering.form(visit, "signup.html", email="", name="", wrong={})


async def sign_up(visit: Visit) -> web.Response:
    """Make an account on the plan of such accounts, and log its owner in."""
    if visit.site.signup != "open":
        return await show(visit)
    desk = visit.desk
    wait_s = desk.attempts.sign_up(desk.address_of(visit.request), desk.times.now())
    if wait_s:
        raise PageError(429, "too-many", retry_after_s=wait_s)
    email, name = visit.form.get("email", ""), visit.form.get("name", "")
    try:
        account_id = await _made(visit, email, name, visit.form.get("password", ""))
    except (StoreError, BadPassword) as error:
        wrong = entering.faults(visit, error)
        return entering.form(visit, "signup.html", 422, email=email, name=name, wrong=wrong)
    return await entering.enter(visit, await desk.accounts.get_account(account_id))


async def _made(visit: Visit, email: str, name: str, password: str) -> int:
    # What costs nothing is looked at first.
    email, name = checked_email(email), checked_text(name, "name")
    check_password(password)
    with suppress(NotFound):
        await visit.desk.accounts.get_account(email)
        raise Conflict("there is an account with this email already", field="email")
    wanted = {
        "email": email,
        "name": name,
        "plan": visit.site.signup_plan,
        "password_hash": await entering.hashed(visit, password),
    }
    # Of two who take an email at the same time one is told so here.
    made = await visit.desk.people.call("users.create", wanted, By(email))
    return int(made["id"])


ROUTES: Final = (
    Route("GET", PATH, show, needs="nobody"),
    Route("POST", PATH, sign_up, needs="nobody"),
)
