"""The management API: who may use it, what it does, what it refuses."""

from __future__ import annotations

import asyncio
import csv
import io
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from kurolproxy.server.manage_operations import OPERATIONS
from kurolproxy.storage.changes import AccountChange
from tests.conftest import Running, Starter, new_key, toml
from tests.fakes.answers import chat_answer
from tests.fakes.upstream import FakeUpstream
from tests.server.managing import ROOT, Manager, Told, manager_of

SOLO = """
[[plans]]
name = "solo"
models = ["c-*"]
[limits]
failed_logins_per_minute = 1_000
"""
ANN = "ann@example.org"
CHAT = "/v1/chat/completions"


@pytest.fixture
async def running(start: Starter, fake: FakeUpstream) -> Running:
    return await start(toml(fake.base_url, extra=SOLO))


@pytest.fixture
async def root(running: Running, http: aiohttp.ClientSession) -> Manager:
    return await manager_of(running, http)


async def call(root: Manager, key: str, model: str = "c-model") -> int:
    """Call a model with a key; return the status."""
    body = {"model": model, "max_tokens": 5, "messages": [{"role": "user", "content": "x"}]}
    headers = {"authorization": f"Bearer {key}"}
    async with root.http.post(root.running.base_url + CHAT, json=body, headers=headers) as got:
        await got.read()
        return got.status


# --- who ----------------------------------------------------------------------------------

PATHS = [
    (each.method, each.path.format(account_id=1, key_id="key_0", model_id="m", plan_name="p"))
    for each in OPERATIONS
]


# One gateway answers a whole table: to start one for each row takes longer than all of them.


async def test_every_operation_is_for_management_keys_alone(root: Manager) -> None:
    user = {"authorization": f"Bearer {root.running.key}"}
    strangers = [
        {"authorization": "Bearer sk-kurol-admin-unknown"},
        {"authorization": ""},
        {"authorization": "", "cookie": "kurol=abc; __Host-kurol=abc"},
        {"authorization": "", "x-goog-api-key": "AIza-unknown"},
    ]
    for method, path in PATHS:
        body = {} if method in ("POST", "PATCH") else None
        told = await root.send(method, path, body, **user)
        assert (path, told.status, told.error["code"]) == (path, 403, "management_key_required")
        for headers in strangers:
            told = await root.send(method, path, body, **headers)
            assert (path, told.status, told.error["code"]) == (path, 401, "invalid_api_key")
            assert told.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("form", ["authorization", "x-api-key"])
async def test_management_key_counts_in_either_header(root: Manager, form: str) -> None:
    value = f"Bearer {root.key}" if form == "authorization" else root.key
    headers = {"authorization": "", form: value}
    assert (await root.send("GET", "/plans", None, **headers)).status == 200


async def test_management_key_beside_a_calling_one_is_found(root: Manager) -> None:
    headers = {"authorization": f"Bearer {root.running.key}", "x-api-key": root.key}
    assert (await root.send("GET", "/plans", None, **headers)).status == 200


async def test_credential_that_stands_there_twice_is_refused(root: Manager) -> None:
    url = root.running.base_url + "/api/v1/plans"
    twice = [("authorization", f"Bearer {root.key}"), ("authorization", "Bearer other")]
    async with root.http.get(url, headers=twice) as got:
        assert got.status == 400


Change = Callable[[Running, str], Awaitable[object]]
ENDS: list[tuple[str, Change]] = [
    ("revoked", lambda running, key: running.gateway.accounts.revoke_key(key)),
    (
        "demoted",
        lambda running, key: running.gateway.accounts.change(ROOT, AccountChange(role="user")),
    ),
    ("disabled", lambda running, key: running.gateway.accounts.disable(ROOT)),
    ("deleted", lambda running, key: running.gateway.accounts.delete(ROOT)),
    ("rotated", lambda running, key: running.gateway.accounts.rotate_key(key)),
]


@pytest.mark.parametrize("end", [each[1] for each in ENDS], ids=[each[0] for each in ENDS])
async def test_management_key_ends_with_its_admin(root: Manager, end: Change) -> None:
    accounts = root.running.gateway.accounts
    await accounts.create_account("other@example.org", "default", role="admin")
    [key] = await accounts.list_keys(ROOT)
    assert (await root.send("GET", "/accounts")).status == 200
    await end(root.running, key.id)
    assert (await root.send("GET", "/accounts")).status == 401


