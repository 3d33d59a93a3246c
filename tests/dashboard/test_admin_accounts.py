"""What an admin does with accounts, and what nobody can do to the last admin."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import aiohttp
import pytest

from kurolproxy.storage.usage import import_rows
from tests.conftest import Running, Starter, new_key, toml
from tests.dashboard.conftest import Browser, LogIn, Page
from tests.fakes.upstream import FakeUpstream
from tests.storage.usage_rows import row

LIST = "/dashboard/admin/accounts"
HOSTILE = ["<img src=x onerror=alert(1)>", '"><script>alert(1)</script>', "javascript:alert(1)"]
PLANS = """
[[plans]]
name = "small"
models = ["c-*"]
requests_per_minute = 5

[dashboard]
signup = "invite"
signup_plan = "small"
"""
Visitor = Callable[[Running], Browser]


@pytest.fixture
async def site(fake: FakeUpstream, start: Starter) -> Running:
    return await start(toml(fake.base_url, extra=PLANS))


@pytest.fixture
async def root(site: Running, log_in: LogIn) -> Browser:
    return await log_in(site, "root@example.org", role="admin")


async def account_of(site: Running, email: str) -> str:
    """Return the address of an account's page; it is made when there is none."""
    accounts = site.gateway.accounts
    known = {each.email: each.id for each in await accounts.list_accounts()}
    if email not in known:
        known[email] = (await accounts.create_account(email, "default")).id
    return f"{LIST}/{known[email]}"


async def audit(site: Running) -> list[tuple[str, str, str]]:
    """Return who did what to whom, the latest first."""
    found = await site.gateway.accounts.list_audit()
    return [(each.actor, each.action, each.subject) for each in found]


def link_of(page: Page) -> str:
    """Return the path of the link that a page shows."""
    found = re.search(r'<pre id="link"[^>]*>http://[^/]+(/dashboard/link/[^<]+)</pre>', page.text)
    assert found is not None, page.text
    return found[1]


def said(page: Page) -> str:
    """Return the words of a page, entities resolved."""
    return html.unescape(page.text)


async def models_status(site: Running, http: aiohttp.ClientSession, secret: str) -> int:
    headers = {"authorization": f"Bearer {secret}"}
    async with http.get(f"{site.base_url}/v1/models", headers=headers) as answer:
        return answer.status


# --- making one -------------------------------------------------------------------------


async def test_account_that_is_made_gets_a_link_for_its_password(
    site: Running, root: Browser, anonymous: Visitor
) -> None:
    fields = {"email": "new@example.org", "name": "New", "plan": "small", "role": "user"}
    page = await root.post(LIST, fields)
    assert page.status == 200
    made = await site.gateway.accounts.get_account("new@example.org")
    assert (made.name, made.plan, made.role) == ("New", "small", "user")
    assert (await anonymous(site).get(link_of(page))).status == 200
    done = [(actor, action) for actor, action, _ in await audit(site)]
    assert done[:2] == [("root@example.org", "link.create"), ("root@example.org", "account.create")]
    # It was shown once.
    assert "/dashboard/link/" not in (await root.get(f"{LIST}/{made.id}")).text


WRONG = [
    ({"email": "no address", "plan": "small"}, "email", "is not an email address"),
    ({"email": "ROOT@example.org", "plan": "small"}, "email", "already"),
    ({"email": "new@example.org", "plan": "smal"}, "plan", "did you mean 'small'"),
    ({"email": "new@example.org", "plan": ""}, "plan", "There is no plan"),
    ({"email": "new@example.org", "plan": "small", "name": "x" * 201}, "name", "at most 200"),
]


