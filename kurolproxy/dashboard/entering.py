"""How somebody comes in: forms for visitors, passwords that are proven, sessions that begin."""

from __future__ import annotations

import re
from typing import Any, Final

from aiohttp import web

from kurolproxy.dashboard import answers, guard
from kurolproxy.dashboard.answers import PageError
from kurolproxy.dashboard.visit import Visit
from kurolproxy.policy.keys import Account
from kurolproxy.storage.errors import NotFound, StoreError
from kurolproxy.storage.passwords import BadPassword, PasswordsBusy
from kurolproxy.storage.records import Who, folded
from kurolproxy.storage.sessions import make_token

ENTERED: Final = "/dashboard/login/done"
"""Where a browser shows that it kept the cookie of its new session."""
HOME: Final = "/dashboard/"

_BUSY_S: Final = 2.0
# Behind the login: pages, no files, and none of those that bring somebody in or out.
_OWN: Final = re.compile(r"/(?:dashboard|docs)(?:[/?][^\\\s]*)?", re.ASCII)
_DOORS: Final = re.compile(r"/dashboard/(?:login|logout|signup|link|static|live)\b.*")
_LONGEST_NEXT: Final = 2_000


def own_path(wanted: str) -> str:
    """Return where to go on: a page of ours that was asked for, or the first one."""
    plain = wanted.isascii() and wanted.isprintable() and len(wanted) <= _LONGEST_NEXT
    if plain and _OWN.fullmatch(wanted) and not _DOORS.fullmatch(wanted) and ".." not in wanted:
        return wanted
    return HOME


def form(visit: Visit, template: str, status: int = 200, **values: Any) -> web.Response:
    """Return a page with a form for a visitor, who gets a token for it where he has none."""
    is_new = not visit.token
    if is_new:
        visit.token = make_token()
    response = visit.render(template, status=status, **values)
    if is_new:
        guard.set_form_token(response, visit.token, visit.site)
    return response


async def proven(visit: Visit, who: Who, name: str, password: str) -> str | None:
    """Return the hash that a password matches; None when it matches none.

    An account that does not exist, or has no password, costs what any other does.

    Args:
        who: the account, by email or id.
        name: what it is counted by.

    Raises:
        PageError: there were too many attempts (429), or too many people log in now (503);
            the password was not looked at.
    """
    desk, name = visit.desk, folded(name)
    address = desk.address_of(visit.request)
    limit = visit.site.failed_logins_per_minute
    wait_s = desk.attempts.begin(address, name, desk.times.now(), limit)
    if wait_s:
        raise PageError(429, "too-many", retry_after_s=wait_s)
    try:
        # One read and one look, also for an account that does not exist.
        hashed = await _hash_of(visit, who)
        right = await desk.passwords.matches(hashed, password, address=address)
    except PasswordsBusy as error:
        desk.attempts.forgive(address, name)
        raise PageError(503, "busy", retry_after_s=_BUSY_S) from error
    if not right:
        return None
    desk.attempts.forgive(address, name)
    return hashed


async def _hash_of(visit: Visit, who: Who) -> str | None:
    try:
        return await visit.desk.accounts.get_password_hash(who)
    except NotFound:
        return None


async def hashed(visit: Visit, password: str) -> str:
    """Return the hash of a new password.

    Raises:
        BadPassword: it cannot be one.
        PageError: too many people log in now.
    """
    try:
        address = visit.desk.address_of(visit.request)
        return await visit.desk.passwords.hash(password, address=address)
    except PasswordsBusy as error:
        raise PageError(503, "busy", retry_after_s=_BUSY_S) from error


def faults(visit: Visit, error: StoreError | BadPassword) -> dict[str, str]:
    """Return what was wrong with a form, by field; "" is none of them."""
    field = "password" if isinstance(error, BadPassword) else error.field
    return {field: visit.sentence(error)}


async def enter(
    visit: Visit, account: Account, target: str = HOME, *, password_hash: str | None = None
) -> web.Response:
    """Log somebody in: a new session, a new token; the browser goes on to a page of ours.

    Args:
        password_hash: what his password was checked against.

    Raises:
        NotFound: the account was disabled or changed meanwhile.
    """
    response = visit.redirect(ENTERED, next=target)
    await begin_session(visit, account, response, password_hash=password_hash)
    return response


async def begin_session(
    visit: Visit,
    account: Account,
    response: web.Response,
    *,
    password_hash: str | None = None,
) -> None:
    """Give the browser a new session, in the place of the one it had."""
    _, token = await visit.desk.logins.create(
        account.id,
        address=visit.desk.address_of(visit.request),
        agent=visit.request.headers.get("user-agent", ""),
        instead_of=visit.session,
        password_hash=password_hash,
    )
    guard.set_token(response, token, visit.site)


def arrived(visit: Visit) -> web.Response:
    """Send a browser on that brought its new cookie along; else say why it did not."""
    if not visit.known:
        return visit.without_cookies()
    return answers.redirect(own_path(visit.query.get("next", "")))