async def test_admin_who_is_demoted_while_his_body_comes_changes_nothing(root: Manager) -> None:
    accounts = root.running.gateway.accounts
    await accounts.create_account("other@example.org", "default", role="admin")

    async def slowly() -> Any:
        yield b'{"email": "ann@example.org",'
        await accounts.change(ROOT, AccountChange(role="user"))
        yield b'"plan": "default"}'

    headers = {"authorization": f"Bearer {root.key}", "content-type": "application/json"}
    url = root.running.base_url + "/api/v1/accounts"
    async with root.http.post(url, data=slowly(), headers=headers) as got:
        assert got.status == 401
    assert ANN not in [each.email for each in await accounts.list_accounts()]


async def test_management_key_calls_no_model(root: Manager, fake: FakeUpstream) -> None:
    assert await call(root, root.key) == 401
    assert fake.requests == []


async def test_wrong_keys_are_damped_as_elsewhere(
    start: Starter, fake: FakeUpstream, http: aiohttp.ClientSession
) -> None:
    running = await start(toml(fake.base_url, extra="[limits]\nfailed_logins_per_minute = 3\n"))
    root = await manager_of(running, http)
    statuses = [
        (await root.send("GET", "/plans", None, authorization=f"Bearer wrong{n}")).status
        for n in range(5)
    ]
    assert statuses == [401, 401, 401, 429, 429]
    assert (await root.send("GET", "/plans")).status == 200


# --- accounts -----------------------------------------------------------------------------


async def test_account_from_its_first_day_to_its_last(root: Manager) -> None:
    made = await root.send("POST", "/accounts", {"email": ANN, "plan": "default", "name": " Ann "})
    assert made.status == 201
    account = made.body
    path = f"/accounts/{account['id']}"
    assert made.headers["location"] == f"/api/v1{path}"
    told = {**account, "email": ANN, "name": "Ann", "role": "user", "plan": "default"}
    assert account == {**told, "active": True}
    assert (await root.send("GET", path)).body == account
    changed = await root.send("PATCH", path, {"plan": "solo", "role": "admin", "active": False})
    expected = {**account, "plan": "solo", "role": "admin", "active": False}
    assert (changed.status, changed.body) == (200, expected)
    assert (await root.send("GET", path)).body == expected
    gone = await root.send("DELETE", path)
    assert (gone.status, gone.text, "content-length" in gone.headers) == (204, "", False)
    assert (await root.send("GET", path)).status == 404


async def test_change_of_plan_counts_from_the_next_request(
    root: Manager, fake: FakeUpstream
) -> None:
    fake.always(chat_answer())
    ann = await root.account()
    key = (await root.new_key(ann["id"]))["key"]
    seen = [await call(root, key)]
    await root.send("PATCH", f"/accounts/{ann['id']}", {"plan": "solo"})
    seen += [await call(root, key), await call(root, key, "m-model")]
    await root.send("PATCH", f"/accounts/{ann['id']}", {"active": False})
    seen.append(await call(root, key))
    assert seen == [200, 200, 403, 401]


async def test_accounts_come_in_pages(root: Manager) -> None:
    for number in range(4):
        await root.account(f"{number}@example.org")
    listed: list[int] = []
    path = "/accounts?limit=2"
    while path:
        page = (await root.send("GET", path)).body
        listed += [each["id"] for each in page["data"]]
        assert page["last_id"] == listed[-1]
        path = f"/accounts?limit=2&after={page['last_id']}" if page["has_more"] else ""
    assert listed == [1, 2, 3, 4, 5, 6]
    empty = (await root.send("GET", "/accounts?after=99")).body
    assert empty == {"data": [], "has_more": False, "last_id": None}
    found = (await root.send("GET", "/accounts?email=3%40EXAMPLE.org")).body["data"]
    assert [each["email"] for each in found] == ["3@example.org"]


@pytest.mark.parametrize("change", [{"role": "user"}, {"active": False}, None])
async def test_last_active_admin_is_kept(root: Manager, change: dict[str, Any] | None) -> None:
    method = "DELETE" if change is None else "PATCH"
    told = await root.send(method, "/accounts/2", change)
    assert (told.status, told.error["code"]) == (409, "conflict")
    assert "last active admin" in told.error["message"]
    assert (await root.send("GET", "/accounts/2")).body["role"] == "admin"


