"""``keys rotate``: another secret, and nothing else changes."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from contextlib import closing
from typing import Any

import aiohttp

from tests.cli.sites import LIMIT_S, Site, call, told

ANN = "ann@example.org"
CLIENTS = 50


def audit_of(site: Site) -> list[tuple[str, str, str]]:
    """Return action, subject and detail of everything that was noted."""
    with closing(sqlite3.connect(site.state_dir / "kurolproxy.db")) as db:
        return db.execute("SELECT action, subject, detail FROM audit ORDER BY id").fetchall()


async def make_key(site: Site, *args: str) -> tuple[str, str]:
    """Return id and secret of a new key."""
    made = await asyncio.to_thread(site.key, *args)
    return str(made["id"]), str(made["key"])


async def rotate(site: Site, key_id: str) -> str:
    """Rotate a key in a process of its own; return the new secret."""
    rotated = await told(site, "keys", "rotate", key_id)
    assert rotated["id"] == key_id
    return str(rotated["key"])


async def test_old_secret_is_dead_and_the_new_one_works(
    living: Site, http: aiohttp.ClientSession
) -> None:
    key_id, old = await make_key(living)
    async with living.serving() as served:
        assert (await call(http, served.base_url, old)).status == 200
        new = await rotate(living, key_id)
        assert (await call(http, served.base_url, old)).status == 401
        assert (await call(http, served.base_url, new)).status == 200
        await served.kill()
    # Durable when the command had returned, not only in memory.
    async with living.serving() as served:
        assert (await call(http, served.base_url, old)).status == 401
        assert (await call(http, served.base_url, new)).status == 200


async def test_no_request_is_let_in_with_the_old_secret_after_the_command(
    living: Site, http: aiohttp.ClientSession
) -> None:
    key_id, old = await make_key(living)
    before: list[int] = []
    after: list[int] = []
    rotated, busy = asyncio.Event(), asyncio.Event()
    async with living.serving() as served:

        async def client() -> None:
            while not rotated.is_set():
                before.append((await call(http, served.base_url, old)).status)
                if len(before) > CLIENTS:
                    busy.set()
            after.append((await call(http, served.base_url, old)).status)

        async with asyncio.TaskGroup() as group:
            for _ in range(CLIENTS):
                group.create_task(client())
            await asyncio.wait_for(busy.wait(), LIMIT_S)
            await rotate(living, key_id)
            rotated.set()
    assert before[0] == 200
    assert after == [401] * CLIENTS


async def test_limits_and_what_was_used_today_stay(
    living: Site, http: aiohttp.ClientSession
) -> None:
    key_id, old = await make_key(living, "--label", "ci", "--requests-per-minute", "2")
    async with living.serving() as served:
        for _ in range(2):
            assert (await call(http, served.base_url, old)).status == 200
        new = await rotate(living, key_id)
        # Its requests of this minute are spent, whatever its secret is.
        assert (await call(http, served.base_url, new)).status == 429
        _, out, _ = await living.verb("usage", "--by", "key", "--json")
    [used] = json.loads(out)
    assert (used["key"], used["label"], used["requests"]) == (key_id, "ci", 2)


async def test_tokens_of_today_still_count_against_the_key(
    living: Site, http: aiohttp.ClientSession
) -> None:
    key_id, old = await make_key(living, "--daily-tokens", "1200")
    body = {
        "model": "demo-echo",
        "max_tokens": 1_100,
        "messages": [{"role": "user", "content": "word " * 80}],
    }

    async def status(base_url: str, key: str) -> int:
        url, headers = f"{base_url}/v1/chat/completions", {"authorization": f"Bearer {key}"}
        async with http.post(url, json=body, headers=headers) as response:
            await response.read()
            return response.status

    async with living.serving() as served:
        assert await status(served.base_url, old) == 200
        new = await rotate(living, key_id)
        assert await status(served.base_url, new) == 429


async def test_running_stream_finishes(living: Site, http: aiohttp.ClientSession) -> None:
    key_id, old = await make_key(living)
    body = {
        "model": "demo-slow",
        "stream": True,
        "messages": [{"role": "user", "content": "Say 120 words"}],
    }
    async with living.serving() as served:
        headers = {"authorization": f"Bearer {old}"}
        url = f"{served.base_url}/v1/chat/completions"
        async with http.post(url, json=body, headers=headers) as stream:
            await stream.content.readuntil(b"content")
            await rotate(living, key_id)
            rest = await stream.read()
        _, out, _ = await living.verb("usage", "--by", "key", "--json")
    assert b"[DONE]" in rest
    assert b'"error"' not in rest
    [used] = json.loads(out)
    assert (used["key"], used["requests"]) == (key_id, 1)


async def test_rotated_without_a_gateway_it_is_the_next_one_s(
    living: Site, http: aiohttp.ClientSession
) -> None:
    key_id, old = await make_key(living)
    new = await rotate(living, key_id)
    async with living.serving() as served:
        assert (await call(http, served.base_url, old)).status == 401
        assert (await call(http, served.base_url, new)).status == 200


def test_new_secret_is_printed_once_and_noted_nowhere(site: Site) -> None:
    site.account()
    made = site.key("--label", "ci")
    result = site.run("keys", "rotate", made["id"])
    assert result.exit_code == 0
    secret = result.stdout.split()[1]
    assert secret.startswith("sk-kurol-")
    assert result.output.count(secret) == 1
    assert result.stderr == "The key is shown this once only.\n"
    listed = site.run("keys", "list", "--json").stdout
    for each in (made["key"], secret):
        assert each not in listed
        assert each not in repr(audit_of(site))
    assert audit_of(site)[-1] == ("key.rotate", made["id"], "{}")


def test_everything_but_the_secret_stays(site: Site) -> None:
    site.account()
    made = site.key(
        "--label", "ci", "--models", "demo-*", "--daily-tokens", "9", "--expires", "2099-01-01"
    )
    site.json("keys", "rotate", made["id"])
    [listed] = site.json("keys", "list")

    def rest(key: dict[str, Any]) -> dict[str, Any]:
        return {
            name: value for name, value in key.items() if name not in ("key", "last_four", "prefix")
        }

    assert rest(listed) == rest(made)
    assert listed["last_four"] != made["last_four"]


def test_revoked_key_stays_revoked(site: Site) -> None:
    site.account()
    made = site.key()
    site.json("keys", "revoke", made["id"])
    result = site.run("keys", "rotate", made["id"])
    assert result.exit_code == 1
    assert "is revoked: make a new one" in result.stderr
    assert [action for action, _, _ in audit_of(site)][-1] == "key.revoke"