async def test_wrong_field_is_told_at_the_field_and_what_was_typed_stays(
    site: Running, root: Browser
) -> None:
    for fields, field, words in WRONG:
        page = await root.post(LIST, {"name": "Kept", "role": "admin", **fields})
        assert page.status == 422
        told = re.search(rf'id="f-{field}-hint"[^>]*><strong[^>]*>([^<]+)<', page.text)
        assert told is not None, words
        assert words in html.unescape(told[1])
        assert told[1].endswith(".")
        assert f'value="{fields["email"]}"' in page.text
        assert '<option value="admin" selected>' in page.text
    known = {each.email for each in await site.gateway.accounts.list_accounts()}
    assert "new@example.org" not in known


async def test_role_that_is_none_makes_no_admin(site: Running, root: Browser) -> None:
    fields = {"email": "new@example.org", "plan": "small", "role": "Admin "}
    assert (await root.post(LIST, fields)).status == 200
    assert (await site.gateway.accounts.get_account("new@example.org")).role == "user"


# --- invitations ------------------------------------------------------------------------


async def once(root: Browser) -> str:
    page = await root.get(f"{LIST}/new")
    found = re.search(r'name="once" value="([^"]+)"', page.text)
    assert found is not None
    return found[1]


async def test_invitation_is_made_once_listed_and_revoked(
    site: Running, root: Browser, anonymous: Visitor
) -> None:
    fields = {
        "email": "guest@example.org",
        "plan": "small",
        "role": "user",
        "once": await once(root),
    }
    page = await root.post("/dashboard/admin/invites", fields)
    link = link_of(page)
    assert (await anonymous(site).get(link)).status == 200
    again = await root.post("/dashboard/admin/invites", fields)
    assert (again.status, "sent already" in again.text) == (409, True)
    listed = await root.get(f"{LIST}/new")
    assert "guest@example.org" in listed.text
    assert link not in listed.text
    [revoke] = re.findall(r'action="(/dashboard/admin/invites/[^"]+/revoke)"', listed.text)
    assert (await root.post(revoke)).status == 303
    assert (await anonymous(site).get(link)).status == 404
    assert (await root.post(revoke)).status == 404
    assert [each[1] for each in await audit(site)][:2] == ["link.revoke", "link.create"]


async def test_invitation_is_refused_with_a_text_where_sign_up_is_closed(
    gateway: Running, log_in: LogIn
) -> None:
    root = await log_in(gateway, "root@example.org", role="admin")
    shown = await root.get(f"{LIST}/new")
    assert "Sign-up is closed" in shown.text
    assert 'action="/dashboard/admin/invites"' not in shown.text
    page = await root.post("/dashboard/admin/invites", {"plan": "default", "role": "user"})
    assert page.status == 409
    assert await gateway.gateway.accounts.links.list("invite") == []


# --- changes ----------------------------------------------------------------------------


async def test_plan_and_role_change_from_the_next_request_on(
    site: Running, root: Browser, log_in: LogIn
) -> None:
    at = await account_of(site, "ann@example.org")
    ann = await log_in(site, "ann@example.org")
    assert (await ann.get("/dashboard/admin/plans")).status == 403
    page = await root.post(f"{at}/change", {"name": "Ann", "plan": "small", "role": "admin"})
    assert (page.status, page.headers["location"]) == (303, f"{at}?said=changed")
    changed = await site.gateway.accounts.get_account("ann@example.org")
    assert (changed.name, changed.plan, changed.role) == ("Ann", "small", "admin")
    assert (await ann.get("/dashboard/admin/plans")).status == 200
    actions = [each for each in await audit(site) if each[2] == "ann@example.org"][:3]
    names = {"account.set-plan", "account.rename", "account.set-role"}
    assert {(actor, action) for actor, action, _ in actions} == {
        ("root@example.org", n) for n in names
    }


SENSELESS = [
    ({"plan": "Small"}, "did you mean 'small'"),
    ({"plan": "small\u200b"}, "There is no plan"),
    ({"role": "ADMIN"}, "Users.change"),
    ({"name": "a\x07b"}, "one line"),
]


