"""The verbs about people: what they return, refuse, and leave in SQLite and in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from kurolproxy.policy.keys import ADMIN_KEY_PREFIX, KEY_PREFIX, KeyTable
from kurolproxy.storage.accounts import AccountStore
from kurolproxy.storage.database import Database
from kurolproxy.storage.errors import Conflict, Invalid, Limit, NotFound, StoreError
from kurolproxy.storage.passwords import BadPassword, hash_password
from kurolproxy.storage.people import VERBS, By, People

ANN = "ann@example.org"
NOW = 1_800_000_000.0
HASH = "$argon2id$stands-for-a-hash"


class World:
    """The verbs over an open database, with the keys that a gateway would serve from."""

    def __init__(self, database: Database) -> None:
        self.now = NOW
        self.plans = ["team", "solo"]
        self.table = KeyTable()
        self.store = AccountStore(database, self.table, max_keys=3, clock=lambda: self.now)
        self.people = People(self.store, lambda: self.plans, lambda: self.now)

    async def call(self, verb: str, **args: Any) -> Any:
        return await self.people.call(verb, args)

    def serves(self, secret: str) -> bool:
        """Return whether the gateway would let this key in."""
        found = self.table.find(secret)
        return found is not None and not found[0].revoked and found[1].active


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    database = await Database.open(tmp_path / "people.db")
    yield World(database)
    await database.close()


@pytest.fixture
async def ann(world: World) -> dict[str, Any]:
    made: dict[str, Any] = await world.call("users.create", email=ANN, plan="team", name="Ann")
    return made


async def test_account_is_told_as_it_was_made(world: World, ann: dict[str, Any]) -> None:
    assert ann == {
        "id": 1,
        "email": ANN,
        "name": "Ann",
        "role": "user",
        "plan": "team",
        "active": True,
    }


async def test_list_counts_the_keys_that_are_not_revoked(world: World, ann: Any) -> None:
    first = await world.call("keys.create", email=ANN)
    await world.call("keys.create", email=ANN)
    await world.call("keys.revoke", id=first["id"])
    assert await world.call("users.list") == [{**ann, "keys": 1}]


async def test_password_hash_is_stored_and_never_told(world: World) -> None:
    made = await world.call("users.create", email=ANN, plan="team", password_hash=HASH)
    assert HASH not in repr([made, await world.call("users.list")])
    assert await world.store.get_password_hash(ANN) == HASH


async def test_password_is_replaced(world: World, ann: Any) -> None:
    await world.call("users.reset_password", email=ANN, password_hash=HASH)
    assert await world.store.get_password_hash(ANN) == HASH


# --- plans ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("verb", "args"),
    [
        ("users.create", {"email": "ben@example.org", "plan": "tea"}),
        ("users.set_plan", {"email": ANN, "plan": "tea"}),
    ],
)
async def test_unknown_plan_is_refused_and_the_known_ones_are_named(
    world: World, ann: Any, verb: str, args: dict[str, Any]
) -> None:
    with pytest.raises(Invalid, match=r"no plan 'tea': did you mean 'team'. there are: team, solo"):
        await world.people.call(verb, args)
    assert await world.call("users.list") == [{**ann, "keys": 0}]


async def test_without_any_plan_the_text_says_what_to_do(world: World) -> None:
    world.plans = []
    with pytest.raises(Invalid, match=r"no plan: add a \[\[plans\]\] table"):
        await world.call("users.create", email=ANN, plan="team")


async def test_plan_of_a_reloaded_configuration_counts(world: World, ann: Any) -> None:
    world.plans = ["next"]
    assert (await world.call("users.set_plan", email=ANN, plan="next"))["plan"] == "next"


async def test_new_plan_reaches_the_keys_in_memory(world: World, ann: Any) -> None:
    key = await world.call("keys.create", email=ANN)
    await world.call("users.set_plan", email=ANN, plan="solo")
    found = world.table.find(key["key"])
    assert found is not None
    assert found[1].plan == "solo"


# --- keys -------------------------------------------------------------------------------


async def test_key_is_told_with_its_secret_once(world: World, ann: Any) -> None:
    made = await world.call(
        "keys.create",
        email=ANN,
        label="laptop",
        models=["gpt-*"],
        requests_per_minute=5,
        daily_tokens=1_000,
        expires_at=NOW + 60,
    )
    secret = made.pop("key")
    assert secret.startswith(KEY_PREFIX)
    assert made == {
        "id": made["id"],
        "account_id": 1,
        "email": ANN,
        "label": "laptop",
        "prefix": secret[: len(made["prefix"])],
        "last_four": secret[-4:],
        "admin": False,
        "models": ["gpt-*"],
        "requests_per_minute": 5,
        "daily_tokens": 1_000,
        "expires_at": "2027-01-15T08:01:00Z",
        "status": "valid",
    }
    assert await world.call("keys.list") == [made]
    assert world.serves(secret)


async def test_management_key_has_its_own_prefix(world: World, ann: Any) -> None:
    await world.call("users.set_role", email=ANN, role="admin")
    made = await world.call("keys.create", email=ANN, admin=True)
    assert made["admin"] is True
    assert made["key"].startswith(ADMIN_KEY_PREFIX)


async def test_secret_that_was_brought_along_is_kept(world: World, ann: Any) -> None:
    secret = KEY_PREFIX + "brought-along-from-another-gateway-0123"
    made = await world.call("keys.create", email=ANN, secret=secret)
    assert made["key"] == secret
    assert world.serves(secret)


async def test_revoked_key_is_out_of_memory_and_stays_in_the_list(world: World, ann: Any) -> None:
    made = await world.call("keys.create", email=ANN)
    revoked = await world.call("keys.revoke", id=made["id"])
    assert revoked["status"] == "revoked"
    assert not world.serves(made["key"])
    assert [each["status"] for each in await world.call("keys.list")] == ["revoked"]


async def test_renamed_key_goes_on_under_its_new_label(world: World, ann: Any) -> None:
    made = await world.call("keys.create", email=ANN, label="old")
    renamed = await world.call("keys.rename", id=made["id"], label=" new ")
    assert (renamed["label"], renamed["status"]) == ("new", "valid")
    found = world.table.find(made["key"])
    assert found is not None
    assert found[0].label == "new"
    with pytest.raises(Invalid, match="one line") as refused:
        await world.call("keys.rename", id=made["id"], label="a\nb")
    assert refused.value.field == "label"
    last = (await world.store.list_audit(limit=1))[0]
    assert (last.action, last.subject, last.detail) == (
        "key.rename",
        made["id"],
        {"label": "new"},
    )


async def test_renamed_key_that_is_revoked_stays_so(world: World, ann: Any) -> None:
    made = await world.call("keys.create", email=ANN)
    await world.call("keys.revoke", id=made["id"])
    renamed = await world.call("keys.rename", id=made["id"], label="gone")
    assert (renamed["label"], renamed["status"]) == ("gone", "revoked")
    assert not world.serves(made["key"])


async def test_rotated_key_keeps_its_id_and_loses_its_old_secret(world: World, ann: Any) -> None:
    old = await world.call("keys.create", email=ANN, label="laptop")
    new = await world.call("keys.rotate", id=old["id"])
    assert (new["id"], new["label"]) == (old["id"], "laptop")
    assert not world.serves(old["key"])
    assert world.serves(new["key"])


@pytest.mark.parametrize("verb", ["users.disable", "users.delete"])
async def test_account_that_goes_takes_its_keys_along(world: World, ann: Any, verb: str) -> None:
    made = await world.call("keys.create", email=ANN)
    await world.call(verb, email=ANN)
    assert not world.serves(made["key"])


async def test_enabled_account_is_served_again(world: World, ann: Any) -> None:
    made = await world.call("keys.create", email=ANN)
    await world.call("users.disable", email=ANN)
    assert [each["status"] for each in await world.call("keys.list")] == ["account disabled"]
    assert (await world.call("users.enable", email=ANN))["active"] is True
    assert world.serves(made["key"])


async def test_expired_key_says_so(world: World, ann: Any) -> None:
    await world.call("keys.create", email=ANN, expires_at=NOW + 1)
    world.now += 1
    assert [each["status"] for each in await world.call("keys.list")] == ["expired"]


async def test_keys_of_one_account_are_listed_alone(world: World, ann: Any) -> None:
    await world.call("users.create", email="ben@example.org", plan="solo")
    await world.call("keys.create", email=ANN)
    mine = await world.call("keys.create", email="ben@example.org")
    listed = await world.call("keys.list", email="ben@example.org")
    assert [each["id"] for each in listed] == [mine["id"]]


# --- what is refused --------------------------------------------------------------------

REFUSED = [
    ("unknown verb", "users.promote", {}, Invalid, "no verb"),
    ("missing argument", "users.create", {"plan": "team"}, Invalid, "email"),
    ("unknown argument", "users.disable", {"email": ANN, "why": "x"}, Invalid, "why"),
    ("wrong type", "keys.create", {"email": ANN, "daily_tokens": "many"}, Invalid, "daily_tokens"),
    ("limit of zero", "keys.create", {"email": ANN, "requests_per_minute": 0}, Invalid, "minute"),
    ("no pattern", "keys.create", {"email": ANN, "models": []}, Invalid, "models"),
    ("empty pattern", "keys.create", {"email": ANN, "models": [""]}, Invalid, "models"),
    ("unknown role", "users.create", {"email": ANN, "plan": "team", "role": "x"}, Invalid, "role"),
    ("past expiry", "keys.create", {"email": ANN, "expires_at": NOW}, Invalid, "expired"),
    (
        "second account",
        "users.create",
        {"email": "ANN@example.org", "plan": "team"},
        Conflict,
        "already",
    ),
    ("unknown account", "keys.create", {"email": "x@example.org"}, NotFound, "x@example.org"),
    ("unknown key", "keys.revoke", {"id": "key_x"}, NotFound, "key_x"),
    ("email of no UTF-8", "users.disable", {"email": "\udcff"}, Invalid, "UTF-8"),
    ("key of no UTF-8", "keys.revoke", {"id": "\udcff"}, Invalid, "UTF-8"),
]


@pytest.mark.parametrize(
    ("verb", "args", "kind", "text"), [case[1:] for case in REFUSED], ids=[c[0] for c in REFUSED]
)
async def test_refused(
    world: World, ann: Any, verb: str, args: dict[str, Any], kind: type[StoreError], text: str
) -> None:
    with pytest.raises(kind, match=text):
        await world.people.call(verb, args)
    assert await world.call("keys.list") == []


async def test_account_has_at_most_so_many_keys(world: World, ann: Any) -> None:
    for _ in range(3):
        await world.call("keys.create", email=ANN)
    with pytest.raises(Limit):
        await world.call("keys.create", email=ANN)


async def test_refusal_quotes_no_secret(world: World, ann: Any) -> None:
    with pytest.raises(StoreError) as caught:
        await world.call("keys.create", email=ANN, secret="short-secret")
    assert "short-secret" not in str(caught.value)


def test_every_verb_has_a_structure_that_refuses_unknown_arguments() -> None:
    assert all(shape.__struct_config__.forbid_unknown_fields for shape, _ in VERBS.values())


# --- passwords --------------------------------------------------------------------------


def test_hash_is_argon2id_and_differs_each_time() -> None:
    one, two = hash_password("correct horse"), hash_password("correct horse")
    assert one.startswith("$argon2id$")
    assert one != two


@pytest.mark.parametrize("password", ["", "seven77", "x" * 1_025, "with\x00control"])
def test_unusable_password_is_refused_without_quoting_it(password: str) -> None:
    with pytest.raises(BadPassword) as caught:
        hash_password(password)
    assert not password or password not in str(caught.value)


# --- by id, several things at once, a page at a time ------------------------------------


async def test_account_is_meant_by_its_id_as_by_its_email(world: World, ann: Any) -> None:
    assert await world.call("users.get", account_id=1) == ann
    changed = await world.call("users.set_plan", account_id=1, plan="solo")
    assert changed == await world.call("users.get", email=ANN) == {**ann, "plan": "solo"}
    made = await world.call("keys.create", account_id=1)
    assert [each["id"] for each in await world.call("keys.list", account_id=1)] == [made["id"]]


@pytest.mark.parametrize("args", [{}, {"email": ANN, "account_id": 1}])
async def test_account_must_be_named_in_one_way(
    world: World, ann: Any, args: dict[str, Any]
) -> None:
    with pytest.raises(Invalid, match="by email or by account_id"):
        await world.call("users.disable", **args)


async def test_several_changes_are_one_and_on_the_record_one_by_one(world: World, ann: Any) -> None:
    args = {"plan": "solo", "name": " Anna ", "role": "admin", "active": True}
    changed = await world.call("users.change", account_id=1, **args)
    assert changed == {**ann, "plan": "solo", "name": "Anna", "role": "admin"}
    trail = [(each.action, each.detail) for each in await world.store.list_audit(limit=3)]
    assert trail == [
        ("account.set-role", {"role": "admin"}),
        ("account.rename", {"name": "Anna"}),
        ("account.set-plan", {"plan": "solo"}),
    ]


async def test_of_several_changes_none_is_made_when_one_is_refused(world: World, ann: Any) -> None:
    for wrong in ({"plan": "nope"}, {"role": "root"}, {"name": "a\nb"}):
        with pytest.raises(Invalid):
            await world.call("users.change", account_id=1, **{"active": False, **wrong})
    assert await world.call("users.get", account_id=1) == ann


async def test_what_is_so_already_is_no_change(world: World, ann: Any) -> None:
    await world.call("users.change", account_id=1, plan="team", active=True)
    assert [each.action for each in await world.store.list_audit()] == ["account.create"]


async def test_accounts_come_a_page_at_a_time(world: World) -> None:
    for number in range(5):
        await world.call("users.create", email=f"{number}@example.org", plan="team")
    pages = []
    after, more = 0, True
    while more:
        page = await world.call("users.page", after=after, limit=2)
        pages.append([each["id"] for each in page["rows"]])
        after, more = pages[-1][-1], page["more"]
    assert pages == [[1, 2], [3, 4], [5]]
    found = await world.call("users.page", limit=9, email=" 3@EXAMPLE.org")
    assert [each["id"] for each in found["rows"]] == [4]


async def test_keys_of_an_account_come_a_page_at_a_time(world: World, ann: Any) -> None:
    await world.call("users.create", email="ben@example.org", plan="team")
    made = [(await world.call("keys.create", email=ANN))["id"] for _ in range(3)]
    foreign = (await world.call("keys.create", email="ben@example.org"))["id"]
    first = await world.call("keys.page", account_id=1, limit=2)
    assert ([each["id"] for each in first["rows"]], first["more"]) == (made[:2], True)
    rest = await world.call("keys.page", account_id=1, limit=2, after=made[1])
    assert ([each["id"] for each in rest["rows"]], rest["more"]) == (made[2:], False)
    with pytest.raises(NotFound) as caught:
        await world.call("keys.page", account_id=1, limit=2, after=foreign)
    assert caught.value.field == "after"


# --- admins -----------------------------------------------------------------------------

LOSSES = [
    ("users.delete", {}),
    ("users.disable", {}),
    ("users.set_role", {"role": "user"}),
    ("users.change", {"active": False, "role": "admin"}),
]


@pytest.mark.parametrize(("verb", "args"), LOSSES, ids=[verb for verb, _ in LOSSES])
async def test_last_active_admin_stays_one(
    world: World, ann: Any, verb: str, args: dict[str, Any]
) -> None:
    await world.call("users.set_role", email=ANN, role="admin")
    await world.call("users.create", email="ben@example.org", plan="team", role="admin")
    await world.call("users.disable", email="ben@example.org")
    with pytest.raises(Conflict, match="last active admin"):
        await world.call(verb, email=ANN, **args)
    assert await world.call("users.get", email=ANN) == {**ann, "role": "admin"}
    await world.call("users.enable", email="ben@example.org")
    await world.call(verb, email=ANN, **args)


@pytest.mark.parametrize(("verb", "args"), LOSSES, ids=[verb for verb, _ in LOSSES])
async def test_installation_without_an_admin_changes_its_users_freely(
    world: World, ann: Any, verb: str, args: dict[str, Any]
) -> None:
    await world.call(verb, email=ANN, **args)


async def test_two_admins_who_remove_each_other_leave_one(world: World) -> None:
    for name in ("a", "b"):
        await world.call("users.create", email=f"{name}@x.org", plan="team", role="admin")
    both = (world.call("users.delete", email=f"{name}@x.org") for name in ("a", "b"))
    done = await asyncio.gather(*both, return_exceptions=True)
    assert sorted(type(each).__name__ for each in done) == ["Conflict", "dict"]


async def test_management_key_is_for_admins_only(world: World, ann: Any) -> None:
    with pytest.raises(Conflict, match="no admin") as caught:
        await world.call("keys.create", email=ANN, admin=True)
    assert caught.value.field == "admin"
    assert await world.call("keys.list") == []


async def test_management_key_of_a_demoted_admin_is_not_valid(world: World, ann: Any) -> None:
    await world.call("users.create", email="ben@example.org", plan="team", role="admin")
    await world.call("users.set_role", email=ANN, role="admin")
    made = await world.call("keys.create", email=ANN, admin=True)
    plain = await world.call("keys.create", email=ANN)
    await world.call("users.set_role", email=ANN, role="user")
    states = [(await world.call("keys.get", id=each["id"]))["status"] for each in (made, plain)]
    assert states == ["account is no admin", "valid"]
    await world.call("users.set_role", email=ANN, role="admin")
    assert (await world.call("keys.get", id=made["id"]))["status"] == "valid"


# --- on behalf of somebody --------------------------------------------------------------


async def test_verb_for_one_account_knows_no_other(world: World, ann: Any) -> None:
    ben = await world.call("users.create", email="ben@example.org", plan="team")
    foreign = await world.call("keys.create", email=ANN)
    own = await world.call("keys.create", account_id=ben["id"])
    by = By("ben@example.org", ben["id"])
    for verb, args in [
        ("keys.get", {"id": foreign["id"]}),
        ("keys.revoke", {"id": foreign["id"]}),
        ("keys.rotate", {"id": foreign["id"]}),
        ("keys.rename", {"id": foreign["id"], "label": "mine"}),
        ("keys.list", {"email": ANN}),
        ("keys.page", {"account_id": 1, "limit": 5}),
        ("keys.create", {"email": ANN}),
    ]:
        with pytest.raises(NotFound):
            await world.people.call(verb, args, by)
    listed = await world.people.call("keys.list", {}, by)
    assert [each["id"] for each in listed] == [own["id"]]
    assert world.serves(foreign["key"])
    assert len(await world.call("keys.list", email=ANN)) == 1


FIELDS = [
    ("users.create", {"email": "ann", "plan": "team"}, "email"),
    ("users.create", {"email": "x@example.org", "plan": "tea"}, "plan"),
    ("users.create", {"email": "x@example.org", "plan": "team", "name": "a\nb"}, "name"),
    ("users.create", {"email": ANN, "plan": "team"}, "email"),
    ("keys.create", {"email": ANN, "label": "x" * 300}, "label"),
    ("keys.create", {"email": ANN, "models": ["a\nb"]}, "models"),
    ("keys.create", {"email": ANN, "daily_tokens": 2**53}, "daily_tokens"),
    ("keys.create", {"email": ANN, "requests_per_minute": 2**53}, "requests_per_minute"),
    ("keys.create", {"email": ANN, "expires_at": 1.0}, "expires_at"),
    ("keys.create", {"email": ANN, "secret": "short"}, "secret"),
]


@pytest.mark.parametrize(("verb", "args", "field"), FIELDS)
async def test_refusal_names_the_field_at_fault(
    world: World, ann: Any, verb: str, args: dict[str, Any], field: str
) -> None:
    with pytest.raises(StoreError) as caught:
        await world.people.call(verb, args)
    assert caught.value.field == field
