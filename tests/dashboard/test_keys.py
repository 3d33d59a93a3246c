"""Keys of the account: made once, shown once, narrowed, renamed, rotated, revoked."""

from __future__ import annotations

import asyncio
import html
import json
import os
import re
from typing import Any

import aiohttp
import pytest

from kurolproxy.dashboard.once import OneTime
from tests.conftest import Running, Starter, toml
from tests.dashboard.conftest import Browser, LogIn, Page
from tests.fakes.answers import chat_answer
from tests.fakes.upstream import FakeUpstream

HOSTILE = ["<img src=x onerror=alert(1)>", '"><script>alert(1)</script>', "javascript:alert(1)"]
PLAN = "requests_per_minute = 60\ndaily_tokens = 1_000_000"


@pytest.fixture
async def planned(fake: FakeUpstream, start: Starter) -> Running:
    """Return a gateway whose plan has limits."""
    return await start(toml(fake.base_url, extra=PLAN))


def once_of(page: Page) -> str:
    """Return the one-time id that the forms of a page carry."""
    found = re.search(r'name="once" value="([^"]+)"', page.text)
    assert found is not None, page.text
    return found[1]


def secret_of(page: Page) -> str:
    """Return the secret that a page shows in clear."""
    found = re.search(r'<pre id="secret"[^>]*>([^<]+)</pre>', page.text)
    assert found is not None, page.text
    return found[1]


def id_of(page: Page) -> str:
    """Return the id of the key that a list names last."""
    return re.findall(r'href="/dashboard/keys/(key_[0-9a-f]+)"', page.text)[-1]


async def make(browser: Browser, **fields: str) -> Page:
    """Fill the form of a new key, and send it."""
    listed = await browser.get("/dashboard/keys")
    return await browser.post("/dashboard/keys", {"once": once_of(listed), **fields})


async def models_with(running: Running, http: aiohttp.ClientSession, secret: str) -> Any:
    """Return what ``/v1/models`` says to a key: its status, and the ids."""
    headers = {"authorization": f"Bearer {secret}"}
    async with http.get(f"{running.base_url}/v1/models", headers=headers) as answer:
        body = await answer.json()
        return answer.status, [each["id"] for each in body.get("data", ())]


async def test_new_key_is_shown_once_and_works(
    gateway: Running, log_in: LogIn, http: aiohttp.ClientSession
) -> None:
    browser = await log_in(gateway)
    made = await make(browser, label="laptop")
    assert made.status == 200
    assert made.headers["cache-control"] == "no-store"
    secret = secret_of(made)
    assert (await models_with(gateway, http, secret))[0] == 200
    later = await browser.get("/dashboard/keys")
    assert "laptop" in later.text
    assert secret not in later.text
    assert secret[-4:] in later.text
    assert secret not in gateway.lines()


async def test_curl_line_beside_a_new_key_gets_an_answer(
    fake: FakeUpstream, gateway: Running, log_in: LogIn
) -> None:
    fake.always(chat_answer())
    made = await make(await log_in(gateway))
    found = re.search(r'<pre id="try-curl"[^>]*>(.*?)</pre>', made.text, re.DOTALL)
    assert found is not None
    process = await asyncio.create_subprocess_exec(
        "bash",
        "-c",
        html.unescape(found[1]),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env={"PATH": os.environ["PATH"]},
    )
    async with asyncio.timeout(20):
        out, _ = await process.communicate()
    assert process.returncode == 0
    assert json.loads(out)["object"] == "chat.completion"
    assert "Invoke-RestMethod" in made.text


