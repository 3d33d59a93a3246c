"""Links in a browser: what each is for, that looking changes nothing, that tokens stay secret."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from kurolproxy.policy.sessions import digest
from tests.conftest import Running, Starter, toml
from tests.dashboard.conftest import (
    PASSWORD,
    Browser,
    LogIn,
    account_with_password,
    log_in_by_password,
)
from tests.fakes.upstream import FakeUpstream

Anonymous = Callable[[Running], Browser]
NEW = "another horse battery"
FORM = {"email": "eve@example.org", "name": "Eve", "password": PASSWORD, "plan": "default"}


@pytest.fixture
async def inviting(start: Starter, fake: FakeUpstream) -> Running:
    """Return a gateway that takes people by invitation."""
    extra = '[[plans]]\nname = "team"\nmodels = ["*"]\n[dashboard]\nsignup = "invite"\n'
    return await start(toml(fake.base_url, extra=extra))


async def link(running: Running, kind: Any, **args: Any) -> str:
    """Make a link and return its path."""
    _, token = await running.gateway.accounts.links.create(kind, **args)
    return f"/dashboard/link/{token}"


async def test_setup_link_makes_an_admin_who_is_logged_in(
    inviting: Running, anonymous: Anonymous
) -> None:
    path = await link(inviting, "setup")
    browser = anonymous(inviting)
    form = await browser.get(path)
    assert "Set up Kurol Proxy" in form.text
    assert '<option value="team"' in form.text
    page = await browser.post(path, {**FORM, "plan": "team"})
    assert page.status == 303
    assert page.headers["location"].startswith("/dashboard/login/done")
    account = await inviting.gateway.accounts.get_account("eve@example.org")
    assert (account.role, account.plan, account.name) == ("admin", "team", "Eve")
    assert (await browser.get("/dashboard/account/security")).status == 200
    assert (await log_in_by_password(anonymous(inviting), "eve@example.org")).status == 303
    gone = await anonymous(inviting).get(path)
    assert (gone.status, "This link is not valid" in gone.text) == (404, True)


async def test_with_one_plan_nobody_is_asked_for_it(gateway: Running, anonymous: Anonymous) -> None:
    form = await anonymous(gateway).get(await link(gateway, "setup"))
    assert "<select" not in form.text
    assert 'type="hidden" name="plan" value="default"' in form.text


async def test_invitation_makes_the_account_that_it_was_made_for(
    inviting: Running, anonymous: Anonymous
) -> None:
    path = await link(inviting, "invite", plan="team", email="eve.two@example.org")
    browser = anonymous(inviting)
    form = await browser.get(path)
    assert "You are invited" in form.text
    assert "eve.two@example.org" in form.text
    assert 'id="f-email"' not in form.text
    # What the link fixes is not the form's to say.
    page = await browser.post(path, {**FORM, "role": "admin", "plan": "default"})
    assert page.status == 303
    account = await inviting.gateway.accounts.get_account("eve.two@example.org")
    assert (account.role, account.plan) == ("user", "team")


async def test_password_link_sets_a_password_and_logs_in_here_only(
    gateway: Running, anonymous: Anonymous
) -> None:
    account = await account_with_password(gateway)
    elsewhere = anonymous(gateway)
    await log_in_by_password(elsewhere)
    path = await link(gateway, "password", who=account.id)
    browser = anonymous(gateway)
    assert "Choose a password" in (await browser.get(path)).text
    assert (await browser.post(path, {"password": NEW})).status == 303
    assert (await browser.get("/dashboard/account/security")).status == 200
    assert (await elsewhere.get("/dashboard/account/security")).status == 303
    assert (await log_in_by_password(anonymous(gateway))).status == 422
    assert (await log_in_by_password(anonymous(gateway), password=NEW)).status == 303


async def test_login_link_of_the_demo_works_again_and_on_this_machine_only(
    start: Starter, fake: FakeUpstream, anonymous: Anonymous
) -> None:
    server = 'trusted_proxies = ["127.0.0.1"]'
    running = await start(
        toml(fake.base_url, server=server, extra="[dashboard]\ninsecure_http = true")
    )
    path = await link(running, "login", who="someone@example.org")
    for _ in range(2):
        browser = anonymous(running)
        assert "someone@example.org" in (await browser.get(path)).text
        assert len(running.gateway.sessions) == 0
        assert (await browser.post(path)).status == 303
        assert (await browser.get("/dashboard/account/security")).status == 200
        await browser.post("/dashboard/logout")
    browser = anonymous(running)
    await browser.get("/dashboard/login")
    for headers in ({"x-forwarded-for": "203.0.113.7"}, {"host": "evil.example"}):
        assert (await browser.get(path, **headers)).status == 403
        origin = f"http://{headers.get('host', running.base_url[7:])}"
        assert (await browser.post(path, origin=origin, **headers)).status == 403
    assert len(running.gateway.sessions) == 0


async def test_looking_at_a_link_changes_nothing(inviting: Running, anonymous: Anonymous) -> None:
    paths = [
        await link(inviting, "setup"),
        await link(inviting, "invite", plan="team"),
        await link(inviting, "password", who="someone@example.org"),
    ]
    before = await inviting.gateway.accounts.list_audit()
    for path in paths * 2:
        page = await anonymous(inviting).get(path)
        assert page.status == 200
        assert page.headers["referrer-policy"] == "no-referrer"
        assert page.headers["cache-control"] == "no-store"
    assert await inviting.gateway.accounts.list_audit() == before
    assert len(await inviting.gateway.accounts.list_accounts()) == 1


WRONG = [
    ({"email": "nonsense"}, "is not an email address"),
    ({"email": "SOMEONE@example.org"}, "already"),
    ({"password": "short"}, "at least 8 characters"),
    ({"password": ""}, "at least 8 characters"),
    ({"name": "x" * 201}, "at most 200 characters"),
    ({"plan": "gold"}, "no such plan"),
    ({"plan": ""}, "no such plan"),
]


async def test_wrong_form_is_told_at_its_field_and_leaves_the_link_good(
    inviting: Running, anonymous: Anonymous
) -> None:
    path = await link(inviting, "setup")
    browser = anonymous(inviting)
    await browser.get(path)
    for change, text in WRONG:
        page = await browser.post(path, {**FORM, "name": "Eve <i>", **change})
        assert page.status == 422, change
        assert text in page.text, change
        assert 'aria-invalid="true"' in page.text, change
        assert PASSWORD not in page.text
    # Whoever has a link may try as often as he likes: that must not cost a hash each time.
    assert inviting.gateway.passwords.worked == 0
    assert len(await inviting.gateway.accounts.list_accounts()) == 1
    assert (await browser.post(path, FORM)).status == 303


async def test_names_in_a_form_render_as_text(inviting: Running, anonymous: Anonymous) -> None:
    path = await link(inviting, "setup")
    browser = anonymous(inviting)
    await browser.get(path)
    hostile = '"><script>alert(1)</script>'
    page = await browser.post(path, {**FORM, "name": hostile, "email": hostile, "plan": hostile})
    assert page.status == 422
    assert "<script>alert" not in page.text


async def test_invitation_to_a_plan_that_is_gone_says_so(
    inviting: Running, anonymous: Anonymous
) -> None:
    path = await link(inviting, "invite", plan="gone")
    browser = anonymous(inviting)
    await browser.get(path)
    page = await browser.post(path, FORM)
    assert (page.status, "no such plan any more" in page.text) == (422, True)


async def test_closed_sign_up_takes_no_invitation(gateway: Running, anonymous: Anonymous) -> None:
    token = "a" * 43
    await gateway.gateway.database.write(
        lambda db: db.execute(
            "INSERT INTO links VALUES (?, 'link_x', 'invite', NULL, '', 'default', 'user', 0, 0,"
            " 'x', 9e9, NULL)",
            (digest(token),),
        )
    )
    browser = anonymous(gateway)
    await browser.get("/dashboard/login")
    for page in (
        await browser.get(f"/dashboard/link/{token}"),
        await browser.post(f"/dashboard/link/{token}", FORM),
    ):
        assert page.status == 404
    assert len(await gateway.gateway.accounts.list_accounts()) == 1


async def test_whoever_is_logged_in_becomes_who_the_link_is_for(
    inviting: Running, log_in: LogIn
) -> None:
    browser = await log_in(inviting)
    path = await link(inviting, "invite", plan="team")
    assert "logged in with another account" in (await browser.get(path)).text
    before = browser.token
    assert (await browser.post(path, FORM)).status == 303
    assert browser.token != before
    page = await browser.get("/dashboard/account/security")
    assert "eve@example.org" in page.text
    browser.token = before
    assert (await browser.get("/dashboard/account/security")).status == 303


GONE = ["x", "", "x" * 500, "%00", "..%2f..", "\u00e9"]


async def test_link_that_is_none_says_so_and_nothing_else(
    gateway: Running, anonymous: Anonymous
) -> None:
    browser = anonymous(gateway)
    await browser.get("/dashboard/login")
    for token in GONE:
        assert (await browser.get(f"/dashboard/link/{token}")).status == 404, token
        assert (await browser.post(f"/dashboard/link/{token}", FORM)).status == 404, token


async def test_no_token_of_a_link_comes_into_the_log_or_the_record(
    inviting: Running, anonymous: Anonymous
) -> None:
    paths = [await link(inviting, "setup"), await link(inviting, "invite", plan="team")]
    for number, path in enumerate(paths):
        browser = anonymous(inviting)
        await browser.get(path)
        await browser.post(path, {**FORM, "password": "x"})
        await browser.post(path, {**FORM, "email": f"{number}@example.org"})
        await browser.get(path)
        await browser.get(path + "?x=1")
    lines = inviting.lines()
    trail = repr(await inviting.gateway.accounts.list_audit())
    assert "/dashboard/link/{token}" in lines
    for path in paths:
        token = path.rpartition("/")[2]
        assert token not in lines
        assert token not in trail
        assert PASSWORD not in lines


@pytest.mark.parametrize("host", ["llm.example.org", "10.0.0.7"])
@pytest.mark.parametrize("begin", ["/dashboard", "//dashboard", "/v1/dashboard", "/Dashboard"])
async def test_no_token_of_a_link_comes_into_the_log_by_another_host_or_path(
    fake: FakeUpstream, start: Starter, anonymous: Anonymous, host: str, begin: str
) -> None:
    served = await start(toml(fake.base_url, server='allowed_hosts = ["llm.example.org"]'))
    path = (await link(served, "setup")).replace("/dashboard", begin)
    await anonymous(served).get(path, host=host)
    lines = served.lines()
    assert f"{begin}/link/" in lines
    assert path.rpartition("/")[2] not in lines