async def test_email_that_is_taken_is_a_conflict(root: Manager) -> None:
    await root.account()
    told = await root.send("POST", "/accounts", {"email": "ANN@Example.org", "plan": "default"})
    assert (told.status, told.error["param"]) == (409, "email")


async def test_changes_are_on_the_record_with_account_and_key(root: Manager) -> None:
    ann = await root.account()
    await root.send("PATCH", f"/accounts/{ann['id']}", {"name": "Anna"})
    accounts = root.running.gateway.accounts
    [key] = await accounts.list_keys(ROOT)
    trail = [(each.actor, each.action) for each in await accounts.list_audit(limit=2)]
    who = f"{ROOT} ({key.id})"
    assert trail == [(who, "account.rename"), (who, "account.create")]


# --- keys ---------------------------------------------------------------------------------


async def test_key_from_its_first_day_to_its_last(root: Manager, fake: FakeUpstream) -> None:
    fake.always(chat_answer())
    ann = await root.account()
    made = await root.send("POST", f"/accounts/{ann['id']}/keys", {"label": "laptop"})
    assert made.status == 201
    key = made.body
    assert made.headers["location"] == f"/api/v1/keys/{key['id']}"
    secret = key.pop("key")
    assert (key["account_id"], key["email"], key["label"]) == (ann["id"], ANN, "laptop")
    path = f"/keys/{key['id']}"
    assert (await root.send("GET", path)).body == key
    assert (await root.send("GET", f"/accounts/{ann['id']}/keys")).body["data"] == [key]
    rotated = (await root.send("POST", f"{path}/rotations")).body
    assert [await call(root, secret), await call(root, rotated["key"])] == [401, 200]
    assert (await root.send("DELETE", path)).status == 204
    assert await call(root, rotated["key"]) == 401
    assert (await root.send("GET", path)).body["status"] == "revoked"
    assert (await root.send("DELETE", path)).status == 204
    assert (await root.send("POST", f"{path}/rotations")).status == 409


async def test_key_narrows_as_it_was_asked_to(root: Manager) -> None:
    ann = await root.account()
    limits = {"models": ["c-*"], "requests_per_minute": 5, "daily_tokens": 1_000}
    made = await root.new_key(ann["id"], **limits, expires_at="2099-12-31T00:30:00+02:00")
    assert {name: made[name] for name in limits} == limits
    assert made["expires_at"] == "2099-12-30T22:30:00Z"


async def test_whole_number_may_be_written_with_a_fraction_of_zero(root: Manager) -> None:
    ann = await root.account()
    told = await root.send("POST", f"/accounts/{ann['id']}/keys", b'{"daily_tokens": 7.0}')
    assert told.body["daily_tokens"] == 7


async def test_keys_come_in_pages(root: Manager) -> None:
    ann = await root.account()
    made = [(await root.new_key(ann["id"]))["id"] for _ in range(3)]
    path = f"/accounts/{ann['id']}/keys?limit=2"
    first = (await root.send("GET", path)).body
    rest = (await root.send("GET", f"{path}&after={first['last_id']}")).body
    assert [each["id"] for each in first["data"] + rest["data"]] == made
    assert (first["has_more"], rest["has_more"]) == (True, False)
    foreign = await root.send("GET", f"/accounts/1/keys?after={made[0]}")
    assert (foreign.status, foreign.error["param"]) == (404, "after")


async def test_account_has_at_most_so_many_keys(
    start: Starter, fake: FakeUpstream, http: aiohttp.ClientSession
) -> None:
    running = await start(toml(fake.base_url, extra="[limits]\nmax_keys_per_account = 2\n"))
    root = await manager_of(running, http)
    ann = await root.account()
    for _ in range(2):
        await root.new_key(ann["id"])
    told = await root.send("POST", f"/accounts/{ann['id']}/keys", {})
    assert (told.status, told.error["message"]) == (
        (409, "An account may have 2 keys: revoke one first.")
    )


async def test_management_key_is_made_for_admins_only(root: Manager) -> None:
    ann = await root.account()
    path = f"/accounts/{ann['id']}/keys"
    told = await root.send("POST", path, {"admin": True})
    assert (told.status, told.error["param"]) == (409, "admin")
    await root.send("PATCH", f"/accounts/{ann['id']}", {"role": "admin"})
    made = await root.new_key(ann["id"], admin=True)
    assert made["key"].startswith("sk-kurol-admin-")
    assert (await root.send("GET", "/plans", authorization=f"Bearer {made['key']}")).status == 200


