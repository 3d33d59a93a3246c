"""The management API against its own document: made-up requests, every answer checked."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import aiohttp

from tests.conftest import Starter, toml
from tests.fakes.upstream import FakeUpstream
from tests.server.managing import manager_of

LIMIT_S = 120.0
PLAN = (
    '\n[[plans]]\nname = "solo"\nmodels = ["c-*"]\n[limits]\nfailed_logins_per_minute = 1_000_000\n'
)
# What only this installation knows, or the clock: the document cannot say it.
KNOWN = {
    "plan": ["default", "solo"],
    "expires_at": ["2099-12-31T00:00:00Z", "2100-01-01T12:30:00+02:00", None],
    "since": ["2020-01-01", "2026-01-01"],
    "until": ["2030-12-31"],
}
MANAGED = "^(/api/v1/|/livez$|/readyz$|/openapi.json$)"


# Links need an account that could be made: of few requests that is too seldom the case.
PHASES = "[phases.stateful]\ngeneration.max-examples = 12\n"


def narrowed(document: dict[str, Any], **known: list[Any]) -> dict[str, Any]:
    """Return the document with the values that this installation takes."""
    known = {**KNOWN, **known}
    for schema in document["components"]["schemas"].values():
        if schema.get("additionalProperties") is False:
            for name, each in schema["properties"].items():
                if name in known:
                    each.clear()
                    each["enum"] = known[name]
    for path in document["paths"].values():
        for operation in path.values():
            for each in operation.get("parameters", ()):
                if each["name"] in known:
                    each["schema"] = {"enum": known[each["name"]]}
    return document


def far_away(db: sqlite3.Connection) -> None:
    """Give the accounts to come ids that nobody makes up: he who manages is not to be deleted."""
    db.execute("UPDATE sqlite_sequence SET seq = 4000000000000 WHERE name = 'accounts'")


async def test_made_up_requests_are_answered_as_the_document_says(
    start: Starter, fake: FakeUpstream, http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    gateway = await start(toml(fake.base_url, extra=PLAN))
    await gateway.gateway.database.bulk(far_away)
    manager = await manager_of(gateway, http)
    ann = await manager.account()
    keys = [(await manager.new_key(ann["id"]))["id"] for _ in range(2)]
    async with http.get(f"{gateway.base_url}/openapi.json") as got:
        document = narrowed(await got.json(), key_id=keys)
    path = tmp_path / "openapi.json"
    path.write_text(json.dumps(document))
    (tmp_path / "schemathesis.toml").write_text(PHASES)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "schemathesis.cli", "run", str(path)),
        *("--url", gateway.base_url, "--include-path-regex", MANAGED),
        *("--header", f"Authorization: Bearer {manager.key}"),
        *("--checks", "all", "--max-examples", "4", "--generation-deterministic"),
        *("--no-color", "--no-shrink", "--continue-on-failure"),
        cwd=tmp_path,
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        out, _ = await asyncio.wait_for(process.communicate(), LIMIT_S)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, out.decode()
    # None of it says anything when nobody was let in.
    lines = [json.loads(line) for line in gateway.lines().splitlines()]
    statuses = Counter(each["status"] for each in lines if each["event"] == "request")
    assert {200, 201, 204, 400, 401, 404, 405, 409, 415, 422} <= statuses.keys()
    assert statuses[200] + statuses[201] + statuses[204] > 100
    assert statuses[500] == statuses[503] == 0
