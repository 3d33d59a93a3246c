"""Who sees what, and what every answer of the dashboard carries."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from kurolproxy.dashboard.guard import csrf_of
from kurolproxy.storage.changes import AccountChange
from tests.conftest import Running
from tests.dashboard.conftest import Browser, LogIn

HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self';"
    " connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'self';"
    " frame-ancestors 'none'",
    "x-frame-options": "DENY",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-store",
}


@pytest.mark.parametrize("path", ["/dashboard/nothing", "/dashboard/static/0/none.css", "/docs/x"])
async def test_unknown_page_is_a_404_with_all_headers(
    gateway: Running, anonymous: Callable[[Running], Browser], path: str
) -> None:
    page = await anonymous(gateway).get(path)
    assert page.status == 404
    assert "Not found" in page.text
    assert {name: page.headers.get(name) for name in HEADERS} == HEADERS
    assert "aiohttp" not in page.headers["server"]


async def test_bare_address_leads_browsers_to_the_dashboard_and_probes_nowhere(
    gateway: Running, anonymous: Callable[[Running], Browser]
) -> None:
    browser = anonymous(gateway)
    page = await browser.get("/", accept="text/html,*/*")
    assert (page.status, page.headers["location"]) == (303, "/dashboard/")
    probe = await browser.get("/", accept="*/*")
    assert (probe.status, probe.text) == (200, "")


async def test_log_in_helper_makes_a_session_that_is_known(gateway: Running, log_in: LogIn) -> None:
    browser = await log_in(gateway)
    assert browser.account is not None
    page = await browser.get("/dashboard/nothing")
    assert page.status == 404


async def _demote(running: Running, browser: Browser) -> None:
    assert browser.account is not None
    await running.gateway.accounts.change(browser.account.id, AccountChange(role="user"))


async def _disable(running: Running, browser: Browser) -> None:
    assert browser.account is not None
    await running.gateway.accounts.disable(browser.account.id)


async def _log_out(running: Running, browser: Browser) -> None:
    assert browser.account is not None
    await running.gateway.logins.end_all(browser.account.id)


@pytest.mark.parametrize(
    ("meanwhile", "status"), [(_demote, 403), (_disable, 401), (_log_out, 401)]
)
async def test_who_may_not_any_more_gains_nothing_by_a_form_that_comes_slowly(
    gateway: Running,
    log_in: LogIn,
    meanwhile: Callable[[Running, Browser], Awaitable[None]],
    status: int,
) -> None:
    eve = await log_in(gateway, "eve@example.org", role="admin")
    await log_in(gateway, "root@example.org", role="admin")
    asked, ended = asyncio.Event(), asyncio.Event()

    async def form() -> AsyncIterator[bytes]:
        yield b"email=mole@example.org&plan=default&role=admin&name="
        asked.set()
        await ended.wait()
        yield f"&csrf={csrf_of(eve.token)}".encode()

    headers = {
        "cookie": f"kurol={eve.token}",
        "origin": eve.base_url,
        "content-type": "application/x-www-form-urlencoded",
    }

    async def send() -> int:
        url = f"{eve.base_url}/dashboard/admin/accounts"
        async with eve.session.post(url, data=form(), headers=headers) as answer:
            return answer.status

    sent = asyncio.create_task(send())
    await asked.wait()
    # The head came before this, by the same loop.
    assert (await eve.get("/dashboard/admin/accounts")).status == 200
    await meanwhile(gateway, eve)
    ended.set()
    assert await sent == status
    emails = [each.email for each in await gateway.gateway.accounts.list_accounts()]
    assert "mole@example.org" not in emails
