"""The pages of admins in a browser: an account's life, what comes by itself, what refreshes."""

from __future__ import annotations

import pytest
from playwright.async_api import Page, expect

from tests.browser.conftest import View, Viewer
from tests.browser.looking import overflow, violations
from tests.browser.sites import HOSTILE, Site
from tests.browser.test_overview import call

ROOT = "root@example.org"
ADMIN = "/dashboard/admin"
HIDE = """() => Object.defineProperty(document, "hidden", {value: true, configurable: true})"""
_SHAPE = """(body) => [...body.rows].map((row) => [row.id, ...[...row.cells].map((cell) => [
  cell.tagName, cell.className, cell.dataset.label, cell.innerText.trim(),
  ...[...cell.querySelectorAll("a, .badge, code")].map((each) => each.href || each.className),
])])"""
SHOW = """() => Object.defineProperty(document, "hidden", {value: false, configurable: true})"""


async def admin_at(site: Site, view: View, path: str, *, width: int = 1280) -> Viewer:
    """Open a page of admins."""
    await site.account(ROOT, role="admin")
    viewer = await view(site, ROOT, width=width)
    await viewer.to(ADMIN + path)
    return viewer


async def test_admin_makes_an_account_and_changes_its_plan(site: Site, view: View) -> None:
    viewer = await admin_at(site, view, "/accounts")
    page = viewer.page
    await page.get_by_role("link", name="New account or invitation").click()
    form = page.locator("form", has=page.get_by_role("button", name="Make account"))
    await form.get_by_label("Email").fill("new@example.org")
    await form.get_by_label("Name").fill(HOSTILE[0])
    await form.get_by_label("Plan").select_option("solo")
    await form.get_by_role("button").click()
    await expect(page.locator("#link")).to_contain_text("/dashboard/link/")
    await expect(page.locator("h1")).to_have_text("new@example.org")
    await page.get_by_label("Plan").select_option("team")
    await page.get_by_role("button", name="Save").click()
    await expect(page.locator(".said")).to_contain_text("The account was changed")
    await expect(page.get_by_label("Plan")).to_have_value("team")
    await expect(page.get_by_label("Name")).to_have_value(HOSTILE[0])
    assert (await site.gateway.accounts.get_account("new@example.org")).plan == "team"
    assert await violations(page) == []


async def test_accounts_are_searched_while_one_types(site: Site, view: View) -> None:
    for name in ("ann", "bob"):
        await site.account(f"{name}@example.org")
    viewer = await admin_at(site, view, "/accounts")
    rows = viewer.page.locator("#found tbody tr")
    await expect(rows).to_have_count(3)
    await viewer.page.get_by_label("Email or name").press_sequentially("bob@")
    await expect(rows).to_have_count(1)
    await viewer.page.get_by_label("State").select_option("disabled")
    await expect(viewer.page.locator("#found")).to_contain_text("No account matches")


async def test_key_of_an_account_is_revoked_after_a_question(site: Site, view: View) -> None:
    account = await site.account("ann@example.org")
    await site.key(account.email, HOSTILE[1])
    viewer = await admin_at(site, view, f"/accounts/{account.id}", width=390)
    viewer.watch.agrees = True
    assert await violations(viewer.page) == []
    assert await overflow(viewer.page) <= 0
    await viewer.page.get_by_role("button", name="Revoke").click()
    await expect(viewer.page.locator("#main")).to_contain_text("It has no key")
    await expect(viewer.page.locator("#main")).to_contain_text(HOSTILE[1])


async def test_requests_come_to_the_top_of_the_list_as_they_end(site: Site, view: View) -> None:
    key = await site.key((await site.account("ann@example.org")).email, HOSTILE[0])
    await call(site, key)
    viewer = await admin_at(site, view, "/requests")
    page = viewer.page
    await page.locator("[data-live-state]", has_text="Live").wait_for()
    rows = page.locator("#newest tr")
    await expect(rows).to_have_count(1)
    for count in (2, 3):
        await call(site, key, stream=count == 3)
        await expect(rows).to_have_count(count)
    came = await shape_of(page)
    await page.reload()
    await expect(rows).to_have_count(3)
    # What came by itself looks as what the server writes.
    assert await shape_of(page) == came
    assert await violations(page) == []


async def shape_of(page: Page) -> list[object]:
    """Return what the rows of the list look like."""
    return list(await page.locator("#newest").evaluate(_SHAPE))


@pytest.mark.parametrize("name", ["upstreams", "system"])
async def test_page_refreshes_itself_unless_nobody_sees_it_and_keeps_the_focus(
    site: Site, view: View, name: str
) -> None:
    await site.account(ROOT, role="admin")
    viewer = await view(site, ROOT)
    page = viewer.page
    await page.clock.install()
    await viewer.to(f"{ADMIN}/{name}")
    asked: list[str] = []
    page.on("request", lambda each: asked.append(each.url) if "/now" in each.url else None)
    focused = page.locator("#now a") if name == "system" else page.locator("a.brand")
    await focused.first.focus()
    await page.evaluate(HIDE)
    await page.clock.fast_forward(6_000)
    assert asked == []
    await page.evaluate(SHOW)
    async with page.expect_response(lambda response: response.url.endswith("/now")) as answered:
        await page.clock.fast_forward(6_000)
    assert (await answered.value).status == 200
    await expect(page.locator("#now .small").first).to_contain_text("As of")
    await expect(focused.first).to_be_focused()
    assert len(asked) == 1
