"""Keys, models and usage in a browser: what their scripts do."""

from __future__ import annotations

import asyncio
import os
import subprocess

from playwright.async_api import expect

from tests.browser.conftest import View
from tests.browser.sites import Site, fill

ANN = "ann@example.org"
PIXELS = """([box, name]) => {
  const canvas = document.querySelector(`#${box} canvas`);
  const probe = document.createElement("canvas").getContext("2d");
  probe.fillStyle = getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  probe.fillRect(0, 0, 1, 1);
  const [red, green, blue] = probe.getImageData(0, 0, 1, 1).data;
  const found = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
  let count = 0;
  for (let at = 0; at < found.length; at += 4) {
    if (found[at] === red && found[at + 1] === green && found[at + 2] === blue) count += 1;
  }
  return count;
}"""


async def test_two_clicks_and_a_reload_make_one_key(site: Site, view: View) -> None:
    viewer = await view(site, ANN)
    viewer.expect("status of 409")
    page = viewer.page
    await viewer.to("/dashboard/keys")
    await page.get_by_label("Label").fill("laptop")
    await page.get_by_role("button", name="Make key").dblclick()
    await page.locator("#secret").wait_for()
    secret = await page.locator("#secret").inner_text()
    line = await page.locator("#try-curl").inner_text()
    await page.reload()
    await page.get_by_text("This form was sent already").wait_for()
    assert secret not in await page.content()
    account = await site.account(ANN)
    assert len(await site.gateway.accounts.list_keys(account.id)) == 1
    done = await asyncio.to_thread(
        subprocess.run,
        ["bash", "-c", line],
        capture_output=True,
        timeout=20,
        env={"PATH": os.environ["PATH"]},
        check=True,
    )
    assert b'"chat.completion"' in done.stdout


async def test_charts_have_the_colours_of_the_theme(site: Site, view: View) -> None:
    viewer = await view(site, ANN)
    page = viewer.page
    await fill(site, await site.account(ANN))
    for by in ("day", "hour", "key", "model"):
        await viewer.to(f"/dashboard/usage?by={by}&period=30")
        await page.locator("#chart-tokens canvas").wait_for()
        light = await page.evaluate(PIXELS, ["chart-tokens", "--series-1"])
        await page.get_by_role("button", name="Light or dark").click()
        dark = await page.evaluate(PIXELS, ["chart-tokens", "--series-1"])
        # The colour is another one now, and as much of it is there.
        assert light > 500
        assert abs(light - dark) < light / 5
        assert await page.evaluate(PIXELS, ["chart-requests", "--series-3"]) > 500
        await page.get_by_role("button", name="Light or dark").click()


async def test_figures_of_a_bar_are_those_of_its_row(site: Site, view: View) -> None:
    viewer = await view(site, ANN)
    page = viewer.page
    await fill(site, await site.account(ANN))
    await viewer.to("/dashboard/usage?by=model&period=30")
    over = page.locator("#chart-tokens .u-over")
    box = await over.bounding_box()
    assert box is not None
    # The first bar stands at the left, and belongs to the first row.
    await over.hover(position={"x": box["width"] * 0.12, "y": box["height"] / 2})
    cells = page.locator("#usage tbody tr").first.locator("th, td")
    shown = page.locator("#chart-tokens .u-value")
    await expect(shown.nth(0)).to_have_text(await cells.nth(0).inner_text())
    await expect(shown.nth(1)).to_have_text(await cells.nth(4).inner_text())
    await expect(shown.nth(2)).to_have_text(await cells.nth(2).inner_text())


async def test_models_are_searched_while_one_types(site: Site, view: View) -> None:
    viewer = await view(site, ANN)
    page = viewer.page
    await viewer.to("/dashboard/models")
    rows = page.locator("#models tbody tr:visible")
    await expect(rows).to_have_count(4)
    await page.get_by_label("Search").fill("DEMO- low")
    await expect(rows).to_have_count(1)
    await expect(page.locator("#shown")).to_have_text("1 of 4")
    await page.get_by_label("Search").fill("zzz")
    await expect(page.get_by_text("No model is called like that.")).to_be_visible()
    await page.get_by_label("Search").fill("")
    await expect(rows).to_have_count(4)
