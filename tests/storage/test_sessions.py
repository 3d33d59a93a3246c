"""Sessions: in SQLite by their digest, in memory in step, ended by whatever ends them."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from kurolproxy.policy.keys import Account, KeyTable
from kurolproxy.policy.sessions import IDLE_S, LONGEST_S, Session, SessionTable
from kurolproxy.storage.accounts import AccountStore
from kurolproxy.storage.database import Database
from kurolproxy.storage.errors import NotFound
from kurolproxy.storage.sessions import MOST_OF_ONE, SessionStore
from tests.conftest import soon

NOW = 1_800_000_000.0


class World:
    """Accounts and sessions over one database, beside a clock of the test."""

    def __init__(self, database: Database) -> None:
        self.now = NOW
        self.database = database
        self.table = SessionTable()
        self.accounts = AccountStore(
            database, KeyTable(), sessions=self.table, clock=lambda: self.now
        )
        self.store = SessionStore(database, self.table, clock=lambda: self.now)

    async def ids(self) -> set[str]:
        """Return the ids in the database, which must be those in memory."""
        written = {row[0] for row in await self.database.read("SELECT id FROM sessions")}
        assert written == {each.id for each in self.table.all()}
        return written

    async def restarted(self) -> SessionTable:
        """Return what a gateway would know that starts now."""
        table = SessionTable()
        await SessionStore(self.database, table, clock=lambda: self.now).load()
        return table


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    database = await Database.open(tmp_path / "people.db", busy_timeout_s=0.02)
    yield World(database)
    await database.close()


@pytest.fixture
async def ann(world: World) -> Account:
    return await world.accounts.create_account("ann@example.org", "team")


async def test_session_is_known_by_its_token_after_a_restart_too(
    world: World, ann: Account
) -> None:
    made, token = await world.store.create(ann.id, address="203.0.113.7", agent="A\x1bgent")
    assert world.table.find(token, NOW) == made
    found = (await world.restarted()).find(token, NOW)
    assert found == made
    assert (found.account_id, found.address, found.agent) == (ann.id, "203.0.113.7", "Agent")


def holding(folder: Path, secret: str) -> list[str]:
    """Return the files in which a secret stands."""
    return [file.name for file in folder.iterdir() if secret.encode() in file.read_bytes()]


async def test_token_is_nowhere_at_rest(world: World, ann: Account, tmp_path: Path) -> None:
    _, token = await world.store.create(ann.id)
    assert len(token) >= 43
    await world.database.checkpoint()
    assert holding(tmp_path, token) == []


async def test_no_two_tokens_are_alike(world: World, ann: Account) -> None:
    made = [await world.store.create(ann.id) for _ in range(5)]
    assert len({token for _, token in made}) == len({each.id for each, _ in made}) == 5


async def test_new_session_ends_the_one_that_it_takes_the_place_of(
    world: World, ann: Account
) -> None:
    old, token = await world.store.create(ann.id)
    other, _ = await world.store.create(ann.id)
    new, _ = await world.store.create(ann.id, instead_of=old)
    assert world.table.find(token, NOW) is None
    assert await world.ids() == {other.id, new.id}


async def test_one_account_has_so_many_sessions_and_the_longest_unused_goes_first(
    world: World, ann: Account
) -> None:
    made = []
    for number in range(MOST_OF_ONE + 1):
        world.now = NOW + number
        made.append((await world.store.create(ann.id))[0].id)
    assert await world.ids() == set(made[1:])


@pytest.mark.parametrize("what", ["disabled", "deleted", "other password"])
async def test_no_session_is_made_of_an_account_that_changed_meanwhile(
    world: World, ann: Account, what: str
) -> None:
    await world.accounts.set_password(ann.id, "hash-1")
    if what == "disabled":
        await world.accounts.disable(ann.id)
    elif what == "deleted":
        await world.accounts.delete(ann.id)
    else:
        await world.accounts.set_password(ann.id, "hash-2")
    with pytest.raises(NotFound):
        await world.store.create(ann.id, password_hash="hash-1")
    assert await world.ids() == set()


# --- ends ---------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["disable", "delete", "set_password"])
async def test_sessions_end_with_what_they_stand_on(world: World, ann: Account, how: str) -> None:
    ben = await world.accounts.create_account("ben@example.org", "team")
    for _ in range(2):
        await world.store.create(ann.id)
    kept, _ = await world.store.create(ben.id)
    if how == "set_password":
        await world.accounts.set_password(ann.id, "hash")
    else:
        await getattr(world.accounts, how)(ann.id)
    assert await world.ids() == {kept.id}


async def test_other_changes_of_an_account_end_no_session(world: World, ann: Account) -> None:
    made, _ = await world.store.create(ann.id)
    await world.accounts.set_plan(ann.id, "solo")
    await world.accounts.enable(ann.id)
    await world.accounts.renew_hash(ann.id, "none", "hash")
    assert await world.ids() == {made.id}


async def test_ended_session_is_gone_after_a_restart_too(world: World, ann: Account) -> None:
    made, token = await world.store.create(ann.id)
    await world.store.end(made)
    await world.store.end(made)
    assert world.table.find(token, NOW) is None
    assert len(await world.restarted()) == 0


async def test_session_of_somebody_else_is_as_unknown_as_none(world: World, ann: Account) -> None:
    ben = await world.accounts.create_account("ben@example.org", "team")
    made, _ = await world.store.create(ben.id)
    for foreign in (made.id, "session_none"):
        with pytest.raises(NotFound):
            await world.store.end_one(foreign, ann.id)
    assert await world.ids() == {made.id}
    await world.store.end_one(made.id, ben.id)
    assert await world.ids() == set()


async def test_all_sessions_end_but_the_one_that_asks(world: World, ann: Account) -> None:
    ben = await world.accounts.create_account("ben@example.org", "team")
    foreign, _ = await world.store.create(ben.id)
    mine = [(await world.store.create(ann.id))[0] for _ in range(3)]
    assert await world.store.end_all(ann.id, but=mine[1]) == 2
    assert await world.ids() == {foreign.id, mine[1].id}
    assert await world.store.end_all(ann.id) == 1
    assert await world.ids() == {foreign.id}


async def test_who_watches_a_session_hears_of_its_end_once(world: World, ann: Account) -> None:
    first, _ = await world.store.create(ann.id)
    second, _ = await world.store.create(ann.id)
    heard: list[str] = []
    world.table.watch(first, lambda: heard.append("first"))
    leave = world.table.watch(second, lambda: heard.append("second"))
    leave()
    await world.accounts.disable(ann.id)
    await world.store.end(first)
    assert heard == ["first"]


# --- times --------------------------------------------------------------------------------

ENDS = [
    ("idle", 0.0, IDLE_S, True),
    ("not idle yet", 0.0, IDLE_S - 1, False),
    ("too old though used", LONGEST_S - 1, LONGEST_S, True),
    ("old and used", LONGEST_S - 2, LONGEST_S - 1, False),
]


@pytest.mark.parametrize(
    ("used_s", "asked_s", "over"), [e[1:] for e in ENDS], ids=[e[0] for e in ENDS]
)
async def test_session_ends_by_itself(
    world: World, ann: Account, used_s: float, asked_s: float, over: bool
) -> None:
    made, token = await world.store.create(ann.id)
    world.table.seen(made, NOW + used_s)
    await world.store.tidy()
    assert (world.table.find(token, NOW + asked_s) is None) is over
    world.now = NOW + asked_s
    assert ((await world.restarted()).find(token, world.now) is None) is over


async def test_what_ended_while_nobody_served_is_not_kept(world: World, ann: Account) -> None:
    await world.store.create(ann.id)
    world.now += IDLE_S
    assert len(await world.restarted()) == 0
    assert not await world.database.read("SELECT 1 FROM sessions")


async def test_what_ended_by_itself_is_cleared_away(world: World, ann: Account) -> None:
    old, _ = await world.store.create(ann.id)
    world.now += IDLE_S
    new, _ = await world.store.create(ann.id)
    await world.store.tidy()
    assert await world.ids() == {new.id}
    assert old.id != new.id


async def test_use_is_written_now_and_then_and_not_at_every_page(
    world: World, ann: Account
) -> None:
    made, token = await world.store.create(ann.id)

    async def written() -> float:
        rows = await world.database.read("SELECT seen_at FROM sessions")
        return float(rows[0]["seen_at"])

    for later in (10.0, 20.0):
        world.table.seen(made, NOW + later)
    assert await written() == NOW
    await world.store.tidy()
    assert await written() == NOW + 20.0
    found = world.table.find(token, NOW + 30.0)
    assert found is not None
    assert found.seen_at == NOW + 20.0


async def test_tidying_without_anything_to_do_writes_nothing(world: World, ann: Account) -> None:
    made, _ = await world.store.create(ann.id)
    world.table.seen(made, NOW + 1)
    await world.store.tidy()
    before = world.database.wal_bytes
    await world.store.tidy()
    assert world.database.wal_bytes == before


async def test_session_that_stands_only_in_memory_harms_nothing(world: World, ann: Account) -> None:
    alone = Session("session_x", ann.id, b"x" * 32, NOW, NOW)
    world.table.put(alone)
    world.table.seen(alone, NOW + 1)
    await world.store.tidy()
    await world.store.end_one("session_x", ann.id)
    assert len(world.table) == 0


async def test_keeping_goes_on_after_a_trouble_of_the_database(
    world: World, ann: Account, caplog: pytest.LogCaptureFixture
) -> None:
    made, _ = await world.store.create(ann.id)
    world.table.seen(made, NOW + 1)
    with closing(sqlite3.connect(world.database.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        task = asyncio.create_task(world.store.keep(0.01))
        await soon(lambda: "sessions could not be written" in caplog.text)
        other.execute("ROLLBACK")
    await soon(lambda: not world.table.used())
    task.cancel()
    await asyncio.wait({task})
    found = await world.database.read("SELECT seen_at FROM sessions")
    assert found[0]["seen_at"] == NOW + 1
