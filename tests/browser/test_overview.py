"""The overview in a browser: it moves by itself, rests when nobody looks, and never gives up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import aiohttp
from playwright.async_api import expect

from kurolproxy.dashboard import rendering
from tests.browser.conftest import View, Viewer
from tests.browser.looking import violations
from tests.browser.sites import HOSTILE, Site, serving

ANN = "ann@example.org"
SEE = """(state) => {
  Object.defineProperty(document, "visibilityState", {value: state, configurable: true});
  document.dispatchEvent(new Event("visibilitychange"));
}"""


async def call(site: Site, key: str, model: str = "demo-echo", *, stream: bool = False) -> None:
    """Make a call and read all of its answer."""
    body = {"model": model, "messages": [{"role": "user", "content": "hi"}], "stream": stream}
    headers = {"authorization": f"Bearer {key}", "user-agent": "curl/8"}
    async with (
        aiohttp.ClientSession() as http,
        http.post(f"{site.base_url}/v1/chat/completions", json=body, headers=headers) as answer,
    ):
        assert answer.status == 200
        await answer.read()


async def overview(site: Site, view: View, label: str = "laptop") -> tuple[Viewer, str]:
    """Open the overview of an account; return the window, and the secret of a key of it."""
    viewer = await view(site, ANN)
    key = await site.key(ANN, label)
    await viewer.to("/dashboard/")
    await viewer.page.locator("[data-live-state]", has_text="Live").wait_for()
    return viewer, key


async def rows(viewer: Viewer, count: int) -> None:
    """Wait until so many of the last requests are shown."""
    await expect(viewer.page.locator("#last tbody tr")).to_have_count(count, timeout=10_000)


async def until(check: Callable[[], bool]) -> None:
    """Wait until something holds."""
    async with asyncio.timeout(10.0):
        while not check():  # noqa: ASYNC110  # what is waited for has no event
            await asyncio.sleep(0.02)


async def test_first_request_takes_the_place_of_the_three_steps(site: Site, view: View) -> None:
    viewer, key = await overview(site, view, HOSTILE[0])
    page = viewer.page
    assert await page.locator("#steps").is_visible()
    loop = asyncio.get_running_loop()
    began = loop.time()
    await call(site, key)
    await rows(viewer, 1)
    print(f"call made to row shown: {(loop.time() - began) * 1e3:.0f} ms")
    assert loop.time() - began < 10.0
    assert not await page.locator("#steps").is_visible()
    cells = [each.strip() for each in await page.locator("#last tbody tr > *").all_text_contents()]
    assert cells[1:5] == ["demo-echo", "curl", "/v1/chat/completions", HOSTILE[0]]
    assert cells[8] == "200"
    used = await page.locator("[data-v=used]").text_content()
    assert used == rendering.count(int(cells[5]) + int(cells[6]))
    assert await violations(page) == []


async def test_running_request_shows_its_tokens_while_it_runs(tmp_path: Path, view: View) -> None:
    async with serving(tmp_path, pace_s=0.1) as site:
        await _running_request(site, view)


async def _running_request(site: Site, view: View) -> None:
    viewer, key = await overview(site, view)
    running = viewer.page.locator("#running tbody tr")
    asked = asyncio.create_task(call(site, key, "demo-slow", stream=True))
    await running.wait_for()
    seen = {await running.locator("[data-f=completion]").text_content()}
    async with asyncio.timeout(20.0):
        while len(seen) < 3:
            assert not asked.done()
            await asyncio.sleep(0.1)
            seen.add(await running.locator("[data-f=completion]").text_content())
    # Who leaves ends the call, too.
    asked.cancel()
    await rows(viewer, 1)
    await running.wait_for(state="detached")
    assert not await viewer.page.locator("#running").is_visible()


async def test_hidden_page_rests_and_catches_up(site: Site, view: View) -> None:
    viewer, key = await overview(site, view)
    feeds = site.gateway.feeds
    assert len(feeds) == 1
    await viewer.page.evaluate(SEE, "hidden")
    await until(lambda: not len(feeds))
    assert await viewer.page.locator("[data-live-state]").text_content() == "Paused"
    for _ in range(3):
        await call(site, key)
    assert await viewer.page.locator("#last tbody tr").count() == 0
    await viewer.page.evaluate(SEE, "visible")
    await rows(viewer, 3)
    assert len(feeds) == 1


async def test_page_asks_now_and_then_where_no_stream_comes_through(site: Site, view: View) -> None:
    viewer, key = await overview(site, view)
    viewer.expect("Failed to load resource")
    await viewer.context.route("**/dashboard/live?*", lambda route: route.abort())
    site.gateway.feeds.close()
    badge = viewer.page.locator("[data-live-state]", has_text="Every 2 seconds")
    await badge.wait_for()
    await call(site, key)
    await rows(viewer, 1)
    assert len(site.gateway.feeds) == 0


async def test_stream_that_broke_is_opened_again(site: Site, view: View) -> None:
    viewer, key = await overview(site, view)
    viewer.expect("ERR_", "Failed to load resource")
    for each in site.gateway.connections():
        if each.transport is not None:
            each.transport.abort()
    await until(lambda: not len(site.gateway.feeds))
    await call(site, key)
    await rows(viewer, 1)
    await viewer.page.locator("[data-live-state]", has_text="Live").wait_for()


async def test_end_of_the_session_leads_to_the_login(site: Site, view: View) -> None:
    viewer, _ = await overview(site, view)
    viewer.expect("Failed to load resource", "EventSource")
    for each in list(site.gateway.sessions.all()):
        site.gateway.sessions.remove(each)
    await viewer.page.wait_for_url("**/dashboard/login?**")


WRITTEN = {
    "count": (rendering.count, [0, 7, 999, 1_000, 12_345, 1_234_567, 1_000_000_000, None]),
    "stamp": (rendering.stamp, [0, 1_893_542_400.9, 1_700_000_000]),
    "duration": (rendering.duration, [0.0004, 0.25, 0.999, 1, 59.94, 120, 7_199, 7_200, 90_000]),
}


async def test_script_and_template_write_figures_alike(site: Site, view: View) -> None:
    viewer, _ = await overview(site, view)
    for name, (filtered, values) in WRITTEN.items():
        script = f"(values) => values.map((each) => window.kurolWrite.{name}(each))"
        assert await viewer.page.evaluate(script, values) == [filtered(each) for each in values]