async def test_change_that_makes_no_sense_is_told_and_changes_nothing(
    site: Running, root: Browser
) -> None:
    at = await account_of(site, "ann@example.org")
    before = await site.gateway.accounts.get_account("ann@example.org")
    for fields, words in SENSELESS:
        page = await root.post(f"{at}/change", fields)
        assert page.status == 422
        assert words in said(page)
        assert await site.gateway.accounts.get_account("ann@example.org") == before


LAST = [
    ("change", {"role": "user"}),
    ("disable", {}),
    ("delete", {"email": "root@example.org"}),
]


@pytest.mark.parametrize(("verb", "fields"), LAST, ids=[each[0] for each in LAST])
async def test_last_admin_cannot_lock_himself_out(
    site: Running, root: Browser, log_in: LogIn, verb: str, fields: dict[str, str]
) -> None:
    at = await account_of(site, "root@example.org")
    page = await root.post(f"{at}/{verb}", fields)
    assert page.status == 409
    why = "root@example.org is the last active admin: make another account an admin first."
    assert f">{why}<" in said(page)
    assert (await root.get(at)).status == 200
    await log_in(site, "second@example.org", role="admin")
    assert (await root.post(f"{at}/{verb}", fields)).status == 303


async def test_disabled_account_calls_nothing_until_it_is_enabled(
    site: Running, root: Browser, log_in: LogIn, http: aiohttp.ClientSession
) -> None:
    secret = await new_key(site.gateway, "ann@example.org", "default")
    ann = await log_in(site, "ann@example.org")
    at = await account_of(site, "ann@example.org")
    assert await models_status(site, http, secret) == 200
    assert (await root.post(f"{at}/disable")).status == 303
    assert await models_status(site, http, secret) == 401
    assert (await ann.get("/dashboard/keys")).status == 303
    assert (await root.post(f"{at}/password-link")).status == 409
    assert (await root.post(f"{at}/enable")).status == 303
    assert await models_status(site, http, secret) == 200


async def test_account_is_deleted_only_when_its_email_was_typed(
    site: Running, root: Browser
) -> None:
    at = await account_of(site, "ann@example.org")
    for typed in ("", "ann@example.or", "yes"):
        page = await root.post(f"{at}/delete", {"email": typed})
        assert page.status == 422
        assert "Type the email" in page.text
    page = await root.post(f"{at}/delete", {"email": " ann@example.org "})
    assert (page.status, page.headers["location"]) == (303, f"{LIST}?said=deleted")
    assert (await root.get(at)).status == 404
    assert (await audit(site))[0] == ("root@example.org", "account.delete", "ann@example.org")


async def test_password_link_is_shown_once_and_ends_the_one_before(
    site: Running, root: Browser, anonymous: Visitor
) -> None:
    at = await account_of(site, "ann@example.org")
    first = link_of(await root.post(f"{at}/password-link"))
    second = link_of(await root.post(f"{at}/password-link"))
    assert (await anonymous(site).get(first)).status == 404
    assert (await anonymous(site).get(second)).status == 200
    assert second not in site.lines()
    trail = await root.get("/dashboard/admin/audit")
    assert second.rpartition("/")[2] not in trail.text


async def test_account_is_logged_out_everywhere(
    site: Running, root: Browser, log_in: LogIn
) -> None:
    browsers = [await log_in(site, "ann@example.org") for _ in range(2)]
    at = await account_of(site, "ann@example.org")
    assert (await root.post(f"{at}/end-sessions")).status == 303
    assert [(await each.get("/dashboard/keys")).status for each in browsers] == [303, 303]
    assert (await root.get(at)).status == 200
    assert (await audit(site))[0] == ("root@example.org", "account.end-sessions", "ann@example.org")


# --- keys -------------------------------------------------------------------------------


