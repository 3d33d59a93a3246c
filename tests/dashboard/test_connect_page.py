"""Connect: settings for the chosen tool and model, a key for it, and the tick when it calls."""

from __future__ import annotations

import html
import re
from typing import get_args

import aiohttp
import pytest

from kurolproxy.connect.tools import TOOLS
from kurolproxy.connect.wanted import ModelFacts, Shell, Wanted
from tests.conftest import Running, Starter, toml
from tests.dashboard.conftest import Browser, LogIn, Page
from tests.fakes.answers import chat_answer
from tests.fakes.upstream import FakeUpstream

PATH = "/dashboard/connect"
MODEL = ModelFacts("c-model", context_window=200_000, thinks=True)
OTHER = ModelFacts("m-model", thinks=True)


def texts_of(page: Page) -> list[str]:
    """Return the texts of a page's steps."""
    found = re.findall(r'<pre id="text-\d+"[^>]*>(.*?)</pre>', page.text, re.DOTALL)
    return [html.unescape(each) for each in found]


def once_of(page: Page) -> str:
    found = re.search(r'name="once" value="([^"]+)"', page.text)
    assert found is not None, page.text
    return found[1]


@pytest.mark.parametrize("shell", get_args(Shell))
@pytest.mark.parametrize("tool", TOOLS)
async def test_texts_are_those_of_the_library(
    tool: str, shell: Shell, gateway: Running, log_in: LogIn
) -> None:
    ann = await log_in(gateway)
    page = await ann.get(f"{PATH}?tool={tool}&model=claude-c&small=m-model&shell={shell}")
    wanted = Wanted(gateway.base_url, MODEL, OTHER, None, shell)
    assert texts_of(page) == [each.text for each in TOOLS[tool].steps(wanted)]


async def test_what_is_unknown_or_not_in_the_plan_becomes_the_first(
    gateway: Running, log_in: LogIn
) -> None:
    ann = await log_in(gateway)
    page = await ann.get(f"{PATH}?tool=emacs&model=gpt-9&small=x&shell=fish")
    wanted = Wanted(gateway.base_url, MODEL, MODEL)
    assert texts_of(page) == [each.text for each in TOOLS["claude-code"].steps(wanted)]


async def test_model_outside_of_the_plan_is_not_offered(
    fake: FakeUpstream, start: Starter, log_in: LogIn
) -> None:
    text = toml(fake.base_url).replace('models = ["*"]', 'models = ["m-*"]')
    ann = await log_in(await start(text))
    page = await ann.get(f"{PATH}?tool=codex&model=c-model&small=c-model")
    assert 'model = "m-model"' in texts_of(page)[0]
    assert "c-model" not in page.text


async def test_account_without_any_model_is_told_so(
    fake: FakeUpstream, start: Starter, log_in: LogIn
) -> None:
    text = toml(fake.base_url).replace('models = ["*"]', 'models = ["x-*"]')
    ann = await log_in(await start(text))
    for path in (PATH, "/dashboard/playground"):
        page = await ann.get(path)
        assert (page.status, "There is no model in your plan." in page.text) == (200, True)


async def test_htmx_gets_the_settings_alone(gateway: Running, log_in: LogIn) -> None:
    ann = await log_in(gateway)
    page = await ann.get(f"{PATH}?tool=codex", htmx=True)
    assert page.text.lstrip().startswith('<div id="connect">')
    assert "config.toml" in page.text


# --- a key for the tool -------------------------------------------------------------------


async def make(browser: Browser, **fields: str) -> Page:
    shown = await browser.get(PATH)
    return await browser.post(PATH, {"once": once_of(shown), "tool": "codex", **fields})


async def test_new_key_is_labelled_after_the_tool_and_stands_in_the_texts(
    gateway: Running, log_in: LogIn, fake: FakeUpstream, http: aiohttp.ClientSession
) -> None:
    ann = await log_in(gateway)
    page = await make(ann, model="c-model", small="m-model", shell="powershell")
    found = re.search(r'<pre id="secret"[^>]*>(sk-kurol-[^<]+)</pre>', page.text)
    assert found is not None, page.text
    wanted = Wanted(gateway.base_url, MODEL, OTHER, found[1], "powershell")
    assert texts_of(page) == [each.text for each in TOOLS["codex"].steps(wanted)]
    headers = {"authorization": f"Bearer {found[1]}"}
    async with http.get(f"{gateway.base_url}/v1/models", headers=headers) as answer:
        assert answer.status == 200
    listed = await ann.get("/dashboard/keys")
    assert ">Codex</a>" in listed.text
    # It is shown this once.
    assert found[1] not in (await ann.get(f"{PATH}?tool=codex")).text


async def test_form_that_is_sent_again_makes_no_second_key(gateway: Running, log_in: LogIn) -> None:
    ann = await log_in(gateway)
    shown = await ann.get(PATH)
    fields = {"once": once_of(shown), "tool": "kilo"}
    assert (await ann.post(PATH, fields)).status == 200
    again = await ann.post(PATH, fields)
    assert again.status == 409
    assert "no second key was made" in again.text
    assert ann.account is not None
    assert len(await gateway.gateway.accounts.list_keys(ann.account.id)) == 1


async def test_one_key_too_many_is_told(fake: FakeUpstream, start: Starter, log_in: LogIn) -> None:
    text = toml(fake.base_url) + "\n[limits]\nmax_keys_per_account = 1\n"
    running = await start(text)
    ann = await log_in(running)
    assert (await make(ann)).status == 200
    refused = await make(ann)
    assert refused.status == 422
    assert "may have 1 keys" in refused.text
    assert "sk-kurol-" not in refused.text


async def test_page_without_a_token_of_its_form_makes_no_key(
    gateway: Running, log_in: LogIn
) -> None:
    ann = await log_in(gateway)
    shown = await ann.get(PATH)
    refused = await ann.post(PATH, {"once": once_of(shown), "tool": "codex", "csrf": "0" * 64})
    assert refused.status == 403


# --- ticks --------------------------------------------------------------------------------


async def test_tool_is_ticked_once_it_called_and_for_nobody_else(
    gateway: Running, log_in: LogIn, fake: FakeUpstream, http: aiohttp.ClientSession
) -> None:
    ann = await log_in(gateway)
    bob = await log_in(gateway, "bob@example.org")
    assert ann.account is not None
    assert "Waiting for the first request of Claude Code" in (await ann.get(PATH)).text
    _, secret = await gateway.gateway.accounts.create_key(ann.account.email)
    fake.answer(chat_answer())
    headers = {"x-api-key": secret, "user-agent": "claude-cli/2.1.330 (external, sdk-cli)"}
    body = {
        "model": "c-model",
        "max_tokens": 10,
        "messages": [{"role": "user", "content": "Hi"}],
    }
    async with http.post(f"{gateway.base_url}/v1/messages", json=body, headers=headers) as answer:
        assert answer.status == 200, await answer.text()
    page = await ann.get(PATH)
    assert "Claude Code has sent requests already" in page.text
    assert ticked(page) == ["claude-code"]
    assert ticked(await bob.get(PATH)) == []


def ticked(page: Page) -> list[str]:
    tabs = re.findall(
        r'data-tool="([^"]+)"[^>]*>[^<]*<span class="tick" data-tick( hidden)?', page.text
    )
    assert len(tabs) == len(TOOLS)
    return [tool for tool, hidden in tabs if not hidden]
