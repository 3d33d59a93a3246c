"""A real browser logs in and out, comes by links of other sites, and loses its cookies."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from tests.browser.conftest import View, Viewer
from tests.browser.looking import violations
from tests.browser.sites import PASSWORD, Site

SECURITY = "/dashboard/account/security"
EMAIL = "ann@example.org"


async def with_password(site: Site) -> None:
    """Make an account that logs in with ``PASSWORD``."""
    account = await site.account(EMAIL)
    hashed = await site.gateway.passwords.hash(PASSWORD)
    await site.gateway.accounts.set_password(account.id, hashed)


async def log_in(viewer: Viewer, password: str = PASSWORD) -> None:
    """Fill in the form of the login, and send it."""
    await viewer.page.get_by_label("Email").fill(EMAIL)
    await viewer.page.get_by_label("Password").fill(password)
    await viewer.page.get_by_role("button", name="Log in").click()


async def test_somebody_logs_in_changes_his_password_and_logs_out(site: Site, view: View) -> None:
    await with_password(site)
    viewer = await view(site)
    page = viewer.page
    viewer.expect("status of 422")
    await viewer.to(SECURITY)
    await log_in(viewer, "not the password")
    await page.get_by_text("Email or password is wrong.").wait_for()
    assert await violations(page) == []
    await log_in(viewer)
    await page.get_by_role("heading", name="Security").wait_for()
    assert page.url == site.base_url + SECURITY
    assert "Chrome on Linux" in await page.inner_text("main")
    await page.get_by_label("Current password").fill(PASSWORD)
    await page.get_by_label("New password").fill("another horse battery")
    await page.get_by_role("button", name="Change the password").click()
    await page.get_by_text("Your password was changed.").wait_for()
    await page.get_by_role("navigation").get_by_role("button", name="Log out").click()
    await page.get_by_role("heading", name="Log in").wait_for()
    await viewer.to(SECURITY)
    await page.get_by_role("heading", name="Log in").wait_for()


@asynccontextmanager
async def other_site(target: str) -> AsyncIterator[str]:
    """Serve a page that links somewhere, by a name that is another site; yield its address."""

    async def show(_: web.BaseRequest) -> web.Response:
        return web.Response(text=f'<a href="{target}">There</a>', content_type="text/html")

    runner = web.ServerRunner(web.Server(show))
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://localhost:{runner.addresses[0][1]}/"
    finally:
        await runner.cleanup()


async def test_link_of_another_site_does_not_show_the_login_to_who_is_logged_in(
    site: Site, view: View
) -> None:
    viewer = await view(site, EMAIL)
    async with other_site(site.base_url + SECURITY) as address:
        viewer.expect(f"request: {address}")
        for _ in range(2):
            await viewer.page.goto(address)
            await viewer.page.get_by_role("link", name="There").click()
            await viewer.page.get_by_role("heading", name="Security").wait_for()
    stranger = await view(site)
    async with other_site(site.base_url + SECURITY) as address:
        stranger.expect(f"request: {address}")
        await stranger.page.goto(address)
        await stranger.page.get_by_role("link", name="There").click()
        await stranger.page.get_by_role("heading", name="Log in").wait_for()


async def test_browser_that_lost_its_cookie_is_told_the_reason(site: Site, view: View) -> None:
    await with_password(site)
    viewer = await view(site)
    viewer.expect("status of 403")
    await viewer.to("/dashboard/login")
    await viewer.context.clear_cookies()
    await log_in(viewer)
    await viewer.page.get_by_text("The browser blocks cookies").wait_for()
    assert await violations(viewer.page) == []
    await viewer.page.get_by_role("link", name="To the login").click()
    await log_in(viewer)
    await viewer.page.get_by_role("heading", name="Overview").wait_for()
