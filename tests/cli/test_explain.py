"""``explain``: the rule that decides about a call, without a gateway and beside one."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

import aiohttp
import pytest
from click.testing import CliRunner

from kurolproxy.cli.main import main
from kurolproxy.storage.rows import encode_row, line
from kurolproxy.storage.usage import insert_rows
from tests.cli.sites import Site, call, told
from tests.storage.usage_rows import row

_TEXT = """
[server]
listen = "127.0.0.1:0"
state_dir = "state"
contact = "mailto:ops@example.org"

[metrics]
listen = ""

[[upstreams]]
name = "first"
base_url = "{vendor_url}"
protocols = ["openai-chat", "anthropic"]
api_keys = ["wrong-key", "vendor-key"]
max_concurrent = 7

[[upstreams]]
name = "second"
base_url = "http://127.0.0.1:1"
protocols = ["gemini"]

[[models]]
id = "demo-echo"
aliases = ["echo"]
targets = [
    {{ upstream = "second", model = "spare", priority = 1 }},
    {{ upstream = "first", weight = 3 }},
    {{ upstream = "second", model = "big" }},
]

[[models]]
id = "demo-old"
active = false
targets = [{{ upstream = "first" }}]

[[models]]
id = "secret-echo"
targets = [{{ upstream = "first" }}]