async def test_revoking_now_ends_the_calls_that_run(root: Manager, fake: FakeUpstream) -> None:
    gate = fake.hold_each(chat_answer())
    ann = await root.account()
    keys = [await root.new_key(ann["id"]) for _ in range(2)]
    calls = [asyncio.create_task(call(root, each["key"])) for each in keys]
    await fake.received(2)
    await root.send("DELETE", f"/keys/{keys[0]['id']}")
    await root.send("DELETE", f"/keys/{keys[1]['id']}?now=true")
    async with asyncio.timeout(10):
        assert await calls[1] == 401
        gate.set()
        assert await calls[0] == 200


# --- what is not there --------------------------------------------------------------------

MISSING = [
    ("GET", "/accounts/99", None),
    ("PATCH", "/accounts/99", {"name": "x"}),
    ("DELETE", "/accounts/99", None),
    ("GET", "/accounts/99/keys", None),
    ("POST", "/accounts/99/keys", {}),
    ("GET", "/accounts/0", None),
    ("GET", "/accounts/01", None),
    ("GET", "/accounts/-1", None),
    ("GET", "/accounts/ann", None),
    ("GET", f"/accounts/{2**64}", None),
    ("GET", "/accounts/%D9%A1", None),
    ("GET", "/keys/key_000000000000", None),
    ("DELETE", "/keys/key_000000000000", None),
    ("POST", "/keys/key_000000000000/rotations", None),
    ("GET", "/keys/%00%ff%27", None),
    ("GET", "/models/nothing", None),
    ("GET", "/models/C-MODEL", None),
    ("GET", "/plans/nothing", None),
    ("GET", "/plans/Default", None),
]


async def test_what_is_not_there_is_not_found(root: Manager) -> None:
    for method, path, body in MISSING:
        told = await root.send(method, path, body)
        assert (path, told.status, told.error["code"]) == (path, 404, "not_found")


async def test_unknown_path_has_no_route(root: Manager) -> None:
    for path in ("", "/nothing", "/accounts/1/plans", "/accounts//keys", "0/x"):
        told = await root.send("GET", path)
        assert (path, told.status, told.error["code"]) == (path, 404, "unknown_url")


METHODS = [
    ("PUT", "/accounts/1", "GET, PATCH, DELETE, HEAD"),
    ("POST", "/accounts/1", "GET, PATCH, DELETE, HEAD"),
    ("DELETE", "/accounts", "GET, POST, HEAD"),
    ("POST", "/usage", "GET, HEAD"),
    ("POST", "/plans", "GET, HEAD"),
    ("PATCH", "/models/c-model", "GET, HEAD"),
    ("GET", "/keys/key_0/rotations", "POST"),
    ("OPTIONS", "/accounts", "GET, POST, HEAD"),
]


async def test_wrong_method_is_told_the_right_ones(root: Manager) -> None:
    for method, path, allow in METHODS:
        told = await root.send(method, path, {} if method != "GET" else None)
        assert (path, told.status, told.headers["allow"]) == (path, 405, allow)


async def test_head_is_a_get_without_a_body(root: Manager) -> None:
    for path in ("/accounts", "/accounts/1", "/usage", "/usage?format=csv"):
        told = await root.send("HEAD", path)
        assert (path, told.status, told.text) == (path, 200, "")
        assert (await root.send("GET", path)).text != ""


async def test_trailing_slash_is_forgiven(root: Manager) -> None:
    assert (await root.send("GET", "/accounts/")).status == 200


# --- what makes no sense ------------------------------------------------------------------

