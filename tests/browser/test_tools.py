"""Playground and Connect in a browser: what their scripts do."""

from __future__ import annotations

import asyncio
import os

import aiohttp
import pytest
from playwright.async_api import Page, expect

from tests.browser.conftest import View
from tests.browser.sites import HOSTILE, Site

ANN = "ann@example.org"
ENDPOINTS = ("openai-chat", "openai-responses", "anthropic", "gemini")
EVERY = pytest.mark.parametrize("endpoint", ENDPOINTS)


async def ask(page: Page, prompt: str, *, stream: bool = True) -> None:
    """Fill the form and send it."""
    await page.get_by_label("Prompt", exact=True).fill(prompt)
    await page.get_by_label("Stream").set_checked(stream)
    await page.get_by_role("button", name="Send").click()


@EVERY
async def test_answer_its_events_and_its_usage_are_shown(
    endpoint: str, site: Site, view: View
) -> None:
    viewer = await view(site, ANN)
    page = viewer.page
    await viewer.to(f"/dashboard/playground?model=demo-echo&endpoint={endpoint}")
    for stream in (True, False):
        # A foreign text stays text, in the answer and beside it.
        await ask(page, HOSTILE[0], stream=stream)
        await expect(page.locator("#status")).to_have_text("200")
        await expect(page.locator("#answer")).to_have_text(HOSTILE[0])
        await expect(page.locator("#completion-tokens")).to_have_text("7")
        await expect(page.locator("#request-id")).to_contain_text("req_")
        raw = await page.locator("#raw").inner_text()
        assert ("data: " in raw) == stream
        assert "<img " in raw
        await expect(page.locator("#error")).to_be_hidden()