async def test_form_sent_twice_makes_one_key(gateway: Running, log_in: LogIn) -> None:
    browser = await log_in(gateway)
    once = once_of(await browser.get("/dashboard/keys"))
    fields = {"label": "one", "once": once}
    answers = await asyncio.gather(*(browser.post("/dashboard/keys", fields) for _ in range(5)))
    assert sorted(each.status for each in answers) == [200, 409, 409, 409, 409]
    refused = next(each for each in answers if each.status == 409)
    assert "sent already" in refused.text
    assert 'value="one"' in refused.text
    assert browser.account is not None
    assert len(await gateway.gateway.accounts.list_keys(browser.account.id)) == 1
    # The form of that answer counts again: for another key, if one is wanted.
    again = await browser.post("/dashboard/keys", {**fields, "once": once_of(refused)})
    assert again.status == 200


@pytest.mark.parametrize("once", ["", "x", "x.y", "ü.ü", "\ud800."])
def test_made_up_id_of_a_form_counts_for_nothing(once: str) -> None:
    assert not OneTime().take(once, "token")


def test_id_of_a_form_counts_once_for_one_browser() -> None:
    ids = OneTime(most=2)
    first, second, third = (ids.issue("token") for _ in range(3))
    assert not ids.take(first, "another token")
    assert ids.take(first, "token")
    assert not ids.take(first, "token")
    assert not OneTime().take(second, "token")
    # When the first ones would be forgotten, none of before counts any more.
    assert ids.take(second, "token")
    assert ids.take(third, "token")
    assert not ids.take(first, "token")
    assert not ids.take(second, "token")


async def test_key_is_narrowed_as_the_form_said(
    planned: Running, log_in: LogIn, http: aiohttp.ClientSession
) -> None:
    browser = await log_in(planned)
    fields = {
        "label": "narrow",
        "models": "m-*",
        "requests_per_minute": "1 0",
        "daily_tokens": "5,000",
        "expires_at": "2999-12-31",
    }
    made = await make(browser, **fields)
    assert browser.account is not None
    (key,) = await planned.gateway.accounts.list_keys(browser.account.id)
    assert (key.label, key.models, key.requests_per_minute, key.daily_tokens) == (
        "narrow",
        ("m-*",),
        10,
        5_000,
    )
    assert key.expires_at == 32_503_593_600.0
    assert (await models_with(planned, http, secret_of(made)))[1] == ["m-model"]
    # The line to try names a model that this key may call.
    assert "&#34;m-model&#34;" in made.text
    shown = await browser.get(f"/dashboard/keys/{key.id}")
    for text in ("10 a minute", "5\u2009000 tokens a day", "m-*", "2999-12-31", "5\u2009000 left"):
        assert text in shown.text


async def test_models_that_are_ticked_are_those_alone(
    fake: FakeUpstream, start: Starter, log_in: LogIn, http: aiohttp.ClientSession
) -> None:
    odd = '[[models]]\nid = "c[1]*"\ntargets = [{ upstream = "chat", model = "plain" }]\n'
    running = await start(toml(fake.base_url, extra=odd))
    browser = await log_in(running)
    made = await make(browser, **{"pick.c[1]*": "on", "pick.nobody-has-this": "on"})
    # A name that looks like a pattern means itself, no other model and not nothing.
    assert (await models_with(running, http, secret_of(made)))[1] == ["c[1]*"]


WRONG = [
    ("requests_per_minute", "61", "Your plan has 60"),
    ("requests_per_minute", "0", "whole number"),
    ("requests_per_minute", "-1", "whole number"),
    ("requests_per_minute", "many", "whole number"),
    ("requests_per_minute", "9" * 5_000, "whole number"),
    ("daily_tokens", "1000001", "Your plan has 1\u2009000\u2009000"),
    ("daily_tokens", "1.5", "whole number"),
    ("models", "gpt-*", "No model of your plan is called like this: gpt-*"),
    ("models", "C-MODEL", "No model of your plan"),
    ("models", " ".join(["?"] * 101), "at most 100 patterns"),
    ("expires_at", "tomorrow", "no date"),
    ("expires_at", "2001-01-01", "expired already"),
    ("expires_at", "9999-12-31T23:59:59-20:00", "year 9999"),
    ("label", "x" * 201, "one line"),
    ("label", "a\u202eb", "one line"),
]