NEW: dict[str, Any] = {"email": ANN, "plan": "default"}
WRONG: list[tuple[str, str, Any, list[str]]] = [
    ("/accounts", "several fields", {"email": "x", "plan": 3, "role": "root"}, ["email", "plan"]),
    ("/accounts", "missing fields", {}, ["email", "plan"]),
    ("/accounts", "unknown field", {**NEW, "nmae": "x"}, ["nmae"]),
    ("/accounts", "own password", {**NEW, "password_hash": "x"}, ["password_hash"]),
    ("/accounts", "no plan", {**NEW, "plan": "tea"}, ["plan"]),
    ("/accounts", "letter case", {**NEW, "plan": "Default"}, ["plan"]),
    ("/accounts", "trailing space", {**NEW, "plan": "default "}, ["plan"]),
    ("/accounts", "look-alike", {**NEW, "plan": "dеfault"}, ["plan"]),
    ("/accounts", "line end", {**NEW, "plan": "default\n"}, ["plan"]),
    ("/accounts", "line end of a name", {**NEW, "name": "Ann\n"}, ["name"]),
    ("/accounts/1/keys", "line end of a pattern", {"models": ["a\n"]}, ["models"]),
    ("/accounts", "two lines", {**NEW, "name": "a\nb"}, ["name"]),
    ("/accounts", "turned around", {**NEW, "name": "a\u202eb"}, ["name"]),
    ("/accounts", "role of another case", {**NEW, "role": "Admin"}, ["role"]),
    ("/accounts", "null", {**NEW, "name": None}, ["name"]),
    ("/accounts", "too long", {**NEW, "name": "x" * 201}, ["name"]),
    ("/accounts", "no email", {**NEW, "email": "a@b@c"}, ["email"]),
    ("/accounts/1/keys", "no patterns", {"models": []}, ["models"]),
    ("/accounts/1/keys", "empty pattern", {"models": ["a", ""]}, ["models"]),
    ("/accounts/1/keys", "limits", {"daily_tokens": 0, "requests_per_minute": -1}, []),
    ("/accounts/1/keys", "huge", {"daily_tokens": 10**30}, ["daily_tokens"]),
    ("/accounts/1/keys", "huge float", {"daily_tokens": 1e300}, ["daily_tokens"]),
    ("/accounts/1/keys", "fraction", {"daily_tokens": 1.5}, ["daily_tokens"]),
    ("/accounts/1/keys", "truth", {"daily_tokens": True}, ["daily_tokens"]),
    ("/accounts/1/keys", "past", {"expires_at": "2001-01-01T00:00:00Z"}, ["expires_at"]),
    ("/accounts/1/keys", "no zone", {"expires_at": "2099-01-01T00:00:00"}, ["expires_at"]),
    ("/accounts/1/keys", "day", {"expires_at": "2099-01-01"}, ["expires_at"]),
    ("/accounts/1/keys", "secret", {"secret": "sk-kurol-" + "x" * 40}, ["secret"]),
]


async def test_fields_that_make_no_sense_are_named(root: Manager) -> None:
    accounts = root.running.gateway.accounts
    for path, name, body, params in WRONG:
        told = await root.send("POST", path, body)
        assert (name, told.status, told.error["code"]) == (name, 422, "invalid_fields")
        problems = [each["param"] for each in told.error["problems"]]
        assert (name, problems[: len(params)]) == (name, params)
        assert told.error["param"] == problems[0]
    assert len(await accounts.list_accounts()) == 2
    assert len(await accounts.list_keys("someone@example.org")) == 1


async def test_error_that_the_documentation_shows_is_the_one_that_comes(root: Manager) -> None:
    page = (Path(__file__).parents[2] / "docs" / "api.md").read_text()
    shown = json.loads(page.partition("```json\n")[2].partition("```")[0])
    told = await root.send("POST", "/accounts", {"email": ANN, "nmae": "Ann"})
    assert told.status == 422
    assert told.body == shown


async def test_of_several_changes_none_is_made_when_one_is_refused(root: Manager) -> None:
    ann = await root.account()
    told = await root.send("PATCH", f"/accounts/{ann['id']}", {"active": False, "plan": "tea"})
    assert told.status == 422
    assert (await root.send("GET", f"/accounts/{ann['id']}")).body == ann


async def test_what_cannot_change_is_refused_by_name(root: Manager) -> None:
    for field in ("id", "email", "password_hash", "created_at"):
        told = await root.send("PATCH", "/accounts/1", {field: "x", "name": "y"})
        assert [each["param"] for each in told.error["problems"]] == [field]
    assert (await root.send("GET", "/accounts/1")).body["name"] == ""


