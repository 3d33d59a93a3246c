"""``users``, ``keys``, ``plans`` and ``models`` while no gateway runs."""

from __future__ import annotations

import asyncio
import fcntl
import json
from pathlib import Path

import pytest

from kurolproxy.cli import beside
from kurolproxy.policy.keys import ADMIN_KEY_PREFIX, KEY_PREFIX
from kurolproxy.storage.accounts import AccountStore
from kurolproxy.storage.database import Database
from tests.cli.sites import Site

ANN = "ann@example.org"


def test_account_from_its_first_day_to_its_last(site: Site) -> None:
    made = site.json(
        "users", "create", "--email", ANN, "--plan", "team", "--name", "Ann", "--role", "user"
    )
    assert made == {
        "id": 1,
        "email": ANN,
        "name": "Ann",
        "role": "user",
        "plan": "team",
        "active": True,
    }
    assert site.json("users", "set-plan", ANN, "solo") == {**made, "plan": "solo"}
    assert site.json("users", "disable", ANN)["active"] is False
    assert site.json("users", "enable", ANN)["active"] is True
    assert site.json("users", "list") == [{**made, "plan": "solo", "keys": 0}]
    assert site.json("users", "delete", ANN)["email"] == ANN
    assert site.json("users", "list") == []


def test_role_is_changed(site: Site) -> None:
    site.account()
    assert site.json("users", "set-role", ANN, "admin")["role"] == "admin"
    assert site.json("users", "list")[0]["role"] == "admin"


@pytest.mark.parametrize("args", [("disable", ANN), ("delete", ANN), ("set-role", ANN, "user")])
def test_last_active_admin_is_kept(site: Site, args: tuple[str, ...]) -> None:
    site.account(role="admin")
    result = site.run("users", *args)
    assert result.exit_code == 1
    assert "last active admin" in result.stderr
    assert site.json("users", "list")[0]["role"] == "admin"


def test_vendors_credentials_are_not_needed_for_people(site: Site) -> None:
    # ${VENDOR_KEY} is not set: site.run sees to it.
    assert site.run("users", "list").exit_code == 0


def test_other_problem_of_the_configuration_is_told(site: Site) -> None:
    site.write("[server]\nstat_dir = 'x'\n")
    result = site.run("users", "list")
    assert result.exit_code == 1
    assert 'did you mean "state_dir"' in result.stderr


def test_unknown_plan_names_the_known_ones(site: Site) -> None:
    result = site.run("users", "create", "--email", ANN, "--plan", "tea")
    assert result.exit_code == 1
    assert "there are: team, solo" in result.stderr
    assert site.json("users", "list") == []


# --- passwords --------------------------------------------------------------------------


async def _stored_hash(site: Site) -> str | None:
    database = await Database.open(site.state_dir / "kurolproxy.db")
    try:
        return await AccountStore(database).get_password_hash(ANN)
    finally:
        await database.close()


@pytest.mark.parametrize(
    "verb",
    [
        ("users", "create", "--email", ANN, "--plan", "team", "--password-stdin"),
        ("users", "reset-password", ANN, "--password-stdin"),
    ],
)
def test_password_of_standard_input_is_kept_as_an_argon2_hash(
    site: Site, verb: tuple[str, ...]
) -> None:
    if "reset-password" in verb:
        site.account()
    result = site.run(*verb, stdin="correct horse\n")
    assert result.exit_code == 0, result.output
    assert "correct horse" not in result.output
    assert "argon2" not in result.output
    assert (asyncio.run(_stored_hash(site)) or "").startswith("$argon2id$")


def test_short_password_is_refused_before_anything_is_made(site: Site) -> None:
    verb = ("users", "create", "--email", ANN, "--plan", "team", "--password-stdin")
    result = site.run(*verb, stdin="short\n")
    assert (result.exit_code, "at least 8" in result.stderr) == (1, True)
    assert not site.state_dir.exists()


def test_password_without_a_terminal_must_be_piped(site: Site) -> None:
    assert site.run("users", "reset-password", ANN).exit_code == 2


# --- keys -------------------------------------------------------------------------------


def test_key_is_printed_once(site: Site) -> None:
    site.account()
    made = site.key(
        "--label", "laptop", "--models", "demo-echo, demo-s*", "--daily-tokens", "10000"
    )
    assert made["key"].startswith(KEY_PREFIX)
    assert made["models"] == ["demo-echo", "demo-s*"]
    for form in ((), ("--json",)):
        listed = site.run("keys", "list", *form).stdout
        assert made["key"] not in listed
        assert made["id"] in listed
    assert "demo-echo, demo-s*; 10,000 tokens/day" in site.run("keys", "list").stdout


def test_key_stands_alone_on_its_line_for_people(site: Site) -> None:
    site.account()
    result = site.run("keys", "create", "--email", ANN)
    assert any(line.startswith(f"key    {KEY_PREFIX}") for line in result.stdout.splitlines())
    assert "once" in result.stderr


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("2099-12-31", "2099-12-31T00:00:00Z"),
        ("2099-12-31T18:30", "2099-12-31T18:30:00Z"),
        ("2099-12-31T18:30+02:00", "2099-12-31T16:30:00Z"),
    ],
)
def test_day_of_expiry_is_utc(site: Site, written: str, told: str) -> None:
    site.account()
    assert site.key("--expires", written)["expires_at"] == told


