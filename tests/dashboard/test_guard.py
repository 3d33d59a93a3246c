"""What keeps others out: names, origins, tokens, cookies; each refusal changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import aiohttp
import pytest

from kurolproxy.dashboard.guard import csrf_of, origin_of, padded
from kurolproxy.dashboard.routes import ROUTES
from tests.conftest import Running, Starter, toml
from tests.dashboard.conftest import (
    PASSWORD,
    Browser,
    LogIn,
    Page,
    account_with_password,
    log_in_by_password,
)
from tests.fakes.upstream import FakeUpstream

Anonymous = Callable[[Running], Browser]
URL = "https://llm.example.org"
SECURITY = "/dashboard/account/security"
OTHERS = f"{SECURITY}/end-others"


@dataclass(slots=True)
class Two:
    """Somebody with two sessions, who would end one of them."""

    running: Running
    here: Browser
    there: Browser
    origin: str = field(default="")

    def sessions(self) -> int:
        assert self.here.account is not None
        return len(self.running.gateway.sessions.of(self.here.account.id))

    async def post(self, **headers: str) -> Page:
        return await self.here.post(OTHERS, **headers)


async def two(running: Running, log_in: LogIn) -> Two:
    here, there = await log_in(running), await log_in(running)
    return Two(running, here, there)


# --- requests that are not ours -----------------------------------------------------------

FOREIGN = [
    ("no Origin", {"origin": ""}),
    ("Origin: null", {"origin": "null"}),
    ("another site", {"origin": "http://evil.example"}),
    ("our name over https", {"origin": "https://127.0.0.1"}),
    ("our name with another port", {"origin": "http://127.0.0.1:1"}),
    ("our name as the beginning", {"origin": "http://127.0.0.1.evil.example"}),
    ("cross-site", {"sec-fetch-site": "cross-site"}),
    ("same-site", {"sec-fetch-site": "same-site"}),
    ("nonsense of Sec-Fetch-Site", {"sec-fetch-site": "x"}),
]


async def test_request_of_another_site_changes_nothing(gateway: Running, log_in: LogIn) -> None:
    world = await two(gateway, log_in)
    for what, headers in FOREIGN:
        page = await world.post(**headers)
        assert page.status == 403, what
        assert "does not come from a page of this dashboard" in page.text, what
        assert world.sessions() == 2, what
    assert (await world.post()).status == 303
    assert world.sessions() == 1


async def test_post_without_an_origin_header_is_refused(
    gateway: Running, log_in: LogIn, http: aiohttp.ClientSession
) -> None:
    world = await two(gateway, log_in)
    headers = {"cookie": f"kurol={world.here.token}"}
    fields = {"csrf": csrf_of(world.here.token)}
    async with http.post(gateway.base_url + OTHERS, data=fields, headers=headers) as answer:
        assert answer.status == 403
    assert world.sessions() == 2


@pytest.mark.parametrize("site", ["same-origin", "none"])
async def test_request_of_ours_is_carried_out(gateway: Running, log_in: LogIn, site: str) -> None:
    world = await two(gateway, log_in)
    assert (await world.post(**{"sec-fetch-site": site})).status == 303
    assert world.sessions() == 1


async def test_token_of_the_form_has_to_be_this_sessions(gateway: Running, log_in: LogIn) -> None:
    world = await two(gateway, log_in)
    good = csrf_of(world.here.token)
    wrong = [
        "",
        "x",
        csrf_of(world.there.token),
        padded(csrf_of(world.there.token)),
        csrf_of(""),
        good[:-1] + ("0" if good[-1] != "0" else "1"),
        good + "00",
        padded(good)[:-2] + "zz",
        world.here.token,
        "\u00e9" * 64,
    ]
    for each in wrong:
        page = await world.here.post(OTHERS, {"csrf": each})
        assert (page.status, world.sessions()) == (403, 2), each
    assert (await world.here.post(OTHERS, {"csrf": padded(good)})).status == 303
    assert world.sessions() == 1


async def test_body_that_is_no_form_of_ours_is_refused(
    gateway: Running, log_in: LogIn, http: aiohttp.ClientSession
) -> None:
    world = await two(gateway, log_in)
    body = f'{{"csrf": "{csrf_of(world.here.token)}"}}'
    for kind in ("application/json", "text/plain", "multipart/form-data; boundary=x"):
        headers = {
            "cookie": f"kurol={world.here.token}",
            "origin": gateway.base_url,
            "content-type": kind,
        }
        async with http.post(gateway.base_url + OTHERS, data=body, headers=headers) as answer:
            assert answer.status == 415, kind
    assert world.sessions() == 2


async def test_get_and_head_change_nothing_anywhere(gateway: Running, log_in: LogIn) -> None:
    world = await two(gateway, log_in)
    posts = {each.path for each in ROUTES if each.method == "POST"}
    gets = {each.path for each in ROUTES if each.method == "GET"}
    before = len(await gateway.gateway.accounts.list_audit(limit=1_000))
    for path in sorted(posts - gets):
        assert (
            await world.here.get(path.replace("{token}", "x").replace("{id}", "x"))
        ).status == 405
    assert world.sessions() == 2
    assert len(await gateway.gateway.accounts.list_audit(limit=1_000)) == before


# --- keys and cookies do not mix ----------------------------------------------------------


async def test_routes_of_keys_ignore_the_cookie(
    gateway: Running, log_in: LogIn, http: aiohttp.ClientSession
) -> None:
    admin = await log_in(gateway, role="admin")
    cookie = {"cookie": f"kurol={admin.token}"}
    for path in ("/v1/models", "/v1/usage", "/v1beta/models", "/api/v1/accounts"):
        async with http.get(gateway.base_url + path, headers=cookie) as answer:
            assert answer.status == 401, path
    body = {"model": "c-model", "messages": [{"role": "user", "content": "Hi"}]}
    async with http.post(
        f"{gateway.base_url}/v1/chat/completions", json=body, headers=cookie
    ) as answer:
        assert answer.status == 401


async def test_pages_ignore_keys(gateway: Running, http: aiohttp.ClientSession) -> None:
    await gateway.gateway.accounts.create_account("root@example.org", "default", role="admin")
    _, admin_key = await gateway.gateway.accounts.create_key("root@example.org", admin=True)
    for key in (gateway.key, admin_key):
        for headers in ({"authorization": f"Bearer {key}"}, {"x-api-key": key}):
            async with http.get(
                gateway.base_url + SECURITY, headers=headers, allow_redirects=False
            ) as answer:
                assert answer.status == 303
                assert answer.headers["location"].startswith("/dashboard/login")


# --- names --------------------------------------------------------------------------------

LOOPBACK = ["localhost:{port}", "127.0.0.1:{port}", "[::1]:{port}", "gate.localhost:{port}"]


async def test_all_names_of_this_machine_work_over_http(
    gateway: Running, anonymous: Anonymous
) -> None:
    await account_with_password(gateway)
    fields = {"email": "ann@example.org", "password": PASSWORD}
    for host in LOOPBACK:
        named = host.format(port=gateway.base_url.rpartition(":")[2])
        browser = anonymous(gateway)
        await browser.get("/dashboard/login", host=named)
        foreign = await browser.post("/dashboard/login", fields, host=named, origin="http://evil")
        assert foreign.status == 403, host
        page = await browser.post("/dashboard/login", fields, host=named, origin=f"http://{named}")
        assert page.status == 303, host
        assert (await browser.get(SECURITY, host=named)).status == 200, host


NOT_OURS = [
    "evil.example",
    "evil.example:8080",
    "127.0.0.1.evil.example",
    "localhost.evil.example",
    "10.0.0.5:8080",
    "127.0.0.1@evil.example",
    "0.0.0.0",
    "[::1",
    "[x]:1",
]


async def test_foreign_name_gets_no_page_and_no_session_over_http(
    gateway: Running, log_in: LogIn
) -> None:
    world = await two(gateway, log_in)
    for host in NOT_OURS:
        page = await world.here.get(SECURITY, host=host)
        assert page.status == 403, host
        assert "Not over plain http" in page.text, host
        assert (await world.post(host=host, origin=f"http://{host}")).status == 403, host
        assert world.sessions() == 2, host


async def test_http_on_other_names_only_when_the_operator_says_so_and_with_a_banner(
    start: Starter, fake: FakeUpstream, log_in: LogIn
) -> None:
    running = await start(toml(fake.base_url, extra="[dashboard]\ninsecure_http = true\n"))
    world = await two(running, log_in)
    named = {"host": "gate.lan:8080"}
    page = await world.here.get(SECURITY, **named)
    assert page.status == 200
    assert "comes over plain http" in page.text
    assert (await world.post(**named, origin="http://evil.example")).status == 403
    assert (await world.post(**named, origin="http://gate.lan:8080")).status == 303


async def test_no_link_or_redirect_uses_the_host_that_was_named(
    start: Starter, fake: FakeUpstream, log_in: LogIn, anonymous: Anonymous
) -> None:
    for server in (f'public_url = "{URL}"', ""):
        running = await start(toml(fake.base_url, server=server))
        browser = await log_in(running)
        browser.cookie = "__Host-kurol" if server else "kurol"
        for visitor in (browser, anonymous(running)):
            for path in ("/", "/dashboard/", "/dashboard/login", SECURITY, "/dashboard/signup"):
                page = await visitor.get(path, host="evil.example", accept="text/html")
                assert "evil" not in page.text
                assert "evil" not in page.headers.get("location", "")


async def test_list_of_allowed_hosts_refuses_the_others(
    start: Starter, fake: FakeUpstream, anonymous: Anonymous
) -> None:
    running = await start(toml(fake.base_url, server='allowed_hosts = ["127.0.0.1"]'))
    browser = anonymous(running)
    assert (await browser.get("/dashboard/login", host="evil.example")).status == 421
    assert (await browser.get("/dashboard/login")).status == 200


ORIGINS = [
    ("https://LLM.example.org", "https://llm.example.org"),
    ("https://llm.example.org:443", "https://llm.example.org"),
    ("https://llm.example.org:8443/", "https://llm.example.org:8443"),
    ("http://gate.lan:80", "http://gate.lan"),
    ("http://[::1]:8080", "http://[::1]:8080"),
    ("http://", ""),
    ("http://[x", ""),
]


@pytest.mark.parametrize(("url", "expected"), ORIGINS)
def test_origin_is_written_as_browsers_write_it(url: str, expected: str) -> None:
    assert origin_of(url) == expected


# --- https --------------------------------------------------------------------------------


@pytest.fixture
async def secure(start: Starter, fake: FakeUpstream) -> Running:
    """Return a gateway whose users come by https, through a proxy that does that."""
    server = f'public_url = "{URL}"\npublic_urls = ["https://other.example.org:443"]'
    return await start(toml(fake.base_url, server=server))


async def entered(running: Running, browser: Browser) -> Page:
    browser.cookie = "__Host-kurol"
    await browser.get("/dashboard/login")
    fields = {"email": "ann@example.org", "password": PASSWORD}
    return await browser.post("/dashboard/login", fields, origin=URL)


async def test_cookies_over_https_belong_to_this_host_and_to_no_script(
    secure: Running, http: aiohttp.ClientSession, anonymous: Anonymous
) -> None:
    await account_with_password(secure)
    browser = anonymous(secure)
    async with http.get(f"{secure.base_url}/dashboard/login") as answer:
        (of_form,) = answer.headers.getall("set-cookie")
    page = await entered(secure, browser)
    assert page.status == 303
    of_session, dropped = page.headers.getall("set-cookie")
    for cookie, name in ((of_form, "__Host-kurol-form"), (of_session, "__Host-kurol")):
        first, *rest = cookie.split("; ")
        assert first.startswith(f"{name}=")
        assert len(first.partition("=")[2]) == 43
        flags = {each.lower() for each in rest}
        assert {"secure", "httponly", "samesite=strict", "path=/"} <= flags
        assert not any(each.startswith("domain") for each in flags)
    assert "max-age=2592000" in of_session.lower()
    assert "max-age" not in of_form.lower()
    assert dropped.startswith('__Host-kurol-form=""')
    assert (await browser.get(SECURITY)).status == 200


async def test_cookies_over_http_are_not_secure_and_have_another_name(
    gateway: Running, anonymous: Anonymous
) -> None:
    await account_with_password(gateway)
    browser = anonymous(gateway)
    page = await log_in_by_password(browser)
    cookie = page.headers.getall("set-cookie")[0].lower()
    assert cookie.startswith("kurol=")
    assert "secure" not in cookie
    assert "httponly" in cookie
    assert "samesite=strict" in cookie


async def test_origin_has_to_be_one_of_the_public_urls(secure: Running, log_in: LogIn) -> None:
    for origin, status in [
        ("http://llm.example.org", 403),
        ("https://llm.example.org:8443", 403),
        ("https://evil.example", 403),
        ("null", 403),
        # Over https the address that was called does not vouch for itself.
        (secure.base_url, 403),
        ("http://127.0.0.1", 403),
        (URL, 303),
        ("https://other.example.org", 303),
    ]:
        world = await two(secure, log_in)
        world.here.cookie = "__Host-kurol"
        # What the proxy in front makes of the host is its own affair.
        assert (await world.post(origin=origin, host="127.0.0.1")).status == status, origin
        assert (world.sessions() == 1) is (status == 303), origin


async def test_browsers_are_told_to_come_by_https_only_where_they_should(
    secure: Running, gateway: Running, anonymous: Anonymous
) -> None:
    for path in ("/dashboard/login", "/dashboard/nothing", SECURITY):
        page = await anonymous(secure).get(path)
        assert page.headers["strict-transport-security"] == "max-age=31536000"
        assert "strict-transport-security" not in (await anonymous(gateway).get(path)).headers


async def test_cookie_that_did_not_come_back_over_http_is_explained(
    secure: Running, anonymous: Anonymous
) -> None:
    by_other_name = await anonymous(secure).get("/dashboard/login/done", host="10.0.0.5:8080")
    assert "You came by another address" in by_other_name.text
    by_name = await anonymous(secure).get("/dashboard/login/done", host="llm.example.org")
    assert "the cookie is for https only" in by_name.text
    for page in (by_other_name, by_name):
        assert page.status == 403
        assert f'href="{URL}/dashboard/"' in page.text


# --- by a link of another site ------------------------------------------------------------

ABROAD = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}


async def test_who_comes_by_a_foreign_link_is_asked_to_come_again_with_his_cookie(
    gateway: Running, log_in: LogIn, anonymous: Anonymous
) -> None:
    browser = await log_in(gateway)
    path = f"{SECURITY}?done=one"
    bounce = await anonymous(gateway).get(path, **ABROAD)
    assert bounce.status == 200
    assert f'<meta http-equiv="refresh" content="0;url={path}">' in bounce.text
    assert f'<a href="{path}">' in bounce.text
    assert "set-cookie" not in bounce.headers
    # The page of ours asks again, and the cookie comes along.
    again = await browser.get(path, **{**ABROAD, "sec-fetch-site": "same-origin"})
    assert "Where you are logged in" in again.text
    # And who has none is not sent in a circle.
    stranger = await anonymous(gateway).get(path, **{**ABROAD, "sec-fetch-site": "same-origin"})
    assert stranger.headers["location"].startswith("/dashboard/login")


async def test_foreign_link_takes_no_session_away(gateway: Running, anonymous: Anonymous) -> None:
    for path in ("/dashboard/login", "/dashboard/signup", "/dashboard/link/x"):
        page = await anonymous(gateway).get(path, **ABROAD)
        assert "set-cookie" not in page.headers
        # An older browser does not say where it comes from: what it is given is for forms alone.
        page = await anonymous(gateway).get(path)
        assert not any(each.startswith("kurol=") for each in page.headers.getall("set-cookie", ()))


async def test_what_a_foreign_link_names_renders_as_text(
    gateway: Running, anonymous: Anonymous
) -> None:
    page = await anonymous(gateway).get(
        '/dashboard/login?next="><script>alert(1)</script>', **ABROAD
    )
    assert "<script>alert" not in page.text
