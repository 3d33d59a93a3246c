"""A ledger that cannot be written: new calls are refused or counted in memory, by choice."""

from __future__ import annotations

from typing import Any

import aiohttp
import pytest

from tests.conftest import Running, Starter, soon, toml
from tests.fakes.answers import chat_answer
from tests.fakes.upstream import FakeUpstream
from tests.server.test_limits import post


async def broken(gateway: Running, *, readable_only: bool) -> None:
    """Let the database refuse or take writes, as a disk does that is read-only for a while."""
    mode = "ON" if readable_only else "OFF"

    # The import's own connection, in the state a read-only disk puts it.
    await gateway.gateway.database._bulk.run(lambda db: db.execute(f"PRAGMA query_only = {mode}"))


@pytest.mark.parametrize(("policy", "status"), [("fail-closed", 503), ("fail-open", 200)])
async def test_unwritable_ledger_follows_the_policy_and_recovers(
    policy: str, status: int, start: Starter, fake: FakeUpstream, http: aiohttp.ClientSession
) -> None:
    text = toml(fake.base_url) + f'\n[ledger]\nwhen_unwritable = "{policy}"\n'
    gateway = await start(text)
    fake.always(chat_answer())
    state = gateway.gateway.state
    await broken(gateway, readable_only=True)
    # The call that finds it out is answered all the same.
    assert (await post(http, gateway, gateway.key))[0] == 200
    await soon(lambda: not state.usage.writable)
    got, body, headers = await post(http, gateway, gateway.key)
    assert got == status
    if status == 503:
        assert (body["error"]["code"], headers["retry-after"]) == ("overloaded", "5")
    async with http.get(gateway.base_url + "/readyz") as ready:
        assert ready.status == 503
    await broken(gateway, readable_only=False)
    await soon(lambda: state.usage.writable)
    assert (await post(http, gateway, gateway.key))[0] == 200
    await state.usage.flush()
    rows: list[Any] = await gateway.gateway.database.read("SELECT 1 FROM usage")
    assert len(rows) == (2 if policy == "fail-closed" else 3)