@EVERY
async def test_request_is_copied_as_a_curl_line_that_works(
    endpoint: str, site: Site, view: View
) -> None:
    viewer = await view(site, ANN)
    page = viewer.page
    await viewer.to(f"/dashboard/playground?model=demo-echo&endpoint={endpoint}")
    await page.get_by_label("System text").fill("It's $HOME's \\ \"rule\"")
    await page.get_by_label("Prompt", exact=True).fill("What's `this`?\n$(id) 'é'")
    await page.get_by_role("button", name="Copy as curl").click()
    await page.get_by_text("Copied").wait_for()
    line = await page.locator("#curl").text_content()
    assert line is not None
    process = await asyncio.create_subprocess_exec(
        *("bash", "-euc", line.replace("curl ", "curl -sS --fail-with-body ", 1)),
        env={"PATH": os.environ["PATH"], "KUROL_API_KEY": await site.key(ANN, "curl")},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode == 0, (out, err)
    # The model echoes: word by word, in events.
    assert "`this`" in out.decode()
    assert "$(id) " in out.decode()


@EVERY
async def test_reasoning_is_shown_apart(endpoint: str, site: Site, view: View) -> None:
    viewer = await view(site, ANN)
    page = viewer.page
    await viewer.to(f"/dashboard/playground?model=demo-think&endpoint={endpoint}")
    await page.get_by_label("Ask for reasoning").check()
    for stream in (True, False):
        await ask(page, "Hello there", stream=stream)
        await expect(page.locator("#status")).to_have_text("200")
        await expect(page.locator("#reasoning")).not_to_be_empty()
        thought = await page.locator("#reasoning").inner_text()
        assert thought not in await page.locator("#answer").inner_text()
        await expect(page.locator("#answer")).to_contain_text("Hello there")
        await page.locator("#answer").evaluate("(box) => { box.textContent = ''; }")
    await page.goto("about:blank")


async def test_text_comes_while_it_streams_until_it_is_stopped(site: Site, view: View) -> None:
    viewer = await view(site, ANN)
    page = viewer.page
    await viewer.to("/dashboard/playground?model=demo-slow")
    await ask(page, "word " * 2_000)
    await expect(page.locator("#answer")).to_contain_text("word word")
    await expect(page.locator("#status")).to_have_text("running")
    running = len(await page.locator("#answer").inner_text())
    await page.get_by_role("button", name="Stop").click()
    await expect(page.locator("#status")).to_have_text("stopped")
    stopped = await page.locator("#answer").inner_text()
    assert running <= len(stopped) < 10_000
    await expect(page.get_by_role("button", name="Send")).to_be_enabled()
    async with asyncio.timeout(10):
        while len(site.gateway.state.deadlines):  # noqa: ASYNC110  # it has no event
            await asyncio.sleep(0.02)
    assert site.gateway.state.admission.reserved == 0


@EVERY
async def test_error_is_told_in_words(endpoint: str, site: Site, view: View) -> None:
    viewer = await view(site, ANN)
    viewer.expect("status of 5")
    page = viewer.page
    # Nobody answers there.
    await viewer.to(f"/dashboard/playground?model=lab-llama&endpoint={endpoint}")
    await ask(page, "Hello")
    await expect(page.locator("#status")).to_have_text("502")
    await expect(page.locator("#error")).to_be_visible()
    assert "upstream" in (await page.locator("#error").inner_text()).lower()


async def test_session_that_ended_is_told_in_words(site: Site, view: View) -> None:
    viewer = await view(site, ANN)
    viewer.expect("status of 401")
    page = viewer.page
    await viewer.to("/dashboard/playground?model=demo-echo")
    for each in list(site.gateway.sessions.all()):
        site.gateway.sessions.remove(each)
    await ask(page, "Hello")
    await expect(page.locator("#status")).to_have_text("401")
    await expect(page.locator("#error")).to_contain_text("Your session has ended")
    await expect(page.locator("#raw")).to_be_empty()


async def test_new_key_is_not_lost_by_choosing_another_model(site: Site, view: View) -> None:
    viewer = await view(site, ANN)
    viewer.watch.agrees = True
    page = viewer.page
    await viewer.to("/dashboard/connect?tool=codex")
    await page.get_by_role("button", name="New key for this tool").click()
    secret = await page.locator("#secret").inner_text()
    await page.get_by_label("Model", exact=True).select_option("demo-slow")
    # What would take it away asks the server by then.
    await asyncio.sleep(0.3)
    await expect(page.locator("#secret")).to_have_text(secret)
    await page.get_by_role("button", name="Show").click()
    await expect(page.locator("#text-1")).to_contain_text('model = "demo-slow"')
    await expect(page.locator("#secret")).to_have_count(0)


async def test_settings_follow_the_choice_and_tick_when_the_tool_calls(
    site: Site, view: View
) -> None:
    viewer = await view(site, ANN)
    page = viewer.page
    await viewer.to("/dashboard/connect?tool=codex")
    await page.get_by_label("Model", exact=True).select_option("demo-slow")
    await expect(page.locator("#text-1")).to_contain_text('model = "demo-slow"')
    assert "model=demo-slow" in page.url
    await page.get_by_role("button", name="New key for this tool").click()
    secret = await page.locator("#secret").inner_text()
    await expect(page.locator("#text-3")).to_have_text(f"export KUROL_API_KEY={secret}")
    tab = page.get_by_role("link", name="Codex")
    await expect(tab.locator("[data-tick]")).to_be_hidden()
    await expect(page.locator("#arrived")).to_contain_text("Waiting")
    headers = {"authorization": f"Bearer {secret}", "user-agent": "codex_exec/0.169.0 (Debian)"}
    body = {"model": "demo-echo", "input": "Hello"}
    url = f"{site.base_url}/v1/responses"
    async with (
        aiohttp.ClientSession() as http,
        http.post(url, json=body, headers=headers) as answer,
    ):
        assert answer.status == 200
    await expect(page.locator("#arrived")).to_have_text(
        "The first request of Codex arrived: it is connected."
    )
    await expect(tab.locator("[data-tick]")).to_be_visible()
