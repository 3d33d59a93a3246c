"""A browser without a screen: it keeps cookies, and sends what the pages' forms would."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

import aiohttp
import pytest
from argon2 import PasswordHasher
from yarl import URL

from kurolproxy.dashboard.guard import csrf_of
from kurolproxy.policy.keys import Account
from kurolproxy.policy.sessions import Session, digest
from tests.conftest import Running

PASSWORD = "correct horse battery"  # of a test
HASH = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1).hash(PASSWORD)
"""As the gateways of tests make it."""


@dataclass(slots=True)
class Page:
    """What was answered."""

    status: int
    text: str
    headers: aiohttp.typedefs.LooseHeaders = field(repr=False)
    url: str


@dataclass(slots=True)
class Browser:
    """Somebody at a gateway's dashboard.

    Attributes:
        token: of the session's cookie; "" without one.
        form_token: of the cookie that visitors get for the forms.
        cookie: its name; that for the forms has "-form" behind it.
    """

    base_url: str
    session: aiohttp.ClientSession
    token: str = ""
    account: Account | None = None
    form_token: str = ""
    cookie: str = "kurol"

    async def get(self, path: str, *, htmx: bool = False, **headers: str) -> Page:
        """Fetch a page; redirects are not followed."""
        if htmx:
            headers["hx-request"] = "true"
        return await self._send("GET", path, None, headers)

    async def post(
        self, path: str, fields: dict[str, str] | None = None, *, htmx: bool = False, **headers: str
    ) -> Page:
        """Send a form as a page of the dashboard would."""
        given = {"csrf": csrf_of(self.token or self.form_token), **(fields or {})}
        headers.setdefault("origin", self.base_url)
        if htmx:
            headers["hx-request"] = "true"
        return await self._send("POST", path, given, headers)

    async def _send(
        self, method: str, path: str, fields: dict[str, str] | None, headers: dict[str, str]
    ) -> Page:
        mine = [(self.cookie, self.token), (f"{self.cookie}-form", self.form_token)]
        if "cookie" not in headers and any(token for _, token in mine):
            headers["cookie"] = "; ".join(f"{name}={token}" for name, token in mine if token)
        async with self.session.request(
            method, self.base_url + path, data=fields, headers=headers, allow_redirects=False
        ) as answer:
            text = await answer.text()
            for cookie in answer.headers.getall("set-cookie", ()):
                name, _, token = cookie.partition(";")[0].partition("=")
                token = token.strip('"')
                if name == self.cookie:
                    self.token = token
                elif name == f"{self.cookie}-form":
                    self.form_token = token
            return Page(answer.status, text, answer.headers, str(URL(path)))


LogIn = Callable[..., Awaitable[Browser]]


async def account_with_password(
    running: Running, email: str = "ann@example.org", *, role: str = "user", active: bool = True
) -> Account:
    """Make an account that logs in with ``PASSWORD``."""
    accounts = running.gateway.accounts
    made = await accounts.create_account(email, "default", "Ann", role, HASH)
    return made if active else await accounts.disable(email)


async def log_in_by_password(
    browser: Browser, email: str = "ann@example.org", password: str = PASSWORD, next_: str = ""
) -> Page:
    """Log in as a person does, by the form."""
    if not (browser.token or browser.form_token):
        await browser.get("/dashboard/login")
    fields = {"email": email, "password": password, "next": next_}
    return await browser.post("/dashboard/login", fields)


@pytest.fixture
async def anonymous(http: aiohttp.ClientSession) -> Callable[[Running], Browser]:
    """Return a function: (gateway) -> somebody who is not logged in."""
    return lambda running: Browser(running.base_url, http)


@pytest.fixture
async def log_in() -> AsyncIterator[LogIn]:
    """Yield a function: (gateway, email, role=, plan=) -> somebody who is logged in."""
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:

        async def run(
            running: Running,
            email: str = "ann@example.org",
            *,
            role: str = "user",
            plan: str = "default",
        ) -> Browser:
            gateway = running.gateway
            known = {each.email: each for each in await gateway.accounts.list_accounts()}
            account = known.get(email)
            if account is None:
                account = await gateway.accounts.create_account(email, plan, role=role)
            token = secrets.token_urlsafe(32)
            now = gateway.state.clock.unix()
            gateway.sessions.put(Session(secrets.token_hex(6), account.id, digest(token), now, now))
            return Browser(running.base_url, session, token, account)

        yield run
