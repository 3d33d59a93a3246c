"""The frame in a browser: what it shows, what it says, and that nothing breaks the policy."""

from __future__ import annotations

import pytest

from kurolproxy.dashboard.rendering import ADMIN_NAV, NAV
from tests.browser.conftest import View
from tests.browser.sites import Site

# What the frame's script finds when it copies: no clipboard, or one that says no.
CLIPBOARDS = {
    "as it is": "",
    "none": "Object.defineProperty(navigator, 'clipboard', {value: undefined});",
    "refused": "navigator.clipboard.writeText = () => Promise.reject(new Error('no')); 0",
}
PIECES = """
for (const [tag, text] of [["pre", "curl --fail"], ["textarea", "export A=1"]]) {
  const source = document.createElement(tag), button = document.createElement("button");
  source.id = `made-${tag}`;
  source.textContent = text;
  button.dataset.copy = source.id;
  button.textContent = `copy ${tag}`;
  document.querySelector("main").append(source, button);
}
"""


async def test_icons_of_another_file_show_under_the_policy(site: Site, view: View) -> None:
    viewer = await view(site, "ann@example.org", role="admin")
    await viewer.to("/dashboard/keys")
    # Those that were not fetched have no size.
    sizes = await viewer.page.evaluate(
        "[...document.querySelectorAll('nav .icon use')].map((each) => each.getBBox().width)"
    )
    assert len(sizes) == len(NAV) + len(ADMIN_NAV)
    assert min(sizes) > 5


@pytest.mark.parametrize("clipboard", list(CLIPBOARDS))
async def test_text_is_copied_with_and_without_a_clipboard(
    site: Site, view: View, clipboard: str
) -> None:
    viewer = await view(site, "ann@example.org")
    await viewer.context.grant_permissions(["clipboard-read", "clipboard-write"])
    await viewer.to("/dashboard/keys")
    read = await viewer.page.evaluate_handle("navigator.clipboard")
    await viewer.page.evaluate(PIECES + CLIPBOARDS[clipboard])
    for tag, text in (("pre", "curl --fail"), ("textarea", "export A=1")):
        await viewer.page.get_by_role("button", name=f"copy {tag}").press("Enter")
        await viewer.page.get_by_text("Copied", exact=True).wait_for()
        assert await read.evaluate("(found) => found.readText()") == text
        await viewer.page.evaluate("document.getElementById('said').textContent = ''")


async def test_text_is_marked_when_nothing_copies_it(site: Site, view: View) -> None:
    viewer = await view(site, "ann@example.org")
    await viewer.to("/dashboard/keys")
    await viewer.page.evaluate(PIECES + CLIPBOARDS["none"] + "document.execCommand = () => false;")
    await viewer.page.get_by_role("button", name="copy pre").click()
    await viewer.page.get_by_text("Marked: press Ctrl+C to copy").wait_for()
    assert await viewer.page.evaluate("getSelection().toString()") == "curl --fail"


async def test_part_of_a_page_that_is_refused_is_told_and_not_put_into_the_page(
    site: Site, view: View
) -> None:
    viewer = await view(site, "ann@example.org")
    viewer.expect("status of 404")
    await viewer.to("/dashboard/keys")
    before = await viewer.page.inner_text("main")
    await viewer.page.evaluate(
        "htmx.ajax('GET', '/dashboard/nothing', {target: 'main', push: 'true'})"
    )
    said = viewer.page.get_by_role("status").filter(has_text="There is no such page")
    await said.wait_for()
    assert await viewer.page.inner_text("main") == before
    assert viewer.page.url.endswith("/dashboard/keys")


async def test_form_with_what_is_wrong_about_it_is_put_into_the_page(
    site: Site, view: View
) -> None:
    viewer = await view(site, "ann@example.org")
    viewer.expect("status of 422")
    await viewer.to("/dashboard/keys")
    await viewer.page.route(
        "**/made-up", lambda route: route.fulfill(status=422, body="<p>Choose a plan.</p>")
    )
    await viewer.page.evaluate("htmx.ajax('POST', '/dashboard/made-up', {target: 'main'})")
    await viewer.page.locator("main").get_by_text("Choose a plan.").wait_for()


