"""Plans, upstreams, audit, configuration and system: what an operator reads there."""

from __future__ import annotations

import html
import platform
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest

from kurolproxy.app import Gateway, Surroundings
from kurolproxy.config.load import load
from tests.conftest import PLANTED_KEY, Running, Starter, new_key, toml
from tests.dashboard.conftest import Browser, LogIn
from tests.fakes.answers import failure
from tests.fakes.upstream import FakeUpstream

EXTRA = """
daily_tokens = 5_000

[[plans]]
name = "small <b>"
models = ["m-*"]
requests_per_minute = 60
concurrent_requests = 2
"""


@pytest.fixture
async def root(gateway: Running, log_in: LogIn) -> Browser:
    return await log_in(gateway, "root@example.org", role="admin")


def text_of(page_text: str) -> str:
    """Return the words of a page, without its elements."""
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", page_text)))


# --- plans ------------------------------------------------------------------------------


async def test_plans_are_shown_in_words_with_their_place_and_their_accounts(
    fake: FakeUpstream, start: Starter, log_in: LogIn
) -> None:
    running = await start(toml(fake.base_url, extra=EXTRA))
    root = await log_in(running, "root@example.org", role="admin")
    words = text_of((await root.get("/dashboard/admin/plans")).text)
    first, second = words.split("small <b>", 1)
    assert "Accounts 2" in first
    assert "5 000 tokens a day" in first
    assert "any number of requests a minute" in first
    assert "Models that match c-model, m-model" in first
    assert "Accounts 0" in second
    assert "60 requests a minute" in second
    assert "2 requests at once" in second
    assert "Models that match m-model" in second
    assert re.search(r"test\.toml:\d+", first)


# --- upstreams --------------------------------------------------------------------------


async def test_upstream_that_rests_says_which_credential_why_and_for_how_long(
    gateway: Running, root: Browser, fake: FakeUpstream, http: aiohttp.ClientSession
) -> None:
    fake.always(failure(401, "wrong key"))
    body = {"model": "c-model", "messages": [{"role": "user", "content": "x"}]}
    headers = {"authorization": f"Bearer {gateway.key}"}
    async with http.post(
        f"{gateway.base_url}/v1/chat/completions", json=body, headers=headers
    ) as answer:
        assert answer.status == 502
    page = await root.get("/dashboard/admin/upstreams")
    chat, messages = re.findall(r"<section .*?</section>", page.text, re.DOTALL)
    words = text_of(chat)
    assert "down: every way rests" in words
    assert re.search(r"credential 1: HTTP 401; asked again in \d+ (s|min)", words)
    assert "the last minute 1 1 100.0 %" in words
    assert "upstream_error" in words
    assert "down" not in text_of(messages)
    assert PLANTED_KEY not in page.text


async def test_upstream_whose_calls_fail_is_not_called_up_before_it_rests(
    gateway: Running, root: Browser, fake: FakeUpstream, http: aiohttp.ClientSession
) -> None:
    fake.always(failure(500, "broken"))
    body = {"model": "c-model", "messages": [{"role": "user", "content": "x"}]}
    headers = {"authorization": f"Bearer {gateway.key}"}
    async with http.post(
        f"{gateway.base_url}/v1/chat/completions", json=body, headers=headers
    ) as answer:
        assert answer.status == 502
    page = await root.get("/dashboard/admin/upstreams")
    chat, messages = re.findall(r"<section .*?</section>", page.text, re.DOTALL)
    assert re.findall(r'class="badge[^>]*>([^<]+)<', chat) == ["failing"]
    assert re.findall(r'class="badge[^>]*>([^<]+)<', messages) == ["up"]


@pytest.mark.parametrize("name", ["upstreams", "system"])
async def test_page_refreshes_a_part_of_itself_without_keeping_a_session_alive(
    gateway: Running, root: Browser, name: str
) -> None:
    page = await root.get(f"/dashboard/admin/{name}")
    assert f'hx-get="/dashboard/admin/{name}/now"' in page.text
    [session] = gateway.gateway.sessions.all()
    part = await root.get(f"/dashboard/admin/{name}/now", htmx=True)
    assert part.status == 200
    assert "<html" not in part.text
    assert [*gateway.gateway.sessions.all()] == [session]


# --- audit ------------------------------------------------------------------------------


async def test_audit_says_who_did_what_and_is_filtered(gateway: Running, root: Browser) -> None:
    accounts = gateway.gateway.accounts
    await accounts.create_account("ann@example.org", "default", actor="root@example.org")
    key, _ = await accounts.create_key("ann@example.org", actor="ann@example.org")
    at = "/dashboard/admin/audit"
    whole = text_of((await root.get(at)).text)
    assert f"ann@example.org key.create {key.id} email = ann@example.org" in whole
    assert "root@example.org account.create ann@example.org plan = default, role = user" in whole
    for query, found in (
        ("actor=ROOT", ["account.create"]),
        ("action=key.&actor=ann", ["key.create"]),
        (f"subject={key.id}", ["key.create"]),
        ("actor=nobody", []),
    ):
        page = await root.get(f"{at}?{query}")
        assert re.findall(r"<code>([a-z.-]+)</code>", page.text) == found, query