BODIES: list[tuple[str, bytes, int, str | None]] = [
    ("empty", b"", 400, None),
    ("no JSON", b"email=x", 400, None),
    ("array", b"[]", 400, None),
    ("text", b'"x"', 400, None),
    ("not a number", b'{"email": NaN}', 400, None),
    ("half a letter", b'{"email": "\\ud800"}', 400, None),
    ("no UTF-8", b'{"email": "\xff"}', 400, None),
    ("deep", b'{"email": ' + b"[" * 50 + b"]" * 50 + b"}", 400, None),
    ("long number", b'{"email": ' + b"9" * 5_000 + b"}", 400, None),
    ("twice", b'{"email":"a@b.c","plan":"default","role":"user","role":"admin"}', 422, "role"),
    ("too large", b'{"email": "' + b"x" * 70_000 + b'"}', 413, None),
]


async def test_body_that_is_none_is_refused(root: Manager) -> None:
    for name, body, status, param in BODIES:
        told = await root.send("POST", "/accounts", body)
        assert (name, told.status, told.error["param"]) == (name, status, param)
    assert len(await root.running.gateway.accounts.list_accounts()) == 2


KINDS = ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "text/json", ""]


async def test_body_of_another_kind_is_refused(root: Manager) -> None:
    for kind in KINDS:
        told = await root.send("POST", "/accounts", json.dumps(NEW).encode(), content_type=kind)
        assert (kind, told.status, told.error["code"]) == (kind, 415, "unsupported_media_type")


async def test_kind_may_name_its_characters(root: Manager) -> None:
    kind = "application/json; charset=utf-8"
    told = await root.send("POST", "/accounts", NEW, content_type=kind)
    assert told.status == 201


QUERIES = [
    ("/accounts?limit=0", "limit"),
    ("/accounts?limit=1001", "limit"),
    ("/accounts?limit=1_0", "limit"),
    ("/accounts?limit=+1", "limit"),
    ("/accounts?limit=%D9%A1", "limit"),
    ("/accounts?limit=1&limit=2", "limit"),
    ("/accounts?after=-1", "after"),
    ("/accounts?lmit=1", "lmit"),
    ("/accounts/1?x=1", "x"),
    ("/accounts/1/keys?after=nothing", "after"),
    ("/usage?by=", "by"),
    ("/usage?by=day,week", "by"),
    ("/usage?since=yesterday", "since"),
    ("/usage?since=2030-02-30", "since"),
    ("/usage?since=2030-01-02&until=2030-01-01", "since"),
    ("/usage?account_id=ann", "account_id"),
    ("/usage?format=xml", "format"),
]


async def test_parameter_that_makes_no_sense_is_named(root: Manager) -> None:
    for path, param in QUERIES:
        told = await root.send("GET", path)
        assert (path, told.status, told.error["param"]) == (path, 422, param)


# --- usage, models, plans -----------------------------------------------------------------


async def use(root: Manager, fake: FakeUpstream) -> dict[str, Any]:
    """Let two accounts call; return a key of the second, whose label is a formula."""
    fake.always(chat_answer(prompt=20, completion=3))
    ann = await root.account()
    key = await root.new_key(ann["id"], label="=1+1,x")
    for secret in (root.running.key, key["key"], key["key"]):
        assert await call(root, secret) == 200
    return key


async def test_usage_is_added_up_as_asked(root: Manager, fake: FakeUpstream) -> None:
    key = await use(root, fake)
    whole = (await root.send("GET", "/usage")).body
    assert {name: whole[name] for name in whole if name != "data"} == {
        "pending": 0,
        "ends_with": None,
        "left_out": 0,
        "detail_from": None,
    }
    [line] = whole["data"]
    assert (line["requests"], line["prompt"], line["charged"]) == (3, 60, 69)
    own = (await root.send("GET", f"/usage?by=key&account_id={key['account_id']}")).body["data"]
    assert [(each["key"], each["requests"]) for each in own] == [(key["id"], 2)]
    both = (await root.send("GET", "/usage?by=account,model")).body["data"]
    assert [(each["account"], each["requests"]) for each in both] == [
        (ANN, 2),
        ("someone@example.org", 1),
    ]
    assert (await root.send("GET", "/usage?until=2001-01-01")).body["data"] == []


def rows(told: Told) -> list[dict[str, str]]:
    assert told.headers["content-type"] == "text/csv; charset=utf-8"
    return list(csv.DictReader(io.StringIO(told.text)))