async def test_key_is_revoked_on_the_page_of_its_account_alone(
    site: Running, root: Browser, http: aiohttp.ClientSession
) -> None:
    secret = await new_key(site.gateway, "ann@example.org", "default", label="laptop")
    [key] = await site.gateway.accounts.list_keys("ann@example.org")
    at = await account_of(site, "ann@example.org")
    other = await account_of(site, "bob@example.org")
    page = await root.get(at)
    assert "laptop" in page.text
    assert secret not in page.text
    assert (await root.post(f"{other}/keys/{key.id}/revoke")).status == 404
    assert await models_status(site, http, secret) == 200
    assert (await root.post(f"{at}/keys/{key.id}/revoke", {"end": "on"})).status == 303
    assert await models_status(site, http, secret) == 401
    assert (await audit(site))[0] == ("root@example.org", "key.revoke", key.id)


async def test_page_of_an_account_says_what_it_used_and_where_it_stands(
    site: Running, root: Browser
) -> None:
    account = await site.gateway.accounts.create_account("ann@example.org", "small")
    today = datetime.now(UTC)
    rows = [
        row(
            f"req_{days}",
            account_id=account.id,
            day=(today - timedelta(days=days)).date(),
            started_at=(today - timedelta(days=days)).timestamp(),
        )
        for days in (0, 1, 29, 30, 400)
    ]
    await import_rows(site.gateway.database, rows)
    page = await root.get(f"{LIST}/{account.id}")
    assert "3 requests, 360 tokens charged (300 of prompts, 60 of answers)" in page.text
    days = re.findall(r'<th scope="row">(\d{4}-\d\d-\d\d)</th>', page.text)
    assert days == [rows[index].day.isoformat() for index in (0, 1, 2)]
    assert "of 5 a minute" in page.text
    assert "5 requests a minute" in page.text


# --- the list ---------------------------------------------------------------------------


async def test_list_is_searched_and_a_part_of_it_comes_for_htmx(
    site: Running, root: Browser
) -> None:
    await account_of(site, "ann@example.org")
    await site.gateway.accounts.create_account("bob@example.org", "small", name="Bob Ross")
    whole = await root.get(f"{LIST}?q=BOB")
    assert "bob@example.org" in whole.text
    assert "ann@example.org" not in whole.text
    part = await root.get(f"{LIST}?q=ross", htmx=True)
    assert "bob@example.org" in part.text
    assert "<html" not in part.text
    small = await root.get(f"{LIST}?plan=small&role=user&state=active")
    assert "bob@example.org" in small.text
    assert "ann@example.org" not in small.text
    assert "No account matches" in (await root.get(f"{LIST}?state=disabled")).text


async def test_list_has_pages(site: Running, root: Browser) -> None:
    for number in range(60):
        await site.gateway.accounts.create_account(f"p{number:02d}@example.org", "small")
    first = await root.get(f"{LIST}?plan=small")
    [older] = re.findall(r'rel="next" href="([^"]+)"', first.text)
    second = await root.get(html.unescape(older))
    found = re.findall(r">(p\d\d@example.org)<", first.text + second.text)
    assert found == [f"p{number:02d}@example.org" for number in reversed(range(60))]
    assert 'rel="next"' not in second.text


async def test_hostile_names_are_text(site: Running, root: Browser) -> None:
    for name in HOSTILE:
        account = await site.gateway.accounts.create_account(
            f"{name[-3:]}@example.org", "small", name
        )
        await site.gateway.accounts.create_key(account.id, label=name)
        at = f"{LIST}/{account.id}"
        for path in (LIST, at, f"{LIST}?q={name}", "/dashboard/admin/audit"):
            page = await root.get(path)
            assert page.status == 200
            assert not re.search(r"<img|<script>|href=.javascript:", page.text)
        assert name in said(await root.get(at))


async def test_account_of_a_plan_that_the_file_has_no_more_is_marked(
    site: Running, root: Browser
) -> None:
    account = await site.gateway.accounts.create_account("old@example.org", "bygone")
    assert "not in the file" in (await root.get(LIST)).text
    assert "calls are refused" in (await root.get(f"{LIST}/{account.id}")).text
    assert "bygone" in (await root.get("/dashboard/admin/plans")).text