def test_key_of_management_is_told_apart(site: Site) -> None:
    site.account(role="admin")
    made = site.key("--admin")
    assert made["key"].startswith(ADMIN_KEY_PREFIX)
    assert "management only" in site.run("keys", "list").stdout


def test_secret_of_standard_input_becomes_the_key(site: Site) -> None:
    site.account()
    secret = KEY_PREFIX + "brought-along-from-another-gateway-0123"
    made = site.json("keys", "create", "--email", ANN, "--secret-stdin", stdin=secret + "\n")
    assert made["key"] == secret


def test_revoked_and_rotated(site: Site) -> None:
    site.account()
    made = site.key()
    rotated = site.json("keys", "rotate", made["id"])
    assert rotated["id"] == made["id"]
    assert rotated["key"] != made["key"]
    revoked = site.json("keys", "revoke", made["id"], "--now")
    assert (revoked["status"], revoked["ended_calls"]) == ("revoked", 0)
    assert site.run("keys", "rotate", made["id"]).exit_code == 1


def test_keys_of_one_account_alone(site: Site) -> None:
    site.account()
    site.account("ben@example.org")
    site.key()
    mine = site.key(email="ben@example.org")
    listed = site.json("keys", "list", "--email", "ben@example.org")
    assert [each["id"] for each in listed] == [mine["id"]]


REFUSED: list[tuple[list[str], int]] = [
    (["keys", "create", "--email", "nobody@example.org"], 1),
    (["keys", "create"], 2),
    (["keys", "create", "--email", ANN, "--daily-tokens", "0"], 2),
    (["keys", "create", "--email", ANN, "--models", "a,,b"], 2),
    (["keys", "create", "--email", ANN, "--expires", "soon"], 2),
    (["keys", "create", "--email", ANN, "--expires", "2020-01-01"], 1),
    (["keys", "revoke", "key_x"], 1),
    (["users", "create", "--email", "no address", "--plan", "team"], 1),
    (["users", "create", "--email", ANN, "--plan", "team"], 1),
    (["users", "create", "--email", ANN, "--plan", "team", "--role", "king"], 2),
]


@pytest.mark.parametrize(("args", "code"), REFUSED, ids=[" ".join(each) for each, _ in REFUSED])
def test_refused(site: Site, args: list[str], code: int) -> None:
    site.account()
    result = site.run(*args)
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    assert site.json("keys", "list") == []


# --- the catalog ------------------------------------------------------------------------


def test_plans_are_those_of_the_file(site: Site) -> None:
    plans = site.json("plans")
    assert [(each["name"], each["models"], each["daily_tokens"]) for each in plans] == [
        ("team", ["demo-*"], 2_000_000),
        ("solo", ["demo-echo"], None),
    ]
    assert "unlimited" in site.run("plans").stdout
    assert not site.state_dir.exists()


def test_models_are_those_of_the_file(site: Site) -> None:
    echo, slow = site.json("models", "list")
    assert (echo["id"], echo["aliases"], echo["plans"]) == ("demo-echo", ["echo"], ["team", "solo"])
    assert echo["context_window"] == 200_000
    assert echo["price"]["prompt"] == 1.5
    assert slow["plans"] == ["team"]
    assert slow["targets"][0]["protocols"] == ["openai-chat", "anthropic"]
    assert "demo/demo-echo" in site.run("models", "list").stdout


# --- the lock ---------------------------------------------------------------------------


def test_verb_waits_for_the_lock_and_then_names_its_holder(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert beside._LOCK_WAIT_S == 5.0
    monkeypatch.setattr(beside, "_LOCK_WAIT_S", 0.3)
    site.account()
    with (site.state_dir / "lock").open("r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.truncate()
        lock.write("4711\n")
        lock.flush()
        result = site.run("users", "list")
    assert result.exit_code == 1
    assert "in use by process 4711" in result.stderr
    assert site.run("users", "list").exit_code == 0


def test_damaged_database_is_told_and_left_alone(site: Site) -> None:
    site.account()
    path = site.state_dir / "kurolproxy.db"
    path.write_bytes(b"not a database at all" * 400)
    result = site.run("users", "list")
    assert (result.exit_code, "Traceback" in result.output) == (1, False)
    assert path.read_bytes().startswith(b"not a database")


def test_status_without_a_gateway_cannot_connect(site: Site) -> None:
    result = site.run("status", "--json")
    assert result.exit_code == 3
    assert json.loads(result.stdout) == {"running": False, "state_dir": str(site.state_dir)}
    assert not site.state_dir.exists()


def test_state_directory_that_is_a_file_is_told(site: Site) -> None:
    site.state_dir.touch()
    result = site.run("users", "list")
    assert (result.exit_code, "Traceback" in result.output) == (1, False)


def test_no_secret_is_in_any_file_of_the_state_directory(site: Site) -> None:
    site.account(role="admin")
    made = site.key("--admin")
    secrets = [made["key"], site.json("keys", "rotate", made["id"])["key"], site.key()["key"]]
    site.run("users", "reset-password", ANN, "--password-stdin", stdin="correct horse\n")
    kept = b"".join(path.read_bytes() for path in site.state_dir.iterdir())
    assert [each for each in [*secrets, "correct horse"] if each.encode() in kept] == []
    assert made["id"].encode() in kept


def test_what_is_made_is_private(site: Site) -> None:
    site.account()

    def mode(path: Path) -> int:
        return path.stat().st_mode & 0o777

    assert mode(site.state_dir) == 0o700
    assert {mode(path) for path in site.state_dir.iterdir()} == {0o600}