async def test_usage_comes_as_csv_that_no_spreadsheet_runs(
    root: Manager, fake: FakeUpstream
) -> None:
    key = await use(root, fake)
    asked = [
        await root.send("GET", "/usage?by=key&format=csv"),
        await root.send("GET", "/usage?by=key", accept="text/csv"),
    ]
    for told in asked:
        first = rows(told)[0]
        assert (first["key"], first["label"], first["requests"]) == (key["id"], "'=1+1,x", "2")
    plain = await root.send("GET", "/usage?by=key&format=json", accept="text/csv")
    assert plain.headers["content-type"] == "application/json"


async def test_models_and_plans_are_those_of_the_configuration(root: Manager) -> None:
    models = (await root.send("GET", "/models")).body["data"]
    assert [(each["id"], each["plans"]) for each in models] == [
        ("c-model", ["default", "solo"]),
        ("m-model", ["default"]),
    ]
    assert (await root.send("GET", "/models/c-model")).body == models[0]
    plans = (await root.send("GET", "/plans")).body["data"]
    assert [each["name"] for each in plans] == ["default", "solo"]
    assert (await root.send("GET", "/plans/solo")).body == plans[1]


async def test_model_whose_id_has_a_slash_is_found_either_way(
    start: Starter, fake: FakeUpstream, http: aiohttp.ClientSession
) -> None:
    slash = '[[models]]\nid = "lab/one two"\ntargets = [{ upstream = "chat", model = "x" }]\n'
    text = toml(fake.base_url).replace("[[plans]]", slash.replace(" two", "") + "[[plans]]")
    root = await manager_of(await start(text), http)
    for path in ("/models/lab/one", "/models/lab%2Fone"):
        url = f"{root.running.base_url}/api/v1{path}"
        headers = {"authorization": f"Bearer {root.key}"}
        async with http.get(aiohttp.client.URL(url, encoded=True), headers=headers) as got:
            assert (await got.json())["id"] == "lab/one"


# --- what is told to whom -----------------------------------------------------------------


async def test_every_answer_has_an_id_and_is_kept_by_nobody(root: Manager) -> None:
    ids = set()
    for method, path, body in [
        ("GET", "/accounts", None),
        ("POST", "/accounts", {}),
        ("GET", "/nothing", None),
        ("PUT", "/accounts", None),
        ("GET", "/usage", None),
        ("DELETE", "/accounts/99", None),
    ]:
        told = await root.send(method, path, body, anthropic_version="2023-06-01")
        ids.add(told.headers["x-request-id"])
        assert told.headers["cache-control"] == "no-store"
        assert "access-control-allow-origin" not in told.headers
        if told.status >= 400:
            assert {"message", "type", "param", "code"} <= told.error.keys()
            assert told.headers["x-should-retry"] == "false"
    assert len(ids) == 6


async def test_no_secret_is_logged_and_every_request_is(root: Manager) -> None:
    ann = await root.account()
    made = await root.new_key(ann["id"])
    rotated = (await root.send("POST", f"/keys/{made['id']}/rotations")).body
    await root.send("GET", "/accounts?email=ann%40example.org")
    lines = root.running.lines()
    for secret in (root.key, made["key"], rotated["key"]):
        assert secret not in lines
        assert secret[9:-4] not in lines
    assert ANN not in lines
    logged = [json.loads(line) for line in lines.splitlines()]
    managed = [each["endpoint"] for each in logged if each.get("outcome") == "managed"]
    assert managed == [
        "/api/v1/accounts",
        f"/api/v1/accounts/{ann['id']}/keys",
        f"/api/v1/keys/{made['id']}/rotations",
        "/api/v1/accounts",
    ]


async def test_made_up_paths_add_nothing_to_the_metrics(root: Manager) -> None:
    await root.send("GET", "/first")
    metrics = root.running.gateway.state.metrics
    before = len(metrics.render().splitlines())
    for number in range(50):
        await root.send("GET", f"/accounts/{number}/x{number}")
    assert len(metrics.render().splitlines()) == before


async def test_key_of_a_user_changes_nothing_of_himself(root: Manager) -> None:
    ann = await root.account()
    key = await new_key(root.running.gateway, ANN, "default")
    headers = {"authorization": f"Bearer {key}"}
    path = f"/accounts/{ann['id']}"
    for change in ({"plan": "solo"}, {"role": "admin"}, {"active": True}):
        assert (await root.send("PATCH", path, change, **headers)).status == 403
    assert (await root.send("POST", f"{path}/keys", {"admin": True}, **headers)).status == 403
    assert (await root.send("GET", path)).body == ann
