"""What somebody sees who starts the gateway for the first time: link, account, key, live usage."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio
from playwright.async_api import Page

from kurolproxy.demo.vendor import DemoVendor
from tests.browser.conftest import LONG, View, Viewer
from tests.browser.looking import violations
from tests.browser.sites import PASSWORD
from tests.cli.sites import Served, Site, call, clean_environment, told

CALLS = 100 if LONG else 5
SHOWN_S = 1.0
"""How soon a finished request is to show; a test asserts ten times that."""

# Resolves with the moment at which one more request stands in the list than before.
APPEARED = """(before) => new Promise((resolve) => {
  const body = document.querySelector("#last tbody");
  const look = () => {
    const first = body.rows[0]?.dataset.id;
    if (first === undefined || first === before) return false;
    resolve(Date.now() / 1000);
    return true;
  };
  if (!look()) new MutationObserver((_, observer) => look() && observer.disconnect())
    .observe(body, { childList: true });
})"""
NEWEST = "document.querySelector('#last tbody').rows[0]?.dataset.id ?? null"


async def shell(command: str) -> str:
    """Run a line as somebody would who has copied it; return what it prints."""
    process = await asyncio.create_subprocess_exec(
        *("bash", "-euc", command),
        env=clean_environment(),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode == 0, err.decode()
    return out.decode()


async def set_up(viewer: Viewer, link: str) -> None:
    """Make the first account by its link."""
    page = viewer.page
    await page.goto(link)
    assert await violations(page) == []
    await page.get_by_label("Email").fill("ann@example.org")
    await page.get_by_label("Name").fill("Ann Example")
    await page.get_by_label("Password").fill(PASSWORD)
    if await page.get_by_label("Plan").count():
        await page.get_by_label("Plan").select_option("team")
    await page.get_by_role("button", name="Make the account").click()
    await page.get_by_role("heading", name="Overview").wait_for()


async def make_key(page: Page, label: str) -> tuple[str, str]:
    """Make a key on its page; return the secret and the curl line beside it."""
    await page.get_by_role("link", name="Keys", exact=True).click()
    await page.get_by_label("Label").fill(label)
    await page.get_by_role("button", name="Make key").click()
    secret = await page.locator("#secret").inner_text()
    await page.locator("[data-copy='try-curl']").click()
    await page.get_by_text("Copied", exact=True).wait_for()
    return secret, await page.evaluate("navigator.clipboard.readText()")


@pytest_asyncio.fixture(loop_scope="session")
async def fresh(tmp_path: Path) -> AsyncIterator[tuple[Site, Served]]:
    """Yield an installation that was just started for the first time, as a process."""
    vendor = DemoVendor(api_key="vendor-key")
    await vendor.start()
    site = Site(tmp_path)
    site.write(vendor_url=vendor.base_url)
    try:
        async with site.serving() as served:
            yield site, served
    finally:
        await vendor.stop()


async def test_first_start_to_live_usage_and_to_a_key_that_is_revoked(
    fresh: tuple[Site, Served], view: View, capsys: pytest.CaptureFixture[str]
) -> None:
    site, served = fresh
    viewer = await view(served)
    await viewer.context.grant_permissions(["clipboard-read", "clipboard-write"])
    await set_up(viewer, str((await told(site, "users", "setup-link"))["url"]))
    page = viewer.page
    assert await page.get_by_text("Three steps to your first request").is_visible()
    secret, curl = await make_key(page, "laptop")
    assert secret in curl
    assert await violations(page) == []

    await page.get_by_role("link", name="Overview").click()
    await page.get_by_text("Live", exact=True).wait_for()
    assert '"chat.completion"' in await shell(curl)
    await page.get_by_role("rowheader").filter(has_text="demo-").wait_for()
    assert not await page.get_by_text("Three steps to your first request").is_visible()

    delays = [await delay(page, served, secret) for _ in range(CALLS)]
    with capsys.disabled():
        print(
            f"\n{CALLS} requests shown live after {statistics.median(delays) * 1000:.0f} ms"
            f" (median), {max(delays) * 1000:.0f} ms (largest)"
        )
    assert max(delays) < 10 * SHOWN_S

    viewer.watch.agrees = True
    await page.get_by_role("link", name="Keys", exact=True).click()
    await page.get_by_role("link", name="laptop").click()
    await page.get_by_role("button", name="Revoke").click()
    await page.get_by_text("Revoked: the next request with this key is refused.").wait_for()
    async with aiohttp.ClientSession() as http:
        assert (await call(http, served.base_url, secret)).status == 401


async def delay(page: Page, served: Served, key: str) -> float:
    """Return the seconds from the end of a call until it stands on the page."""
    before = await page.evaluate(NEWEST)
    seen = asyncio.ensure_future(page.evaluate(APPEARED, before))
    await asyncio.sleep(0)
    async with aiohttp.ClientSession() as http:
        assert (await call(http, served.base_url, key)).status == 200
    ended = time.time()
    appeared: float = await asyncio.wait_for(seen, 10 * SHOWN_S)
    return max(0.0, appeared - ended)