@pytest.mark.parametrize(("field", "value", "told"), WRONG)
async def test_wrong_value_is_told_at_its_field_and_what_was_typed_stays(
    planned: Running, log_in: LogIn, field: str, value: str, told: str
) -> None:
    browser = await log_in(planned)
    refused = await make(browser, **{"label": "kept", "expires_at": "2999-01-01", field: value})
    assert refused.status == 422
    found = re.search(rf'<input id="f-{field}"[^>]*aria-invalid.*?</p>', refused.text, re.DOTALL)
    assert found is not None
    sentence = re.search(r"<strong[^>]*>(.*?)</strong>", found[0], re.DOTALL)
    assert sentence is not None
    assert told in html.unescape(sentence[1])
    assert sentence[1][0].isupper()
    assert sentence[1].endswith(".")
    assert f'value="{html.escape(value)}"' in refused.text
    if field != "label":
        assert 'value="kept"' in refused.text
    assert browser.account is not None
    assert await planned.gateway.accounts.list_keys(browser.account.id) == []


async def test_key_beyond_the_most_is_refused_and_revoking_makes_room(
    gateway: Running, log_in: LogIn
) -> None:
    browser = await log_in(gateway)
    assert browser.account is not None
    for _ in range(20):
        await gateway.gateway.accounts.create_key(browser.account.id)
    refused = await make(browser, label="one more")
    assert refused.status == 422
    assert "An account may have 20 keys: revoke one first." in refused.text
    assert len(await gateway.gateway.accounts.list_keys(browser.account.id)) == 20
    await browser.post(f"/dashboard/keys/{id_of(refused)}/revoke")
    assert (await make(browser, label="one more")).status == 200


async def test_farmed_keys_share_the_limits_of_the_account(
    fake: FakeUpstream, start: Starter, log_in: LogIn, http: aiohttp.ClientSession
) -> None:
    fake.always(chat_answer())
    running = await start(toml(fake.base_url, extra="requests_per_minute = 5"))
    browser = await log_in(running)
    secrets = [secret_of(await make(browser)) for _ in range(6)]
    statuses = []
    body = {"model": "c-model", "messages": [{"role": "user", "content": "hi"}]}
    for secret in secrets:
        headers = {"authorization": f"Bearer {secret}"}
        url = f"{running.base_url}/v1/chat/completions"
        async with http.post(url, json=body, headers=headers) as answer:
            statuses.append(answer.status)
    assert statuses == [200] * 5 + [429]


async def test_revoked_key_is_refused_and_folded_away(
    gateway: Running, log_in: LogIn, http: aiohttp.ClientSession
) -> None:
    browser = await log_in(gateway)
    made = await make(browser, label="old machine")
    id_, secret = id_of(made), secret_of(made)
    answer = await browser.post(f"/dashboard/keys/{id_}/revoke")
    assert answer.status == 303
    assert answer.headers["location"].startswith(f"/dashboard/keys/{id_}?said=revoked")
    assert (await models_with(gateway, http, secret))[0] == 401
    page = await browser.get(f"/dashboard/keys/{id_}?said=revoked&ended=0")
    assert "the next request with this key is refused" in page.text
    assert "/rotate" not in page.text
    listed = (await browser.get("/dashboard/keys")).text
    assert "old machine" in listed[listed.index("Revoked keys: 1") :]
    again = await browser.post(f"/dashboard/keys/{id_}/rotate", {"once": once_of(made)})
    assert again.status == 409
    assert 'id="secret"' not in again.text


async def test_only_the_last_revoked_keys_are_listed(gateway: Running, log_in: LogIn) -> None:
    browser = await log_in(gateway)
    assert browser.account is not None
    store = gateway.gateway.accounts
    for number in range(51):
        key, _ = await store.create_key(browser.account.id, label=f"number {number}.")
        await store.revoke_key(key.id)
    page = await browser.get("/dashboard/keys")
    assert "Revoked keys: the last 50" in page.text
    assert ("number 0." in page.text, "number 50." in page.text) == (False, True)


