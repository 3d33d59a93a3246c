"""Accounts and keys: durable, in step with memory, on the record, and without secrets."""

from __future__ import annotations

import asyncio
import logging
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from kurolproxy.errors import Unauthenticated
from kurolproxy.policy.admission import Admission
from kurolproxy.policy.catalog import Catalog
from kurolproxy.policy.keys import Account, Key, KeyTable, digest
from kurolproxy.storage.accounts import AccountStore
from kurolproxy.storage.changes import AccountChange
from kurolproxy.storage.database import Database
from kurolproxy.storage.errors import Conflict, DatabaseBusy, Invalid, Limit, NotFound

ANN, BEN = "ann@example.org", "ben@example.org"
UNIX_NOW = 1_772_000_000.0

# Revokes the only key and dies at once, without closing anything.
REVOKE_AND_DIE = """
import asyncio, os, signal, sys
from pathlib import Path
from kurolproxy.storage.accounts import AccountStore
from kurolproxy.storage.database import Database

async def main():
    store = AccountStore(await Database.open(Path(sys.argv[1])))
    [key] = await store.list_keys()
    await store.revoke_key(key.id)
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


class People:
    """A store with its key table and the admission that looks at it."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.table = KeyTable()
        self.now = UNIX_NOW
        self.store = AccountStore(database, self.table, clock=lambda: self.now)
        self.admission = Admission(Catalog(), self.table)

    def valid(self, secret: str) -> bool:
        try:
            self.admission.authenticate(secret, UNIX_NOW)
        except Unauthenticated:
            return False
        return True

    async def trail(self) -> list[tuple[str, str, str, dict[str, Any]]]:
        entries = await self.store.list_audit()
        return [(e.actor, e.action, e.subject, e.detail) for e in reversed(entries)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "kurolproxy.db"


@pytest.fixture
async def people(path: Path) -> AsyncIterator[People]:
    database = await Database.open(path, busy_timeout_s=0.05)
    made = People(database)
    await made.store.create_account(ANN, "team", "Ann")
    yield made
    await database.close()


# --- accounts -------------------------------------------------------------------------


async def test_account_is_what_was_asked_for(people: People) -> None:
    ben = await people.store.create_account(f" {BEN} ", "solo", " Ben ", "admin")
    assert ben == Account(2, BEN, "Ben", "admin", "solo", active=True)
    assert await people.store.list_accounts() == [
        Account(1, ANN, "Ann", "user", "team", active=True),
        ben,
    ]


@pytest.mark.parametrize("email", [ANN, "Ann@Example.ORG", " ann@example.org ", "ａnn@example.org"])
async def test_email_has_one_account_in_whatever_spelling(people: People, email: str) -> None:
    with pytest.raises(Conflict, match="already"):
        await people.store.create_account(email, "team")
    assert (await people.store.get_account(email)).id == 1


@pytest.mark.parametrize(
    "email",
    [
        "",
        "ann",
        "@example.org",
        "ann@",
        "a b@c",
        "a@b\r\nX: y",
        "a\x00@b",
        "x@" + "y" * 300,
        "a@b@c",
        "a\u00a0b@c",
        "a\u200bb@c",
        "a\u202eb@c",
    ],
)
async def test_what_is_no_email_is_refused(people: People, email: str) -> None:
    with pytest.raises(Invalid, match="not an email"):
        await people.store.create_account(email, "team")


async def test_two_who_make_the_same_account_at_once_get_one(people: People) -> None:
    made = await asyncio.gather(
        *(people.store.create_account(BEN, "team") for _ in range(10)), return_exceptions=True
    )
    assert sorted(type(each).__name__ for each in made) == ["Account"] + ["Conflict"] * 9


@pytest.mark.parametrize(
    "change",
    [
        lambda store: store.get_account("nobody@example.org"),
        lambda store: store.get_password_hash("nobody@example.org"),
        lambda store: store.set_plan("nobody@example.org", "team"),
        lambda store: store.disable("nobody@example.org"),
        lambda store: store.enable("nobody@example.org"),
        lambda store: store.set_password("nobody@example.org", "hash"),
        lambda store: store.delete("nobody@example.org"),
        lambda store: store.create_key("nobody@example.org"),
        lambda store: store.list_keys("nobody@example.org"),
        lambda store: store.revoke_key("key_nope"),
        lambda store: store.rotate_key("key_nope"),
    ],
)
async def test_what_does_not_exist_is_not_found(
    people: People, change: Callable[[AccountStore], Any]
) -> None:
    with pytest.raises(NotFound, match="there is no"):
        await change(people.store)
    assert [entry[1] for entry in await people.trail()] == ["account.create"]


async def test_changed_plan_reaches_the_keys_in_memory(people: People) -> None:
    _, secret = await people.store.create_key(ANN)
    changed = await people.store.set_plan(ANN, "solo")
    assert changed.plan == "solo"
    assert people.admission.authenticate(secret, UNIX_NOW).account == changed
    assert await people.store.get_account(ANN) == changed


async def test_disabled_account_has_no_valid_key_until_it_is_enabled(people: People) -> None:
    _, secret = await people.store.create_key(ANN)
    seen = [people.valid(secret)]
    await people.store.disable(ANN)
    seen.append(people.valid(secret))
    await people.store.enable(ANN)
    seen.append(people.valid(secret))
    assert seen == [True, False, True]


async def test_deleted_account_takes_its_keys_along_and_its_id_never_returns(
    people: People,
) -> None:
    _, secret = await people.store.create_key(ANN)
    deleted = await people.store.delete(ANN)
    assert (deleted.id, people.valid(secret)) == (1, False)
    assert (await people.store.list_accounts(), await people.store.list_keys()) == ([], [])
    assert (await people.store.create_account(ANN, "team")).id == 2


async def test_password_is_kept_as_the_hash_it_came_as(people: People) -> None:
    assert await people.store.get_password_hash(ANN) is None
    await people.store.set_password(ANN, "$argon2id$hash")
    assert await people.store.get_password_hash(ANN.upper()) == "$argon2id$hash"


# --- keys -----------------------------------------------------------------------------


async def test_key_is_what_was_asked_for_and_valid_at_once(people: People) -> None:
    key, secret = await people.store.create_key(
        ANN,
        label=" laptop ",
        models=["gpt-*", "o3"],
        requests_per_minute=5,
        daily_tokens=1_000,
        expires_at=UNIX_NOW + 60,
    )
    expected = Key(
        id=key.id,
        account_id=1,
        label="laptop",
        digest=digest(secret),
        prefix=secret[:12],
        last_four=secret[-4:],
        models=("gpt-*", "o3"),
        requests_per_minute=5,
        daily_tokens=1_000,
        expires_at=UNIX_NOW + 60,
    )
    assert key == expected
    assert await people.store.list_keys(ANN) == [expected]
    assert people.admission.authenticate(secret, UNIX_NOW).key == expected


async def test_every_key_has_its_own_secret_and_id(people: People) -> None:
    made = [await people.store.create_key(ANN) for _ in range(20)]
    assert len({key.id for key, _ in made}) == len({secret for _, secret in made}) == 20
    assert all(secret.startswith("sk-kurol-") and len(secret) == 52 for _, secret in made)


async def test_management_key_is_marked_and_calls_no_models(people: People) -> None:
    await people.store.change(ANN, AccountChange(role="admin"))
    key, secret = await people.store.create_key(ANN, admin=True)
    assert (key.admin, secret.startswith("sk-kurol-admin-")) == (True, True)
    with pytest.raises(Unauthenticated, match="management key"):
        people.admission.authenticate(secret, UNIX_NOW)


async def test_account_has_at_most_twenty_keys_and_revoked_ones_do_not_count(
    people: People,
) -> None:
    made = [await people.store.create_key(ANN) for _ in range(20)]
    with pytest.raises(Limit, match="20 keys"):
        await people.store.create_key(ANN)
    await people.store.revoke_key(made[0][0].id)
    await people.store.create_key(ANN)
    await people.store.create_account(BEN, "team")
    await people.store.create_key(BEN)


async def test_limit_of_keys_holds_for_those_made_at_once(people: People) -> None:
    made = await asyncio.gather(
        *(people.store.create_key(ANN) for _ in range(40)), return_exceptions=True
    )
    assert sum(isinstance(each, Limit) for each in made) == 20
    assert len(people.table) == len(await people.store.list_keys(ANN)) == 20


@pytest.mark.parametrize(
    "fields",
    [
        {"models": []},
        {"models": ["gpt-*", ""]},
        {"models": ["a\nb"]},
        {"models": ["m"] * 101},
        {"requests_per_minute": 0},
        {"daily_tokens": -1},
        {"daily_tokens": 10**19},
        {"expires_at": UNIX_NOW},
        {"label": "x" * 201},
        {"label": "a\r\nSet-Cookie: b"},
        {"secret": "too-short"},
        {"secret": "has a space in it, long enough"},
        {"secret": "sk-kurol-" + "ж" * 30},
        {"secret": "sk-kurol-admin-" + "x" * 30},
        {"secret": "sk-kurol-" + "x" * 30, "admin": True},
    ],
)
async def test_key_that_makes_no_sense_is_refused(people: People, fields: dict[str, Any]) -> None:
    with pytest.raises(Invalid) as caught:
        await people.store.create_key(ANN, **fields)
    assert fields.get("secret", "-") not in str(caught.value).replace("sk-kurol-admin-", "")
    assert await people.store.list_keys() == []


async def test_secret_that_was_brought_along_works_and_shows_less_of_itself(
    people: People,
) -> None:
    brought = "sk-abcdefghijklmnopqrstuvw"
    key, secret = await people.store.create_key(ANN, secret=brought)
    assert (secret, key.prefix, key.last_four) == (brought, "sk-abcde", "tuvw")
    assert people.valid(brought)
    with pytest.raises(Conflict, match="in use"):
        await people.store.create_key(ANN, secret=brought)


async def test_revoked_key_is_invalid_and_stays_listed(people: People) -> None:
    key, secret = await people.store.create_key(ANN)
    assert (await people.store.revoke_key(key.id)).revoked
    assert not people.valid(secret)
    assert [each.revoked for each in await people.store.list_keys(ANN)] == [True]
    await people.store.revoke_key(key.id)
    assert [entry[1] for entry in await people.trail()].count("key.revoke") == 1


async def test_rotated_key_keeps_all_but_its_secret(people: People) -> None:
    key, old = await people.store.create_key(ANN, label="ci", daily_tokens=7, models=["a"])
    rotated, new = await people.store.rotate_key(key.id)
    assert (people.valid(old), people.valid(new)) == (False, True)
    assert (rotated.id, rotated.label, rotated.daily_tokens, rotated.models) == (
        (key.id, "ci", 7, ("a",))
    )
    assert (rotated.prefix, rotated.last_four) == (new[:12], new[-4:])
    assert await people.store.list_keys() == [rotated]


async def test_rotated_management_key_stays_one(people: People) -> None:
    await people.store.change(ANN, AccountChange(role="admin"))
    key, _ = await people.store.create_key(ANN, admin=True)
    rotated, secret = await people.store.rotate_key(key.id)
    assert (rotated.admin, secret.startswith("sk-kurol-admin-")) == (True, True)


async def test_revoked_key_is_not_brought_back_by_rotating(people: People) -> None:
    key, _ = await people.store.create_key(ANN)
    await people.store.revoke_key(key.id)
    with pytest.raises(Conflict, match="revoked"):
        await people.store.rotate_key(key.id)


@pytest.mark.parametrize("method", ["revoke_key", "rotate_key"])
async def test_key_of_somebody_else_is_not_found(people: People, method: str) -> None:
    ben = await people.store.create_account(BEN, "team")
    key, secret = await people.store.create_key(ANN)
    with pytest.raises(NotFound) as foreign:
        await getattr(people.store, method)(key.id, account_id=ben.id)
    with pytest.raises(NotFound) as missing:
        await getattr(people.store, method)("key_nope", account_id=ben.id)
    assert str(foreign.value).replace(key.id, "key_nope") == str(missing.value)
    assert people.valid(secret)
    assert await people.store.list_keys(BEN) == []
    await getattr(people.store, method)(key.id, account_id=1)


# --- durable, in step, on the record --------------------------------------------------


async def test_restart_finds_every_valid_key(people: People, path: Path) -> None:
    _, kept = await people.store.create_key(ANN, models=["gpt-*"])
    gone, revoked = await people.store.create_key(ANN)
    await people.store.revoke_key(gone.id)
    await people.store.create_account(BEN, "solo")
    _, disabled = await people.store.create_key(BEN)
    await people.store.disable(BEN)
    database = await Database.open(path)
    again = People(database)
    pairs = await again.store.load()
    await database.close()
    assert {(key.id, account.email) for key, account in pairs} == {
        (key.id, email)
        for email in (ANN, BEN)
        for key in await people.store.list_keys(email)
        if not key.revoked
    }
    assert [again.valid(each) for each in (kept, revoked, disabled)] == [True, False, False]


async def test_restart_finds_thousands_of_keys_with_all_that_narrows_them(path: Path) -> None:
    many = 12_345  # read some thousand at a time
    database = await Database.open(path)
    store = AccountStore(database)
    account = await store.create_account(ANN, "team")
    narrow, _ = await store.create_key(ANN, models=["a", "b-*"], daily_tokens=7, label="n")

    def fill(db: sqlite3.Connection) -> None:
        for number in range(many):
            row = (number * 3 + 5, f"key_{number}", account.id, digest(f"secret {number}"))
            db.execute(
                "INSERT INTO keys (rowid, id, account_id, digest, label, prefix, last_four, admin,"
                " created_at, revoked_at) VALUES (?, ?, ?, ?, '', 'sk-', '1234', 0, 0, NULL)",
                row,
            )
        db.execute("UPDATE keys SET revoked_at = 1 WHERE rowid BETWEEN 3000 AND 21000")

    await database.bulk(fill)
    valid = {each.id: each for each in await store.list_keys() if not each.revoked}
    table = KeyTable()
    pairs = await AccountStore(database, table).load()
    await database.close()
    assert {key.id: key for key, _ in pairs} == valid
    assert len(valid) == len(pairs) == len(table) == 1 + many - 6_000
    assert valid[narrow.id].models == ("a", "b-*")
    assert table.find("secret 12344") is not None


async def test_key_revoked_right_before_a_kill_stays_revoked(path: Path) -> None:
    database = await Database.open(path)
    people = People(database)
    await people.store.create_account(ANN, "team")
    _, secret = await people.store.create_key(ANN)
    await database.close()
    died = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", REVOKE_AND_DIE, str(path)], timeout=60, check=False
    )
    assert died.returncode == -signal.SIGKILL
    database = await Database.open(path)
    again = People(database)
    await again.store.load()
    assert [key.revoked for key in await again.store.list_keys()] == [True]
    assert not again.valid(secret)
    await database.close()