async def test_way_back_leads_through_what_was_chosen(site: Site, view: View) -> None:
    viewer = await view(site, "ann@example.org")
    page = viewer.page
    await viewer.to("/dashboard/connect?tool=codex&model=demo-echo")
    await page.get_by_label("Model", exact=True).select_option("demo-slow")
    await page.wait_for_url("**model=demo-slow*")
    await page.locator("pre").filter(has_text="demo-slow").first.wait_for()
    await page.go_back()
    await page.wait_for_url("**model=demo-echo*")
    await page.locator("pre").filter(has_text="demo-echo").first.wait_for()
    assert await page.get_by_label("Model", exact=True).input_value() == "demo-echo"


async def test_session_that_ended_leads_a_part_of_a_page_to_the_login(
    site: Site, view: View
) -> None:
    viewer = await view(site, "ann@example.org")
    viewer.expect("status of 40[14]")
    await viewer.to("/dashboard/keys")
    await viewer.context.clear_cookies()
    async with viewer.page.expect_navigation(url="**/dashboard/login?next=*"):
        await viewer.page.evaluate("htmx.ajax('GET', '/dashboard/keys', {target: 'main'})")


async def test_gateway_that_is_gone_is_told(site: Site, view: View) -> None:
    viewer = await view(site, "ann@example.org")
    viewer.expect("ERR_INTERNET_DISCONNECTED", "htmx:error")
    await viewer.to("/dashboard/keys")
    await viewer.context.set_offline(True)
    await viewer.page.evaluate("htmx.ajax('GET', '/dashboard/keys', {target: 'main'})")
    await viewer.page.get_by_text("The server does not answer.").wait_for()


async def test_theme_stays_as_it_was_chosen(site: Site, view: View) -> None:
    viewer = await view(site, "ann@example.org", theme="dark")
    await viewer.to("/dashboard/keys")
    background = "getComputedStyle(document.body).backgroundColor"
    dark = await viewer.page.evaluate(background)
    await viewer.page.get_by_role("button", name="Light or dark").click()
    light = await viewer.page.evaluate(background)
    assert light != dark
    await viewer.page.reload()
    assert await viewer.page.evaluate(background) == light
    await viewer.page.get_by_role("button", name="Light or dark").click()
    assert await viewer.page.evaluate(background) == dark


@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "no scripts"])
async def test_menu_of_a_small_screen_opens(site: Site, view: View, scripts: bool) -> None:
    viewer = await view(site, "ann@example.org", width=390, scripts=scripts)
    await viewer.to("/dashboard/keys")
    link = viewer.page.get_by_role("link", name="Models")
    assert not await link.is_visible()
    await viewer.page.get_by_role("link", name="Menu").click()
    await link.wait_for()
    if scripts:
        await viewer.page.get_by_role("link", name="Menu", expanded=True).press("Enter")
        await link.wait_for(state="hidden")


async def test_menu_is_in_the_way_of_nobody_with_a_large_screen(site: Site, view: View) -> None:
    viewer = await view(site, "ann@example.org")
    await viewer.to("/dashboard/keys")
    assert not await viewer.page.get_by_role("link", name="Menu").is_visible()
    assert await viewer.page.get_by_role("link", name="Models").is_visible()


async def test_skip_link_is_the_first_stop_and_leads_to_the_content(site: Site, view: View) -> None:
    viewer = await view(site, "ann@example.org")
    await viewer.to("/dashboard/keys")
    await viewer.page.keyboard.press("Tab")
    assert await viewer.page.evaluate("document.activeElement.textContent") == "Skip to the content"
    assert await viewer.page.get_by_role("link", name="Skip to the content").is_visible()
    await viewer.page.keyboard.press("Enter")
    assert await viewer.page.evaluate("document.activeElement.id") == "main"
