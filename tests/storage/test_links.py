"""Links: each is good for one thing, once, for a while; only their digest is kept."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from kurolproxy.policy.keys import Account, KeyTable
from kurolproxy.policy.sessions import SessionTable
from kurolproxy.storage.accounts import AccountStore
from kurolproxy.storage.changes import NewAccount
from kurolproxy.storage.database import Database
from kurolproxy.storage.errors import Conflict, Invalid, NotFound, StoreError
from kurolproxy.storage.links import Links
from kurolproxy.storage.people import People
from kurolproxy.storage.sessions import SessionStore
from tests.storage.test_sessions import holding

NOW = 1_800_000_000.0
HOUR = 3_600.0
EVE = NewAccount("eve@example.org", "solo", "Eve", "user", "hash-of-eve")


class World:
    """Accounts and links over one database, beside a clock of the test."""

    def __init__(self, database: Database) -> None:
        self.now = NOW
        self.invites = True
        self.database = database
        self.keys, self.sessions = KeyTable(), SessionTable()
        self.store = AccountStore(
            database,
            self.keys,
            sessions=self.sessions,
            invites=lambda: self.invites,
            clock=lambda: self.now,
        )
        self.links: Links = self.store.links
        self.people = People(self.store, lambda: ["team", "solo"], lambda: self.now)

    async def actions(self) -> list[tuple[str, str, str]]:
        return [(e.actor, e.action, e.subject) for e in await self.store.list_audit()]


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    database = await Database.open(tmp_path / "people.db")
    yield World(database)
    await database.close()


@pytest.fixture
async def ann(world: World) -> Account:
    return await world.store.create_account("ann@example.org", "team", "Ann", "admin", "old-hash")


async def made(world: World, kind: str) -> str:
    """Return the token of a link that can be used."""
    args: dict[str, dict[str, Any]] = {
        "setup": {},
        "invite": {"plan": "team", "actor": "ann@example.org"},
        "password": {"who": "ann@example.org"},
        "login": {"who": "ann@example.org"},
    }
    _, token = await world.links.create(kind, **args[kind])  # type: ignore[arg-type]
    return token


async def use(world: World, kind: str, token: str) -> Account:
    if kind == "password":
        return await world.links.set_password(token, "new-hash")
    return await world.links.make_account(token, EVE)


# --- what each brings about ---------------------------------------------------------------


async def test_setup_link_makes_an_admin(world: World) -> None:
    account = await use(world, "setup", await made(world, "setup"))
    assert (account.role, account.plan, account.email) == ("admin", "solo", EVE.email)
    assert await world.store.get_password_hash(EVE.email) == "hash-of-eve"
    assert world.keys.account(account.id) == account
    assert (await world.actions())[0] == (EVE.email, "account.create", EVE.email)


async def test_invitation_fixes_what_its_maker_said(world: World, ann: Account) -> None:
    _, token = await world.links.create(
        "invite", email="eve.two@example.org", plan="team", role="admin"
    )
    account = await use(world, "invite", token)
    assert (account.email, account.plan, account.role) == ("eve.two@example.org", "team", "admin")
    assert account.name == "Eve"


async def test_open_invitation_takes_the_email_of_who_uses_it_and_no_role(
    world: World, ann: Account
) -> None:
    token = await made(world, "invite")
    wanted = NewAccount("eve@example.org", "solo", "", "admin")
    account = await world.links.make_account(token, wanted)
    assert (account.email, account.plan, account.role) == ("eve@example.org", "team", "user")


async def test_password_link_sets_a_password_and_ends_the_sessions(
    world: World, ann: Account
) -> None:
    sessions = SessionStore(world.database, world.sessions, clock=lambda: world.now)
    await sessions.create(ann.id)
    await use(world, "password", await made(world, "password"))
    assert await world.store.get_password_hash(ann.id) == "new-hash"
    assert len(world.sessions) == 0
    assert not await world.database.read("SELECT 1 FROM sessions")


async def test_login_link_can_be_used_again(world: World, ann: Account) -> None:
    token = await made(world, "login")
    for _ in range(2):
        found = await world.links.find(token)
        assert (found.kind, found.account_id) == ("login", ann.id)


# --- once, for a while --------------------------------------------------------------------

LASTS = [("setup", 24), ("invite", 7 * 24), ("password", 24)]


@pytest.mark.parametrize(("kind", "hours"), LASTS)
async def test_link_lasts_so_long_and_no_longer(
    world: World, ann: Account, kind: str, hours: int
) -> None:
    token = await made(world, kind)
    world.now = NOW + hours * HOUR - 1
    assert (await world.links.find(token)).kind == kind
    world.now += 1
    for attempt in (world.links.find(token), use(world, kind, token)):
        with pytest.raises(NotFound):
            await attempt


@pytest.mark.parametrize("kind", ["setup", "invite", "password"])
async def test_link_is_good_for_one_use(world: World, ann: Account, kind: str) -> None:
    token = await made(world, kind)
    await use(world, kind, token)
    for attempt in (world.links.find(token), use(world, kind, token)):
        with pytest.raises(NotFound):
            await attempt


async def test_of_many_who_use_a_link_at_once_one_gets_an_account(
    world: World, ann: Account
) -> None:
    token = await made(world, "invite")
    many = [NewAccount(f"{number}@example.org", "team") for number in range(20)]
    uses = (world.links.make_account(token, each) for each in many)
    done = await asyncio.gather(*uses, return_exceptions=True)
    assert sorted(type(each).__name__ for each in done) == ["Account"] + ["NotFound"] * 19
    assert len(await world.store.list_accounts()) == 2


async def test_refused_use_leaves_the_link_as_it_was(world: World, ann: Account) -> None:
    token = await made(world, "invite")
    for wrong, kind in (("ann@EXAMPLE.org", Conflict), ("no email", Invalid)):
        with pytest.raises(kind):
            await world.links.make_account(token, NewAccount(wrong, "team"))
    await use(world, "invite", token)


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [("setup", "password"), ("invite", "password"), ("password", "account"), ("login", "account")],
)
async def test_link_is_good_for_its_own_kind_only(
    world: World, ann: Account, kind: str, wrong: str
) -> None:
    token = await made(world, kind)
    with pytest.raises(NotFound):
        await use(world, wrong, token)
    assert (await world.links.find(token)).kind == kind
    assert len(await world.store.list_accounts()) == 1


# --- the first admin ----------------------------------------------------------------------


async def test_first_link_is_good_until_there_is_an_admin(world: World) -> None:
    _, token = await world.links.create("setup", first=True)
    await world.links.find(token)
    await world.store.create_account("bob@example.org", "team", role="admin")
    for attempt in (world.links.find(token), use(world, "setup", token)):
        with pytest.raises(NotFound):
            await attempt
    with pytest.raises(Conflict):
        await world.links.create("setup", first=True)


async def test_disabled_admin_is_none(world: World) -> None:
    await world.store.create_account("ben@example.org", "team", role="admin")
    await world.database.write(lambda db: db.execute("UPDATE accounts SET active = 0"))
    _, token = await world.links.create("setup", first=True)
    assert (await use(world, "setup", token)).role == "admin"


async def test_two_first_links_make_one_admin(world: World) -> None:
    _, old = await world.links.create("setup", first=True)
    _, new = await world.links.create("setup", first=True)
    with pytest.raises(NotFound):
        await world.links.find(old)
    _, token = await world.links.create("setup")
    await use(world, "setup", token)
    with pytest.raises(NotFound):
        await world.links.make_account(new, NewAccount("zoe@example.org", "team"))


async def test_operator_makes_a_further_admin_by_link(world: World, ann: Account) -> None:
    assert (await use(world, "setup", await made(world, "setup"))).role == "admin"


# --- who hands them out -------------------------------------------------------------------


async def test_open_invitations_are_listed_and_revoked(world: World, ann: Account) -> None:
    first, token = await world.links.create("invite", plan="team", actor="ann@example.org")
    world.now += 1
    second, _ = await world.links.create("invite", plan="solo", email="x@example.org")
    await made(world, "password")
    assert [each.id for each in await world.links.list()] == [second.id, first.id]
    await world.links.revoke(first.id, actor="ann@example.org")
    assert await world.links.list() == [second]
    with pytest.raises(NotFound):
        await use(world, "invite", token)
    for gone in (first.id, "link_none"):
        with pytest.raises(NotFound):
            await world.links.revoke(gone)
    assert ("ann@example.org", "link.revoke", first.id) in await world.actions()


async def test_another_password_link_ends_the_one_before(world: World, ann: Account) -> None:
    old, new = await made(world, "password"), await made(world, "password")
    with pytest.raises(NotFound):
        await world.links.find(old)
    await world.links.find(new)


async def test_password_link_ends_with_the_password_that_it_was_made_for(
    world: World, ann: Account
) -> None:
    _, token = await world.links.create("password", who=ann.id)
    _, login = await world.links.create("login", who=ann.id)
    await world.store.set_password(ann.id, "chosen by ann")
    with pytest.raises(NotFound):
        await world.links.set_password(token, "of who found the link")
    assert await world.store.get_password_hash(ann.id) == "chosen by ann"
    assert (await world.links.find(login)).kind == "login"


async def test_password_link_of_before_is_not_good_again_once_an_account_is_enabled(
    world: World,
) -> None:
    ben = await world.store.create_account("ben@example.org", "team")
    _, token = await world.links.create("password", who=ben.id)
    await world.store.disable(ben.id)
    await world.store.enable(ben.id)
    with pytest.raises(NotFound):
        await world.links.find(token)


@pytest.mark.parametrize("what", ["disable", "delete"])
async def test_link_ends_with_its_account(world: World, ann: Account, what: str) -> None:
    await world.store.create_account("bob@example.org", "team", role="admin")
    token = await made(world, "password")
    await getattr(world.store, what)(ann.id)
    with pytest.raises(NotFound):
        await world.links.find(token)


async def test_without_invitations_none_is_made_or_good(world: World, ann: Account) -> None:
    token = await made(world, "invite")
    world.invites = False
    for attempt in (world.links.find(token), use(world, "invite", token)):
        with pytest.raises(NotFound):
            await attempt
    with pytest.raises(Conflict, match="sign-up is closed"):
        await made(world, "invite")


REFUSED: list[tuple[str, dict[str, Any], type[StoreError]]] = [
    ("invite", {}, Invalid),
    ("invite", {"plan": "team", "email": "nonsense"}, Invalid),
    ("invite", {"plan": "team", "email": "ANN@example.org"}, Conflict),
    ("password", {}, Invalid),
    ("password", {"who": "nobody@example.org"}, NotFound),
    ("password", {"who": 99}, NotFound),
]


@pytest.mark.parametrize(("kind", "args", "error"), REFUSED)
async def test_link_that_makes_no_sense_is_refused(
    world: World, ann: Account, kind: Any, args: dict[str, Any], error: type[StoreError]
) -> None:
    with pytest.raises(error):
        await world.links.create(kind, **args)
    assert not await world.database.read("SELECT 1 FROM links")


async def test_no_token_is_at_rest_or_on_the_record(
    world: World, ann: Account, tmp_path: Path
) -> None:
    tokens = [await made(world, kind) for kind in ("setup", "invite", "password", "login")]
    await use(world, "setup", tokens[0])
    trail = repr(await world.store.list_audit())
    await world.database.checkpoint()
    for token in tokens:
        assert token not in trail
        assert holding(tmp_path, token) == []


async def test_link_that_is_long_over_is_forgotten(world: World, ann: Account) -> None:
    await made(world, "password")
    world.now += 40 * 24 * HOUR
    await made(world, "invite")
    assert len(await world.database.read("SELECT 1 FROM links")) == 1


# --- the verbs ----------------------------------------------------------------------------


async def test_verb_makes_a_link_and_tells_its_token_once(world: World, ann: Account) -> None:
    args = {"kind": "invite", "plan": "team", "email": "eve@example.org", "role": "admin"}
    told = await world.people.call("links.create", args)
    token = told.pop("token")
    assert (await world.links.find(token)).id == told["id"]
    assert await world.people.call("links.list", {}) == [told]
    assert told["expires_at"] == "2027-01-22T08:00:00Z"
    assert await world.people.call("links.revoke", {"id": told["id"]}) == told
    assert await world.people.call("links.list", {}) == []


async def test_verb_knows_its_plans_and_accounts(world: World, ann: Account) -> None:
    told = await world.people.call("links.create", {"kind": "password", "account_id": ann.id})
    assert (told["email"], told["kind"]) == (ann.email, "password")
    for args in (
        {"kind": "invite", "plan": "tea"},
        {"kind": "password"},
        {"kind": "login", "account_id": ann.id},
    ):
        with pytest.raises(Invalid):
            await world.people.call("links.create", args)