async def test_no_call_is_let_in_once_the_revocation_has_returned(people: People) -> None:
    key, secret = await people.store.create_key(ANN)
    returned = False
    late = 0

    async def client() -> None:
        nonlocal late
        for _ in range(200):
            late += people.valid(secret) and returned
            await asyncio.sleep(0)

    clients = [asyncio.create_task(client()) for _ in range(50)]
    await asyncio.sleep(0)
    assert people.valid(secret)
    await people.store.revoke_key(key.id)
    returned = True
    await asyncio.gather(*clients)
    assert late == 0


async def test_cancelled_revocation_that_is_in_the_database_is_in_memory_too(
    people: People,
) -> None:
    key, secret = await people.store.create_key(ANN)
    revoking = asyncio.create_task(people.store.revoke_key(key.id))
    await asyncio.sleep(0)
    revoking.cancel()
    await asyncio.wait({revoking})
    await people.store.create_account(BEN, "team")  # waits for the transaction before it
    assert [each.revoked for each in await people.store.list_keys()] == [True]
    assert not people.valid(secret)


async def test_change_that_is_not_in_the_database_is_not_in_memory(
    people: People, path: Path
) -> None:
    key, secret = await people.store.create_key(ANN)
    other = await Database.open(path, busy_timeout_s=0.05)

    async def hold(_: Any) -> None:
        with pytest.raises(DatabaseBusy):
            await people.store.revoke_key(key.id)

    await other.write(hold)
    await other.close()
    assert people.valid(secret)
    assert [each.revoked for each in await people.store.list_keys()] == [False]