[[plans]]
name = "team"
models = ["demo-*"]
requests_per_minute = 60
daily_tokens = 100_000
concurrent_requests = 3
max_output_tokens = 500
"""


@pytest.fixture
def here(site: Site) -> Site:
    site.write(_TEXT.format(vendor_url="http://127.0.0.1:1"))
    site.account()
    return site


def explained(site: Site, model: str, key: str) -> dict[str, Any]:
    found: dict[str, Any] = site.json("explain", model, "--key", key)
    return found


def test_call_that_would_be_let_in(here: Site) -> None:
    key = here.key("--models", "*-echo", "--requests-per-minute", "5")["id"]
    found = explained(here, "echo", key)
    assert found["admitted"] is True
    assert (found["asked"], found["model"], found["active"]) == ("echo", "demo-echo", True)
    assert found["refusal"] is None
    assert found["plan"] == {
        "name": "team",
        "models": ["demo-*"],
        "pattern": "demo-*",
        "key_models": ["*-echo"],
        "key_pattern": "*-echo",
    }
    reset = found["limits"].pop("tokens_reset_at")
    assert reset.endswith("T00:00:00Z")
    assert found["limits"] == {
        "requests_per_minute": 5,
        "requests_left": 5,
        "concurrent_requests": 3,
        "running": 0,
        "daily_tokens": 100_000,
        "tokens_used": 0,
        "tokens_reserved": 0,
        "tokens_left": 100_000,
        "output_cap": 500,
    }
    ways = [(each["upstream"], each["model"], each["share"]) for each in found["targets"]]
    assert ways == [("first", "demo-echo", 0.75), ("second", "big", 0.25), ("second", "spare", 1.0)]
    assert found["attempts"] == 3
    first = found["targets"][0]
    assert first["credentials"] == 2
    assert (first["open"], first["resting"], first["running"]) == (None, None, None)
    assert first["protocols"] == {
        "openai-chat": "openai-chat",
        "openai-responses": "openai-chat",
        "anthropic": "anthropic",
        "gemini": "openai-chat",
    }
    # Asking changed nothing: 5 requests are left again.
    assert explained(here, "echo", key)["limits"]["requests_left"] == 5


def narrowed(site: Site) -> str:
    return str(site.key("--models", "demo-x*")["id"])


def plain(site: Site) -> str:
    return str(site.key()["id"])


def revoked(site: Site) -> str:
    key = plain(site)
    site.json("keys", "revoke", key)
    return key


def changed(sql: str) -> Callable[[Site], str]:
    """Return what makes a key and changes the database behind its back."""

    def made(site: Site) -> str:
        key = plain(site)
        with closing(sqlite3.connect(site.state_dir / "kurolproxy.db")) as db:
            db.execute(sql)
            db.commit()
        return key

    return made


def management(site: Site) -> str:
    site.json("users", "set-role", "ann@example.org", "admin")
    return str(site.key("--admin")["id"])


INVALID = "This API key is not valid"
# name, model, key, status of the refusal, its text, what else is told
CASES: list[tuple[str, str, Callable[[Site], str], int, str, str]] = [
    ("unknown", "nothing", plain, 404, "no model 'nothing'. GET /v1/models", "there is no nothing"),
    ("misspelt", "demo-eco", plain, 404, "Did you mean 'demo-echo'?", "there is no demo-eco"),
    ("inactive", "demo-old", plain, 404, "no model 'demo-old'", "demo-old, not active"),
    ("foreign", "secret-echo", plain, 403, "not in the plan 'team'", "none of demo-* matches"),
    ("narrowed", "echo", narrowed, 403, "this key was narrowed to", "none of demo-x* matches"),
    ("revoked", "echo", revoked, 401, INVALID, ", revoked"),
    ("expired", "echo", changed("UPDATE keys SET expires_at = 5"), 401, INVALID, ", expired"),
    ("disabled", "echo", changed("UPDATE accounts SET active = 0"), 401, INVALID, "disabled"),
    ("management", "echo", management, 401, "This is a management key", ", valid"),
    (
        "plan that is gone",
        "echo",
        changed("UPDATE accounts SET plan = 'gold'"),
        403,
        "The plan 'gold' of this account is missing",
        "the configuration has it no more",
    ),
]


@pytest.mark.parametrize(
    ("model", "make", "status", "text", "more"),
    [each[1:] for each in CASES],
    ids=[each[0] for each in CASES],
)
def test_refusal_is_the_one_that_a_client_gets(
    here: Site, model: str, make: Callable[[Site], str], status: int, text: str, more: str
) -> None:
    key = make(here)
    found = explained(here, model, key)
    assert found["admitted"] is False
    assert found["refusal"]["status"] == status
    assert text in found["refusal"]["message"]
    shown = here.run("explain", model, "--key", key)
    assert shown.exit_code == 0
    assert text in shown.stdout
    assert more in shown.stdout


def test_model_outside_the_plan_names_only_those_inside(here: Site) -> None:
    message = explained(here, "secret-ech", plain(here))["refusal"]["message"]
    assert "secret-echo" not in message


def test_tokens_of_the_ledger_count_without_a_gateway(here: Site) -> None:
    key = plain(here)
    path = here.state_dir / "kurolproxy.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("BEGIN")
        insert_rows(
            db, [row("r1", account_id=1, key_id=key, charged=99_500, day=datetime.now(UTC).date())]
        )
        db.execute("COMMIT")
    found = explained(here, "echo", key)
    assert found["limits"]["tokens_left"] == 500
    # The plan's largest answer of 500 tokens still fits.
    assert found["admitted"] is True


def test_usage_that_a_killed_gateway_left_counts_too(here: Site) -> None:
    key = plain(here)
    folder = here.state_dir / "journal"
    folder.mkdir(mode=0o700)
    used = row("r1", account_id=1, key_id=key, charged=100_000, day=datetime.now(UTC).date())
    (folder / f"{1:020}.log").write_bytes(line(encode_row(used), 0))
    found = explained(here, "echo", key)
    assert found["limits"]["tokens_used"] == 100_000
    assert found["refusal"]["kind"] == "quota_exceeded"


def test_words_for_people(here: Site) -> None:
    text = here.run("explain", "echo", "--key", plain(here)).stdout
    assert "call                 would be let in" in text
    assert "model                demo-echo, asked for as echo" in text
    assert "plan                 team: demo-* matches" in text
    assert "requests per minute  60 of 60 left" in text
    assert "requests at once     0 of 3 running" in text
    assert "longest answer       500 tokens" in text
    assert "/v1/responses: openai-chat (translated)" in text
    assert "not known: no gateway runs" in text
    assert "vendor-key" not in text


@pytest.mark.parametrize("key", ["key_0", "", "ein schlüssel", "a\udcff"])
def test_unknown_key_fails(here: Site, key: str) -> None:
    result = here.run("explain", "echo", "--key", key)
    assert result.exit_code == 1
    assert "key" in result.stderr


def test_key_is_needed() -> None:
    assert CliRunner().invoke(main, ["explain", "echo"]).exit_code == 2


async def test_gateway_that_runs_tells_what_rests(
    living: Site, http: aiohttp.ClientSession
) -> None:
    text = _TEXT.format(vendor_url=_vendor_url(living))
    # The target with the wrong credential comes first.
    text = text.replace('{ upstream = "second", model = "big" },', "")
    await asyncio.to_thread(living.write, text)
    key = await asyncio.to_thread(living.key)
    async with living.serving() as served:
        before = await told(living, "explain", "echo", "--key", str(key["id"]))
        answer = await call(http, served.base_url, str(key["key"]), model="echo")
        assert answer.status == 200
        after = await told(living, "explain", "echo", "--key", str(key["id"]))
        shown = (await living.verb("explain", "echo", "--key", str(key["id"])))[1]
    first: Any = before["targets"][0]  # type: ignore[index]
    assert (first["open"], first["resting"], first["running"]) == (True, [], 0)
    first = after["targets"][0]  # type: ignore[index]
    assert first["open"] is True
    [rest] = first["resting"]
    assert (rest["credential"], rest["part"]) == (1, "credential")
    assert rest["why"] == "HTTP 401"
    assert 250 < rest["seconds"] <= 300
    limits: Any = after["limits"]
    assert (limits["requests_left"], limits["running"]) == (59, 0)
    assert limits["tokens_used"] > 0
    assert "0 of 7 requests at once; credential 1 rests until 2" in shown
    assert "HTTP 401" in shown
    assert "wrong-key" not in shown


def _vendor_url(site: Site) -> str:
    found = next(each for each in site.config.read_text().splitlines() if "base_url" in each)
    return found.split('"')[1]
