"""Links that the command line makes, beside a gateway that runs and without one."""

from __future__ import annotations

import asyncio
import os
import pty
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest

from kurolproxy.cli.serve import offer_setup
from tests.cli.sites import AS_ROOT, COMMAND, LIMIT_S, Site, clean_environment, end, told
from tests.conftest import Running, Starter, toml
from tests.fakes.upstream import FakeUpstream

PASSWORD = "correct horse battery"
LINK = re.compile(r"http://\S+/dashboard/link/[\w-]{43}")
INVITING = '[dashboard]\nsignup = "invite"\n'


def configured(site: Site, *, server: str = "", extra: str = "") -> None:
    """Change the site's configuration."""
    text = site.config.read_text().replace("[server]", f"[server]\n{server}", 1)
    site.config.write_text(text + extra)


async def use(link: str, **fields: str) -> tuple[int, str]:
    """Open a link as a browser does, send its form; return where that leads."""
    origin = link.partition("/dashboard")[0]
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as http:
        async with http.get(link) as response:
            found = re.search(r'name="csrf" value="(\w+)"', await response.text())
        assert found is not None
        given = {"csrf": found[1], "password": PASSWORD, **fields}
        async with http.post(link, data=given, headers={"origin": origin}) as response:
            return response.status, await response.text()


def test_setup_link_is_made_without_a_gateway(site: Site) -> None:
    configured(site, server='public_url = "https://llm.example.org"')
    made = site.json("users", "setup-link")
    assert re.fullmatch(r"https://llm\.example\.org/dashboard/link/[\w-]{43}", made["url"])
    assert (made["kind"], made["role"]) == ("setup", "admin")
    assert "token" not in made
    shown = site.run("users", "setup-link")
    assert shown.exit_code == 0
    assert "url         https://llm.example.org/dashboard/link/" in shown.stdout


def test_address_of_a_listener_serves_where_there_is_no_public_url(site: Site) -> None:
    text = site.config.read_text().replace('listen = "127.0.0.1:0"', 'listen = "0.0.0.0:8085"', 1)
    site.config.write_text(text)
    assert site.json("users", "setup-link")["url"].startswith("http://127.0.0.1:8085/dashboard/")


async def test_links_of_a_gateway_that_runs_lead_to_it_and_work(living: Site) -> None:
    async with living.serving() as served:
        setup = await told(living, "users", "setup-link")
        assert str(setup["url"]).startswith(f"{served.base_url}/dashboard/link/")
        status, page = await use(str(setup["url"]), email="eve@example.org", plan="team")
        assert (status, "eve@example.org" in page) == (200, True)
        password = await told(living, "users", "password-link", "ann@example.org")
        status, page = await use(str(password["url"]))
        assert (status, "ann@example.org" in page) == (200, True)
        log = served.log_path.read_text()
    roles = {each["email"]: each["role"] for each in await asyncio.to_thread(listed, living)}
    assert roles == {"ann@example.org": "user", "eve@example.org": "admin"}
    for made in (setup, password):
        assert str(made["url"]).rpartition("/")[2] not in log


def listed(site: Site) -> list[dict[str, str]]:
    """Return all accounts."""
    found: list[dict[str, str]] = site.json("users", "list")
    return found


def test_invitation_is_made_where_sign_up_allows_it(site: Site) -> None:
    args = ("users", "invite", "--plan", "team", "--email", "eve@example.org")
    closed = site.run(*args)
    assert closed.exit_code == 1
    assert 'set signup = "invite" in [dashboard]' in closed.stderr
    configured(site, extra=INVITING)
    made = site.json(*args, "--role", "admin")
    shown = (made["email"], made["plan"], made["role"], made["kind"])
    assert shown == ("eve@example.org", "team", "admin", "invite")
    assert site.json("users", "invite", "--plan", "solo")["email"] == ""


REFUSED: list[tuple[list[str], int, str]] = [
    (["password-link", "nobody@example.org"], 1, "there is no account"),
    (["invite", "--plan", "tea"], 1, "did you mean"),
    (["invite", "--plan", "team", "--email", "x"], 1, "is not an email address"),
    (["invite"], 2, "--plan"),
    (["invite", "--plan", "team", "--role", "root"], 2, "root"),
]


@pytest.mark.parametrize(("args", "code", "text"), REFUSED)
def test_link_that_makes_no_sense_is_refused(
    site: Site, args: list[str], code: int, text: str
) -> None:
    configured(site, extra=INVITING)
    result = site.run("users", *args)
    assert result.exit_code == code
    assert text in result.stderr


def test_no_link_leads_to_a_dashboard_that_is_switched_off(site: Site) -> None:
    configured(site, extra="[dashboard]\nenabled = false\n")
    result = site.run("users", "setup-link")
    assert result.exit_code == 1
    assert "the dashboard is switched off" in result.stderr


# --- serve --------------------------------------------------------------------------------


@asynccontextmanager
async def serving_at_a_terminal(site: Site) -> AsyncIterator[int]:
    """Run ``serve`` with a terminal as its standard error; yield the terminal."""
    mine, its = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        *(*COMMAND, "--config", str(site.config), "serve", *AS_ROOT),
        env=clean_environment(VENDOR_KEY="vendor-key"),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=its,
    )
    os.close(its)
    try:
        yield mine
    finally:
        await end(process)
        os.close(mine)


async def shown(terminal: int, mark: bytes) -> str:
    """Return what a terminal shows, until a mark is among it."""
    text = b""
    while mark not in text:
        text += await asyncio.wait_for(asyncio.to_thread(os.read, terminal, 4_096), LIMIT_S)
    return text.decode()


async def test_first_start_at_a_terminal_shows_a_link(site: Site) -> None:
    async with serving_at_a_terminal(site) as terminal:
        # Behind the link stands an empty line.
        text = await shown(terminal, b"\r\n\r\n")
        found = LINK.search(text)
        assert found is not None, text
        assert "There is no admin yet" in text
        status, page = await use(found[0], email="eve@example.org", plan="team")
        assert (status, "eve@example.org" in page) == (200, True)


async def test_without_a_terminal_the_log_says_how_to_make_a_link(gateway: Running) -> None:
    await offer_setup(gateway.gateway, at_terminal=False)
    assert '"event":"no_admin"' in gateway.lines()
    assert "kurolproxy users setup-link" in gateway.lines()
    assert not await gateway.gateway.database.read("SELECT 1 FROM links")


@pytest.mark.parametrize("at_terminal", [True, False])
async def test_where_there_is_an_admin_nothing_is_offered(
    gateway: Running, capfd: pytest.CaptureFixture[str], at_terminal: bool
) -> None:
    await gateway.gateway.accounts.create_account("root@example.org", "default", role="admin")
    await offer_setup(gateway.gateway, at_terminal=at_terminal)
    assert "no_admin" not in gateway.lines()
    assert "link" not in capfd.readouterr().err


async def test_where_the_dashboard_is_off_nothing_is_offered(
    start: Starter, fake: FakeUpstream, capfd: pytest.CaptureFixture[str]
) -> None:
    running = await start(toml(fake.base_url, extra="[dashboard]\nenabled = false\n"))
    await offer_setup(running.gateway, at_terminal=True)
    assert "no_admin" not in running.lines()
    assert capfd.readouterr().err == ""
