"""Accounts as an admin searches them."""

from __future__ import annotations

import pytest

from kurolproxy.storage.account_list import (
    PlanCount,
    Search,
    accounts_by_plan,
    accounts_like,
    one_account,
)
from kurolproxy.storage.accounts import AccountStore
from kurolproxy.storage.changes import AccountChange
from kurolproxy.storage.database import Database
from kurolproxy.storage.errors import NotFound

PEOPLE = [
    ("Ann@Example.org", "team", "Ann Arbor", "admin"),
    ("bob@example.org", "team", "100% Bob", "user"),
    ("straße@example.org", "free", "Zoë", "user"),
    ("dan_1@other.net", "free", "", "user"),
]


@pytest.fixture
async def store(database: Database) -> AccountStore:
    made = AccountStore(database)
    for email, plan, name, role in PEOPLE:
        await made.create_account(email, plan, name, "admin" if role == "admin" else "user")
    await made.change("bob@example.org", AccountChange(active=False))
    return made


CASES = [
    ("all", Search(), [3, 2, 1, 0]),
    ("email in other letters", Search("ANN@example"), [0]),
    ("part of many", Search("example.org"), [2, 1, 0]),
    ("name", Search("arbor"), [0]),
    ("folded", Search("STRASSE"), [2]),
    ("name beyond ASCII", Search("Zoë"), [2]),
    ("percent is no pattern", Search("100%"), [1]),
    ("underscore is no pattern", Search("dan_1"), [3]),
    ("underscore alone", Search("n_a"), []),
    ("mark of escapes", Search("!"), []),
    ("quote", Search("' OR 1=1 --"), []),
    ("plan", Search(plan="free"), [3, 2]),
    ("role", Search(role="admin"), [0]),
    ("disabled", Search(active=False), [1]),
    ("active of a plan", Search(plan="team", active=True), [0]),
    ("all at once", Search("ann", "team", "admin", active=True), [0]),
    ("nobody", Search("nobody"), []),
]


async def test_each_search_finds_its_accounts(database: Database, store: AccountStore) -> None:
    for name, wanted, found in CASES:
        page = await accounts_like(database, wanted, limit=10)
        emails = [each.account.email for each in page.rows]
        assert emails == [PEOPLE[index][0] for index in found], name
        assert not page.more


async def test_pages_go_on_behind_the_last_account(database: Database, store: AccountStore) -> None:
    first = await accounts_like(database, Search(), limit=3)
    assert (len(first.rows), first.more) == (3, True)
    rest = await accounts_like(database, Search(), before=first.rows[-1].account.id, limit=3)
    assert [each.account.email for each in rest.rows] == [PEOPLE[0][0]]
    assert not rest.more


async def test_account_is_shown_with_its_keys_and_whether_it_can_log_in(
    database: Database, store: AccountStore
) -> None:
    ann = await store.get_account("ann@example.org")
    kept, _ = await store.create_key(ann.id)
    gone, _ = await store.create_key(ann.id)
    await store.revoke_key(gone.id)
    found = await one_account(database, ann.id)
    assert (found.account, found.keys, found.has_password) == (ann, 1, False)
    await store.set_password(ann.id, "$argon2id$...")
    assert (await one_account(database, ann.id)).has_password
    assert kept.account_id == ann.id


async def test_account_that_is_none_is_not_found(database: Database) -> None:
    with pytest.raises(NotFound):
        await one_account(database, 7)


async def test_plans_are_counted(database: Database, store: AccountStore) -> None:
    assert await accounts_by_plan(database) == {"free": PlanCount(2, 2), "team": PlanCount(2, 1)}