async def test_every_change_is_on_the_record(people: People) -> None:
    store, by = people.store, {"actor": "admin@example.org"}
    await store.change(ANN, AccountChange(role="admin"), **by)
    await store.create_account(BEN, "solo", role="admin", **by)
    await store.set_plan(BEN, "team", **by)
    await store.disable(BEN, **by)
    await store.enable(BEN, **by)
    await store.set_password(BEN, "$argon2id$hash", **by)
    key, _ = await store.create_key(BEN, label="x", **by)
    await store.rotate_key(key.id, **by)
    await store.revoke_key(key.id, **by)
    people.now += 5
    await store.delete(BEN, **by)
    who = by["actor"]
    assert (await people.trail())[1:] == [
        (who, "account.set-role", ANN, {"role": "admin"}),
        (who, "account.create", BEN, {"plan": "solo", "role": "admin"}),
        (who, "account.set-plan", BEN, {"plan": "team"}),
        (who, "account.disable", BEN, {}),
        (who, "account.enable", BEN, {}),
        (who, "account.set-password", BEN, {}),
        (who, "key.create", key.id, {"email": BEN, "admin": False}),
        (who, "key.rotate", key.id, {}),
        (who, "key.revoke", key.id, {}),
        (who, "account.delete", BEN, {"id": 2}),
    ]
    assert [entry.at for entry in await store.list_audit(limit=2)] == [UNIX_NOW + 5, UNIX_NOW]


def traces(folder: Path, secrets: list[str]) -> dict[str, int]:
    written = {file.name: file.read_bytes() for file in folder.iterdir()}
    assert len(written["kurolproxy.db-wal"]) > 0
    return {
        name: sum(secret.encode() in data or secret[9:-4].encode() in data for secret in secrets)
        for name, data in written.items()
    }


async def test_no_secret_is_written_or_logged_anywhere(
    people: People, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    secrets = []
    await people.store.change(ANN, AccountChange(role="admin"))
    for admin in (False, True, False):
        key, secret = await people.store.create_key(ANN, admin=admin)
        _, rotated = await people.store.rotate_key(key.id)
        secrets += [secret, rotated]
    with pytest.raises(Conflict):
        await people.store.create_key(ANN, secret=secrets[-1])
    await people.store.revoke_key(key.id)
    assert set(traces(path.parent, secrets).values()) == {0}
    said = caplog.text + repr(await people.store.list_keys()) + repr(await people.trail())
    assert [secret for secret in secrets if secret in said] == []
