"""An admin makes an account and changes its plan; its owner sees both; names stay text."""

from __future__ import annotations

import re

import aiohttp
import pytest

from tests.browser.conftest import View
from tests.browser.looking import overflow, violations
from tests.browser.sites import HOSTILE, PASSWORD, Site


async def test_admin_makes_an_account_and_its_owner_sees_the_plan_change(
    site: Site, view: View
) -> None:
    admin = await view(site, "ann@example.org", role="admin")
    page = admin.page
    await admin.to("/dashboard/admin/accounts")
    await page.get_by_role("link", name="New account or invitation").click()
    make = page.get_by_role("region", name="Make an account")
    await make.get_by_label("Email").fill("bob@example.org")
    await make.get_by_label("Plan").select_option("solo")
    await make.get_by_role("button", name="Make account").click()
    link = await page.locator("#link").inner_text()
    assert await violations(page) == []

    owner = await view(site)
    await owner.page.goto(link)
    await owner.page.get_by_label("Password").fill(PASSWORD)
    await owner.page.get_by_role("button", name="Set the password").click()
    await owner.page.get_by_role("heading", name="Overview").wait_for()
    await owner.to("/dashboard/account")
    assert "60 a minute" in await owner.page.inner_text("main")

    await page.get_by_label("Plan").select_option("team")
    await page.get_by_role("button", name="Save").click()
    await page.get_by_text("The account was changed").wait_for()
    await owner.page.reload()
    assert "600 a minute" in await owner.page.inner_text("main")
    # No admin: the pages of operation are not for him, and do not name anybody.
    owner.expect("status of 403")
    await owner.to("/dashboard/admin/accounts")
    assert "ann@example.org" not in await owner.page.inner_text("body")

    admin.watch.agrees = True
    await page.get_by_role("button", name="Disable").click()
    await page.get_by_text("The account is disabled").wait_for()
    await owner.to("/dashboard/account")
    await owner.page.get_by_role("heading", name="Log in").wait_for()


@pytest.mark.parametrize("name", [HOSTILE[0] + HOSTILE[1], HOSTILE[2]])
async def test_names_stay_text_wherever_they_stand(site: Site, view: View, name: str) -> None:
    # Who runs a script opens a dialog, and that fails the test at its end.
    bob = await site.account("bob@example.org", name=name)
    key, secret = await site.gateway.accounts.create_key(bob.email, label=name)
    viewer = await view(site, "ann@example.org", role="admin")
    viewer.expect("status of 40[04]")
    for path, shown in {
        "/dashboard/admin/accounts": True,
        f"/dashboard/admin/accounts/{bob.id}": True,
        "/dashboard/admin/accounts?q=" + quoted(name): True,
        "/dashboard/admin/requests?model=" + quoted(name): False,
        "/dashboard/admin/requests?id=" + quoted(name): False,
        "/dashboard/admin/audit?subject=" + quoted(name): False,
        "/dashboard/admin/config?q=" + quoted(name): False,
        "/dashboard/models?q=" + quoted(name): False,
        "/dashboard/usage?by=" + quoted(name): False,
        "/dashboard/connect?tool=codex&model=" + quoted(name): False,
        "/dashboard/playground?model=" + quoted(name): False,
        "/dashboard/login?next=" + quoted(name): False,
        "/dashboard/" + quoted(name): False,
    }.items():
        await viewer.to(path)
        values = await viewer.page.evaluate(
            "[...document.querySelectorAll('input')].map((each) => each.value).join(' ')"
        )
        if shown:
            assert name in values + await viewer.page.inner_text("body"), path
        assert await viewer.page.locator("img, [onerror], a[href^='javascript:']").count() == 0
    owner = await view(site, "bob@example.org")
    for path in ("/dashboard/keys", f"/dashboard/keys/{key.id}", "/dashboard/account"):
        await owner.to(path)
        assert await owner.page.locator("img, [onerror]").count() == 0
    await owner.to("/dashboard/")
    await owner.page.get_by_text("Live", exact=True).wait_for()
    # A model of that name is refused; what is told live is text, too.
    await ask(site, secret, name)
    await ask(site, secret, "demo-echo")
    await owner.page.get_by_role("rowheader", name="demo-echo").wait_for()
    assert name in await owner.page.inner_text("main")
    assert await owner.page.locator("img, [onerror]").count() == 0


@pytest.mark.parametrize("width", [1280, 390])
async def test_names_as_long_as_they_may_be_fit_into_the_window(
    site: Site, view: View, width: int
) -> None:
    bob = await site.account(f"{'a' * 60}@{'b' * 60}.example.org", role="admin", name="x" * 200)
    key, _ = await site.gateway.accounts.create_key(bob.email, label="y" * 200)
    viewer = await view(site, bob.email, width=width)
    for path in (
        "/dashboard/",
        "/dashboard/keys",
        f"/dashboard/keys/{key.id}",
        "/dashboard/admin/accounts",
        f"/dashboard/admin/accounts/{bob.id}",
    ):
        await viewer.to(path)
        assert await overflow(viewer.page) == 0, path
        # Nor is what stands behind them pushed out of their tables.
        tables = "[...document.querySelectorAll('.scroll')]"
        wide = f"{tables}.map((each) => each.scrollWidth - each.clientWidth)"
        assert max(await viewer.page.evaluate(wide), default=0) <= 0, path


def quoted(text: str) -> str:
    """Return a text for a query."""
    return re.sub(r"[^\w]", lambda found: f"%{ord(found[0]):02x}", text)


async def ask(site: Site, key: str, model: str) -> None:
    """Call a model, whatever is answered."""
    body = {"model": model, "messages": [{"role": "user", "content": "Hi!"}]}
    async with (
        aiohttp.ClientSession() as http,
        http.post(
            f"{site.base_url}/v1/chat/completions",
            json=body,
            headers={"authorization": f"Bearer {key}"},
        ) as answer,
    ):
        await answer.read()