@pytest.mark.parametrize(("fields", "ended"), [({}, False), ({"end": "on"}, True)])
async def test_running_calls_end_with_their_key_only_when_asked(
    fake: FakeUpstream,
    gateway: Running,
    log_in: LogIn,
    http: aiohttp.ClientSession,
    fields: dict[str, str],
    ended: bool,
) -> None:
    browser = await log_in(gateway)
    made = await make(browser)
    gate = fake.hold_each(chat_answer())
    body = {"model": "c-model", "messages": [{"role": "user", "content": "hi"}]}
    headers = {"authorization": f"Bearer {secret_of(made)}"}
    url = f"{gateway.base_url}/v1/chat/completions"
    call = asyncio.create_task(_text(http, url, body, headers))
    await fake.received()
    answer = await browser.post(f"/dashboard/keys/{id_of(made)}/revoke", fields)
    assert answer.headers["location"].endswith("ended=1" if ended else "ended=0")
    gate.set()
    assert ("revoked" in await call) is ended


async def _text(
    http: aiohttp.ClientSession, url: str, body: dict[str, Any], headers: dict[str, str]
) -> str:
    async with http.post(url, json=body, headers=headers) as answer:
        return await answer.text()


async def test_rotated_key_has_another_secret_once(
    gateway: Running, log_in: LogIn, http: aiohttp.ClientSession
) -> None:
    browser = await log_in(gateway)
    made = await make(browser, label="stays")
    id_, old = id_of(made), secret_of(made)
    page = await browser.get(f"/dashboard/keys/{id_}")
    fields = {"once": once_of(page)}
    rotated = await browser.post(f"/dashboard/keys/{id_}/rotate", fields)
    assert rotated.status == 200
    assert rotated.headers["cache-control"] == "no-store"
    new = secret_of(rotated)
    again = await browser.post(f"/dashboard/keys/{id_}/rotate", fields)
    assert (again.status, "not rotated once more" in again.text) == (409, True)
    assert (await models_with(gateway, http, old))[0] == 401
    assert (await models_with(gateway, http, new))[0] == 200
    assert new not in (await browser.get(f"/dashboard/keys/{id_}")).text


async def test_unused_key_is_told_as_never_used_only_while_that_is_known(
    gateway: Running, log_in: LogIn
) -> None:
    browser = await log_in(gateway)
    id_ = id_of(await make(browser, label="idle"))
    one = f"/dashboard/keys/{id_}"
    new = [(await browser.get(path)).text for path in ("/dashboard/keys", one)]
    day = 86_400
    made_before = gateway.gateway.state.clock.unix() - 31 * day
    await gateway.gateway.database.write(
        lambda db: db.execute("UPDATE keys SET created_at = ?", (made_before,))
    )
    old = [(await browser.get(path)).text for path in ("/dashboard/keys", one)]
    last_used = re.compile(r"Last used(?:\">|</dt><dd>)(never|not in 30 days)<")
    assert [last_used.findall(text) for text in new] == [["never"]] * 2
    assert [last_used.findall(text) for text in old] == [["not in 30 days"]] * 2


async def test_renamed_key_is_listed_by_its_new_label(gateway: Running, log_in: LogIn) -> None:
    browser = await log_in(gateway)
    id_ = id_of(await make(browser, label="old"))
    answer = await browser.post(f"/dashboard/keys/{id_}/rename", {"label": "new"})
    assert answer.status == 303
    assert "new" in (await browser.get("/dashboard/keys")).text
    refused = await browser.post(f"/dashboard/keys/{id_}/rename", {"label": "x" * 201})
    assert refused.status == 422
    assert "one line" in refused.text
    assert "x" * 201 in refused.text