async def test_audit_goes_on_with_older_changes(gateway: Running, root: Browser) -> None:
    accounts = gateway.gateway.accounts
    for number in range(60):
        await accounts.create_account(f"p{number:02d}@example.org", "default")
    path, found = "/dashboard/admin/audit?action=account.create&subject=p", []
    while path:
        page = await root.get(path)
        found += re.findall(r">(p\d\d@example.org)<", page.text)
        older = re.findall(r'rel="next" href="([^"]+)"', page.text)
        path = html.unescape(older[0]) if older else ""
    assert found == [f"p{number:02d}@example.org" for number in reversed(range(60))]


# --- configuration ----------------------------------------------------------------------


@dataclass(slots=True)
class Filed:
    """A gateway that was started from a file."""

    running: Running
    root: Browser
    path: Path

    async def reload(self) -> str:
        """Press the button; return the words of the page that follows."""
        answer = await self.root.post("/dashboard/admin/config/reload")
        assert answer.status == 303
        page = await self.root.get(str(answer.headers["location"]))
        return text_of(page.text)


@pytest.fixture
async def filed(fake: FakeUpstream, tmp_path: Path, log_in: LogIn) -> AsyncIterator[Filed]:
    path = tmp_path / "kurol.toml"
    path.write_text(toml(fake.base_url, server='notice = "Be kind."'))
    path.chmod(0o600)
    async with AsyncExitStack() as stack:
        log = stack.enter_context((tmp_path / "log").open("wb"))
        around = Surroundings(read=lambda: load(path, {}))
        gateway = Gateway(load(path, {}), log_fd=log.fileno(), around=around)
        await gateway.start()
        stack.push_async_callback(gateway.stop)
        key = await new_key(gateway, "someone@example.org", "default")
        running = Running(gateway, f"http://{gateway.addresses[0]}", key, tmp_path / "log")
        yield Filed(running, await log_in(running, "root@example.org", role="admin"), path)


async def test_configuration_is_shown_with_its_places_and_without_its_secrets(
    filed: Filed,
) -> None:
    page = await filed.root.get("/dashboard/admin/config")
    words = text_of(page.text)
    assert f"server.contact ops@example.org {filed.path}:5" in words
    assert "limits.max_keys_per_account 20 default" in words
    assert "upstreams.chat.api_keys ***" in words
    assert PLANTED_KEY not in page.text
    assert "Last reload none since the start" in words


async def test_configuration_is_searched(filed: Filed) -> None:
    at = "/dashboard/admin/config"
    page = await filed.root.get(f"{at}?q=CHAT+api", htmx=True)
    assert "<html" not in page.text
    assert re.findall(r'<th scope="row"[^>]*>([^<]+)<', page.text) == ["upstreams.chat.api_keys"]
    named = await filed.root.get(f"{at}?named=on")
    assert "default</span>" not in named.text
    assert "server.contact" in named.text
    assert "Nothing matches" in (await filed.root.get(f"{at}?q=nothing+of+it")).text


async def test_reload_takes_a_changed_file_and_says_what_waits(filed: Filed) -> None:
    text = filed.path.read_text().replace("Be kind.", "Be quick.")
    filed.path.write_text(text.replace("[metrics]", '[log]\nformat = "text"\n\n[metrics]'))
    words = await filed.reload()
    assert "Be quick." in words
    assert "The file was read again and is in use" in words
    assert "Waiting for the next start log.format" in words
    assert "log.format text from the next start on" in words
    assert words.count("from the next start on") == 1
    [entry, *_] = await filed.running.gateway.accounts.list_audit()
    assert (entry.actor, entry.action) == ("root@example.org", "config.reload")
    assert entry.detail["ok"] is True


async def test_reload_of_a_wrong_file_changes_nothing_and_says_why(filed: Filed) -> None:
    filed.path.write_text(filed.path.read_text().replace("contact", "contcat"))
    words = await filed.reload()
    assert "The file was refused: nothing has changed" in words
    assert f"{filed.path}:5:1" in words
    assert "contcat" in words
    assert "ops@example.org" in words
    [entry, *_] = await filed.running.gateway.accounts.list_audit()
    assert (entry.action, entry.detail) == ("config.reload", {"ok": False, "problems": 1})


async def test_warnings_of_check_stand_on_top(filed: Filed) -> None:
    filed.path.chmod(0o644)
    words = await filed.reload()
    assert "a secret is written out in a file that others can read" in words


async def test_gateway_without_a_file_has_nothing_to_reload(
    gateway: Running, root: Browser
) -> None:
    page = await root.get("/dashboard/admin/config")
    assert "Reload it now" not in page.text
    assert (await root.post("/dashboard/admin/config/reload")).status == 404


# --- system -----------------------------------------------------------------------------


async def test_system_says_how_the_process_is_and_what_it_says_to_people(filed: Filed) -> None:
    page = await filed.root.get("/dashboard/admin/system")
    words = text_of(page.text)
    assert re.search(r"Memory \d+ MiB", words)
    assert re.search(r"Descriptors \d+ of", words)
    assert re.search(r"Disk left \d", words)
    assert "Be kind." in words
    assert "ops@example.org" in words
    assert f"Python {platform.python_version()}" in words


async def test_text_for_a_bug_report_holds_no_secret_and_no_name(filed: Filed) -> None:
    page = await filed.root.get("/dashboard/admin/system")
    report = re.search(r'<pre id="report-lines"[^>]*>(.*?)</pre>', page.text, re.DOTALL)
    assert report is not None
    assert "ledger_writable: True" in report[1]
    names = (PLANTED_KEY, "@", platform.node(), str(filed.path), "127.0.0.1", "chat", "default")
    assert [each for each in names if each in report[1]] == []