async def test_audit_says_who_changed_which_key_and_holds_no_secret(
    gateway: Running, log_in: LogIn
) -> None:
    browser = await log_in(gateway)
    made = await make(browser, label="laptop")
    id_ = id_of(made)
    page = await browser.get(f"/dashboard/keys/{id_}")
    rotated = await browser.post(f"/dashboard/keys/{id_}/rotate", {"once": once_of(page)})
    await browser.post(f"/dashboard/keys/{id_}/rename", {"label": "other"})
    await browser.post(f"/dashboard/keys/{id_}/revoke")
    trail = await gateway.gateway.accounts.list_audit(limit=4)
    assert [(each.actor, each.action, each.subject) for each in reversed(trail)] == [
        ("ann@example.org", f"key.{verb}", id_) for verb in ("create", "rotate", "rename", "revoke")
    ]
    for secret in (secret_of(made), secret_of(rotated)):
        assert secret not in repr(trail)
        assert secret not in gateway.lines()


@pytest.mark.parametrize("verb", ["", "/rename", "/rotate", "/revoke"])
async def test_key_of_somebody_else_is_as_unknown_as_none(
    gateway: Running, log_in: LogIn, http: aiohttp.ClientSession, verb: str
) -> None:
    ann, ben = await log_in(gateway), await log_in(gateway, "ben@example.org", role="admin")
    made = await make(ann, label="of ann")
    once = once_of(await ben.get("/dashboard/keys"))
    texts = []
    for id_ in (id_of(made), "key_000000000000", "%00", "%27"):
        path = f"/dashboard/keys/{id_}{verb}"
        fields = {"label": "mine", "once": once}
        answer = await (ben.post(path, fields) if verb else ben.get(path))
        assert answer.status == 404, id_
        texts.append(re.sub(r'name="csrf" value="[^"]*"|data-csrf="[^"]*"', "", answer.text))
    assert texts[0] == texts[1]
    assert "of ann" not in texts[0]
    assert (await models_with(gateway, http, secret_of(made)))[0] == 200


async def test_fields_that_the_form_has_not_change_nothing(gateway: Running, log_in: LogIn) -> None:
    ann, ben = await log_in(gateway), await log_in(gateway, "ben@example.org")
    assert ann.account is not None
    assert ben.account is not None
    fields = {
        "account_id": str(ann.account.id),
        "email": ann.account.email,
        "admin": "true",
        "role": "admin",
        "plan": "other",
        "secret": "sk-kurol-" + "x" * 30,
    }
    assert (await make(ben, **fields)).status == 200
    assert await gateway.gateway.accounts.list_keys(ann.account.id) == []
    (key,) = await gateway.gateway.accounts.list_keys(ben.account.id)
    assert (key.admin, key.last_four) == (False, key.last_four)
    assert key.last_four != "xxxx"
    assert await gateway.gateway.accounts.get_account(ben.account.id) == ben.account


@pytest.mark.parametrize("label", HOSTILE)
async def test_hostile_label_is_text(gateway: Running, log_in: LogIn, label: str) -> None:
    browser = await log_in(gateway)
    made = await make(browser, label=label)
    id_ = id_of(made)
    pages = [
        made,
        await browser.get("/dashboard/keys"),
        await browser.get(f"/dashboard/keys/{id_}"),
    ]
    await browser.post(f"/dashboard/keys/{id_}/revoke")
    pages.append(await browser.get("/dashboard/keys"))
    for page in pages:
        assert html.escape(label).replace("&quot;", "&#34;") in page.text
        assert "<img src=x" not in page.text
        assert "<script>" not in page.text
        assert 'href="javascript' not in page.text


async def test_account_without_a_plan_still_sees_its_keys(gateway: Running, log_in: LogIn) -> None:
    browser = await log_in(gateway, plan="gone")
    page = await make(browser, label="for later")
    assert page.status == 200
    assert "try-curl" not in page.text


async def test_nobody_sees_keys_without_a_session(gateway: Running, log_in: LogIn) -> None:
    browser = await log_in(gateway)
    browser.token = "no such session"
    assert (await browser.get("/dashboard/keys")).status == 303
    assert (await browser.post("/dashboard/keys", {"label": "x"})).status == 401
